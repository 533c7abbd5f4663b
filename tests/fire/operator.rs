//! The operator of one namespace, on a thread and a runtime of its own: when it dies, all of its tasks are gone at that
//! moment, and the next one knows nothing but what the API server says.

use std::{sync::Arc, thread};

use clap::{Args, Command, FromArgMatches};
use haldane::{
    cli::run::{RunArgs, start_over},
    controller::{context::Context, pass::Work, senses::Senses, work::Passes},
};
use tokio_util::sync::CancellationToken;

use crate::fault::Line;

/// Begins a new life whenever one ends, until the line ends. Each life has the same name, as a restarted pod has.
pub struct Operator {
    line: Line,
    thread: Option<thread::JoinHandle<()>>,
}

impl Operator {
    pub fn start(ns: &str, line: &Line) -> Self {
        let (ns, own) = (ns.to_owned(), line.clone());
        let thread = thread::spawn(move || {
            loop {
                let number = own.life();
                if number == 0 {
                    return;
                }
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(live(&ns, &own, number));
                runtime.shutdown_background();
            }
        });
        Self { line: line.clone(), thread: Some(thread) }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.line.end();
        if let Some(thread) = self.thread.take()
            && !thread::panicking()
        {
            thread.join().expect("the operator's thread ends in order");
        }
    }
}

/// One life.
async fn live(ns: &str, line: &Line, number: u32) {
    let work = |ctx: &Context| -> anyhow::Result<Arc<dyn Work>> {
        let senses =
            Senses::new(ctx.client.clone(), &ctx.operator_namespace, &ctx.kicks).map_err(anyhow::Error::msg)?;
        Ok(Arc::new(Arc::new(Passes::new(senses))))
    };
    let connect = |_| Ok(line.client(number));
    tokio::select! {
        () = line.over(number) => {}
        ended = start_over(arguments(ns), connect, work, CancellationToken::new()) => panic!("{ns}: it ended: {ended:?}"),
    }
}

fn arguments(ns: &str) -> RunArgs {
    let line = [
        "run".to_owned(),
        format!("--watch-namespaces={ns}"),
        "--address=127.0.0.1:0".to_owned(),
        format!("--lease={ns}"),
        format!("--identity={ns}-0"),
    ];
    let matches = RunArgs::augment_args(Command::new("run")).get_matches_from(line);
    RunArgs::from_arg_matches(&matches).expect("arguments")
}
