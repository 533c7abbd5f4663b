//! Transitions → notices. What is told is put into the outbox with the same status write as the transition itself.

use super::{Next, gates::UNSEEN, leg::summary};
use crate::{
    api::{
        notice::{EVENT_CHANNEL, Notice, Reason},
        release::ReleaseSpec,
        state::{CauseKind, Gate, Part, Proof, Report, State},
        status::Memory,
        units::{At, Span},
    },
    observe::seen::Seen,
};

/// Notices kept until delivered. Over this the oldest of the least severe goes.
const OUTBOX: usize = 32;

/// Takes out of the outbox what the senders have delivered or given up.
pub fn settle(memory: &mut Memory, delivered: &[(u64, String)]) {
    for notice in &mut memory.outbox {
        notice.pending.retain(|channel| !delivered.iter().any(|(seq, done)| *seq == notice.seq && done == channel));
    }
    memory.outbox.retain(|notice| !notice.pending.is_empty());
}

/// Where the numbers of notices begin. After a lost status the first ones are taken: a notice with one of those would
/// be held for one that was delivered long ago.
pub fn start(memory: &mut Memory, seen: &Seen) {
    if memory.notices == 0 && (seen.release.finalizer || !seen.is_home()) {
        memory.notices = u64::try_from(seen.now.timestamp().as_second()).unwrap_or_default();
    }
}

/// Puts one notice into the outbox.
pub fn add(
    memory: &mut Memory,
    spec: &ReleaseSpec,
    seen: &Seen,
    reason: Reason,
    message: &str,
    revision: Option<&str>,
) {
    let wants = |on: &[Reason]| on.is_empty() || on.contains(&reason);
    let notifiers = spec.notify.iter().filter(|n| wants(&n.on)).map(|n| n.notifier.clone());
    memory.notices += 1;
    memory.outbox.push(Notice {
        seq: memory.notices,
        reason,
        at: seen.now,
        message: message.to_owned(),
        revision: revision.map(str::to_owned),
        pending: std::iter::once(EVENT_CHANNEL.to_owned()).chain(notifiers).collect(),
        attempts: 0,
    });
    while memory.outbox.len() > OUTBOX {
        let least = memory.outbox.iter().map(|n| n.reason.severity()).min();
        let Some(index) = memory.outbox.iter().position(|n| Some(n.reason.severity()) == least) else { break };
        memory.outbox.remove(index);
    }
}

/// The notices of one decided transition.
pub(crate) fn transition(memory: &mut Memory, spec: &ReleaseSpec, seen: &Seen, prev: Option<&State>, next: &Next) {
    let revision = next.state.candidate().map_or(&next.state.stable().revision, |c| &c.version.revision).0.clone();
    for (reason, message) in &next.extra {
        add(memory, spec, seen, *reason, message, Some(&revision));
    }
    if let Some((reason, message)) = entered(prev, next) {
        add(memory, spec, seen, reason, &message, Some(&revision));
    }
    let gates = closed_gates(Some(&next.state));
    if !gates.is_empty() && closed_gates(prev).is_empty() {
        add(memory, spec, seen, Reason::Waiting, &gates.join("; "), Some(&revision));
    }
}

/// What a candidate waits for that is worth telling.
fn closed_gates(state: Option<&State>) -> Vec<&str> {
    let Some(State::Waiting { closed, .. }) = state else { return Vec::new() };
    closed
        .iter()
        .filter(|gate| gate.name != UNSEEN && gate.name != Gate::TRIAL)
        .map(|gate| gate.message.as_str())
        .collect()
}

/// What is told on entering a State (or a step of it). `None`: it was there already.
fn entered(prev: Option<&State>, next: &Next) -> Option<(Reason, String)> {
    let message = next.message.clone();
    let same = prev.is_some_and(|p| p.name() == next.state.name());
    let told = match &next.state {
        State::Stepping { step, candidate, .. } => {
            let known = matches!(prev, Some(State::Stepping { step: before, .. }) if before == step);
            if known {
                return None;
            }
            let share = candidate.step(*step);
            let what = share
                .weight
                .map_or_else(|| format!("{} pods", share.pods.unwrap_or(1)), |w| format!("{w} % of the traffic"));
            let why = next.verdict.as_ref().map_or(message, summary);
            (Reason::StepStarted, format!("step {}/{} ({what}): {why}", step + 1, candidate.plan.steps.len()))
        }
        State::Promoting { part: Part::TakeOver, .. } if !same => (Reason::Promoting, message),
        _ if same => return None,
        State::Idle { .. } => match prev {
            Some(State::Promoting { candidate, .. }) if candidate.undo => (Reason::RolledBack, message),
            Some(State::Promoting { .. }) => (Reason::Succeeded, message),
            Some(State::Waiting { .. }) => (Reason::Withdrawn, message),
            _ => return None,
        },
        State::Waiting { .. } => (Reason::Accepted, message),
        State::Preparing { .. } => (Reason::Preparing, message),
        State::Observing { .. } => (Reason::Watching, format!("all of the traffic: {message}")),
        State::Draining { cause, .. } if cause.kind == CauseKind::Superseded => (Reason::Superseded, message),
        State::Draining { .. } => (Reason::RollingBack, message),
        State::Reverting { stable, report, .. } => {
            (Reason::Reverting, format!("{message}; the traffic is back on {}{}", stable.label(), times(report)))
        }
        State::RolledBack { cause, .. } if cause.kind == CauseKind::Superseded => return None,
        State::RolledBack { stable, report, .. } => {
            let recovered = match report.recovered_at {
                Some(at) => format!("{} was seen serving well after {}", stable.label(), took(report.decided_at, at)),
                None => format!("whether {} serves well could not be measured (Unverified)", stable.label()),
            };
            (Reason::RolledBack, format!("{message}; {recovered}{}", times(report)))
        }
        State::RollbackFailed { .. } => (Reason::RollbackFailed, message),
        State::Promoting { .. } => return None,
    };
    Some(told)
}

fn took(from: At, to: At) -> Span {
    Span(to.since(from))
}

/// The times of a rollback, as far as they are known, counted from the decision.
fn times(report: &Report) -> String {
    let mut told = Vec::new();
    if let Some(at) = report.written_at {
        told.push(format!("written after {}", took(report.decided_at, at)));
    }
    if let Some(at) = report.confirmed_at {
        told.push(format!("confirmed after {}", took(report.decided_at, at)));
    }
    match (report.proof, report.proven_at) {
        (Proof::Unavailable, _) => told.push("proof: Unavailable".into()),
        (_, Some(at)) => told.push(format!("proven after {}", took(report.decided_at, at))),
        _ => {}
    }
    if let Some(failed) = report.requests_failed {
        told.push(format!("{failed} requests failed"));
    }
    if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_opens_by_itself_in_a_moment_is_not_told() {
        let waiting = |gates: &[&str]| -> State {
            let closed: Vec<_> = gates.iter().map(|name| json!({"name": name, "message": name})).collect();
            let version = json!({"revision": "r", "images": {}});
            let candidate = json!({
                "revision": "n", "images": {}, "id": "n", "generation": 1, "targetUid": "u",
                "plan": {"steps": [{"weight": 100}]}, "traffic": {"services": [], "routes": []},
            });
            let inner =
                json!({"stable": version, "candidate": candidate, "since": "2026-01-01T00:00:00Z", "closed": closed});
            serde_json::from_value(json!({"waiting": inner})).unwrap()
        };
        assert_eq!(closed_gates(Some(&waiting(&[UNSEEN]))), [] as [&str; 0]);
        assert_eq!(closed_gates(Some(&waiting(&[UNSEEN, "Rolling"]))), ["Rolling"]);
        assert_eq!(closed_gates(None), [] as [&str; 0]);
    }
}
