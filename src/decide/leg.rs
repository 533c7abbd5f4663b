//! One step under way: its verdict, its arrival, and how long it may hold.

use std::time::Duration;

use super::{
    Facts, Next,
    goal::Share,
    outlier, recovery, rollback,
    sizes::{self, Need},
    verdict::{Trial, Verdict, judge},
};
use crate::{
    api::{
        checks::{Fallback, SmokePoint, Then},
        notice::Reason,
        plan::Step,
        state::{Candidate, CauseKind, State, Version},
        status::{Evidence, Memory},
        units::{At, Span},
    },
    observe::seen::{CandidateSet, Side},
};

/// A step under way: Stepping or Observing.
#[derive(Clone)]
pub(crate) struct Leg {
    pub stable: Version,
    pub candidate: Candidate,
    pub since: At,
    pub settled: Option<At>,
}

/// The verdict of now; evidence goes on in memory.
pub(crate) fn weigh(
    leg: &Leg,
    step: &Step,
    share: Share,
    point: Option<SmokePoint>,
    facts: &Facts<'_>,
    memory: &mut Memory,
) -> Verdict {
    let Facts { spec, seen, workload, .. } = facts;
    let weight = share.percent(step, workload.wanted);
    let plan = &leg.candidate.plan;
    let point = point.filter(|p| spec.checks.smoke.as_ref().is_some_and(|s| s.after.contains(p)));
    let trial = Trial {
        checks: &spec.checks,
        now: seen.now,
        since: leg.settled.unwrap_or(leg.since),
        pods: &seen.pods,
        feed: &seen.metrics,
        probes: &seen.probes,
        smoke: point.and_then(|p| seen.smoke.get(&p)),
        smoke_due: point.is_some(),
        weight,
        traffic: weight > 0,
        arrived: leg.settled.is_some(),
        routed: leg.candidate.traffic.routed(),
        stands: seen.stands.filter(|(stands, _)| *stands == weight).map(|(_, since)| since),
        horizon: plan.steps.iter().fold(plan.watch.hold.0, |all, step| all.saturating_add(step.hold.0)),
    };
    let (evidence, verdict) = judge(&trial, &memory.evidence.clone().unwrap_or_default());
    memory.evidence = Some(evidence);
    verdict
}

/// What every step shares: conviction, arrival, holding and giving up. `Ok` when it is settled and may be judged.
pub(crate) fn on_the_way(
    leg: &Leg,
    step: &Step,
    share: Share,
    verdict: Verdict,
    rebuild: &dyn Fn(Option<At>) -> State,
    facts: &Facts<'_>,
    memory: &mut Memory,
) -> Result<(At, Verdict), Box<Next>> {
    let Facts { spec, seen, .. } = facts;
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
    if let Some(back) = outlier::second(leg, &verdict, facts, memory) {
        return Err(Box::new(back));
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
    Ok((settled, verdict))
}

/// Its pods that have been ready for `minReadySeconds`. Of a version that has served before it is enough that they are.
pub(crate) const fn lasting(candidate: &Candidate, set: &CandidateSet) -> u32 {
    if candidate.undo { set.ready } else { set.available }
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
    let need = sizes::pods_for(step, Need::of(workload, seen.now, &seen.pods), routed);
    let ready = seen.candidate.as_ref().map_or(0, |c| lasting(candidate, c));
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
        format!("{}: {why}", r.route)
    });
    let trouble = trouble(facts).or(complaint).map_or_else(String::new, |t| format!(": {t}"));
    let message = format!("{ready} of {need} pods of {} are ready for {weight} %{trouble}", candidate.version.label());
    if seen.now >= due && !candidate.undo {
        let kind = if ready < need { late(facts) } else { CauseKind::Inconclusive };
        let message = format!("after {}: {message}", candidate.plan.deadline);
        return rollback::begin(leg.stable.clone(), candidate.clone(), kind, message, facts, memory);
    }
    let mut next = Next::stay(rebuild(None), message);
    next.due = Some(due);
    next
}

/// After too long a time of not knowing: back, or wait for a person.
#[expect(clippy::too_many_arguments, reason = "each is one fact of the rule; a struct would only rename them")]
pub(crate) fn give_up(
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

/// The step goes on. What keeps it from going on is told once it has lasted.
pub(crate) fn held(state: State, verdict: Verdict, due: At, facts: &Facts<'_>, memory: &mut Memory) -> Next {
    let Facts { spec, seen, workload, .. } = facts;
    let now = seen.now;
    let mut message = summary(&verdict);
    if let Verdict::PodOutlier { pod, .. } = &verdict
        && state.candidate().is_some_and(|c| c.replaced.as_ref() == Some(pod))
    {
        message.push_str("; this pod is replaced, and if another one is bad the version goes back");
    }
    if now < due && matches!(verdict, Verdict::Healthy { .. } | Verdict::Watching { .. }) {
        message = format!("{message}; {} to go", Span(Duration::from_secs(due.since(now).as_secs() + 1)));
    }
    let evidence = memory.evidence.clone().unwrap_or_default();
    let (fallback, unsure) = match &verdict {
        Verdict::NoData { .. } => (&spec.checks.on_no_data, evidence.no_data_since.map(|at| (Reason::NoData, at))),
        Verdict::EnvironmentDegraded { .. } => {
            (&spec.checks.on_degraded, evidence.degraded_since.map(|at| (Reason::Degraded, at)))
        }
        Verdict::PodOutlier { .. } => (&spec.checks.on_degraded, evidence.outlier_since.map(|at| (Reason::Stuck, at))),
        _ => (&spec.checks.on_no_data, None),
    };
    let mut extra = Vec::new();
    let mut gated = false;
    let mut turns = vec![due];
    if workload.wanted == 0 {
        // Nobody sends to it: what its last pods say of the version is nothing.
        message =
            format!("Deployment {} is scaled to 0, and the step ends when it has pods again; {message}", workload.name);
        gated = true;
    }
    if let Some((reason, since)) = unsure {
        turns.extend([since.plus(TOLD_AFTER), since.plus(fallback.after.0)]);
        let lasted = now.since(since);
        let long = lasted >= fallback.after.0;
        gated |= long;
        if long {
            let (name, namespace) = (&seen.release.name, &seen.release.namespace);
            message = format!(
                "{message}, for {} now: held for a person; kubectl haldane promote {name} -n {namespace}, or rollback",
                Span(Duration::from_secs(lasted.as_secs() / 60 * 60))
            );
        }
        if lasted >= TOLD_AFTER && memory.stuck != Some(since) {
            memory.stuck = Some(since);
            extra.push((reason, message.clone()));
        }
    }
    let mut next = Next::stay(state, message.clone());
    if let Verdict::ConfigError { .. } = verdict {
        next.stalled = Some((Reason::Invalid, message));
    }
    (next.extra, next.gated) = (extra, gated);
    next.verdict = Some(verdict);
    next.due = turns.into_iter().filter(|turn| *turn > now).min();
    next
}

/// Not knowing for a moment is nobody's news.
pub(crate) const TOLD_AFTER: Duration = Duration::from_secs(30);

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

pub(crate) fn trouble(facts: &Facts<'_>) -> Option<String> {
    let pod = facts.seen.pods.iter().find(|p| p.side == Side::Candidate && p.trouble.is_some());
    pod.map(recovery::in_words)
        .or_else(|| facts.workload.shortage.as_ref().map(|why| format!("no pod is created: {why}")))
}

/// What pods that are not ready in time say of their version: nothing, where the cluster had no room for them.
pub(crate) fn late(facts: &Facts<'_>) -> CauseKind {
    if no_room(facts) { CauseKind::Inconclusive } else { CauseKind::NotReady }
}

/// Whether the cluster keeps the candidate's pods from running, by a quota or for want of a node.
pub(crate) fn no_room(facts: &Facts<'_>) -> bool {
    let mut pods = facts.seen.pods.iter().filter(|p| p.side == Side::Candidate).filter_map(|p| p.trouble.as_ref());
    facts.workload.shortage.is_some() || pods.any(|trouble| !recovery::own_fault(trouble))
}

/// A new step is judged on its own samples; what counts for the whole release goes on.
pub(crate) fn fresh_evidence(memory: &mut Memory) {
    if let Some(e) = &mut memory.evidence {
        *e = Evidence {
            watermark: e.watermark,
            errors_since: e.errors_since,
            slow_since: e.slow_since,
            degraded_since: e.degraded_since,
            failed_total: e.failed_total,
            ratio: e.ratio.take(),
            log: std::mem::take(&mut e.log),
            engine: e.engine.take(),
            ..Evidence::default()
        };
    }
}
