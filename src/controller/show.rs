//! A decision in the words of `tell`.

use crate::{
    api::{Release, State},
    decide::{Decision, verdict::Verdict},
    observe::seen::Seen,
    tell::status::Shown,
};

/// What the status is written from.
pub fn shown<'a>(release: &'a Release, decision: &'a Decision, seen: &Seen) -> Shown<'a> {
    let display = &decision.display;
    let asked = seen.target.found().map(|w| &w.asked.revision);
    let other = |state: &State| matches!(state, State::Idle { stable } if asked.is_some_and(|a| *a != stable.revision));
    Shown {
        generation: release.metadata.generation.unwrap_or(0),
        now: seen.now,
        state: decision.state.as_ref(),
        memory: &decision.memory,
        version: release.spec.version.as_deref(),
        spec_paused: release.spec.paused,
        verdict: decision.verdict.as_ref().map(Verdict::name),
        weight: display.weight,
        message: &display.message,
        accepted: display.refused.clone().map_or(Ok(()), Err),
        stalled: display.stalled.clone(),
        drifted: display.drifted.clone(),
        metrics_available: display.metrics.clone(),
        gated: display.gated,
        pending: decision.state.as_ref().is_some_and(other) && display.stalled.is_none(),
    }
}
