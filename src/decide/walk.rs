//! The way up: Preparing, Stepping, Observing, Promoting.

use std::time::Duration;

use super::{
    Facts, Next, gates,
    goal::{Share, first_step, full},
    orders, recovery, rollback, sizes,
    verdict::{Trial, Verdict, judge},
};
use crate::{
    api::{
        action::PromoteTo,
        checks::{Fallback, SmokePoint, Then},
        notice::Reason,
        plan::Step,
        state::{Candidate, CauseKind, Part, State, Version},
        status::{Ended, Evidence, HistoryEntry, Memory},
        units::{At, Span},
    },
    observe::seen::{Feed, Owner, Side, SmokeSeen},
};

/// A step under way: Stepping or Observing.
pub(crate) struct Leg {
    pub stable: Version,
    pub candidate: Candidate,
    pub since: At,
    pub settled: Option<At>,
}

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
    let need = sizes::pods_for(&step, workload.wanted, candidate.traffic.routed());
    let set = seen.candidate.as_ref();
    let ready = set.map_or(0, |c| c.ready);
    let label = candidate.version.label().to_owned();
    let trial = Trial {
        checks: &spec.checks,
        now: seen.now,
        since: seen.now,
        pods: &seen.pods,
        feed: &Feed::Unset,
        probes: &[],
        smoke: None,
        smoke_due: false,
        weight: 0,
        traffic: false,
    };
    if let (_, Verdict::Bad { message }) = judge(&trial, &Evidence::default()) {
        return rollback::begin(stable, candidate, CauseKind::NotReady, message, facts, memory);
    }
    let started =
        set.is_some_and(|c| c.observed && c.size >= need && c.ready >= need && !c.deleting) && seen.smoke.is_empty();
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
        memory.evidence = Some(Evidence { failed_total: failed_total(memory), ..Evidence::default() });
        return Next::stay(next, format!("pods of {label} are ready; traffic comes to them"));
    }
    let due = since.plus(candidate.plan.deadline.0);
    if !started && seen.now >= due {
        let trouble = trouble(facts).map_or_else(String::new, |t| format!(": {t}"));
        let message =
            format!("{ready} of {need} pods of {label} were ready after {}{trouble}", candidate.plan.deadline);
        return rollback::begin(stable, candidate, CauseKind::NotReady, message, facts, memory);
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
        memory.evidence = Some(Evidence { no_data_since: Some(no_data_since), ..Evidence::default() });
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
    if started {
        gates::stuck(&mut next, since, seen, memory);
    } else {
        next.due = Some(due);
    }
    next
}

/// Stepping: the candidate serves its share until time and evidence allow more.
pub(crate) fn stepping(leg: &Leg, index: u32, facts: &Facts<'_>, memory: &mut Memory) -> Next {
    let Facts { seen, wish, .. } = facts;
    let step = leg.candidate.step(index);
    if let Some(next) =
        interrupted(&leg.stable, &leg.candidate, facts, memory).or_else(|| lost_pods(leg, Some(index), facts))
    {
        return next;
    }
    let share = if step.weight == Some(100) { Share::All } else { Share::OfStep };
    let verdict = weigh(leg, &step, share, index == 0, facts, memory);
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
    let proven = matches!(verdict, Verdict::Healthy { .. }) && seen.now >= due;
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
    held(rebuild(Some(settled)), verdict, due, facts)
}

/// Observing: everything on the candidate, the old pods still warm.
pub(crate) fn observing(leg: &Leg, facts: &Facts<'_>, memory: &mut Memory) -> Next {
    let Facts { seen, .. } = facts;
    if let Some(next) = interrupted(&leg.stable, &leg.candidate, facts, memory).or_else(|| lost_pods(leg, None, facts))
    {
        return next;
    }
    let step = full();
    let verdict = weigh(leg, &step, Share::All, false, facts, memory);
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
    let proven = leg.candidate.undo || matches!(verdict, Verdict::Healthy { .. });
    if proven && seen.now >= due && orders::running(memory) {
        let why = summary(&verdict);
        let (stable, candidate) = (leg.stable.clone(), leg.candidate.clone());
        let mut next = Next::stay(State::Promoting { stable, candidate, since: seen.now, part: Part::TakeOver }, why);
        next.verdict = Some(verdict);
        return next;
    }
    held(rebuild(Some(settled)), verdict, due, facts)
}

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
    let going = adopted && (old < workload.wanted || seen.ready(Side::Stable) == 0);
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
        let verdict = weigh(&leg, &full(), Share::All, false, facts, memory);
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
            let message = format!("Deployment {} is taking over the pods of {label}", workload.name);
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
    memory.evidence = None;
    memory.stuck = None;
    Next::stay(State::Idle { stable: version }, message)
}

/// What ends a way up whatever the metrics say: deletion, another target, an order, a newer wish.
fn interrupted(stable: &Version, candidate: &Candidate, facts: &Facts<'_>, memory: &mut Memory) -> Option<Next> {
    let Facts { spec, seen, workload, wish } = facts;
    let label = candidate.version.label();
    let (kind, message) = if seen.release.deleting {
        (CauseKind::Superseded, format!("the Release was deleted while {label} was on its way"))
    } else if workload.uid != candidate.target_uid {
        (CauseKind::Inconclusive, format!("Deployment {} was replaced by another of the same name", workload.name))
    } else if let Some(by) = &wish.rollback {
        (CauseKind::Ordered, format!("{by} ordered the rollback of {label}"))
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
        let newer = spec.version.as_deref().unwrap_or(&asked.0);
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

/// The verdict of now; evidence goes on in memory.
fn weigh(leg: &Leg, step: &Step, share: Share, first: bool, facts: &Facts<'_>, memory: &mut Memory) -> Verdict {
    let Facts { spec, seen, workload, .. } = facts;
    let weight = share.percent(step, workload.wanted);
    let point = if share == Share::All { SmokePoint::Full } else { SmokePoint::FirstStep };
    let due = (first || share == Share::All && leg.settled.is_some())
        && spec.checks.smoke.as_ref().is_some_and(|s| s.after.contains(&point));
    let trial = Trial {
        checks: &spec.checks,
        now: seen.now,
        since: leg.settled.unwrap_or(leg.since),
        pods: &seen.pods,
        feed: &seen.metrics,
        probes: &seen.probes,
        smoke: seen.smoke.get(&point).filter(|s| due || matches!(s, SmokeSeen::Failed(_))),
        smoke_due: due,
        weight,
        traffic: weight > 0,
    };
    let (evidence, verdict) = judge(&trial, &memory.evidence.clone().unwrap_or_default());
    memory.evidence = Some(evidence);
    verdict
}

/// What every step shares: conviction, arrival, holding and giving up. `Ok` when it is settled and may be judged.
fn on_the_way(
    leg: &Leg,
    step: &Step,
    share: Share,
    verdict: Verdict,
    rebuild: &dyn Fn(Option<At>) -> State,
    facts: &Facts<'_>,
    memory: &mut Memory,
) -> Result<(At, Verdict), Box<Next>> {
    let Facts { spec, seen, workload, .. } = facts;
    let (stable, candidate) = (&leg.stable, &leg.candidate);
    if let Verdict::Bad { message } = &verdict {
        return Err(Box::new(rollback::begin(
            stable.clone(),
            candidate.clone(),
            CauseKind::Bad,
            message.clone(),
            facts,
            memory,
        )));
    }
    let Some(settled) = leg.settled else {
        return Err(Box::new(arriving(leg, step, share, rebuild, facts, memory)));
    };
    let evidence = memory.evidence.clone().unwrap_or_default();
    let given_up = match &verdict {
        Verdict::NoData { why } => evidence.no_data_since.and_then(|since| {
            give_up(&spec.checks.on_no_data, since, CauseKind::Inconclusive, why, stable, candidate, facts, memory)
        }),
        Verdict::EnvironmentDegraded { message } | Verdict::PodOutlier { message, .. } => {
            let since = evidence.outlier_since.or(evidence.degraded_since).unwrap_or(seen.now);
            give_up(&spec.checks.on_degraded, since, CauseKind::Inconclusive, message, stable, candidate, facts, memory)
        }
        _ => None,
    };
    if let Some(next) = given_up {
        return Err(Box::new(next));
    }
    let _ = workload;
    Ok((settled, verdict))
}

/// The step's pods and weight are on their way; its time has not begun.
fn arriving(
    leg: &Leg,
    step: &Step,
    share: Share,
    rebuild: &dyn Fn(Option<At>) -> State,
    facts: &Facts<'_>,
    memory: &mut Memory,
) -> Next {
    let Facts { seen, workload, .. } = facts;
    let candidate = &leg.candidate;
    let routed = candidate.traffic.routed();
    let need = sizes::pods_for(step, workload.wanted, routed);
    let ready = seen.candidate.as_ref().map_or(0, |c| c.ready);
    let weight = share.percent(step, workload.wanted);
    let hash = seen.candidate.as_ref().map(|c| c.hash.as_str());
    let services = match (routed, share) {
        (_, Share::All) => {
            seen.services.iter().all(|s| s.pin.as_deref() == hash && s.pin.is_some() && s.candidate_endpoints > 0)
        }
        (true, _) => true,
        (false, _) => seen.services.iter().all(|s| s.pin.is_none() && s.candidate_endpoints > 0),
    };
    if ready >= need && seen.arrived(weight) && services {
        let reached = format!("{weight} % of the traffic reach {}", candidate.version.label());
        fresh_evidence(memory);
        return Next::stay(rebuild(Some(seen.now)), reached);
    }
    let due = leg.since.plus(candidate.plan.deadline.0);
    let complaint = seen.routes.iter().find(|r| !r.confirmed).map(|r| {
        let why = r.complaint.as_deref().unwrap_or("its gateway has not accepted it yet");
        format!("HTTPRoute {}: {why}", r.route.name)
    });
    let trouble = trouble(facts).or(complaint).map_or_else(String::new, |t| format!(": {t}"));
    let message = format!("{ready} of {need} pods of {} are ready for {weight} %{trouble}", candidate.version.label());
    if seen.now >= due && !candidate.undo {
        let kind = if ready < need { CauseKind::NotReady } else { CauseKind::Inconclusive };
        let message = format!("after {}: {message}", candidate.plan.deadline);
        return rollback::begin(leg.stable.clone(), candidate.clone(), kind, message, facts, memory);
    }
    let mut next = Next::stay(rebuild(None), message);
    next.due = Some(due);
    next
}

/// After too long a time of not knowing: back, or wait for a person.
#[expect(clippy::too_many_arguments, reason = "each is one fact of the rule; a struct would only rename them")]
fn give_up(
    fallback: &Fallback,
    since: At,
    kind: CauseKind,
    why: &str,
    stable: &Version,
    candidate: &Candidate,
    facts: &Facts<'_>,
    memory: &mut Memory,
) -> Option<Next> {
    let lasted = facts.seen.now.since(since);
    if lasted < fallback.after.0 || fallback.then == Then::Pause {
        return None;
    }
    let message = format!("{why}, for {} now", Span(lasted));
    Some(rollback::begin(stable.clone(), candidate.clone(), kind, message, facts, memory))
}

/// The step goes on.
fn held(state: State, verdict: Verdict, due: At, facts: &Facts<'_>) -> Next {
    let now = facts.seen.now;
    let mut message = summary(&verdict);
    if now < due && matches!(verdict, Verdict::Healthy { .. } | Verdict::Watching { .. }) {
        message = format!("{message}; {} to go", Span(Duration::from_secs(due.since(now).as_secs() + 1)));
    }
    let mut next = Next::stay(state, message.clone());
    if let Verdict::ConfigError { .. } = verdict {
        next.stalled = Some((Reason::Invalid, message));
    }
    next.verdict = Some(verdict);
    next.due = (due > now).then_some(due);
    next
}

/// The verdict's own sentence.
pub(crate) fn summary(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Healthy { summary } | Verdict::Watching { summary, .. } => summary.clone(),
        Verdict::Bad { message }
        | Verdict::EnvironmentDegraded { message }
        | Verdict::PodOutlier { message, .. }
        | Verdict::ConfigError { message } => message.clone(),
        Verdict::NoData { why } => format!("nothing can be said: {why}"),
    }
}

fn trouble(facts: &Facts<'_>) -> Option<String> {
    let pod = facts.seen.pods.iter().find(|p| p.side == Side::Candidate && p.trouble.is_some())?;
    Some(recovery::in_words(pod))
}

fn failed_total(memory: &Memory) -> u64 {
    memory.evidence.as_ref().map_or(0, |e| e.failed_total)
}

/// A new step is judged on its own samples; what counts for the whole release goes on.
fn fresh_evidence(memory: &mut Memory) {
    if let Some(e) = &mut memory.evidence {
        *e = Evidence {
            watermark: e.watermark,
            errors_since: e.errors_since,
            slow_since: e.slow_since,
            degraded_since: e.degraded_since,
            failed_total: e.failed_total,
            ..Evidence::default()
        };
    }
}
