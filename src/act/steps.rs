//! Goal and `Seen` → the writes to do now, in a safe order. Pure.
//!
//! A pass does the writes that are safe on what was seen and stops where the next one must wait for the world: a write
//! that takes traffic away comes first, one that gives traffic comes after the pods that carry it, and pods go after
//! everything that sent to them. The same world twice gives nothing to do.

use super::{effect::Effect, home};
use crate::{
    api::state::{Candidate, Revision},
    decide::{
        goal::{Goal, Share, full},
        sizes::{self, Need},
    },
    observe::seen::{CandidateSet, Owner, Seen, Side, StepJob, Target},
};

/// The writes that bring the world nearer to the goal, in order.
pub fn steps(goal: &Goal, stable: &Revision, seen: &Seen) -> Vec<Effect> {
    let mut plan = Vec::new();
    if seen.unread.first().is_some()
        && !matches!(
            goal,
            Goal::Abandoned
                | Goal::AtRest
                | Goal::Try
                | Goal::Revert { .. }
                | Goal::Gone { .. }
                | Goal::Withdraw { .. }
        )
    {
        // What is not seen carries nothing: the way down goes on, everything else waits for the next look.
        if let (Goal::Canary { candidate, step, share, .. }, Some(workload)) = (goal, seen.target.found()) {
            let header = *share != Share::None && candidate.traffic.header.is_some();
            lower(seen, share.percent(step, workload.wanted), header, &mut plan);
        }
        return plan;
    }
    if !seen.release.finalizer && !seen.release.deleting() && matches!(goal, Goal::Canary { .. }) {
        // Alone: a deletion that comes at this moment may win, though the API server says that the finalizer is there. Nothing
        // else is touched before it has been seen.
        plan.push(Effect::AddFinalizer);
        return plan;
    }
    match goal {
        Goal::Abandoned => plan.extend(drop_finalizer(seen)),
        Goal::AtRest => home::steps(stable, seen, false, &mut plan),
        Goal::Try => {
            home::steps(stable, seen, false, &mut plan);
            plan.extend((seen.trial == StepJob::Absent).then_some(Effect::StartTrial));
        }
        Goal::Revert { attempt } => {
            home::steps(stable, seen, false, &mut plan);
            let attempt = attempt.iter().filter(|a| !a.known && seen.step_job == StepJob::Absent);
            plan.extend(attempt.map(|a| Effect::StartStep { attempt: a.clone() }));
        }
        Goal::Gone { told } => {
            home::steps(stable, seen, true, &mut plan);
            if seen.is_let_go() && *told {
                plan.extend(drop_finalizer(seen));
            }
        }
        Goal::Withdraw { candidate, turned } => {
            withdraw(candidate, stable, seen, &mut plan);
            if *turned {
                turn(stable, seen, &mut plan);
            }
        }
        Goal::Canary { candidate, step, share, smoke } => {
            let world = World { candidate, stable, seen };
            let _ = canary(&world, step, *share, &mut plan);
            plan.extend(replacement(candidate, seen));
            if *share == Share::None {
                plan.extend(seen.smoke.keys().map(|point| Effect::DeleteSmoke { point: *point }));
            }
            if let Some(point) = smoke
                && !seen.smoke.contains_key(point)
            {
                plan.push(Effect::StartSmoke { point: *point });
            }
        }
        Goal::TakeOver { candidate } => {
            let world = World { candidate, stable, seen };
            let _ = take_over(&world, &mut plan);
        }
        Goal::GiveBack { candidate } => {
            let world = World { candidate, stable, seen };
            let _ = give_back(&world, &mut plan);
        }
    }
    plan
}

/// The rest must wait until the world has followed.
struct Wait;
type Flow = Result<(), Wait>;

struct World<'a> {
    candidate: &'a Candidate,
    stable: &'a Revision,
    seen: &'a Seen,
}

fn drop_finalizer(seen: &Seen) -> Option<Effect> {
    seen.release.finalizer.then_some(Effect::DropFinalizer)
}

/// Pods, pins and weight of one step.
fn canary(world: &World<'_>, step: &crate::api::plan::Step, share: Share, plan: &mut Vec<Effect>) -> Flow {
    let World { candidate, stable, seen } = *world;
    let Target::Found(workload) = &seen.target else { return Err(Wait) };
    let weight = share.percent(step, workload.wanted);
    lower(seen, weight, share != Share::None && candidate.traffic.header.is_some(), plan);
    if !workload.paused {
        plan.push(Effect::Pause);
    }
    if !workload.paused || !workload.observed {
        return Err(Wait); // a pin needs a Deployment that is known to be paused
    }
    let Some(stable) = workload.hash_of(stable) else { return Err(Wait) };
    let routed = candidate.traffic.routed();
    let need = Need::of(workload, seen.now, &seen.pods);
    let pods = sizes::pods_for(step, need, routed);
    let set = seen.candidate.as_ref();
    let carried =
        set.is_some_and(|c| c.observed && !c.deleting && c.ready >= sizes::carrying(weight, need.least).max(1));
    let everything = share == Share::All && set.is_some_and(|c| carried && c.ready >= workload.wanted);

    // Where the Services point. A share by numbers needs them open to both sides.
    let open = !routed && share == Share::OfStep && carried;
    let to_candidate = everything && (!routed || seen.arrived(100));
    for service in &seen.services {
        let pin = match set {
            Some(c)
                if to_candidate || (share == Share::All && service.pin.as_deref() == Some(&c.hash) && c.ready > 0) =>
            {
                Some(c.hash.as_str())
            }
            _ if open => None,
            // Opened earlier and still carried by both: stays open while the step's own pods follow.
            _ if !routed && share != Share::None && service.pin.is_none() && set.is_some_and(|c| c.ready > 0) => None,
            _ => Some(stable),
        };
        match pin {
            Some(hash) if service.pin.as_deref() != Some(hash) => {
                if set.is_some_and(|c| c.hash == hash && !c.carries_traffic) {
                    plan.push(Effect::MarkCandidate { carries_traffic: true });
                }
                plan.push(Effect::Pin { service: service.name.clone(), hash: hash.to_owned() });
            }
            None if service.pin.is_some() => {
                if set.is_some_and(|c| !c.carries_traffic) {
                    plan.push(Effect::MarkCandidate { carries_traffic: true });
                }
                plan.push(Effect::Unpin { service: service.name.clone() });
            }
            _ => {}
        }
        if routed && !(service.canary_service && service.rules_copied) {
            plan.push(Effect::CreateCanaryService { service: service.name.clone() });
        }
    }
    grow(set, pods, plan);
    raise(world, weight, share, carried, plan);
    Ok(())
}

/// The one bad pod goes while another one serves.
fn replacement(candidate: &Candidate, seen: &Seen) -> Option<Effect> {
    let bad = candidate.replaced.as_ref()?;
    let mut others = seen.pods.iter().filter(|p| p.side == Side::Candidate && p.name != *bad);
    let there = seen.pods.iter().any(|p| p.side == Side::Candidate && p.name == *bad && !p.terminating);
    let served = others.any(|p| p.ready && !p.terminating);
    (there && served).then(|| Effect::ReplacePod { pod: bad.clone() })
}

/// Weights above what they should be, and headers that should not be there, go first and wait for nothing.
fn lower(seen: &Seen, weight: u32, header: bool, plan: &mut Vec<Effect>) {
    for route in &seen.routes {
        let Some(split) = route.split else { continue };
        if split.weight > weight || split.header && !header {
            plan.push(Effect::Route {
                route: route.route.clone(),
                weight: weight.min(split.weight),
                header: split.header && header,
            });
        }
    }
}

/// More pods at once; fewer never while a release is on its way (its pods may carry traffic).
fn grow(set: Option<&CandidateSet>, pods: u32, plan: &mut Vec<Effect>) {
    match set {
        None => plan.extend([Effect::CreateCandidate, Effect::ScaleCandidate { size: pods }]),
        Some(c) if c.size < pods && !c.deleting => plan.push(Effect::ScaleCandidate { size: pods }),
        Some(_) => {}
    }
}

/// The weight of every route, once the pods behind it are ready and its Services know them.
fn raise(world: &World<'_>, weight: u32, share: Share, carried: bool, plan: &mut Vec<Effect>) {
    let World { candidate, seen, .. } = *world;
    if share == Share::None || !candidate.traffic.routed() || !carried {
        return;
    }
    let Target::Found(workload) = &seen.target else { return };
    let need = sizes::carrying(weight, Need::of(workload, seen.now, &seen.pods).least).max(1);
    if seen.services.iter().any(|s| !s.canary_service || !s.rules_copied || s.canary_endpoints < need) {
        return;
    }
    let header = candidate.traffic.header.is_some();
    for route in &seen.routes {
        let differs = route.split.is_none_or(|s| s.weight < weight || s.header != header && header || s.uneven);
        if differs && route.problem.is_none() {
            if weight > 0 && seen.candidate.as_ref().is_some_and(|c| !c.carries_traffic) {
                plan.push(Effect::MarkCandidate { carries_traffic: true });
            }
            plan.push(Effect::Route { route: route.route.clone(), weight, header });
        }
    }
}

/// The hand-over of the pods (all of it can be taken back until the Deployment has adopted them).
fn take_over(world: &World<'_>, plan: &mut Vec<Effect>) -> Flow {
    let World { candidate, seen, .. } = *world;
    let (Target::Found(workload), Some(set)) = (&seen.target, &seen.candidate) else { return Err(Wait) };
    if workload.handover.is_none() {
        canary(world, &full(), Share::All, plan)?;
        // Too few for the load, and the autoscaler has not seen it yet: nothing is cut, nothing begins.
        if Need::of(workload, seen.now, &seen.pods).unmet(&workload.name).is_some() {
            return Err(Wait);
        }
        if set.size > workload.wanted {
            plan.push(Effect::ScaleCandidate { size: workload.wanted });
        }
        let whole = set.observed && set.size == workload.wanted && set.available == workload.wanted;
        if !plan.is_empty() || !whole || set.owner != Owner::Nobody {
            return Err(Wait);
        }
        let mut equal = workload.sets.iter().filter(|s| s.revision == candidate.version.revision).peekable();
        if equal.peek().is_some() {
            plan.extend(equal.filter(|s| s.size == 0).map(|s| Effect::DeleteEqualSet { name: s.name.clone() }));
            return Err(Wait);
        }
        plan.push(Effect::TakeTemplate);
        return Err(Wait);
    }
    if set.size != workload.wanted {
        // Scaled meanwhile: paused and with two sets, the Deployment itself would leave both as they are.
        plan.push(Effect::ScaleCandidate { size: workload.wanted });
    }
    if !set.offered && workload.observed {
        plan.push(Effect::Offer { wanted: workload.wanted });
    }
    Ok(())
}

/// Route and Services back to how the user wrote them; the pods behind them stay the same all the time.
fn give_back(world: &World<'_>, plan: &mut Vec<Effect>) -> Flow {
    let World { candidate, seen, .. } = *world;
    let (Target::Found(workload), Some(set)) = (&seen.target, &seen.candidate) else { return Err(Wait) };
    // Done but for our marks: its sizes are the Deployment's again, and its user may be rolling out something else already.
    let held = workload.handover.is_some() || workload.halted();
    let finished = set.owner == Owner::Deployment && !held;
    if set.size != workload.wanted && !finished {
        plan.push(Effect::ScaleCandidate { size: workload.wanted });
    }
    if seen.routes.iter().any(|r| r.split.is_some()) {
        for service in seen.services.iter().filter(|s| s.pin.as_deref() != Some(&set.hash)) {
            plan.push(Effect::Pin { service: service.name.clone(), hash: set.hash.clone() });
        }
        let followed = seen
            .services
            .iter()
            .all(|s| s.pin.as_deref() == Some(&set.hash) && s.candidate_endpoints >= workload.wanted.max(1));
        if !followed {
            return Err(Wait);
        }
        let sending: Vec<_> =
            seen.routes.iter().filter(|r| r.split.is_some_and(|s| s.weight > 0 || s.header)).collect();
        if !sending.is_empty() {
            plan.extend(sending.iter().map(|r| Effect::Route { route: r.route.clone(), weight: 0, header: false }));
            return Err(Wait);
        }
        if !seen.routes.iter().all(|r| r.confirmed || r.split.is_none()) {
            return Err(Wait);
        }
        plan.extend(
            seen.routes.iter().filter(|r| r.split.is_some()).map(|r| Effect::RestoreRoute { route: r.route.clone() }),
        );
        return Err(Wait);
    }
    if candidate.traffic.routed() && !seen.routes.iter().all(|r| r.confirmed || r.problem.is_some()) {
        return Err(Wait);
    }
    let grown = finished
        || set.size == workload.wanted
        || workload.sets.iter().any(|s| s.hash == set.hash && s.size == workload.wanted);
    let others = !finished && workload.sets.iter().any(|s| s.hash != set.hash && s.size > 0);
    for service in &seen.services {
        if service.canary_service || service.canary_left {
            plan.push(Effect::DeleteCanaryService { service: service.name.clone() });
        }
        if service.pin.is_some() && !others {
            plan.push(Effect::Unpin { service: service.name.clone() });
        }
    }
    if set.carries_traffic {
        plan.push(Effect::MarkCandidate { carries_traffic: false });
    }
    if !grown || others {
        return Err(Wait); // un-paused with sizes that differ, the Deployment would move pods by itself
    }
    if workload.handover.is_some() || set.marked && workload.observed {
        plan.push(Effect::FinishHandOver);
    } else if set.marked {
        return Err(Wait); // the Deployment's controller would copy our marks back
    } else if workload.halted() {
        plan.push(Effect::Unpause { any_template: false });
    }
    Ok(())
}

/// Traffic away from the candidate, first of all and whatever else is wrong.
fn withdraw(candidate: &Candidate, stable: &Revision, seen: &Seen, plan: &mut Vec<Effect>) {
    if seen.is_home() && seen.unread.first().is_none() {
        return; // nothing was begun, and without a finalizer nothing may be
    }
    let stands = seen.ready(Side::Stable) > 0 || seen.ready(Side::Candidate) == 0;
    if stands {
        for route in seen.routes.iter().filter(|r| r.split.is_some_and(|s| s.weight > 0 || s.header || s.uneven)) {
            plan.push(Effect::Route { route: route.route.clone(), weight: 0, header: false });
        }
    }
    let Target::Found(workload) = &seen.target else { return };
    let hash = workload.hash_of(stable);
    if !workload.paused {
        plan.push(Effect::Pause);
    }
    if stands && let Some(hash) = hash {
        for service in seen.services.iter().filter(|s| s.problem.is_none() && s.pin.as_deref() != Some(hash)) {
            plan.push(Effect::Pin { service: service.name.clone(), hash: hash.to_owned() });
        }
    }
    if workload.handover.is_some() {
        take_back(seen, plan);
    }
    let Some(set) = &seen.candidate else { return };
    if stands
        && !candidate.traffic.routed()
        && !set.deleting
        && set.owner == Owner::Nobody
        && workload.handover.is_none()
    {
        // Kept connections do not follow a pin: only the end of the pod ends them.
        plan.push(Effect::DeleteCandidate);
    }
}

/// The canary Services to the stable pods.
fn turn(stable: &Revision, seen: &Seen, plan: &mut Vec<Effect>) {
    let hash = seen.target.found().and_then(|workload| workload.hash_of(stable));
    let Some(hash) = hash.filter(|_| seen.ready(Side::Stable) > 0) else { return };
    for service in seen.services.iter().filter(|s| s.canary_service) {
        plan.push(Effect::TurnCanaryService { service: service.name.clone(), hash: hash.to_owned() });
    }
}

/// The Deployment gives the candidate's ReplicaSet up again and gets its own template and strategy back.
pub fn take_back(seen: &Seen, plan: &mut Vec<Effect>) {
    let Some(set) = &seen.candidate else {
        plan.push(Effect::RestoreTemplate);
        return;
    };
    if set.offered {
        plan.push(Effect::Withdraw);
    } else if set.owner == Owner::Nobody {
        plan.push(Effect::RestoreTemplate);
    }
}
