//! The way home: from anything of ours, in whatever order it was left, to the user's objects as he wrote them. Pure.

use super::{effect::Effect, steps::take_back};
use crate::{
    api::state::Revision,
    observe::seen::{Hold, Owner, Seen, Side, Target, Workload},
};

/// The next writes on the way home. `leaving`: the Release or the operator goes, so the Deployment is un-paused even if its
/// user has changed the template meanwhile; else such a change waits for his word.
pub fn steps(stable: &Revision, seen: &Seen, leaving: bool, plan: &mut Vec<Effect>) {
    let stands = seen.ready(Side::Stable) > 0 || seen.ready(Side::Candidate) == 0;
    let adopted = seen.candidate.as_ref().is_some_and(|c| c.owner == Owner::Deployment);
    let sending: Vec<_> =
        seen.routes.iter().filter(|r| r.split.is_some_and(|s| s.weight > 0 || s.header || s.uneven)).collect();
    if !sending.is_empty() {
        // Once the old pods are gone the Services lead to the candidate's pods, so this is right in both directions.
        if stands || adopted {
            plan.extend(sending.iter().map(|r| Effect::Route { route: r.route.clone(), weight: 0, header: false }));
        }
        return;
    }
    if !seen.unread.traffic.is_empty() {
        return; // pods may still be sent to
    }
    match &seen.target {
        Target::Found(workload) => with_workload(workload, stable, seen, leaving, plan),
        Target::Missing => without_workload(seen, plan),
    }
}

fn with_workload(workload: &Workload, stable: &Revision, seen: &Seen, leaving: bool, plan: &mut Vec<Effect>) {
    let finished = seen.candidate.as_ref().is_some_and(|c| c.owner == Owner::Deployment)
        && workload.sets.iter().all(|s| s.size == 0 || seen.candidate.as_ref().is_some_and(|c| c.hash == s.hash));
    if workload.handover.is_some() && !finished {
        take_back(seen, plan);
        return;
    }
    if let Some(set) = seen.candidate.as_ref().filter(|c| c.owner == Owner::Nobody) {
        // The user's own selector matches the candidate's pods: the pin must hold until they are gone, and be seen to.
        let known = plan.len();
        if workload.paused
            && let Some(hash) = workload.hash_of(stable).or_else(|| serving(workload))
        {
            for service in seen.services.iter().filter(|s| s.problem.is_none() && s.pin.as_deref() != Some(hash)) {
                plan.push(Effect::Pin { service: service.name.clone(), hash: hash.to_owned() });
            }
        }
        if plan.len() > known || !seen.confirmed() {
            return;
        }
        if !set.deleting {
            plan.push(Effect::DeleteCandidate);
        }
        return;
    }
    if seen.ghosts() > 0 {
        return;
    }
    if !restore_traffic(seen, plan) {
        return;
    }
    if let Some(set) = &seen.candidate
        && set.carries_traffic
    {
        plan.push(Effect::MarkCandidate { carries_traffic: false });
    }
    let marked = seen.candidate.as_ref().is_some_and(|c| c.owner == Owner::Deployment && c.marked);
    let halted = workload.halted();
    if workload.handover.is_some() || marked && !halted && workload.observed {
        plan.push(Effect::FinishHandOver);
    } else if halted && (leaving || finished || workload.revision == *stable) {
        plan.push(Effect::Unpause { any_template: leaving });
    } else if workload.held() || leaving && workload.marked_held {
        plan.extend(hold(workload, stable, seen, leaving));
    }
}

/// A Deployment whose template says what is wanted waits with each change of it for us.
fn hold(workload: &Workload, stable: &Revision, seen: &Seen, leaving: bool) -> Option<Effect> {
    let (ours, wants_stable) = (workload.paused_by_us(), workload.revision == *stable);
    let rolling = ours && workload.left(stable); // somebody began that roll, and half of it helps nobody
    if leaving {
        let kept = seen.release.uninstalled() && workload.kept.is_some();
        let marked = ours || workload.marked_held;
        return if marked { Some(Effect::LetGo { rolling }) } else { kept.then_some(Effect::ForgetTemplate) };
    }
    if rolling {
        return Some(Effect::Unpause { any_template: true });
    }
    if !workload.observed {
        return None;
    }
    let enough = match workload.hold {
        Hold::No => return None,
        Hold::Always => ours && workload.marked_held,
        Hold::AtChange => workload.marked_held && (ours || !workload.paused || wants_stable),
    };
    if !enough {
        let settled = workload.settled && workload.wanted > 0 && (wants_stable || workload.paused);
        let next = if seen.release.finalizer { Effect::Hold } else { Effect::AddFinalizer };
        return settled.then_some(next);
    }
    if ours && !workload.sets.iter().any(|s| s.revision == *stable) {
        // A paused Deployment starts no ReplicaSet: whoever deleted the stable one has ended all pods.
        return Some(if wants_stable { Effect::Unpause { any_template: false } } else { restore(true) });
    }
    if ours && workload.wanted == 0 && !wants_stable {
        // Scaled up again, it would start its newest ReplicaSet.
        let newest = workload.sets.iter().max_by_key(|s| s.created_at);
        return newest.filter(|s| s.revision != *stable).map(|_| restore(false));
    }
    if ours && wants_stable && workload.hold == Hold::AtChange {
        return Some(Effect::Unpause { any_template: false }); // the change was taken back, or released
    }
    (workload.kept.as_ref() != Some(stable)).then_some(Effect::KeepTemplate)
}

const fn restore(unpause: bool) -> Effect {
    Effect::RestoreStable { unpause }
}

/// The hash of most of the Deployment's own pods: when status was lost while somebody edited the template, nothing runs the
/// revision that is asked for.
fn serving(workload: &Workload) -> Option<&str> {
    let with_pods = workload.sets.iter().filter(|s| s.size > 0);
    with_pods.max_by_key(|s| (s.size, s.number)).map(|s| s.hash.as_str())
}

/// The Deployment is gone: nothing is left to protect, all of ours goes, traffic first.
fn without_workload(seen: &Seen, plan: &mut Vec<Effect>) {
    if !restore_traffic(seen, plan) {
        return;
    }
    if seen.candidate.as_ref().is_some_and(|c| !c.deleting && c.owner == Owner::Nobody) {
        plan.push(Effect::DeleteCandidate);
    }
}

/// Route, then canary Services, then pins. True when all of it has been seen or planned.
fn restore_traffic(seen: &Seen, plan: &mut Vec<Effect>) -> bool {
    let split: Vec<_> = seen.routes.iter().filter(|r| r.split.is_some()).collect();
    if !split.is_empty() {
        if seen.confirmed() {
            plan.extend(split.iter().map(|r| Effect::RestoreRoute { route: r.route.clone() }));
        }
        return false;
    }
    if !seen.confirmed() && seen.services.iter().any(|s| s.canary_service || s.canary_left) {
        return false;
    }
    for service in &seen.services {
        if service.canary_service || service.canary_left {
            plan.push(Effect::DeleteCanaryService { service: service.name.clone() });
        }
        if service.pin.is_some() {
            plan.push(Effect::Unpin { service: service.name.clone() });
        }
    }
    true
}
