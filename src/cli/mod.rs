//! The command line: `haldane run` in the cluster, and what people call, also as `kubectl haldane`.
//!
//! One file per command. A command ends with an exit code; a wrong call and a failed request both end with 1, because
//! `wait` gives 2 and above a meaning of their own.

mod crd;
pub mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Progressive delivery on Kubernetes: canary steps, verdicts in seconds, verified rollbacks.
#[derive(Parser)]
#[command(version, name = "haldane")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the CustomResourceDefinitions as YAML.
    Crd(crd::Args),
}

/// Reads the arguments of the process and does what they say.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
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
            Command::Crd(args) => crd::run(&args),
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
