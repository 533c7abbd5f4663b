//! The command line: `haldane run` in the cluster, and what people call, also as `kubectl haldane`.
//!
//! One file per command. A command ends with an exit code; a wrong call and a failed request both end with 1, because
//! `wait` gives 2 and above a meaning of their own.

mod backtest;
mod client;
mod crd;
mod e_value;
mod evidence;
mod explain;
mod get;
pub mod judge;
mod lint;
mod notify;
mod order;
mod pipe;
mod render;
pub mod retire;
pub mod run;
mod table;
mod tree;
mod unlink_keys;
mod wait;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::{env, path::Path, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Progressive delivery on Kubernetes: canary steps, verdicts in seconds, verified rollbacks.
#[derive(Parser)]
#[command(version, name = "haldane")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator
    Run(run::RunArgs),
    /// Before an uninstall: have the operator bring every Release home, and wait for it
    Retire(retire::Args),
    /// Print the CustomResourceDefinitions as YAML
    Crd(crd::Args),
    /// Show Releases: one as a picture, many as a table
    Get(get::Args),
    /// Wait for the end of a release; the exit code tells how it ended
    #[command(after_help = wait::EXIT_CODES)]
    Wait(wait::Args),
    /// What a Release waits for, what comes next and when, and the command that unblocks it
    Explain(explain::Args),
    /// What a release of these manifests would stumble over
    #[command(after_help = lint::EXIT_CODES)]
    Lint(lint::Args),
    /// The blocks of requests that a release was judged by, as `e-value` reads them
    Evidence(evidence::Args),
    /// What the checks would have done to the version that serves, from the provider's history
    #[command(after_help = backtest::EXIT_CODES)]
    Backtest(backtest::Args),
    /// Replay a recording of samples and judge it, without a cluster
    #[command(after_help = judge::FORMAT)]
    Judge(judge::Args),
    /// Recompute the evidence from counts on stdin, without a cluster
    EValue(e_value::Args),
    /// Try a Notifier
    Notify(notify::Args),
    /// Order: skip the step's time and evidence, never a bad verdict or the watch
    Promote(order::Promote),
    /// Order: stop time and new releases, never safety
    Pause(order::Pause),
    /// Order: end a pause
    Resume(order::Common),
    /// Order: give the traffic back and reject the version; at rest, bring back the previous version
    Rollback(order::Common),
    /// Order: try a rejected version again
    Retry(order::Retry),
    /// Order: say yes to the step of a rollback that waits for it
    Confirm(order::Confirm),
    /// Delete keys of a Redis by pattern: what the Job of a Redis step runs
    #[command(hide = true)]
    UnlinkKeys(unlink_keys::Args),
}

/// Reads the arguments of the process and does what they say.
pub fn main() -> ExitCode {
    let mut command = Cli::command();
    if env::args_os().next().is_some_and(|called| Path::new(&called).file_stem() == Some("kubectl-haldane".as_ref())) {
        command = command.bin_name("kubectl haldane");
    }
    let cli = match command.try_get_matches().and_then(|found| Cli::from_arg_matches(&found)) {
        Ok(cli) => cli,
        Err(wrong) => {
            // Help and version arrive here too. A closed pipe on the way out is nobody's error.
            let _ = wrong.print();
            return if wrong.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    perform(cli.command).unwrap_or_else(|error| {
        eprintln!("haldane: {error:#}");
        ExitCode::FAILURE
    })
}

fn perform(command: Command) -> anyhow::Result<ExitCode> {
    // One runtime for all commands; those that call nobody do not use it.
    tokio::runtime::Runtime::new()?.block_on(async {
        match command {
            Command::Run(args) => run::operator(args).await,
            Command::Retire(args) => retire::run(&args).await,
            Command::Crd(args) => crd::run(&args),
            Command::Get(args) => get::run(&args).await,
            Command::Wait(args) => Box::pin(wait::run(&args)).await,
            Command::Explain(args) => explain::run(&args).await,
            Command::Lint(args) => lint::run(&args).await,
            Command::Evidence(args) => evidence::run(&args).await,
            Command::Backtest(args) => Box::pin(backtest::run(&args)).await,
            Command::Judge(args) => judge::run(&args),
            Command::EValue(args) => e_value::run(&args),
            Command::Notify(args) => Box::pin(notify::run(&args)).await,
            Command::Promote(args) => order::promote(&args).await,
            Command::Pause(args) => order::pause(&args).await,
            Command::Resume(args) => order::resume(&args).await,
            Command::Rollback(args) => order::rollback(&args).await,
            Command::Retry(args) => order::retry(&args).await,
            Command::Confirm(args) => order::confirm(&args).await,
            Command::UnlinkKeys(args) => unlink_keys::run(&args).await,
        }
    })
}
