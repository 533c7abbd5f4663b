//! Notices: what is told of a transition, and the outbox that keeps each until it has been delivered.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::At;

/// Why something is told. Stable names: events, metrics, conditions and `spec.notify[].reasons` use them.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    Accepted,
    Waiting,
    Preparing,
    StepStarted,
    Watching,
    Promoting,
    Succeeded,
    RollingBack,
    Reverting,
    Withdrawn,
    Superseded,
    RolledBack,
    RollbackFailed,
    Paused,
    Resumed,
    Retried,
    Stuck,
    ChangedOutsideRelease,
    Drifted,
    Degraded,
    NoData,
    OrderRefused,
    HistoryDropped,
    TargetMissing,
    Invalid,
    Conflict,
    StatusLost,
    Abandoned,
    StepFailed,
    ConfirmationNeeded,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Reason {
    /// How loudly it is told.
    pub const fn severity(self) -> Severity {
        match self {
            Self::RollbackFailed => Severity::Critical,
            Self::RollingBack
            | Self::Reverting
            | Self::RolledBack
            | Self::Stuck
            | Self::ChangedOutsideRelease
            | Self::Drifted
            | Self::Degraded
            | Self::NoData
            | Self::OrderRefused
            | Self::HistoryDropped
            | Self::TargetMissing
            | Self::Invalid
            | Self::Conflict
            | Self::StatusLost
            | Self::Abandoned
            | Self::StepFailed
            | Self::ConfirmationNeeded => Severity::Warning,
            Self::Accepted
            | Self::Waiting
            | Self::Preparing
            | Self::StepStarted
            | Self::Watching
            | Self::Promoting
            | Self::Succeeded
            | Self::Withdrawn
            | Self::Superseded
            | Self::Paused
            | Self::Resumed
            | Self::Retried => Severity::Info,
        }
    }
}

#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// One thing to tell. Its id is stable: told twice, it is recognised.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// `<sequence number>`; together with the Release's UID it is unique for ever.
    pub seq: u64,
    pub reason: Reason,
    pub at: At,
    pub message: String,
    /// The revision it speaks of, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Channels that have not confirmed it yet: `event`, or a Notifier's name.
    pub pending: Vec<String>,
    /// Attempts so far, over all channels.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// The channel name of Kubernetes Events in `Notice::pending`.
pub const EVENT_CHANNEL: &str = "event";
