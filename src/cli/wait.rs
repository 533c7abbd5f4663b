//! `kubectl haldane wait`: until the release of one generation has ended; the exit code tells how.

use std::{process::ExitCode, time::Duration};

use futures::{StreamExt, pin_mut};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    client::Cluster,
    render::{clean, clock as clock_time},
};
use crate::{
    api::{Release, ReleaseStatus, State, state::CauseKind, status::Ended, units::Span},
    observe::clock,
};

pub const EXIT_CODES: &str = "\
Exit codes:
  0  succeeded
  1  wrong usage, or the API server refused
  2  rolled back
  3  still gated at the timeout (approval, pause, or something that must be put in order)
  4  not ended at the timeout
  5  the rollback failed
  6  superseded by a newer version";

#[derive(clap::Args)]
pub struct Args {
    /// The Release
    name: String,
    /// The generation whose release is waited for [default: the present one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    for_generation: Option<i64>,
    /// How long to wait at most
    #[arg(long, default_value = "30m")]
    timeout: Span,
    #[command(flatten)]
    cluster: Cluster,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Succeeded = 0,
    RolledBack = 2,
    Gated = 3,
    Timeout = 4,
    RollbackFailed = 5,
    Superseded = 6,
}

impl End {
    const fn words(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled back",
            Self::Gated => "still gated at the timeout",
            Self::Timeout => "not ended at the timeout",
            Self::RollbackFailed => "rollback failed",
            Self::Superseded => "superseded",
        }
    }
}

pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let deadline = Instant::from_std(clock::monotonic()) + args.timeout.0.min(Duration::from_hours(24 * 365));
    let reach = args.cluster.connect().await?;
    let start = reach.release(&args.name).await?;
    let generation = args.for_generation.or(start.metadata.generation).unwrap_or(1);
    let mut follow = Follow::new(generation);
    let mut last = start;
    let mut end = follow.see(&last);
    report(follow.news(&last));
    let changes = watcher::watch_object(reach.releases(), &args.name).default_backoff();
    pin_mut!(changes);
    let mut told = false;
    while end.is_none() {
        match timeout_at(deadline, changes.next()).await {
            Err(_) => end = Some(at_timeout(&last)),
            Ok(Some(Ok(Some(release)))) => {
                told = false;
                end = follow.see(&release);
                report(follow.news(&release));
                last = release;
            }
            Ok(Some(Ok(None))) => anyhow::bail!("Release {} was deleted", args.name),
            Ok(Some(Err(error))) => {
                if !told {
                    eprintln!("the watch was interrupted, trying again: {error}");
                }
                told = true;
            }
            // The stream never ends by itself; were it to, waiting on is still right.
            Ok(None) => {
                sleep_until(deadline).await;
                end = Some(at_timeout(&last));
            }
        }
    }
    let end = end.unwrap_or(End::Timeout);
    println!("{}", sentence(&args.name, generation, end, &last));
    Ok(ExitCode::from(end as u8))
}

fn report(line: Option<String>) {
    if let Some(line) = line {
        eprintln!("{}  {line}", clock_time(clock::now(), clock::now()));
    }
}

fn sentence(name: &str, generation: i64, end: End, release: &Release) -> String {
    let status = release.status.as_ref();
    let result = status.and_then(|s| s.memory.result.as_ref()).filter(|r| r.generation >= generation);
    let message = match (end, result) {
        (End::Succeeded | End::RolledBack | End::RollbackFailed, Some(result)) => result.message.as_str(),
        _ => status.map(|s| s.message.as_str()).unwrap_or_default(),
    };
    let message = if message.is_empty() { String::new() } else { format!(": {}", clean(message)) };
    format!("Release {name} generation {generation} {}{message}", end.words())
}

/// Follows one generation through what the status says.
pub struct Follow {
    generation: i64,
    /// The last candidate seen was this generation's.
    ours: bool,
    shown: Option<(String, Option<String>, Option<u32>, String)>,
}

impl Follow {
    pub const fn new(generation: i64) -> Self {
        Self { generation, ours: false, shown: None }
    }

    /// Whether it has ended. `None`: it goes on, or has not begun, or is gated.
    pub fn see(&mut self, release: &Release) -> Option<End> {
        let status = release.status.as_ref()?;
        let state = status.state.as_ref()?;
        if let Some(candidate) = state.candidate().filter(|_| !matches!(state, State::RollbackFailed { .. })) {
            self.ours = candidate.generation == self.generation;
            return (candidate.generation > self.generation).then_some(End::Superseded);
        }
        // At rest. What the operator has not looked at yet cannot have ended.
        if status.observed_generation < self.generation || condition(status, "Reconciling") == Some("True") {
            return None;
        }
        if let Some(result) = &status.memory.result
            && result.generation >= self.generation
        {
            return Some(match result.outcome {
                // An edit that brought no other candidate raises the generation, and the release is still ours.
                _ if result.generation > self.generation && !self.ours => End::Superseded,
                Ended::Succeeded => End::Succeeded,
                Ended::RolledBack => End::RolledBack,
                Ended::RollbackFailed => End::RollbackFailed,
                Ended::Superseded => End::Superseded,
            });
        }
        match state {
            State::Idle { .. } if condition(status, "Ready") == Some("True") => Some(End::Succeeded),
            State::RolledBack { cause, .. } if cause.kind == CauseKind::Superseded => Some(End::Superseded),
            State::RolledBack { .. } => Some(End::RolledBack),
            State::RollbackFailed { .. } => Some(End::RollbackFailed),
            _ => None,
        }
    }

    /// A line when something has changed that a person wants to know.
    pub fn news(&mut self, release: &Release) -> Option<String> {
        let status = release.status.as_ref()?;
        let reason = status.conditions.iter().find(|c| c.type_ == "Ready").map(|c| c.reason.clone());
        let now = (status.phase.clone(), status.step.clone(), status.weight, reason.unwrap_or_default());
        if self.shown.as_ref() == Some(&now) {
            return None;
        }
        let step = status.step.as_ref().map(|s| format!(" {s}")).unwrap_or_default();
        let weight = status.weight.map(|w| format!(" at {w} %")).unwrap_or_default();
        let line = format!("{}{step}{weight}: {}", status.phase, clean(&status.message));
        self.shown = Some(now);
        Some(line)
    }
}

/// What the end of the patience means: held by somebody, or just slow.
pub fn at_timeout(release: &Release) -> End {
    let Some(status) = &release.status else { return End::Timeout };
    let waiting = matches!(status.state, Some(State::Waiting { .. }));
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
    let held = ready.is_some_and(|c| matches!(c.reason.as_str(), "AwaitingGate" | "Paused"));
    if waiting || held || condition(status, "Stalled") == Some("True") { End::Gated } else { End::Timeout }
}

fn condition<'a>(status: &'a ReleaseStatus, kind: &str) -> Option<&'a str> {
    status.conditions.iter().find(|c| c.type_ == kind).map(|c| c.status.as_str())
}
