//! Promoting: the user's Deployment takes the proven pods over.

use super::{
    Facts, Next, gates,
    goal::{Share, full},
    leg::{Leg, weigh},
    rollback,
    sizes::Need,
    verdict::Verdict,
    walk::interrupted,
};
use crate::{
    api::{
        state::{Candidate, CauseKind, Part, State, Version},
        status::{Ended, Evidence, HistoryEntry, Memory},
        units::At,
    },
    observe::seen::{Owner, Side},
};

/// Promoting: the Deployment takes the pods, then gets its traffic back.
pub(crate) fn promoting(
    stable: Version,
    candidate: Candidate,
    since: At,
    part: Part,
    facts: &Facts<'_>,
    memory: &mut Memory,
) -> Next {
    let Facts { spec, seen, workload, .. } = facts;
    let label = candidate.version.label().to_owned();
    let adopted = seen.candidate.as_ref().is_some_and(|c| c.owner == Owner::Deployment);
    let hash = seen.candidate.as_ref().map(|c| c.hash.as_str());
    let old: u32 = workload.sets.iter().filter(|s| Some(s.hash.as_str()) != hash).map(|s| s.size).sum();
    let going = adopted && (old == 0 || seen.ready(Side::Stable) == 0);
    if part == Part::TakeOver && !going {
        if let Some(next) = interrupted(&stable, &candidate, facts, memory) {
            return next;
        }
        if seen.ready(Side::Candidate) == 0 && seen.ready(Side::Stable) > 0 {
            let message = format!(
                "no pod of {label} is ready any more, and Deployment {} had not taken them over",
                workload.name
            );
            return rollback::begin(stable, candidate, CauseKind::Inconclusive, message, facts, memory);
        }
        let leg = Leg { stable: stable.clone(), candidate: candidate.clone(), since, settled: Some(since) };
        let verdict = weigh(&leg, &full(), Share::All, None, facts, memory);
        if let Verdict::Bad { message } = verdict {
            return rollback::begin(stable, candidate, CauseKind::Bad, message, facts, memory);
        }
        let due = since.plus(candidate.plan.deadline.0);
        if seen.now >= due && !candidate.undo {
            let message = format!(
                "Deployment {} did not take over the pods of {label} within {}",
                workload.name, spec.plan.deadline
            );
            return rollback::begin(stable, candidate, CauseKind::Inconclusive, message, facts, memory);
        }
    }
    let mut next = match part {
        Part::TakeOver if adopted && old == 0 => {
            let message = format!("Deployment {} runs the pods of {label}; its traffic is given back", workload.name);
            Next::stay(State::Promoting { stable, candidate, since: seen.now, part: Part::GiveBack }, message)
        }
        Part::TakeOver => {
            let unmet =
                Need::of(workload, seen.now, &seen.pods).unmet(&workload.name).filter(|_| workload.handover.is_none());
            let under_way = || format!("Deployment {} is taking over the pods of {label}", workload.name);
            let message = unmet.unwrap_or_else(under_way);
            Next::stay(State::Promoting { stable, candidate, since, part }, message)
        }
        Part::GiveBack if seen.is_home() => return succeeded(stable, candidate, facts, memory),
        Part::GiveBack => {
            let message = format!("route and Services of {} go back to how they were written", workload.name);
            Next::stay(State::Promoting { stable, candidate, since, part }, message)
        }
    };
    gates::stuck(&mut next, since, seen, memory);
    next
}

fn succeeded(stable: Version, candidate: Candidate, facts: &Facts<'_>, memory: &mut Memory) -> Next {
    let Facts { seen, .. } = facts;
    let undo = candidate.undo;
    let (version, replaced) = (candidate.version, stable);
    let message = if undo {
        format!("{} is back in place of {}", version.label(), replaced.label())
    } else {
        format!("{} replaced {}", version.label(), replaced.label())
    };
    let outcome = if undo { Ended::RolledBack } else { Ended::Succeeded };
    rollback::chronicle(
        memory,
        HistoryEntry {
            version: version.clone(),
            replaced,
            outcome: Ended::Succeeded,
            at: seen.now,
            message: message.clone(),
            report: None,
        },
    );
    memory.result = None;
    gates::conclude(memory, seen, outcome, &message);
    memory.evidence = memory.evidence.take().and_then(Evidence::ended);
    memory.stuck = None;
    Next::stay(State::Idle { stable: version }, message)
}
