//! A decision in the words of `tell`.

use crate::{
    api::{Release, ReleaseStatus, State, notice::Reason, state::Version},
    decide::{Decision, verdict::Verdict},
    observe::seen::Seen,
    tell::status::Shown,
};

/// What a status is written from and does not stand in the decision itself.
pub struct Frame {
    state: State,
}

/// Before there is anything to learn a State from, one stands in for it.
pub fn shown(decision: &Decision) -> Frame {
    let nothing = || State::Idle { stable: Version::default() };
    Frame { state: decision.state.clone().unwrap_or_else(nothing) }
}

impl Frame {
    pub fn as_shown<'a>(&'a self, release: &'a Release, decision: &'a Decision, seen: &Seen) -> Shown<'a> {
        let display = &decision.display;
        let accepted = display.refused.clone().map_or(Ok(()), Err);
        let asked = seen.target.found().map(|w| &w.asked.revision);
        let resting = matches!(&self.state, State::Idle { stable } if asked.is_some_and(|a| *a != stable.revision));
        Shown {
            generation: release.metadata.generation.unwrap_or(0),
            now: seen.now,
            state: &self.state,
            memory: &decision.memory,
            version: release.spec.version.as_deref(),
            spec_paused: release.spec.paused,
            verdict: decision.verdict.as_ref().map(name),
            weight: display.weight,
            message: &display.message,
            accepted,
            stalled: display.stalled.clone(),
            drifted: display.drifted.clone(),
            metrics_available: display.metrics.clone(),
            gated: display.gated,
            pending: resting && display.stalled.is_none(),
        }
    }
}

/// Takes the stand-in out again.
pub fn without_state(status: &mut ReleaseStatus, decision: &Decision) {
    if decision.state.is_none() {
        let reason = decision.display.stalled.as_ref().map_or(Reason::TargetMissing, |(reason, _)| *reason);
        status.state = None;
        status.stable_revision = None;
        status.version = None;
        status.phase = reason.to_string();
    }
}

/// The verdict's name, as people see it.
const fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Healthy { .. } => "Healthy",
        Verdict::Watching { .. } => "Watching",
        Verdict::Bad { .. } => "Bad",
        Verdict::NoData { .. } => "NoData",
        Verdict::EnvironmentDegraded { .. } => "EnvironmentDegraded",
        Verdict::PodOutlier { .. } => "PodOutlier",
        Verdict::ConfigError { .. } => "ConfigError",
    }
}
