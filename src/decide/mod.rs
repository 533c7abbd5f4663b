//! `Seen` → `Decision`: what the Release should be next, and why. Pure: no async, no API, no clock.
//!
//! ```text
//!                 gates open            ready, scraped          time + evidence
//!   Idle ─→ Waiting ────────→ Preparing ────────────→ Stepping ────────────────→ Observing ─→ Promoting ─→ Idle
//!    ↑         │                  │ ↖ no pods left ───────┘ │                        │            │
//!    │         └ Rollback         └──────────── Bad, ordered, superseded, inconclusive ───────────┘
//!    │                                                      ↓
//!    └── new candidate ── RolledBack ←── Reverting ←──── Draining
//!                             RollbackFailed ←┘
//! ```
//!
//! One transition per pass. Each is stored before anything is done about it; only weight 0 may go out beside its record.

pub mod announce;
pub mod gates;
pub mod goal;
mod leaving;
pub mod leg;
pub mod orders;
mod outlier;
pub mod promoting;
pub mod recovery;
pub mod rollback;
mod rollback_steps;
pub mod sizes;
pub mod verdict;
mod version;
pub mod walk;

use std::time::Duration;

use crate::{
    api::{
        notice::Reason,
        release::ReleaseSpec,
        state::{Candidate, CauseKind, Gate, Part, Report, State, Version},
        status::{Ended, Memory},
        units::At,
    },
    observe::seen::{Seen, Target, Workload},
};
use goal::Goal;
use orders::Wish;
use verdict::Verdict;
pub(crate) use version::{present, serving};

/// What was remembered: nothing, at first sight or when status was lost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    pub state: Option<State>,
    pub memory: Memory,
}

/// What is to be remembered, done and shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// `None` as long as there is no Deployment to learn from.
    pub state: Option<State>,
    pub memory: Memory,
    pub verdict: Option<Verdict>,
    pub goal: Goal,
    pub display: Display,
    /// When to look again even if nothing happens.
    pub wake: Option<Duration>,
}

/// What people and tools are shown beside the State.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Display {
    /// The candidate's share of the traffic in percent, as the data plane has it.
    pub weight: u32,
    /// Where it stands and why, with numbers.
    pub message: String,
    /// The Release cannot be worked on as it is written.
    pub refused: Option<(Reason, String)>,
    /// It will not get further without a person.
    pub stalled: Option<(Reason, String)>,
    /// Somebody else's change that stands in the way.
    pub drifted: Option<String>,
    /// `None`: no provider is named. Else whether it answers, and what is wrong.
    pub metrics: Option<Result<(), String>>,
    /// A gate is closed or a person paused it.
    pub gated: bool,
}

/// A transition with what it adds to the story.
pub(crate) struct Next {
    pub state: State,
    pub message: String,
    pub verdict: Option<Verdict>,
    /// Told beside the transition's own notice.
    pub extra: Vec<(Reason, String)>,
    pub gated: bool,
    pub stalled: Option<(Reason, String)>,
    pub refused: Option<(Reason, String)>,
    /// The next moment at which time alone changes something.
    pub due: Option<At>,
}

impl Next {
    pub fn stay(state: State, message: impl Into<String>) -> Self {
        Self {
            state,
            message: message.into(),
            verdict: None,
            extra: Vec::new(),
            gated: false,
            stalled: None,
            refused: None,
            due: None,
        }
    }
}

/// Everything a rule may look at.
pub(crate) struct Facts<'a> {
    pub spec: &'a ReleaseSpec,
    pub seen: &'a Seen,
    pub workload: &'a Workload,
    pub wish: Wish,
}

/// Looks at one Release and says what is next.
pub fn decide(spec: &ReleaseSpec, past: &Past, seen: &Seen) -> Decision {
    let mut memory = past.memory.clone();
    announce::settle(&mut memory, &seen.delivered);
    if past.state.is_none() {
        announce::start(&mut memory, seen);
    }
    if let Some(ended) = leaving::at_once(spec, past, &memory, seen) {
        return ended;
    }
    let Target::Found(workload) = &seen.target else {
        return without_target(spec, past, memory, seen);
    };
    if let Some(ended) = leaving::at_rest(spec, past, &memory, workload, seen) {
        return ended;
    }
    if let (None, Some(other)) = (past.state.as_ref().filter(|s| s.active()), &seen.release.conflict) {
        let message = format!("{other}; delete one of the two");
        return refused(spec, past, memory, seen, Reason::Conflict, message);
    }
    let wish = orders::read(spec, past.state.as_ref(), &mut memory, seen);
    let facts = Facts { spec, seen, workload, wish };
    let first = past.state.is_none();
    let prev = past.state.clone().unwrap_or_else(|| State::Idle { stable: serving(spec, workload) });
    let from = facts.wish.resumed.map_or_else(|| prev.clone(), |pause| orders::shifted(prev.clone(), pause, seen.now));
    let before = seen.unread.first().map(|_| memory.clone());
    let mut next = transition(from, &facts, &mut memory);
    if let Some(before) = before
        && let Some(why) = blind(&prev, &next.state, seen)
    {
        // Orders that were read with it are read again with the next look.
        memory = before;
        next = Next::stay(prev.clone(), format!("{why}; nothing goes on until it can be read"));
        next.due = Some(seen.now.plus(Duration::from_secs(1)));
    }
    next.extra.extend(facts.wish.told.iter().cloned());
    if first && !seen.is_home() {
        next.extra.push((Reason::StatusLost, "status was lost; what is left of a release is taken away first".into()));
    }
    if let Some(by) = orders::paused_by(&memory) {
        next.message = format!("paused by {by}; {}", next.message);
        next.gated = true;
    }
    finish(spec, Some(&prev).filter(|_| !first), next, memory, seen)
}

/// What cannot be seen permits the way down and nothing else. The sentence, if `next` has to wait for it.
fn blind<'a>(prev: &State, next: &State, seen: &'a Seen) -> Option<&'a str> {
    let down = match (prev, next) {
        (_, State::Draining { .. }) | (State::Stepping { .. } | State::Observing { .. }, State::Preparing { .. }) => {
            true
        }
        (State::Draining { .. } | State::Reverting { .. }, _) => seen.unread.traffic.is_empty(),
        _ => prev == next,
    };
    if down { None } else { seen.unread.first() }
}

fn transition(prev: State, facts: &Facts<'_>, memory: &mut Memory) -> Next {
    match prev {
        State::Idle { stable } => rest(stable, facts, memory),
        State::Waiting { stable, candidate, since, .. } => gates::waiting(stable, &candidate, since, facts, memory),
        State::Preparing { stable, candidate, since, resume } => {
            walk::preparing(stable, candidate, since, resume, facts, memory)
        }
        State::Stepping { stable, candidate, step, since, settled } => {
            walk::stepping(&leg::Leg { stable, candidate, since, settled }, step, facts, memory)
        }
        State::Observing { stable, candidate, since, settled } => {
            walk::observing(&leg::Leg { stable, candidate, since, settled }, facts, memory)
        }
        State::Promoting { stable, candidate, since, part } => {
            promoting::promoting(stable, candidate, since, part, facts, memory)
        }
        State::Draining { stable, candidate, since, cause, report } => {
            rollback::draining(rollback::Back { stable, candidate, since, cause, report }, facts, memory)
        }
        State::Reverting { stable, candidate, since, cause, report } => {
            rollback::reverting(rollback::Back { stable, candidate, since, cause, report }, facts, memory)
        }
        State::RolledBack { stable, candidate, cause, report } => {
            rollback::rolled_back(stable, candidate, cause, report, facts, memory)
        }
        State::RollbackFailed { stable, candidate, cause, report, problem } => {
            let back = rollback::Back { stable, candidate, since: report.decided_at, cause, report };
            rollback::failed(back, problem, facts, memory)
        }
    }
}

/// Idle: learn what the user changed, obey an undo, accept a candidate.
fn rest(stable: Version, facts: &Facts<'_>, memory: &mut Memory) -> Next {
    let Facts { seen, workload, .. } = facts;
    if !seen.is_home() {
        let mut next = Next::stay(State::Idle { stable }, "taking away what is left of an earlier release");
        next.due = Some(seen.now.plus(Duration::from_secs(1)));
        return next;
    }
    if workload.left(&stable.revision) {
        let now = present(facts.spec, workload);
        let message = format!(
            "Deployment {} was changed outside a release: it runs {} now, not {}",
            workload.name,
            now.label(),
            stable.label()
        );
        let mut next = Next::stay(State::Idle { stable: now }, message.clone());
        next.extra.push((Reason::ChangedOutsideRelease, message));
        next.due = Some(seen.now);
        return next;
    }
    if let Some(by) = &facts.wish.rollback {
        match undo(&stable, facts, memory) {
            Ok(candidate) => {
                let cause = format!("{by} ordered the way back to {}", candidate.version.label());
                reject(memory, &stable, CauseKind::Ordered, &cause, seen.now);
                let state = State::Preparing { stable, candidate, since: seen.now, resume: None };
                return Next::stay(state, cause);
            }
            Err(why) => {
                let mut next = Next::stay(State::Idle { stable }, why.clone());
                next.extra.push((Reason::OrderRefused, why));
                return next;
            }
        }
    }
    gates::accept(stable, facts, memory)
}

/// The candidate of an undo: what served before the present version.
fn undo(stable: &Version, facts: &Facts<'_>, memory: &Memory) -> Result<Candidate, String> {
    let before =
        memory.history.iter().rev().find(|h| h.version.revision == stable.revision && h.outcome == Ended::Succeeded);
    let Some((before, asked)) = before.zip(facts.workload.previous.as_ref()) else {
        return Err(format!("nothing to roll back to: history holds no version before {}", stable.label()));
    };
    if let Some(rejected) = memory.rejected.iter().find(|r| r.revision == asked.revision) {
        return Err(format!("{} was rejected: {}", before.replaced.label(), rejected.message));
    }
    if let Some(why) = gates::preflight(facts).first() {
        return Err(format!("the way back to {} is blocked: {}", before.replaced.label(), why.message));
    }
    let version =
        Version { revision: asked.revision.clone(), images: asked.images.clone(), name: before.replaced.name.clone() };
    Ok(Candidate { undo: true, ..gates::candidate(version, facts) })
}

/// The revision is never tried again by itself. At most ten are remembered.
pub(crate) fn reject(memory: &mut Memory, version: &Version, cause: CauseKind, message: &str, at: At) {
    memory.rejected.retain(|r| r.revision != version.revision);
    memory.rejected.push(crate::api::status::Rejected {
        revision: version.revision.clone(),
        cause,
        message: message.to_owned(),
        at,
    });
    let over = memory.rejected.len().saturating_sub(10);
    memory.rejected.drain(..over);
}

/// No Deployment: our things go, traffic first, and nothing else is done.
fn without_target(spec: &ReleaseSpec, past: &Past, memory: Memory, seen: &Seen) -> Decision {
    let message = format!("Deployment {} does not exist; create it, or delete this Release", spec.target_ref.name);
    let goal = leaving::gone(&memory, seen);
    if seen.release.deleting() {
        return leaving::ending(past, memory, goal, &message);
    }
    let refused = refused(spec, past, memory, seen, Reason::TargetMissing, message);
    if seen.release.uninstalled() {
        return Decision { goal, wake: leaving::again(seen), ..refused };
    }
    refused
}

/// The Release cannot be worked on; what is ours goes home.
fn refused(spec: &ReleaseSpec, past: &Past, memory: Memory, seen: &Seen, reason: Reason, message: String) -> Decision {
    let state = past.state.as_ref().map(|s| match s {
        State::Preparing { stable, candidate, .. }
        | State::Stepping { stable, candidate, .. }
        | State::Observing { stable, candidate, .. }
        | State::Promoting { stable, candidate, part: Part::TakeOver, .. } => State::RolledBack {
            stable: stable.clone(),
            candidate: candidate.version.clone(),
            cause: crate::api::state::Cause { kind: CauseKind::Inconclusive, message: message.clone() },
            report: Report::new(seen.now),
        },
        other => other.clone(),
    });
    let told = past.state.is_none() || past.state == state;
    let mut memory = memory;
    if !told || memory.stuck.is_none() {
        announce::add(&mut memory, spec, seen, reason, &message, None);
    }
    memory.stuck = memory.stuck.or(Some(seen.now));
    // The loser of a conflict writes nothing: what he sees belongs to the other Release.
    let goal = if reason == Reason::Conflict { Goal::Abandoned } else { Goal::AtRest };
    let display = Display {
        message: message.clone(),
        refused: Some((reason, message.clone())),
        stalled: Some((reason, message)),
        ..Display::default()
    };
    Decision { state, memory, verdict: None, goal, display, wake: Some(Duration::from_secs(30)) }
}

/// Notices, display and wake of a decided transition.
fn finish(spec: &ReleaseSpec, prev: Option<&State>, next: Next, mut memory: Memory, seen: &Seen) -> Decision {
    let now = seen.now;
    announce::transition(&mut memory, spec, seen, prev, &next);
    let changed = prev.is_none_or(|p| *p != next.state);
    let weight = next.state.candidate().map_or(0, |c| if next.state.active() { seen.weight(&c.traffic) } else { 0 });
    let mut goal = Goal::of(&next.state);
    if let Goal::Canary { smoke, .. } = &mut goal {
        *smoke = smoke.filter(|point| spec.checks.smoke.as_ref().is_some_and(|s| s.after.contains(point)));
    }
    let metrics = spec.checks.provider.as_ref().map(|_| match &seen.metrics {
        crate::observe::seen::Feed::NoData { why } if next.state.active() => Err(why.clone()),
        _ => Ok(()),
    });
    let holds = seen.target.found().is_none_or(|w| w.holds(&next.state.stable().revision));
    let resting = !next.state.active() && seen.is_home() && holds;
    let ends = memory.paused.as_ref().and_then(|p| p.until);
    let due = next.due.into_iter().chain(ends).min();
    let wake = if changed {
        Some(Duration::ZERO)
    } else if resting {
        due.map(|d| d.since(now))
    } else {
        Some(due.map_or(POLL, |d| d.since(now).min(POLL)))
    };
    let display = Display {
        weight,
        message: next.message,
        refused: next.refused,
        stalled: next.stalled,
        drifted: drift(&next.state, seen),
        metrics,
        gated: next.gated,
    };
    Decision { state: Some(next.state), memory, verdict: next.verdict, goal, display, wake }
}

/// How often an active Release is looked at when nothing happens. What happens wakes it; this is for what no watch told.
const POLL: Duration = Duration::from_secs(8);

/// What somebody else changed that we may not simply put back.
fn drift(state: &State, seen: &Seen) -> Option<String> {
    let workload = seen.target.found()?;
    if !state.active() && workload.halted() && workload.revision != state.stable().revision {
        return Some(format!(
            "Deployment {name} stays paused: its template was changed during the release and is not the stable one; to roll \
             that change out run: kubectl rollout resume deployment/{name}",
            name = workload.name
        ));
    }
    let uneven: Vec<_> = seen.routes.iter().filter(|r| r.split.is_some_and(|s| s.uneven)).collect();
    uneven.first().map(|r| format!("{} was changed by someone else during the release", r.route))
}

/// A closed gate.
pub(crate) fn gate(name: &str, message: impl Into<String>) -> Gate {
    Gate { name: name.to_owned(), message: message.into() }
}
