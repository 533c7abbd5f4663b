//! Before a release: what is asked, whether it may start, and what keeps it from starting.

use std::time::Duration;

use super::{Facts, Next, gate, orders, present, reject, version};
use crate::{
    api::{
        notice::Reason,
        state::{Candidate, CauseKind, Gate, PinnedTraffic, State, Version},
        status::{Ended, Memory, Outcome},
        units::At,
    },
    observe::seen::{Blind, JobSeen, Seen, StepJob, Workload},
};

/// The gate that opens by itself in a moment; nobody needs to be told of it.
pub(crate) const UNSEEN: &str = "Unseen";

/// How often a closed gate is tried.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How often the trial of a rollback plan is looked at.
const TRIAL: Duration = Duration::from_secs(1);

/// From rest: is there something to release?
pub(crate) fn accept(stable: Version, facts: &Facts<'_>, memory: &mut Memory) -> Next {
    let Facts { spec, seen, workload, .. } = facts;
    let asked = &workload.asked;
    if let Some(message) = unknown_containers(workload) {
        let mut next = Next::stay(State::Idle { stable }, message.clone());
        if memory.stuck.is_none() {
            memory.stuck = Some(seen.now);
            next.extra.push((Reason::Invalid, message.clone()));
        }
        next.refused = Some((Reason::Invalid, message.clone()));
        next.stalled = Some((Reason::Invalid, message));
        return next;
    }
    memory.stuck = None;
    if asked.revision == stable.revision {
        let stable = present(spec, workload);
        let message = format!("{} runs", stable.label());
        conclude(memory, seen, Ended::Succeeded, &message);
        return Next::stay(State::Idle { stable }, message);
    }
    if let Some(rejected) = memory.rejected.iter().find(|r| r.revision == asked.revision) {
        let message = format!(
            "{} was rejected: {}; apply another version, or run: kubectl haldane retry {} -n {}",
            version::asked(spec, workload, &stable).label(),
            rejected.message,
            seen.release.name,
            seen.release.namespace
        );
        conclude(memory, seen, Ended::RolledBack, &message);
        let mut next = Next::stay(State::Idle { stable }, message.clone());
        next.stalled = Some((Reason::RolledBack, message));
        return next;
    }
    let version = version::asked(spec, workload, &stable);
    let candidate = candidate(version, facts);
    let closed = closed(facts, memory, &StepJob::Unknown);
    let mut message = format!("{} is accepted, to replace {}", candidate.version.label(), stable.label());
    if !workload.warnings.is_empty() {
        message = format!("{message}; warning: {}", workload.warnings.join("; "));
    }
    Next::stay(State::Waiting { stable, candidate, since: seen.now, closed }, message)
}

/// Waiting: nothing is touched until every gate is open.
pub(crate) fn waiting(stable: Version, old: &Candidate, since: At, facts: &Facts<'_>, memory: &mut Memory) -> Next {
    let Facts { spec, seen, workload, wish } = facts;
    let asked = &workload.asked;
    if let Some(by) = &wish.rollback {
        let message = format!("{} was refused by {by}", old.version.label());
        reject(memory, &old.version, CauseKind::Ordered, &message, seen.now);
        return Next::stay(State::Idle { stable }, message);
    }
    let moot = asked.revision == stable.revision
        || workload.left(&stable.revision)
        || memory.rejected.iter().any(|r| r.revision == asked.revision)
        || !asked.unknown.is_empty();
    if moot {
        return Next::stay(State::Idle { stable }, format!("{} is no longer asked for", old.version.label()));
    }
    let version = version::asked(spec, workload, &stable);
    let newer = version.revision != old.version.revision;
    let candidate = candidate(version, facts);
    let since = if newer { seen.now } else { since };
    // What was tried was the plan as it was remembered, for the candidate of then.
    let same = (&old.rollback, &old.id) == (&candidate.rollback, &candidate.id);
    let closed = closed(facts, memory, if same { &seen.trial } else { &StepJob::Unknown });
    if closed.is_empty() {
        let message = format!("pods of {} are being started, without traffic", candidate.version.label());
        memory.evidence = None;
        return Next::stay(State::Preparing { stable, candidate, since: seen.now, resume: None }, message);
    }
    let message = closed.iter().map(|g| g.message.as_str()).collect::<Vec<_>>().join("; ");
    let mut next = Next::stay(State::Waiting { stable, candidate, since, closed }, message);
    stuck(&mut next, since, seen, memory);
    // Services, routes and the administrators' objects are not watched before a release.
    let tried = next.state.on_trial().is_some() && !matches!(seen.trial, StepJob::There(JobSeen::Failed(_)));
    next.due = Some(seen.now.plus(if tried { TRIAL } else { LOOK_AGAIN }));
    next.gated = true;
    next
}

/// Tells once that a wait has lasted long.
pub(crate) fn stuck(next: &mut Next, since: At, seen: &Seen, memory: &mut Memory) {
    if seen.now.since(since) < orders::STUCK_AFTER {
        next.due = Some(since.plus(orders::STUCK_AFTER));
    } else if memory.stuck != Some(since) {
        memory.stuck = Some(since);
        next.extra.push((
            Reason::Stuck,
            format!("for {} now: {}", crate::api::units::Span(seen.now.since(since)), next.message),
        ));
    }
}

/// The gates that are closed now.
fn closed(facts: &Facts<'_>, memory: &Memory, tried: &StepJob) -> Vec<Gate> {
    let mut closed = preflight(facts);
    if let Some(by) = orders::paused_by(memory) {
        closed.push(gate("Paused", format!("paused by {by}")));
    }
    if closed.is_empty() && facts.spec.rollback.needs_trial() {
        closed.extend(trial(tried));
    }
    closed
}

/// Why the rollback plan is not known to work yet. Last of all: it starts a pod.
fn trial(seen: &StepJob) -> Option<Gate> {
    match seen {
        StepJob::There(JobSeen::Succeeded { .. }) => None,
        StepJob::There(JobSeen::Running { stuck: Some(why), .. } | JobSeen::Failed(why)) => {
            let why = format!(
                "the rollback plan cannot be carried out: {why}; mend it, it is tried again within two minutes"
            );
            Some(gate(Gate::PLAN, why))
        }
        StepJob::There(JobSeen::Running { .. }) | StepJob::Absent | StepJob::Unknown => {
            Some(gate(Gate::TRIAL, "a pod looks whether the Secrets and the Redis of the rollback plan are there"))
        }
    }
}

/// What must be in order in the world before anything is touched.
pub(crate) fn preflight(facts: &Facts<'_>) -> Vec<Gate> {
    let Facts { spec, seen, workload, .. } = facts;
    let name = &workload.name;
    let mut closed: Vec<Gate> = workload.refusals.iter().map(|r| gate("Preflight", r)).collect();
    closed.extend(seen.release.problems.iter().map(|p| gate("Preflight", p)));
    closed.extend(seen.release.blind.iter().map(|blind| match blind {
        Blind::Unasked => gate(UNSEEN, "the version that serves is measured first"),
        Blind::Config(why) => gate("ConfigError", why),
        Blind::NoData(why) => gate("NoData", format!("the version that serves cannot be measured: {why}")),
    }));
    closed.extend(seen.services.iter().filter_map(|s| s.problem.as_ref()).map(|p| gate("Preflight", p)));
    closed.extend(seen.routes.iter().filter_map(|r| r.problem.as_ref()).map(|p| gate("Preflight", p)));
    if workload.deleting {
        closed.push(gate("Preflight", format!("Deployment {name} is being deleted")));
    } else if workload.wanted == 0 {
        closed.push(gate(
            "Preflight",
            format!("Deployment {name} is scaled to 0: a version without pods cannot be judged"),
        ));
    } else if !workload.observed {
        closed.push(gate(UNSEEN, format!("its controller has not seen Deployment {name} as it is now")));
    } else if !workload.settled {
        closed
            .push(gate("Rolling", format!("Deployment {name} is still rolling or not all of its pods are available")));
    }
    if let Some(route) = seen.routes.iter().find(|r| r.problem.is_none() && !r.confirmed) {
        let why = route.complaint.as_deref().unwrap_or("its gateway has not accepted it yet");
        closed.push(gate("Preflight", format!("{}: {why}", route.route)));
    }
    if spec.traffic.canary_header.is_some() && spec.traffic.routes.is_empty() {
        closed.push(gate("Preflight", "spec.traffic.canaryHeader needs a route in spec.traffic.routes"));
    }
    closed
}

/// A candidate with everything that is pinned when it is accepted.
pub(crate) fn candidate(version: Version, facts: &Facts<'_>) -> Candidate {
    let Facts { spec, seen, workload, .. } = facts;
    let routed = !spec.traffic.routes.is_empty();
    Candidate {
        id: free_id(&version.revision.0, workload),
        version,
        generation: seen.release.generation,
        target_uid: workload.uid.clone(),
        plan: spec.plan.clone(),
        traffic: PinnedTraffic {
            services: seen.services.iter().map(|s| s.name.clone()).collect(),
            routes: spec.traffic.routes.clone(),
            header: spec.traffic.canary_header.clone().filter(|_| routed),
            weights: seen.routes.iter().flat_map(|r| r.weights.clone()).collect(),
        },
        rollback: spec.rollback.clone(),
        undo: false,
        replaced: None,
    }
}

/// An id whose hash no ReplicaSet of the Deployment has: an earlier release of the same revision left one.
fn free_id(revision: &str, workload: &Workload) -> String {
    let taken = |id: &str| workload.sets.iter().any(|s| s.hash.strip_prefix('h') == Some(id));
    let ids = std::iter::once(revision.to_owned()).chain((2..100).map(|n| format!("{revision}-{n}")));
    ids.into_iter().find(|id| !taken(id)).unwrap_or_else(|| format!("{revision}-100"))
}

fn unknown_containers(workload: &Workload) -> Option<String> {
    let unknown = workload.asked.unknown.first()?;
    let known: Vec<_> = workload.images.keys().map(String::as_str).collect();
    Some(format!(
        "spec.images.{unknown}: Deployment {} has no container of this name; it has: {}",
        workload.name,
        known.join(", ")
    ))
}

/// Records how this generation ended, once.
pub(crate) fn conclude(memory: &mut Memory, seen: &Seen, outcome: Ended, message: &str) {
    let generation = seen.release.generation;
    let known = memory.result.as_ref().is_some_and(|r| r.generation == generation && r.outcome == outcome);
    if !known {
        memory.result = Some(Outcome { generation, outcome, at: seen.now, message: message.to_owned() });
    }
}
