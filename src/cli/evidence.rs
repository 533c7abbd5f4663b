//! `kubectl haldane evidence`: the blocks of requests that a release was judged by, as `haldane e-value` reads them.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::bail;

use super::{
    client::Cluster,
    render::{clean, clock as clock_time},
};
use crate::{api::Release, api::units::At, observe::clock};

#[derive(clap::Args)]
pub struct Args {
    /// The Release
    name: String,
    #[command(flatten)]
    cluster: Cluster,
}

pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let release = args.cluster.connect().await?.release(&args.name).await?;
    let Some(lines) = lines(&release, clock::now()) else {
        bail!("Release {} has no evidence yet: no requests of its candidate have been judged", args.name);
    };
    print!("{lines}");
    Ok(ExitCode::SUCCESS)
}

/// A line for each block; what is not counts stands behind `#`.
fn lines(release: &Release, now: At) -> Option<String> {
    let evidence = release.status.as_ref()?.memory.evidence.as_ref().filter(|e| !e.log.is_empty())?;
    let mut text = String::from("# n_canary e_canary n_stable e_stable   until, at\n");
    for block in &evidence.log {
        let (counts, until) = (clean(&block.counts), clock_time(block.to, now));
        let _ = writeln!(text, "{counts:<32} # {until} {} %", block.weight);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::fixture::{now, release};

    #[test]
    fn each_block_is_a_line_that_e_value_reads() {
        let log = json!([{"to": "2026-03-02T14:05:15Z", "weight": 5, "counts": "150 31 2850 6"}]);
        let judged = release("Stepping", json!({"evidence": {"log": log}}));
        assert_eq!(
            lines(&judged, now()).as_deref(),
            Some(
                "# n_canary e_canary n_stable e_stable   until, at\n150 31 2850 6                    # 14:05:15 UTC 5 %\n"
            )
        );
        assert_eq!(lines(&release("Idle", json!({})), now()), None);
    }
}
