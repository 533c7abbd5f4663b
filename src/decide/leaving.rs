//! The way out: the Release is deleted, or the operator is uninstalled and the Release stays. Traffic first, then everything
//! of ours, then the finalizer.

use std::time::Duration;

use super::{Decision, Display, Past, announce, goal::Goal, serving};
use crate::{
    api::{
        names,
        notice::Reason,
        release::{ReleaseSpec, RouteRef},
        state::State,
        status::Memory,
    },
    observe::seen::{Leaving, Parting, Seen, Side, Workload},
};

/// How long the last notices may take.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// How often it is looked whether the next thing can go.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Where nothing is put back: only the finalizer is written.
pub(super) fn at_once(spec: &ReleaseSpec, past: &Past, memory: &Memory, seen: &Seen) -> Option<Decision> {
    let Some(Leaving::Deleted { how, .. }) = seen.release.leaving else { return None };
    let mut memory = memory.clone();
    let message = match how {
        Parting::InOrder => return None,
        Parting::WithItsNamespace => "the namespace is being deleted".to_owned(),
        Parting::Abandoned => {
            let message = left_behind(spec, past.state.as_ref(), &seen.release.name);
            if !memory.outbox.iter().any(|notice| notice.reason == Reason::Abandoned) {
                announce::add(&mut memory, spec, seen, Reason::Abandoned, &message, None);
            }
            message
        }
    };
    Some(ending(past, memory, Goal::Abandoned, &message))
}

/// From rest: what is left goes home. `None`: it stays, or is on its way and must be brought back first.
pub(super) fn at_rest(
    spec: &ReleaseSpec,
    past: &Past,
    memory: &Memory,
    workload: &Workload,
    seen: &Seen,
) -> Option<Decision> {
    let leaving = seen.release.leaving?;
    if past.state.as_ref().is_some_and(State::active) {
        return None;
    }
    let memory = memory.clone();
    let others = seen.release.conflict.is_some(); // what it sees belongs to the other Release
    if seen.release.uninstalled() && (again(seen).is_none() || others && !seen.release.finalizer) {
        let untouched = ending(past, memory, Goal::Gone { told: true }, "");
        return Some(Decision { wake: None, ..untouched });
    }
    let goal = if others { Goal::Abandoned } else { gone(&memory, seen) };
    let known = past.state.clone().unwrap_or_else(|| State::Idle { stable: serving(spec, workload) });
    let begun = match leaving {
        Leaving::Deleted { .. } => "the Release is being deleted",
        Leaving::Uninstalled { .. } => "Haldane is being uninstalled",
    };
    let message = match waits(&known, seen) {
        Some(why) => format!("{begun}; {why}"),
        None => format!("{begun}; what is left of it is taken away"),
    };
    Some(ending(&Past { state: Some(known), ..Past::default() }, memory, goal, &message))
}

/// When it is looked at again: as long as something of ours is left.
pub(super) fn again(seen: &Seen) -> Option<Duration> {
    (seen.release.finalizer || !seen.is_let_go()).then_some(LOOK_AGAIN)
}

/// What holds it up that may take long.
fn waits(state: &State, seen: &Seen) -> Option<String> {
    let sending = seen.routes.iter().any(|r| r.split.is_some_and(|s| s.weight > 0));
    if let Some(why) = seen.unread.traffic.first() {
        return Some(format!("it goes on when this can be read: {why}"));
    }
    if sending && seen.ready(Side::Stable) == 0 && seen.ready(Side::Candidate) > 0 {
        let stable = state.stable().label();
        return Some(format!("no pod of {stable} is ready, so its traffic cannot be taken back yet"));
    }
    if !seen.confirmed() && !seen.is_home() {
        let complaint = seen.routes.iter().find_map(|r| r.complaint.as_deref());
        return Some(complaint.map_or_else(
            || "waiting until the gateway confirms what was written".into(),
            |said| format!("the gateway has not confirmed what was written: {said}"),
        ));
    }
    let told = seen.is_let_go() && seen.release.finalizer;
    told.then(|| "everything is put back; its last notices are being delivered".into())
}

/// The finalizer goes once the last notices are out: of a deleted Release nobody could find them in its status any more. A
/// receiver that does not answer holds it up for half a minute.
pub(super) fn gone(memory: &Memory, seen: &Seen) -> Goal {
    let since = match seen.release.leaving {
        Some(Leaving::Deleted { at, .. }) => Some(at),
        Some(Leaving::Uninstalled { since }) => Some(since),
        None => None,
    };
    let waited = since.is_some_and(|at| seen.now.since(at) >= LAST_WORDS);
    Goal::Gone { told: memory.outbox.is_empty() || waited }
}

pub(super) fn ending(past: &Past, memory: Memory, goal: Goal, message: &str) -> Decision {
    let display = Display { message: message.to_owned(), ..Display::default() };
    Decision { state: past.state.clone(), memory, verdict: None, goal, display, wake: Some(LOOK_AGAIN) }
}

/// Why a version on its way is taken back.
pub(super) fn on_the_way(leaving: Leaving, label: &str) -> String {
    match leaving {
        Leaving::Deleted { .. } => format!("the Release was deleted while {label} was on its way"),
        Leaving::Uninstalled { .. } => format!("Haldane was uninstalled while {label} was on its way"),
    }
}

/// What may be left of an abandoned Release, by its names. Nothing was looked at: that may be impossible.
fn left_behind(spec: &ReleaseSpec, state: Option<&State>, release: &str) -> String {
    let deployment = &spec.target_ref.name;
    let candidate = state.and_then(State::candidate);
    let services = candidate.map(|c| c.traffic.services.clone()).or_else(|| spec.traffic.services.clone());
    let services = match services.as_deref() {
        None => format!("the Services of Deployment {deployment}"),
        Some([]) => String::new(),
        Some(named) => format!("Service {}", named.join(", ")),
    };
    let routes: &[RouteRef] = candidate.map_or(&spec.traffic.routes, |c| &c.traffic.routes);
    let routes: Vec<_> = routes.iter().map(ToString::to_string).collect();
    let mut left = Vec::new();
    if !routes.is_empty() {
        left.push(format!("{} (backends that end in -canary)", routes.join(", ")));
    }
    if !services.is_empty() {
        left.push(format!("{services} ({} in the selector, and what ends in -canary)", names::HASH));
    }
    let paused = format!("Deployment {deployment} (spec.paused, labels and annotations of {})", names::PREFIX);
    left.push(paused);
    left.push(match candidate {
        Some(candidate) => format!("ReplicaSet {}", names::candidate_set(deployment, &candidate.id)),
        None => format!("ReplicaSets with the label {}={}", names::RELEASE, names::label_value(release)),
    });
    format!("{} is true, so nothing was put back; look at: {}", names::ABANDON, left.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_behind_is_told_by_its_names() {
        let spec: ReleaseSpec = serde_json::from_value(json!({
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
            "images": {"app": "shop:2"},
            "traffic": {"routes": [{"name": "front"}]},
        }))
        .unwrap();
        assert_eq!(
            left_behind(&spec, None, "shop"),
            "haldane.dev/abandon is true, so nothing was put back; look at: HTTPRoute front (backends that end in -canary); \
             the Services of Deployment shop (pod-template-hash in the selector, and what ends in -canary); Deployment shop \
             (spec.paused, labels and annotations of haldane.dev/); ReplicaSets with the label haldane.dev/release=shop"
        );
    }
}
