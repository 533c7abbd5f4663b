//! The way up: Preparing, Stepping, Observing, and what interrupts it.

use std::time::Duration;

use super::{
    Facts, Next, gates,
    goal::{Share, first_step, full},
    leaving,
    leg::{
        Leg, TOLD_AFTER, fresh_evidence, give_up, held, lasting, late, no_room, on_the_way, summary, trouble, weigh,
    },
    orders, outlier, recovery, rollback,
    sizes::{self, Need},
    verdict::{Trial, Verdict, judge},
    version,
};
use crate::{
    api::{
        action::PromoteTo,
        checks::SmokePoint,
        notice::Reason,
        state::{Candidate, CauseKind, Part, State, Version},
        status::{Evidence, Memory},
        units::At,
    },
    observe::seen::{Feed, Side},
};

/// Preparing: pods start without traffic.
pub(crate) fn preparing(
    stable: Version,
    candidate: Candidate,
    since: At,
    resume: Option<u32>,
    facts: &Facts<'_>,
    memory: &mut Memory,
) -> Next {
    let Facts { spec, seen, workload, wish } = facts;
    if let Some(next) = interrupted(&stable, &candidate, facts, memory) {
        return next;
    }
    let step = first_step(&candidate, resume);
    let need = sizes::pods_for(&step, Need::of(workload, seen.now, &seen.pods), candidate.traffic.routed());
    let set = seen.candidate.as_ref();
    let ready = set.map_or(0, |c| lasting(&candidate, c));
    let label = candidate.version.label().to_owned();
    let trial = Trial::of_pods(&spec.checks, seen.now, &seen.pods);
    if let (_, Verdict::Bad { message }) = judge(&trial, &Evidence::default()) {
        return rollback::begin(stable, candidate, CauseKind::NotReady, message, facts, memory);
    }
    let started =
        set.is_some_and(|c| c.observed && c.size >= need && ready >= need && !c.deleting) && seen.smoke.is_empty();
    let held = candidate.traffic.routed() && {
        let pinned = seen.services.iter().all(|s| s.pin.is_some() && s.canary_service && s.canary_endpoints >= need);
        !pinned
    };
    let scraped = match &seen.metrics {
        Feed::Data(samples) => recovery::scraped(seen, samples),
        Feed::Unset => true,
        Feed::NoData { .. } => false,
    };
    if started && !held && scraped {
        let weight_100 = candidate.undo;
        let next = if weight_100 {
            State::Observing { stable, candidate, since: seen.now, settled: None }
        } else {
            State::Stepping { stable, candidate, step: resume.unwrap_or(0), since: seen.now, settled: None }
        };
        let Evidence { watermark, failed_total, ratio, log, engine, .. } = memory.evidence.take().unwrap_or_default();
        memory.evidence = Some(Evidence { watermark, failed_total, ratio, log, engine, ..Evidence::default() });
        return Next::stay(next, format!("pods of {label} are ready; traffic comes to them"));
    }
    let due = since.plus(candidate.plan.deadline.0);
    if !started && seen.now >= due {
        let trouble = trouble(facts).map_or_else(String::new, |t| format!(": {t}"));
        let message =
            format!("{ready} of {need} pods of {label} were ready after {}{trouble}", candidate.plan.deadline);
        return rollback::begin(stable, candidate, late(facts), message, facts, memory);
    }
    let mut message = format!("{ready} of {need} pods of {label} are ready");
    if let Some(trouble) = trouble(facts) {
        message = format!("{message}: {trouble}");
    }
    if started && !scraped {
        let why = match &seen.metrics {
            Feed::NoData { why } => why.clone(),
            _ => "NotScraped: its pods are ready but Prometheus has no samples of them yet".into(),
        };
        let no_data_since = memory.evidence.as_ref().and_then(|e| e.no_data_since).unwrap_or(seen.now);
        memory.evidence.get_or_insert_default().no_data_since = Some(no_data_since);
        message = format!("{message}; {why}");
        if let Some(next) = give_up(
            &spec.checks.on_no_data,
            no_data_since,
            CauseKind::Inconclusive,
            &why,
            &stable,
            &candidate,
            facts,
            memory,
        ) {
            return next;
        }
    }
    let promote = wish
        .promote
        .as_ref()
        .map(|(_, by)| (Reason::OrderRefused, format!("{by}: pods must be ready before a step can be skipped")));
    let mut next = Next::stay(State::Preparing { stable, candidate, since, resume }, message);
    next.extra.extend(promote);
    let news = since.plus(TOLD_AFTER);
    if started {
        gates::stuck(&mut next, since, seen, memory);
    } else if no_room(facts) && memory.stuck != Some(since) && seen.now < due {
        // Somebody has to make room before the deadline.
        next.due = Some(news.min(due));
        if seen.now >= news {
            memory.stuck = Some(since);
            next.extra.push((Reason::Stuck, next.message.clone()));
        }
    } else {
        next.due = Some(due);
    }
    next
}

/// Stepping: the candidate serves its share until time and evidence allow more.
pub(crate) fn stepping(leg: &Leg, index: u32, facts: &Facts<'_>, memory: &mut Memory) -> Next {
    let Facts { seen, wish, workload, .. } = facts;
    let step = leg.candidate.step(index);
    if let Some(next) =
        interrupted(&leg.stable, &leg.candidate, facts, memory).or_else(|| lost_pods(leg, Some(index), facts))
    {
        return next;
    }
    let share = if step.weight == Some(100) { Share::All } else { Share::OfStep };
    let verdict = weigh(leg, &step, share, (index == 0).then_some(SmokePoint::FirstStep), facts, memory);
    let leg = &outlier::noted(leg, &verdict);
    let rebuild = |settled| State::Stepping {
        stable: leg.stable.clone(),
        candidate: leg.candidate.clone(),
        step: index,
        since: leg.since,
        settled,
    };
    let (settled, verdict) = match on_the_way(leg, &step, share, verdict, &rebuild, facts, memory) {
        Ok(judged) => judged,
        Err(next) => return *next,
    };
    let due = settled.plus(step.hold.0);
    let skip = wish.promote.as_ref().filter(|_| orders::running(memory));
    let proven = matches!(verdict, Verdict::Healthy { .. }) && seen.now >= due && workload.wanted > 0;
    if (proven || skip.is_some()) && orders::running(memory) {
        let last = leg.candidate.is_last(index);
        let full = matches!(skip, Some((PromoteTo::Full, _)));
        let to =
            if full { u32::try_from(leg.candidate.plan.steps.len()).unwrap_or(1).saturating_sub(1) } else { index + 1 };
        let why = skip.map_or_else(|| summary(&verdict), |(_, by)| format!("{by} ordered the next step"));
        fresh_evidence(memory);
        let (stable, candidate) = (leg.stable.clone(), leg.candidate.clone());
        let state = if last {
            State::Observing { stable, candidate, since: seen.now, settled: None }
        } else {
            State::Stepping { stable, candidate, step: to, since: seen.now, settled: None }
        };
        let mut next = Next::stay(state, why);
        next.verdict = Some(verdict);
        return next;
    }
    held(rebuild(Some(settled)), verdict, due, facts, memory)
}

/// Observing: everything on the candidate, the old pods still warm.
pub(crate) fn observing(leg: &Leg, facts: &Facts<'_>, memory: &mut Memory) -> Next {
    let Facts { seen, workload, .. } = facts;
    if let Some(next) = interrupted(&leg.stable, &leg.candidate, facts, memory).or_else(|| lost_pods(leg, None, facts))
    {
        return next;
    }
    let step = full();
    let verdict = weigh(leg, &step, Share::All, Some(SmokePoint::Full), facts, memory);
    let leg = &outlier::noted(leg, &verdict);
    let rebuild = |settled| State::Observing {
        stable: leg.stable.clone(),
        candidate: leg.candidate.clone(),
        since: leg.since,
        settled,
    };
    let (settled, verdict) = match on_the_way(leg, &step, Share::All, verdict, &rebuild, facts, memory) {
        Ok(judged) => judged,
        Err(next) => return *next,
    };
    let hold = if leg.candidate.undo { Duration::ZERO } else { leg.candidate.plan.watch.hold.0 };
    let due = settled.plus(hold);
    let proven = leg.candidate.undo || matches!(verdict, Verdict::Healthy { .. }) && workload.wanted > 0;
    if proven && seen.now >= due && orders::running(memory) {
        if let Some(why) = Need::of(workload, seen.now, &seen.pods).unmet(&workload.name) {
            let mut next = Next::stay(rebuild(Some(settled)), why);
            gates::stuck(&mut next, due, seen, memory);
            (next.verdict, next.gated) = (Some(verdict), true);
            return next;
        }
        let why = summary(&verdict);
        let (stable, candidate) = (leg.stable.clone(), leg.candidate.clone());
        let mut next = Next::stay(State::Promoting { stable, candidate, since: seen.now, part: Part::TakeOver }, why);
        next.verdict = Some(verdict);
        return next;
    }
    held(rebuild(Some(settled)), verdict, due, facts, memory)
}

/// What ends a way up whatever the metrics say: deletion, an uninstall, another target, an order, a newer wish.
pub(crate) fn interrupted(
    stable: &Version,
    candidate: &Candidate,
    facts: &Facts<'_>,
    memory: &mut Memory,
) -> Option<Next> {
    let Facts { spec, seen, workload, wish } = facts;
    let label = candidate.version.label();
    let (kind, message) = if let Some(leaving) = seen.release.leaving {
        (CauseKind::Superseded, leaving::on_the_way(leaving, label))
    } else if workload.uid != candidate.target_uid {
        (CauseKind::Inconclusive, format!("Deployment {} was replaced by another of the same name", workload.name))
    } else if let Some(by) = &wish.rollback {
        (CauseKind::Ordered, format!("{by} ordered the rollback of {label}"))
    } else if workload.held() && workload.handover.is_none() && workload.left(&stable.revision) {
        let message =
            format!("Deployment {} was un-paused while {label} was on its way, and rolls by itself", workload.name);
        (CauseKind::Superseded, message)
    } else if workload.handover.is_none()
        && workload.revision != stable.revision
        && workload.revision != candidate.version.revision
    {
        let message = format!("the template of Deployment {} was changed while {label} was on its way", workload.name);
        (CauseKind::Superseded, message)
    } else {
        let asked = &workload.asked.revision;
        let other = *asked != candidate.version.revision && workload.handover.is_none();
        if !other || candidate.undo && *asked == stable.revision {
            return None;
        }
        let newer = version::asked(spec, workload, stable);
        let newer = newer.label();
        (CauseKind::Superseded, format!("{newer} is asked for instead of {label}"))
    };
    Some(rollback::begin(stable.clone(), candidate.clone(), kind, message, facts, memory))
}

/// All pods of the candidate went away without a fault of its own: back to preparing, the step starts again.
fn lost_pods(leg: &Leg, step: Option<u32>, facts: &Facts<'_>) -> Option<Next> {
    let Facts { seen, .. } = facts;
    let bad =
        seen.pods.iter().any(|p| p.side == Side::Candidate && p.trouble.as_ref().is_some_and(recovery::own_fault));
    if seen.ready(Side::Candidate) > 0 || bad || seen.alive(Side::Stable) == 0 {
        return None;
    }
    let resume = step.or_else(|| u32::try_from(leg.candidate.plan.steps.len()).ok().map(|n| n.saturating_sub(1)));
    let message = format!(
        "no pod of {} is ready any more; they are started again without traffic",
        leg.candidate.version.label()
    );
    let state =
        State::Preparing { stable: leg.stable.clone(), candidate: leg.candidate.clone(), since: seen.now, resume };
    Some(Next::stay(state, message))
}
