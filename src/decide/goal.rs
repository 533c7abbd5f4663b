//! State → `Goal`: what the world should look like. Total, and nothing else is asked.

use super::sizes;
use crate::api::{
    checks::SmokePoint,
    plan::Step,
    state::{Attempt, Candidate, Part, State},
};

/// What the world should look like.
#[derive(Clone, Debug, PartialEq)]
pub enum Goal {
    /// The user's objects as he wrote them; nothing of ours.
    AtRest,
    /// The candidate has the pods and the share of this step.
    Canary { candidate: Candidate, step: Step, share: Share, smoke: Option<SmokePoint> },
    /// The user's Deployment takes the candidate's pods; all traffic stays on them.
    TakeOver { candidate: Candidate },
    /// The pods are the Deployment's; route and Services go back to how the user wrote them.
    GiveBack { candidate: Candidate },
    /// No traffic for the candidate. Its pods stay where a route divides the traffic. `turned`: the gateway does not follow,
    /// so what it still sends to the canary Services is to reach the stable pods.
    Withdraw { candidate: Candidate, turned: bool },
    /// As `AtRest`, and the rollback plan is tried.
    Try,
    /// As `AtRest`, and then this attempt of a rollback step has its Job.
    Revert { attempt: Option<Attempt> },
    /// As `AtRest`, and then the finalizer goes, if all there is to tell has been told.
    Gone { told: bool },
    /// The namespace is going, or its user waits no longer: nothing but the finalizer is written.
    Abandoned,
}

/// How much of the traffic the candidate should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// None, not even by header: its pods are only starting.
    None,
    /// The step's share, and the header rule.
    OfStep,
    /// All of it; the Services follow.
    All,
}

impl Goal {
    /// The goal of a State.
    pub fn of(state: &State) -> Self {
        match state {
            State::Waiting { .. } if state.on_trial().is_some() => Self::Try,
            State::Idle { .. } | State::Waiting { .. } | State::RolledBack { .. } | State::RollbackFailed { .. } => {
                Self::AtRest
            }
            State::Reverting { report, .. } => Self::Revert { attempt: report.attempt() },
            State::Preparing { candidate, resume, .. } => Self::Canary {
                step: first_step(candidate, *resume),
                candidate: candidate.clone(),
                share: Share::None,
                smoke: None,
            },
            State::Stepping { candidate, step, settled, .. } => {
                let now = candidate.step(*step);
                let share = if now.weight == Some(100) { Share::All } else { Share::OfStep };
                let smoke = settled.and(state.smoke_point());
                Self::Canary { candidate: candidate.clone(), step: now, share, smoke }
            }
            State::Observing { candidate, settled, .. } => Self::Canary {
                candidate: candidate.clone(),
                step: full(),
                share: Share::All,
                smoke: settled.and(state.smoke_point()),
            },
            State::Promoting { candidate, part: Part::TakeOver, .. } => Self::TakeOver { candidate: candidate.clone() },
            State::Promoting { candidate, part: Part::GiveBack, .. } => Self::GiveBack { candidate: candidate.clone() },
            State::Draining { candidate, report, .. } => {
                Self::Withdraw { candidate: candidate.clone(), turned: report.turned_at.is_some() }
            }
        }
    }
}

impl Share {
    /// The share in percent, at `wanted` pods of the workload.
    pub fn percent(self, step: &Step, wanted: u32) -> u32 {
        match self {
            Self::None => 0,
            Self::OfStep => sizes::share_of(step, wanted),
            Self::All => 100,
        }
    }
}

/// The step that Preparing prepares: an undo goes to all pods at once.
pub fn first_step(candidate: &Candidate, resume: Option<u32>) -> Step {
    if candidate.undo { full() } else { candidate.step(resume.unwrap_or(0)) }
}

/// All the traffic and all the pods.
pub fn full() -> Step {
    Step { pods: None, weight: Some(100), ..Step::default() }
}
