//! Starts child processes that cannot outlive the test process.
//!
//! Each child asks the kernel to be killed when its parent *thread* ends. Test threads come and go, so all children are
//! started by one thread that lives as long as the process.

use std::{
    io,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        mpsc::{Sender, SyncSender, channel, sync_channel},
    },
    thread,
};

type Request = (Command, SyncSender<io::Result<Child>>);

static STARTER: OnceLock<Sender<Request>> = OnceLock::new();

/// Starts `program` in `dir`; what it says goes to `<dir>/<log>`.
pub fn start(program: &Path, args: &[String], dir: &Path, log: &str) -> Child {
    let out = std::fs::File::create(dir.join(log)).expect("a log file");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program).args(args).current_dir(dir);
    command.stdin(Stdio::null()).stderr(out.try_clone().expect("a second handle")).stdout(out);
    spawn(command)
}

/// A shell that removes `dir` as soon as its standard input closes: at the latest when this process ends in any way.
pub fn sweeper(dir: &Path) -> Child {
    let mut command = Command::new("sh");
    let script = r#"trap '' INT TERM HUP; read -r _; until rm -rf "$0" 2>/dev/null; do sleep 0.1; done"#;
    command.args(["-c", script]).arg(dir).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    spawn(command)
}

fn spawn(command: Command) -> Child {
    let starter = STARTER.get_or_init(|| {
        let (send, receive) = channel::<Request>();
        thread::spawn(move || {
            for (mut command, answer) in receive {
                answer.send(command.spawn()).expect("the asker waits");
            }
        });
        send
    });
    let (answer, child) = sync_channel(1);
    let what = format!("{command:?}");
    starter.send((command, answer)).expect("the starter lives");
    child.recv().expect("an answer").unwrap_or_else(|e| panic!("{what}: {e}"))
}
