//! Orders of people: which are obeyed, which are refused and why. Each is handled once.

use std::time::Duration;

use crate::{
    api::{
        action::{ActionType, PromoteTo},
        notice::Reason,
        release::ReleaseSpec,
        state::{CauseKind, State, StepOutcome},
        status::{Memory, Paused},
        units::At,
    },
    observe::seen::{Order, Seen},
};

/// UIDs of handled orders that are kept by name.
const KEPT: usize = 20;
/// Who pauses when the Release itself says so.
const BY_SPEC: &str = "spec.paused";

/// What is wished of this pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// Who ordered it, with his reason: "sam (too slow)".
    pub rollback: Option<String>,
    pub promote: Option<(PromoteTo, String)>,
    /// A revision was taken off the list of the rejected.
    pub retry: bool,
    /// Steps of the rollback plan that a person said yes to, and who.
    pub confirmed: Vec<(String, String)>,
    /// A pause has ended that began at this moment.
    pub resumed: Option<At>,
    pub told: Vec<(Reason, String)>,
}

/// Reads the orders that are new and settles pauses.
pub fn read(spec: &ReleaseSpec, state: Option<&State>, memory: &mut Memory, seen: &Seen) -> Wish {
    let mut wish = Wish::default();
    for order in &seen.orders {
        let old = memory.handled_before.is_some_and(|before| order.created_at <= before);
        if old || memory.handled_actions.contains(&order.uid) {
            continue;
        }
        remember(order, memory, seen);
        match refusal(order, spec, state, memory, seen) {
            Some(why) => {
                wish.told
                    .push((Reason::OrderRefused, format!("{:?} by {} was not obeyed: {why}", order.kind, order.by)));
            }
            None => obey(order, memory, seen.now, &mut wish),
        }
    }
    settle_pause(spec, memory, seen.now, &mut wish);
    wish
}

/// Who keeps the Release paused, if anyone.
pub fn paused_by(memory: &Memory) -> Option<String> {
    let paused = memory.paused.as_ref()?;
    Some(match paused.until {
        Some(until) => format!("{} until {:.0}", paused.by, until.timestamp()),
        None => paused.by.clone(),
    })
}

/// The State with its clocks put forward by a pause that has ended.
pub fn shifted(mut state: State, paused_since: At, now: At) -> State {
    let put = |at: &mut At| *at = at.plus(now.since((*at).max(paused_since)));
    match &mut state {
        State::Preparing { since, .. } => put(since),
        State::Stepping { since, settled, .. } | State::Observing { since, settled, .. } => {
            put(since);
            settled.iter_mut().for_each(put);
        }
        _ => {}
    }
    state
}

fn remember(order: &Order, memory: &mut Memory, seen: &Seen) {
    memory.handled_actions.push(order.uid.clone());
    while memory.handled_actions.len() > KEPT {
        let gone = memory.handled_actions.remove(0);
        let created = seen.orders.iter().find(|o| o.uid == gone).map(|o| o.created_at);
        memory.handled_before = memory.handled_before.max(created);
    }
}

/// Why an order is not obeyed.
fn refusal(order: &Order, spec: &ReleaseSpec, state: Option<&State>, memory: &Memory, seen: &Seen) -> Option<String> {
    if order.release_uid != seen.release.uid {
        return Some(format!("it was for another Release of this name (UID {})", order.release_uid));
    }
    if !order.proven && !matches!(order.kind, ActionType::Pause | ActionType::Rollback) {
        return Some(
            "the admission policy that proves who orders is not installed, so only Pause and Rollback are obeyed"
                .into(),
        );
    }
    let state = state?;
    let here = state.candidate().map_or(&state.stable().revision, |c| &c.version.revision);
    let given_up = match state {
        State::RolledBack { candidate, .. } => Some(&candidate.revision),
        _ => None,
    };
    let known = order.revision == here.0
        || given_up.is_some_and(|r| r.0 == order.revision)
        || order.kind == ActionType::Retry && memory.rejected.iter().any(|r| r.revision.0 == order.revision);
    if !known {
        return Some(format!("it was for revision {}, and this Release is at {here} now", order.revision));
    }
    match order.kind {
        ActionType::Resume if spec.paused => Some("the Release itself says spec.paused: true; set it to false".into()),
        ActionType::Resume if memory.paused.is_none() => Some("it is not paused".into()),
        ActionType::Promote if !matches!(state, State::Preparing { .. } | State::Stepping { .. }) => {
            Some(format!("there is no step to skip in {}", state.name()))
        }
        ActionType::Rollback
            if matches!(state, State::Draining { .. } | State::Reverting { .. } | State::RolledBack { .. }) =>
        {
            Some(format!("it is {} already", state.name()))
        }
        ActionType::Confirm if !awaits(state, order.step.as_deref()) => {
            Some(format!("no step {} of a rollback waits for a yes", order.step.as_deref().unwrap_or_default()))
        }
        ActionType::Retry if state.active() => Some(format!("wait for the end of {}", state.name())),
        ActionType::Retry if !retryable(order, state, memory) => {
            Some(format!("revision {} was not rejected", order.revision))
        }
        _ => None,
    }
}

fn awaits(state: &State, step: Option<&str>) -> bool {
    let State::Reverting { report, .. } = state else { return false };
    report.steps.iter().any(|s| Some(s.name.as_str()) == step && s.outcome == StepOutcome::Unconfirmed)
}

fn retryable(order: &Order, state: &State, memory: &Memory) -> bool {
    let inconclusive = matches!(state, State::RolledBack { cause, .. } if cause.kind == CauseKind::Inconclusive);
    inconclusive || memory.rejected.iter().any(|r| r.revision.0 == order.revision)
}

fn obey(order: &Order, memory: &mut Memory, now: At, wish: &mut Wish) {
    let by = match &order.reason {
        Some(reason) => format!("{} ({reason})", order.by),
        None => order.by.clone(),
    };
    match order.kind {
        ActionType::Promote => wish.promote = Some((order.to, by)),
        ActionType::Rollback => wish.rollback = Some(by),
        ActionType::Confirm => wish.confirmed.extend(order.step.clone().map(|step| (step, by))),
        ActionType::Retry => {
            memory.rejected.retain(|r| r.revision.0 != order.revision);
            wish.retry = true;
            wish.told.push((Reason::Retried, format!("{by} ordered another try of revision {}", order.revision)));
        }
        ActionType::Pause => {
            let since = memory.paused.as_ref().map_or(now, |p| p.since);
            memory.paused = Some(Paused { by: order.by.clone(), since, until: order.until });
            wish.told.push((Reason::Paused, format!("paused by {by}")));
        }
        ActionType::Resume => {
            wish.resumed = memory.paused.take().map(|p| p.since);
            wish.told.push((Reason::Resumed, format!("resumed by {by}")));
        }
    }
}

/// The pause of the spec, and the end of pauses.
fn settle_pause(spec: &ReleaseSpec, memory: &mut Memory, now: At, wish: &mut Wish) {
    let ended = memory
        .paused
        .as_ref()
        .is_some_and(|p| p.until.is_some_and(|until| until <= now) || p.by == BY_SPEC && !spec.paused);
    if ended {
        let paused = memory.paused.take();
        wish.resumed = paused.as_ref().map(|p| p.since);
        wish.told
            .push((Reason::Resumed, format!("the pause by {} has ended", paused.map_or_else(String::new, |p| p.by))));
    }
    if spec.paused && memory.paused.is_none() {
        memory.paused = Some(Paused { by: BY_SPEC.into(), since: now, until: None });
        wish.told.push((Reason::Paused, format!("paused by {BY_SPEC}")));
    }
}

/// Whether time may go on: a pause stops it.
pub fn running(memory: &Memory) -> bool {
    memory.paused.is_none()
}

/// A wait that has lasted so long that people are told.
pub const STUCK_AFTER: Duration = Duration::from_mins(10);
