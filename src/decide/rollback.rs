//! The way back: Draining, Reverting, RolledBack, RollbackFailed.

use std::time::Duration;

use super::{
    Facts, Next, gates, recovery,
    recovery::Recovery,
    reject,
    rollback_steps::{self, Course},
};
use crate::{
    api::{
        notice::Reason,
        routes,
        state::{Candidate, Cause, CauseKind, Proof, Report, State, Version},
        status::{Ended, Evidence, HistoryEntry, Memory},
        units::{At, Span},
    },
    observe::seen::{Feed, Seen, Side},
};

/// After the gateway's word and before pods go: what is under way may end.
const DRAIN: Duration = Duration::from_secs(5);
/// How long counters may take to prove it.
const PROOF: Duration = Duration::from_mins(1);
/// How long a gateway may take to follow before its canary Services are turned: the slowest take some seconds.
const UNFOLLOWED: Duration = Duration::from_secs(15);
/// How long counters that contradict a route hold the candidate's pods: a gateway that still sends to them would lose its
/// requests without them. Then they go, as the last means.
const LAST_MEANS: Duration = Duration::from_mins(5);
/// How long the stable version may take to be seen inside its limits.
const RECOVERY: Duration = Duration::from_mins(5);
/// Without any way to measure, the ready pods must stand this long.
const UNVERIFIED: Duration = Duration::from_secs(30);

/// A rollback under way.
pub(crate) struct Back {
    pub stable: Version,
    pub candidate: Candidate,
    pub since: At,
    pub cause: Cause,
    pub report: Report,
}

/// The decision to go back. The State itself takes the traffic away; what rejects is remembered with it.
pub(crate) fn begin(
    stable: Version,
    candidate: Candidate,
    kind: CauseKind,
    message: String,
    facts: &Facts<'_>,
    memory: &mut Memory,
) -> Next {
    let now = facts.seen.now;
    if kind.rejects() {
        reject(memory, &candidate.version, kind, &message, now);
    }
    memory.stuck = None;
    let cause = Cause { kind, message: message.clone() };
    let hash = facts.seen.candidate.as_ref().map(|c| c.hash.as_str());
    let direct = facts.seen.services.iter().any(|s| s.pin.is_some() && s.pin.as_deref() == hash);
    let report = Report { direct, ..Report::new(now) };
    Next::stay(State::Draining { stable, candidate, since: now, cause, report }, message)
}

/// Draining: until it is certain that nothing reaches the candidate.
pub(crate) fn draining(mut back: Back, facts: &Facts<'_>, memory: &mut Memory) -> Next {
    let Facts { spec, seen, workload, .. } = facts;
    let routed = back.candidate.traffic.routed();
    let stable_hash = workload.hash_of(&back.stable.revision);
    let told = back.report.clone();
    let report = &mut back.report;
    let off = seen.routes.iter().all(|r| r.split.is_none_or(|s| s.weight == 0 && !s.header));
    let pinned =
        seen.services.iter().all(|s| s.problem.is_some() || s.pin.is_some() && s.pin.as_deref() == stable_hash);
    let visible = seen.unread.traffic.is_empty();
    let pinned = pinned || seen.is_home(); // nothing was begun
    if report.written_at.is_none() && off && pinned && visible {
        report.written_at = Some(seen.route_written_at.unwrap_or(seen.now));
    }
    let followed = seen.services.iter().all(|s| s.candidate_endpoints == 0);
    if report.confirmed_at.is_none() && report.written_at.is_some() && seen.confirmed() && followed {
        report.confirmed_at = Some(seen.now);
    }
    let drained = report.confirmed_at.filter(|c| seen.now.since(*c) >= DRAIN);
    let unabated = report.confirmed_at.and_then(|confirmed| unabated(&back.candidate, report, confirmed, seen));
    // Where the turned Services answer, counters stand still whether the gateway has followed meanwhile or not.
    let contradicted = unabated.is_some() || report.confirmed_at.is_some() && report.turned_at > report.confirmed_at;
    if let Some(confirmed) = drained
        && report.proof == Proof::Pending
        && (!contradicted || seen.now.since(confirmed) >= LAST_MEANS)
    {
        prove(report, confirmed, seen);
    }
    if let Some(e) = &mut memory.evidence
        && let Feed::Data(samples) = &seen.metrics
    {
        // The pods' own counters know it exactly; what was added up pass by pass was rounded each time.
        let counted = recovery::failed_in(samples, seen);
        e.failed_total = if counted > 0 { counted } else { e.failed_total };
    }
    report.requests_failed =
        memory.evidence.as_ref().filter(|_| spec.checks.provider.is_some()).map(|e| e.failed_total);

    let leaving = seen.release.leaving.is_some();
    let proven = report.proof != Proof::Pending || leaving;
    let late = leaving && seen.now.since(back.since) >= PROOF; // it goes in bounded time
    if drained.is_some() && proven || late {
        return leave_draining(back, facts, memory);
    }
    let gone = !routed && seen.alive(Side::Candidate) == 0 && pinned && visible;
    if gone && back.report.written_at.is_some() {
        back.report.confirmed_at = back.report.confirmed_at.or(Some(seen.now));
        back.report.proof = Proof::NoPods;
        back.report.proven_at = back.report.proven_at.or(Some(seen.now));
        return leave_draining(back, facts, memory);
    }
    let Back { stable, candidate, since, cause, mut report } = back;
    let waits = match (&report.written_at, &report.confirmed_at) {
        (None, _) if seen.ready(Side::Stable) == 0 && seen.ready(Side::Candidate) > 0 => {
            format!("no pod of {} is ready, so its traffic cannot be taken back yet", stable.label())
        }
        (None, _) | (_, None) if !visible => {
            format!("weight 0 cannot be confirmed: {}", seen.unread.first().unwrap_or_default())
        }
        (None, _) => "traffic is being taken back".to_owned(),
        (_, None) => {
            let complaint = seen.routes.iter().find_map(|r| r.complaint.as_deref());
            complaint.map_or_else(
                || "waiting until the gateway confirms weight 0".into(),
                |c| format!("the gateway has not confirmed weight 0: {c}"),
            )
        }
        _ if let Some(rate) = unabated => {
            format!("weight 0 is written, but each of its pods still answers about {} requests a second", round(rate))
        }
        _ if contradicted => "weight 0 is written, but its pods still answered requests".to_owned(),
        _ => "weight 0 is confirmed; what is under way ends, then request counters must prove it".to_owned(),
    };
    let unconfirmed = routed && report.written_at.is_some() && report.confirmed_at.is_none() && visible;
    let unfollowed = unconfirmed || unabated.is_some();
    let turns =
        unfollowed && seen.now.since(since) >= UNFOLLOWED && told.turned_at.is_none() && seen.ready(Side::Stable) > 0;
    if turns {
        report.turned_at = Some(seen.now);
    } else if report.confirmed_at == told.confirmed_at {
        report = told; // a count that still moves, or weight 0 written but not confirmed, is worth no write of its own
    }
    let turned = match report.turned_at {
        Some(_) if contradicted => "; the canary Services are turned to the stable pods",
        Some(_) => "; what it still sends to the canary reaches the stable pods",
        None => "",
    };
    let message = format!("{}; {waits}{turned}", cause.message);
    let mut next = Next::stay(State::Draining { stable, candidate, since, cause, report }, message.clone());
    if turns {
        next.extra.push((Reason::Stuck, next.message.clone()));
    }
    let stuck = report_unconfirmed(&next.state) || contradicted;
    if seen.now.since(since) >= PROOF && memory.stuck != Some(since) && stuck {
        memory.stuck = Some(since);
        next.extra.push((Reason::Stuck, message));
    }
    next.due = Some(seen.now.plus(Duration::from_millis(500)));
    next
}

const fn report_unconfirmed(state: &State) -> bool {
    matches!(state, State::Draining { report: Report { confirmed_at: None, .. }, .. })
}

/// To one digit: a sentence that is stored must not change with every look.
fn round(rate: f64) -> f64 {
    let unit = 10_f64.powf(rate.max(1.0).log10().floor());
    (rate / unit).round() * unit
}

/// Of a route that counts as taken over by time alone the counters know better. Not where connections are kept: those end
/// with the pods.
fn unabated(candidate: &Candidate, report: &Report, confirmed: At, seen: &Seen) -> Option<f64> {
    let Feed::Data(samples) = &seen.metrics else { return None };
    let by_time = !report.direct && candidate.traffic.routes.iter().any(routes::by_time);
    let written = report.written_at.filter(|_| by_time)?;
    recovery::unabated(samples, seen, written, confirmed.plus(DRAIN))
}

/// Counters that stand still, no pods at all, or a minute without either. Asked once what was under way has ended.
fn prove(report: &mut Report, confirmed: At, seen: &Seen) {
    let still = match &seen.metrics {
        Feed::Data(samples) => recovery::still(samples, seen, confirmed),
        Feed::Unset | Feed::NoData { .. } => None,
    };
    (report.proof, report.proven_at) = if seen.alive(Side::Candidate) == 0 {
        (Proof::NoPods, Some(seen.now))
    } else if let Some(at) = still {
        (Proof::Counters, Some(at))
    } else if matches!(seen.metrics, Feed::Unset) || seen.now.since(confirmed) >= PROOF {
        (Proof::Unavailable, None)
    } else {
        (Proof::Pending, None)
    };
}

fn leave_draining(back: Back, facts: &Facts<'_>, memory: &mut Memory) -> Next {
    let Back { stable, candidate, cause, mut report, .. } = back;
    let message = cause.message.clone();
    if cause.kind.rejects() {
        report.steps = rollback_steps::planned(&candidate.rollback, facts.seen.now);
        let state = State::Reverting { stable, candidate, since: facts.seen.now, cause, report };
        return Next::stay(state, message);
    }
    end(stable, candidate, cause, report, facts, memory)
}

/// Reverting: the candidate goes, the rollback plan is carried out, and the stable version is watched until it is well.
pub(crate) fn reverting(back: Back, facts: &Facts<'_>, memory: &mut Memory) -> Next {
    let Back { stable, candidate, since, cause, mut report } = back;
    let Facts { spec, seen, workload, .. } = facts;
    // A template that its user changed meanwhile keeps the Deployment paused; that is told, and holds nothing up here.
    let home = seen.is_home() || seen.is_clear() && workload.left(&stable.revision);
    if home && seen.release.uninstalled() {
        return end(stable, candidate, cause, report, facts, memory); // nobody will be there to see it recover
    }
    if overtaken(facts, &stable) {
        let problem =
            format!("nobody could see {} recover, for its Deployment rolls out another template", stable.label());
        let message = format!("{}; {problem}", cause.message);
        return Next { message, ..end(stable, candidate, cause, report, facts, memory) };
    }
    let mut told = Vec::new();
    let course = home.then(|| rollback_steps::advance(&candidate.rollback, &mut report, facts, &mut told));
    let mut next = if let Some(Course::Under { way }) = course {
        let message = format!("{}; {way}", cause.message);
        Next::stay(State::Reverting { stable, candidate, since, cause, report }, message)
    } else if let Some(Course::Ended(at)) = course {
        // What the steps changed is part of what serves, so it is watched from their end on.
        let from = at.unwrap_or_else(|| report.confirmed_at.unwrap_or(since));
        let since = since.max(from);
        match recovery::verify(&spec.checks, workload.wanted, seen, from) {
            Recovery::Proven => {
                report.recovered_at = Some(seen.now);
                return end(stable, candidate, cause, report, facts, memory);
            }
            // Scaled to 0 by its user or a scaler, it has nothing to recover from.
            Recovery::Unknown { .. }
                if seen.now.since(since) >= UNVERIFIED && (seen.ready(Side::Stable) > 0 || workload.wanted == 0) =>
            {
                return end(stable, candidate, cause, report, facts, memory);
            }
            Recovery::Unknown { why } | Recovery::Ill { why } => {
                if seen.now.since(since) >= RECOVERY {
                    let ill = format!("{} has not recovered after {}: {why}", stable.label(), Span(RECOVERY));
                    let steps = rollback_steps::problem(&report.steps);
                    let problem = steps.into_iter().chain([ill]).collect::<Vec<_>>().join("; ");
                    return give_up(Back { stable, candidate, since, cause, report }, problem, facts, memory);
                }
                let message = format!("{}; waiting for {} to be well: {why}", cause.message, stable.label());
                Next::stay(State::Reverting { stable, candidate, since, cause, report }, message)
            }
        }
    } else {
        let message = format!("{}; pods of {} are being taken away", cause.message, candidate.version.label());
        Next::stay(State::Reverting { stable, candidate, since, cause, report }, message)
    };
    gates::stuck(&mut next, since, seen, memory);
    next.extra.append(&mut told);
    next.due = Some(seen.now.plus(Duration::from_secs(1)));
    next
}

/// The traffic is back, and something else is not as it should be.
fn give_up(back: Back, problem: String, facts: &Facts<'_>, memory: &mut Memory) -> Next {
    let Back { stable, candidate, cause, report, .. } = back;
    let message = format!("{}; {problem}", cause.message);
    memory.result = None;
    gates::conclude(memory, facts.seen, Ended::RollbackFailed, &message);
    Next::stay(State::RollbackFailed { stable, candidate, cause, report, problem }, message)
}

/// Somebody has un-paused a held Deployment, which rolls out what its template says: nobody waits for the stable version any
/// more.
fn overtaken(facts: &Facts<'_>, stable: &Version) -> bool {
    facts.spec.held() && facts.seen.is_clear() && facts.workload.left(&stable.revision)
}

/// The end of a way back: result and history.
fn end(
    stable: Version,
    candidate: Candidate,
    cause: Cause,
    report: Report,
    facts: &Facts<'_>,
    memory: &mut Memory,
) -> Next {
    let seen = facts.seen;
    if let Some(problem) = rollback_steps::problem(&report.steps) {
        return give_up(Back { stable, candidate, since: seen.now, cause, report }, problem, facts, memory);
    }
    let outcome = if cause.kind == CauseKind::Superseded { Ended::Superseded } else { Ended::RolledBack };
    let message = cause.message.clone();
    chronicle(
        memory,
        HistoryEntry {
            version: candidate.version.clone(),
            replaced: stable.clone(),
            outcome,
            at: seen.now,
            message: message.clone(),
            report: Some(report.clone()),
        },
    );
    memory.result = Some(crate::api::status::Outcome {
        generation: candidate.generation,
        outcome,
        at: seen.now,
        message: message.clone(),
    });
    if outcome == Ended::RolledBack && candidate.generation != seen.release.generation && cause.kind.rejects() {
        gates::conclude(memory, seen, outcome, &message);
    }
    memory.evidence = memory.evidence.take().and_then(Evidence::ended);
    memory.stuck = None;
    let mut next =
        Next::stay(State::RolledBack { stable, candidate: candidate.version, cause, report }, message.clone());
    if outcome == Ended::RolledBack {
        next.stalled = Some((Reason::RolledBack, message));
    }
    next
}

/// RolledBack: as at rest, until another version is asked for or a person says Retry.
pub(crate) fn rolled_back(
    stable: Version,
    candidate: Version,
    cause: Cause,
    report: Report,
    facts: &Facts<'_>,
    memory: &mut Memory,
) -> Next {
    let Facts { seen, workload, wish, .. } = facts;
    let mut message = cause.message.clone();
    let asked = &workload.asked.revision;
    let given_up = memory.rejected.iter().any(|r| r.revision == *asked)
        || cause.kind == CauseKind::Inconclusive && *asked == candidate.revision;
    let back = *asked == stable.revision;
    let another = !back && !given_up && workload.asked.unknown.is_empty();
    if seen.is_home() && (another || wish.retry || back || workload.left(&stable.revision)) {
        return Next::stay(State::Idle { stable }, message);
    }
    if cause.kind == CauseKind::Inconclusive {
        let hint =
            format!("to try it again run: kubectl haldane retry {} -n {}", seen.release.name, seen.release.namespace);
        message = format!("{message}; {hint}");
    }
    let superseded = cause.kind == CauseKind::Superseded;
    if given_up && !superseded {
        gates::conclude(memory, seen, Ended::RolledBack, &cause.message);
    }
    let mut next = Next::stay(State::RolledBack { stable, candidate, cause, report }, message.clone());
    if !superseded {
        next.stalled = Some((Reason::RolledBack, message));
    }
    if !seen.is_home() {
        next.due = Some(seen.now.plus(Duration::from_secs(1)));
    }
    next
}

/// RollbackFailed: a person must look. Rollback again verifies again; well by itself is well.
pub(crate) fn failed(back: Back, problem: String, facts: &Facts<'_>, memory: &mut Memory) -> Next {
    let Facts { seen, wish, .. } = facts;
    let Back { stable, candidate, cause, mut report, .. } = back;
    let message = format!("{}; {problem}", cause.message);
    if overtaken(facts, &stable) {
        memory.stuck = None;
        return Next::stay(State::Idle { stable }, message);
    }
    if let Some(by) = &wish.rollback {
        memory.stuck = None;
        let message = format!("{by} ordered the rollback again");
        rollback_steps::again(&mut report.steps, seen.now);
        return Next::stay(State::Reverting { stable, candidate, since: seen.now, cause, report }, message);
    }
    let mut next = Next::stay(State::RollbackFailed { stable, candidate, cause, report, problem }, message.clone());
    next.stalled = Some((Reason::RollbackFailed, message));
    next
}

/// Adds to the history; at most ten entries are kept.
pub(crate) fn chronicle(memory: &mut Memory, entry: HistoryEntry) {
    memory.history.push(entry);
    let over = memory.history.len().saturating_sub(10);
    memory.history.drain(..over);
}
