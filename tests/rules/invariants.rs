//! What must hold at every moment, checked before and after each single write. Numbers as in docs/invariants.md.

use haldane::{
    act::effect::Effect,
    api::{
        action::ActionType,
        state::{CauseKind, Part, State},
    },
    decide::{Decision, Past, sizes, verdict::Verdict},
    observe::seen::{Owner, Seen, Side},
};

use crate::world::World;

/// Seconds after which what somebody else did must have been put right: the operator may be away for 2, leaves the same
/// heal alone for 10, and gateways follow after at most 7.
const CALM: u64 = 20;

/// Checks one decision against what was remembered and seen.
pub fn decision(past: &Past, decision: &Decision, seen: &Seen) -> Result<(), String> {
    let (before, after) = (past.state.as_ref(), decision.state.as_ref());
    let Some(after) = after else { return Ok(()) };
    let promoted =
        seen.orders.iter().any(|o| o.kind == ActionType::Promote && !past.memory.handled_actions.contains(&o.uid));
    let advanced = match (before, after) {
        (Some(State::Stepping { step: a, .. }), State::Stepping { step: b, .. }) => a < b,
        (Some(State::Stepping { .. }), State::Observing { .. }) => true,
        (Some(State::Observing { candidate, .. }), State::Promoting { .. }) => !candidate.undo,
        _ => false,
    };
    if advanced && !promoted {
        if !matches!(decision.verdict, Some(Verdict::Healthy { .. })) {
            return Err(format!("9: advanced without a Healthy verdict: {:?}", decision.verdict));
        }
        let fresh = match before {
            Some(State::Stepping { settled, .. } | State::Observing { settled, .. }) => settled.is_some(),
            _ => false,
        };
        if !fresh {
            return Err("14: advanced before the step's traffic had arrived".into());
        }
    }
    if let Some(candidate) = after.candidate()
        && matches!(after, State::Preparing { .. } | State::Stepping { .. } | State::Observing { .. })
        && decision.memory.rejected.iter().any(|r| r.revision == candidate.version.revision)
    {
        return Err(format!("16: rejected revision {} is on its way", candidate.version.revision));
    }
    if let (Some(State::Draining { cause, candidate, .. }), State::RolledBack { .. } | State::Reverting { .. }) =
        (before, after)
        && matches!(cause.kind, CauseKind::Bad | CauseKind::Ordered | CauseKind::NotReady)
        && !decision.memory.rejected.iter().any(|r| r.revision == candidate.version.revision)
    {
        return Err(format!("16: convicted revision {} was not rejected", candidate.version.revision));
    }
    let changed = before.is_some_and(|b| b.name() != after.name());
    let silent = matches!(
        (before, after),
        (
            Some(State::RolledBack { .. } | State::RollbackFailed { .. } | State::Draining { .. }),
            State::Idle { .. } | State::RolledBack { .. }
        )
    );
    if changed && !silent && decision.memory.notices == past.memory.notices {
        return Err(format!("19: {} → {} was not announced", before.map_or("", |b| b.name()), after.name()));
    }
    if after.active() && decision.wake.is_none() {
        return Err(format!("{} would never be looked at again", after.name()));
    }
    Ok(())
}

/// Checks the order of a pass's writes.
pub fn order(past: &Past, decision: &Decision, effects: &[Effect], seen: &Seen) -> Result<(), String> {
    let begun =
        matches!(decision.state, Some(State::Draining { .. })) && !matches!(past.state, Some(State::Draining { .. }));
    let sends = seen.routes.iter().any(|r| r.split.is_some_and(|s| s.weight > 0));
    let stands = seen.ready(Side::Stable) > 0;
    if begun && sends && stands && !matches!(effects.first(), Some(Effect::Route { weight: 0, header: false, .. })) {
        return Err(format!("8: the first write of a rollback is {:?}, not the route", effects.first()));
    }
    Ok(())
}

/// Checks one write in the world it is about to change.
pub fn write(world: &World, state: &State, effect: &Effect) -> Result<(), String> {
    let seen = world.seen();
    let candidate = world.candidate();
    let ready = candidate.map_or(0, |c| world.ready(&c.hash));
    match effect {
        Effect::Route { weight, .. } => {
            let before = world.routes[world.route(effect)].split.map_or(0, |s| s.weight);
            if *weight > before {
                if ready < sizes::carrying(*weight, world.wanted) {
                    return Err(format!("1: weight {weight} with {ready} ready pods of {}", world.wanted));
                }
                let allowed = match state {
                    State::Stepping { candidate, step, .. } => sizes::share_of(&candidate.step(*step), world.wanted),
                    State::Observing { .. } | State::Promoting { .. } => 100,
                    _ => 0,
                };
                if *weight > allowed {
                    return Err(format!("10: weight {weight} where {} allows {allowed}", state.name()));
                }
            }
        }
        Effect::DeleteCandidate => {
            let reached = world.share_of_the_candidate();
            if reached > 0 {
                return Err(format!("5: the candidate's pods are deleted while {reached} % still reach them"));
            }
            if world.routed
                && world.services.iter().any(|s| s.live_pin.is_none())
                && candidate.is_some_and(|c| !c.owned)
                && world.calm > 5
                && world.paused
            {
                return Err("5: the candidate's pods are deleted while the user's Service selects them".into());
            }
        }
        Effect::Offer { .. } | Effect::TakeTemplate
            if !matches!(state, State::Promoting { part: Part::TakeOver, .. }) =>
        {
            return Err(format!("6: {effect:?} in {}", state.name()));
        }
        Effect::TakeTemplate if ready < world.wanted => {
            return Err(format!("7: the hand-over begins with {ready} of {} pods ready", world.wanted));
        }
        Effect::TakeTemplate if world.needed() > world.wanted => {
            return Err(format!(
                "7: the hand-over begins with {} pods and {} are needed",
                world.wanted,
                world.needed()
            ));
        }
        Effect::Pin { .. } if !world.paused => return Err("27: a pin on a Deployment that is not paused".into()),
        Effect::Unpause { .. } | Effect::FinishHandOver if world.pinned() => {
            return Err(format!("27: {effect:?} while a Service is pinned"));
        }
        Effect::StartStep { attempt } => {
            if world.routed && world.routes.iter().any(|r| r.live.is_some_and(|s| s.weight > 0)) {
                return Err(format!("8: step {} runs while the candidate is still sent to", attempt.step));
            }
            let tried = world
                .jobs
                .iter()
                .filter(|j| (&j.attempt.step, j.attempt.decided_at) == (&attempt.step, attempt.decided_at));
            let again = world.past.state.as_ref().and_then(State::attempt).is_none_or(|a| a.number < attempt.number);
            if tried.clone().any(|job| job.left > 0) || again {
                return Err(format!(
                    "17: attempt {} of step {} is not recorded, or not alone",
                    attempt.number, attempt.step
                ));
            }
        }
        Effect::DeleteCanaryService { service }
            if world.routes.get(world.service(service)).is_some_and(|r| r.split.is_some() || r.live.is_some()) =>
        {
            return Err("5: the canary Service goes while the route names it".into());
        }
        _ => {}
    }
    let owner = seen.candidate.as_ref().map(|c| c.owner);
    if matches!(effect, Effect::DeleteCandidate) && owner == Some(Owner::Deployment) {
        return Err("6: pods of the user's Deployment are deleted".into());
    }
    Ok(())
}

/// Checks the world after each second in which nobody else interfered.
pub fn moment(world: &World, state: Option<&State>) -> Result<(), String> {
    if world.lost > 0.0 && world.calm > CALM {
        return Err(format!(
            "4: {} requests were lost that a ready pod could have answered, in {}",
            world.lost,
            state.map_or("", State::name)
        ));
    }
    if world.pinned() && !world.paused && world.calm > CALM {
        return Err("27: pinned and not paused".into());
    }
    let early = matches!(state, Some(State::Preparing { .. } | State::Stepping { .. } | State::Observing { .. }));
    let stable = state.map(|s| s.stable().revision.0.clone());
    let size: u32 = world.sets.iter().filter(|s| s.owned && Some(&s.rev) == stable.as_ref()).map(|s| s.size).sum();
    let his_own = Some(&world.template) != stable.as_ref() && !(world.held() && world.paused); // the user rolls another template out himself
    if early && size < world.wanted && world.calm > CALM && !his_own {
        return Err(format!("6: {size} of {} stable pods before promoting", world.wanted));
    }
    Ok(())
}
