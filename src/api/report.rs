//! How a rollback went: its times, its proof, and the steps of its plan.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::At;

/// The times of a rollback.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When the decision was taken.
    pub decided_at: At,
    /// A Service sent to the candidate's pods itself then: connections that are kept stay with them until they end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct: bool,
    /// When the route (or pin) without the candidate had been written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_at: Option<At>,
    /// When the gateway had accepted it and the endpoints had followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<At>,
    /// When the canary Services were turned to the stable pods, because the gateway had not followed in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turned_at: Option<At>,
    /// When request counters had shown that nothing reaches the candidate any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_at: Option<At>,
    pub proof: Proof,
    /// When the stable version had been seen serving inside its limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_at: Option<At>,
    /// Requests the candidate answered with an error, where they could be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_failed: Option<u64>,
    /// How the steps of the rollback plan stand, in their order. Empty until they begin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
}

/// How one step of the rollback plan stands.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    pub name: String,
    pub outcome: StepOutcome,
    /// The number of its last attempt, over all rollbacks again; 0: it has not been tried.
    #[serde(default)]
    pub attempt: u32,
    /// Attempts before this rollback began again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub earlier: u32,
    /// When its present outcome began.
    pub at: At,
    /// The Job of the last attempt has been seen: it is never created again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub job_seen: bool,
    /// Why it failed, was skipped, or waits; what it did, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Who said yes to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_by: Option<String>,
}

#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StepOutcome {
    Pending,
    /// A person must say yes first.
    Unconfirmed,
    Running,
    Succeeded,
    Failed,
    /// One before it failed.
    Skipped,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// One attempt of a rollback step: what the name of its Job is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub step: String,
    pub number: u32,
    /// When the rollback was decided: it tells the rollbacks of a Release apart.
    pub decided_at: At,
    /// Its Job has been seen.
    pub known: bool,
}

impl Report {
    /// The attempt that is running.
    pub fn attempt(&self) -> Option<Attempt> {
        let step = self.steps.iter().find(|s| s.outcome == StepOutcome::Running)?;
        let (number, known) = (step.attempt, step.job_seen);
        Some(Attempt { step: step.name.clone(), number, decided_at: self.decided_at, known })
    }

    pub const fn new(decided_at: At) -> Self {
        Self {
            decided_at,
            direct: false,
            written_at: None,
            confirmed_at: None,
            turned_at: None,
            proven_at: None,
            proof: Proof::Pending,
            recovered_at: None,
            requests_failed: None,
            steps: Vec::new(),
        }
    }
}

/// How it is known that no request reaches the candidate.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    Pending,
    /// The candidate's request counters stood still.
    Counters,
    /// The candidate has no pods left.
    NoPods,
    /// No counters could be read for 60 s; the gateway's word is all there is.
    Unavailable,
}
