//! The conditions of a Release, as `kubectl wait`, kstatus and GitOps tools read them.
//!
//! kstatus looks at `Reconciling`, then `Stalled`, then `Ready`. So the three are one choice here (`Standing`), and no
//! State can show two of them at once.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::status::{Shown, cut};
use crate::api::{
    state::{CauseKind, State},
    status::Ended,
};

/// Where a Release stands, in the three words that tools know.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// It is as asked for.
    Ready(String),
    /// It is on its way, or waits for something it can wait for.
    Moving(String),
    /// It has ended without what was asked for; a person or a new version is needed.
    Stuck(String),
}

/// All conditions, in a fixed order. A time moves only when its condition's status changes.
pub fn conditions(shown: &Shown, before: &[Condition]) -> Vec<Condition> {
    let standing = standing(shown);
    let stalled = shown.stalled.as_ref().map_or(shown.message, |(_, why)| why.as_str());
    let told = |reason: &str, message: &str| (reason.to_owned(), message.to_owned());
    let (ready, reconciling, halted) = match &standing {
        Standing::Ready(reason) => (
            ("True", told(reason, shown.message)),
            ("False", told("AtRest", "nothing is to be done")),
            ("False", told("AtRest", "nothing is wrong")),
        ),
        Standing::Moving(reason) => (
            ("False", told(reason, shown.message)),
            ("True", told(reason, shown.message)),
            ("False", told("Progressing", "it goes on")),
        ),
        Standing::Stuck(reason) => (
            ("False", told(reason, stalled)),
            ("False", told("Halted", "nothing goes on by itself")),
            ("True", told(reason, stalled)),
        ),
    };
    let accepted = match &shown.accepted {
        Ok(()) => ("True", told("Accepted", "the Release can be carried out")),
        Err((reason, why)) => ("False", told(&reason.to_string(), why)),
    };
    let drifted = match &shown.drifted {
        None => ("False", told("AsIntended", "nobody else has changed what this Release manages")),
        Some(what) => ("True", told("Drifted", what)),
    };
    let metrics = match &shown.metrics_available {
        None => ("Unknown", told("NotNeeded", "nothing is measured now")),
        Some(Ok(())) => ("True", told("Measured", "requests of both versions are measured")),
        Some(Err(why)) => ("False", told("NoData", why)),
    };
    [
        ("Accepted", accepted),
        ("Ready", ready),
        ("Reconciling", reconciling),
        ("Stalled", halted),
        ("Drifted", drifted),
        ("MetricsAvailable", metrics),
    ]
    .into_iter()
    .map(|(kind, (status, (reason, message)))| {
        let same = before.iter().find(|c| c.type_ == kind && c.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason,
            message: cut(&message),
            observed_generation: Some(shown.generation),
            // metav1.Time has whole seconds; a finer one would not read back equal.
            last_transition_time: same
                .map_or_else(|| Time(whole(shown.now.timestamp())), |c| c.last_transition_time.clone()),
        }
    })
    .collect()
}

fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn standing(shown: &Shown) -> Standing {
    if let Some((reason, _)) = &shown.stalled {
        return Standing::Stuck(reason.to_string());
    }
    // What is under way is brought to its end even if the spec has become unusable meanwhile.
    if let Err((reason, _)) = &shown.accepted
        && !shown.state.is_some_and(State::active)
    {
        return Standing::Stuck(reason.to_string());
    }
    let Some(state) = shown.state else { return Standing::Moving("Deciding".into()) };
    let gated = |else_reason: &str| {
        let reason = if shown.memory.paused.is_some() || shown.spec_paused {
            "Paused"
        } else if shown.gated {
            "AwaitingGate"
        } else {
            else_reason
        };
        Standing::Moving(reason.to_owned())
    };
    match state {
        State::Idle { .. } if shown.pending => Standing::Moving("Deciding".into()),
        State::Idle { .. } => {
            let succeeded = shown.memory.result.as_ref().is_some_and(|r| r.outcome == Ended::Succeeded);
            Standing::Ready(if succeeded { "Succeeded" } else { "AtRest" }.into())
        }
        State::Waiting { .. } => gated("AwaitingGate"),
        State::Preparing { .. } | State::Stepping { .. } | State::Observing { .. } => gated(state.name()),
        State::Promoting { .. } => Standing::Moving("Promoting".into()),
        State::Draining { .. } | State::Reverting { .. } => Standing::Moving("RollingBack".into()),
        State::RolledBack { cause, .. } if cause.kind == CauseKind::Superseded && shown.pending => {
            Standing::Moving("Superseded".into())
        }
        State::RolledBack { .. } => Standing::Stuck("RolledBack".into()),
        State::RollbackFailed { .. } => Standing::Stuck("RollbackFailed".into()),
    }
}
