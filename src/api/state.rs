//! The State of a Release: the only thing that is remembered about where it stands.
//!
//! What the world should look like is a total function of it (`decide::goal`). `phase`, `weight` and the conditions in
//! status are written from it and never read back.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::report::{Attempt, Proof, Report, StepOutcome, StepReport};
use super::{
    checks::SmokePoint,
    plan::{Plan, Step},
    release::{Header, RouteRef},
    rollback::RollbackPlan,
    units::At,
};

/// Identity of a pod template: a hash of the template as the API server stores it.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub String);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A version that serves or served: enough to name it and to bring it back.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    pub revision: Revision,
    /// What people call it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The image of each container.
    pub images: BTreeMap<String, String>,
}

impl Version {
    /// What people call it, or else its revision.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.revision.0)
    }
}

/// A version on its way, with everything that was pinned when it was accepted.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    #[serde(flatten)]
    pub version: Version,
    /// Distinguishes this attempt's ReplicaSet from those of earlier ones: `<revision>` or `<revision>-<n>`.
    pub id: String,
    /// The generation of the Release that asked for it.
    pub generation: i64,
    /// The UID of the Deployment; another Deployment of the same name is another target.
    pub target_uid: String,
    pub plan: Plan,
    pub traffic: PinnedTraffic,
    #[serde(default, skip_serializing_if = "RollbackPlan::is_empty")]
    pub rollback: RollbackPlan,
    /// An undo skips gates and steps: it is the way back to what served before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undo: bool,
    /// The pod that alone was bad and is replaced. There is no second one: then it is the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
}

impl Candidate {
    /// The step at `index`, or the last one: a plan always ends at 100 %.
    pub fn step(&self, index: u32) -> Step {
        let steps = &self.plan.steps;
        let full = Step { pods: None, weight: Some(100), ..Step::default() };
        steps.get(index as usize).or_else(|| steps.last()).cloned().unwrap_or(full)
    }

    pub fn is_last(&self, index: u32) -> bool {
        index as usize + 1 >= self.plan.steps.len()
    }
}

/// The Services and routes as they were when the candidate was accepted.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PinnedTraffic {
    pub services: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<Header>,
    /// The user's own weight of each backendRef that we split, by `<route>/<rule>/<backend>`; absent where he wrote none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, i32>,
}

impl PinnedTraffic {
    /// Whether a route divides the traffic; else the number of pods does.
    pub fn routed(&self) -> bool {
        !self.routes.is_empty()
    }
}

/// Why a candidate's traffic was taken away.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    pub kind: CauseKind,
    /// The sentence with the numbers, the same everywhere.
    pub message: String,
}

#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CauseKind {
    /// A check convicted it.
    Bad,
    /// Its pods did not become ready: a failed deploy.
    NotReady,
    /// A person ordered it.
    Ordered,
    /// A newer candidate, or the user's own edit, took its place.
    Superseded,
    /// Nothing could be known for too long; it is not convicted.
    Inconclusive,
}

impl CauseKind {
    /// Whether the revision is never tried again by itself.
    pub const fn rejects(self) -> bool {
        matches!(self, Self::Bad | Self::NotReady | Self::Ordered)
    }
}

/// Something that must be in order before a release starts.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Short and stable, for example `Paused`, `Preflight`, `Rolling`.
    pub name: String,
    /// What is wrong and what opens it.
    pub message: String,
}

impl Gate {
    /// The rollback plan is being tried.
    pub const TRIAL: &'static str = "Trial";
    /// The trial of the rollback plan failed.
    pub const PLAN: &'static str = "RollbackPlan";

    /// The trial of the rollback plan opens it.
    fn is_trial(&self) -> bool {
        self.name == Self::TRIAL || self.name == Self::PLAN
    }
}

/// Where the hand-over to the user's Deployment stands.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The Deployment takes the candidate's pods; all of it can still be taken back.
    TakeOver,
    /// The old pods are going; the route and the Services are given back.
    GiveBack,
}

/// Where a Release stands. One variant, its data, and nothing else.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// The user's objects as he wrote them.
    Idle { stable: Version },
    /// A candidate is known and gates are closed; nothing is touched.
    Waiting { stable: Version, candidate: Candidate, since: At, closed: Vec<Gate> },
    /// Pods of the candidate start; they get no traffic.
    Preparing {
        stable: Version,
        candidate: Candidate,
        since: At,
        /// The step to go on with after the candidate lost its pods.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume: Option<u32>,
    },
    /// The candidate serves its share of the traffic.
    Stepping {
        stable: Version,
        candidate: Candidate,
        step: u32,
        since: At,
        /// When the step's pods were ready and its weight confirmed; its time counts from here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settled: Option<At>,
    },
    /// All traffic on the candidate, the old pods still warm.
    Observing {
        stable: Version,
        candidate: Candidate,
        since: At,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settled: Option<At>,
    },
    /// The user's Deployment takes over the proven pods.
    Promoting { stable: Version, candidate: Candidate, since: At, part: Part },
    /// Traffic goes back; the candidate's pods stay until that is certain.
    Draining { stable: Version, candidate: Candidate, since: At, cause: Cause, report: Report },
    /// The candidate is gone; the recovery of the stable version is verified.
    Reverting { stable: Version, candidate: Candidate, since: At, cause: Cause, report: Report },
    /// The stable version serves; the candidate is given up.
    RolledBack { stable: Version, candidate: Version, cause: Cause, report: Report },
    /// The traffic is back, but the stable version was not seen to recover.
    RollbackFailed { stable: Version, candidate: Candidate, cause: Cause, report: Report, problem: String },
}

impl State {
    pub const fn stable(&self) -> &Version {
        match self {
            Self::Idle { stable }
            | Self::Waiting { stable, .. }
            | Self::Preparing { stable, .. }
            | Self::Stepping { stable, .. }
            | Self::Observing { stable, .. }
            | Self::Promoting { stable, .. }
            | Self::Draining { stable, .. }
            | Self::Reverting { stable, .. }
            | Self::RolledBack { stable, .. }
            | Self::RollbackFailed { stable, .. } => stable,
        }
    }

    /// The candidate with its pins, while there is one.
    pub const fn candidate(&self) -> Option<&Candidate> {
        match self {
            Self::Waiting { candidate, .. }
            | Self::Preparing { candidate, .. }
            | Self::Stepping { candidate, .. }
            | Self::Observing { candidate, .. }
            | Self::Promoting { candidate, .. }
            | Self::Draining { candidate, .. }
            | Self::Reverting { candidate, .. }
            | Self::RollbackFailed { candidate, .. } => Some(candidate),
            Self::Idle { .. } | Self::RolledBack { .. } => None,
        }
    }

    /// Whether something of ours may be in the cluster: pods, pins, a split route, a paused Deployment.
    pub const fn active(&self) -> bool {
        match self {
            Self::Preparing { .. }
            | Self::Stepping { .. }
            | Self::Observing { .. }
            | Self::Promoting { .. }
            | Self::Draining { .. }
            | Self::Reverting { .. } => true,
            Self::Idle { .. } | Self::Waiting { .. } | Self::RolledBack { .. } | Self::RollbackFailed { .. } => false,
        }
    }

    /// The State's name, as people see it in `phase`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Idle { .. } => "Idle",
            Self::Waiting { .. } => "Waiting",
            Self::Preparing { .. } => "Preparing",
            Self::Stepping { .. } => "Stepping",
            Self::Observing { .. } => "Observing",
            Self::Promoting { .. } => "Promoting",
            Self::Draining { .. } => "Draining",
            Self::Reverting { .. } => "Reverting",
            Self::RolledBack { .. } => "RolledBack",
            Self::RollbackFailed { .. } => "RollbackFailed",
        }
    }

    /// The candidate whose rollback plan is to be tried before it begins: when nothing else holds it up.
    pub fn on_trial(&self) -> Option<&Candidate> {
        let Self::Waiting { candidate, closed, .. } = self else { return None };
        (candidate.rollback.needs_trial() && closed.iter().all(Gate::is_trial)).then_some(candidate)
    }

    /// The attempt of a rollback step that is running, if any.
    pub fn attempt(&self) -> Option<Attempt> {
        let Self::Reverting { report, .. } = self else { return None };
        report.attempt()
    }

    /// The smoke test that belongs to this State, if any.
    pub const fn smoke_point(&self) -> Option<SmokePoint> {
        match self {
            Self::Stepping { step: 0, .. } => Some(SmokePoint::FirstStep),
            Self::Observing { .. } => Some(SmokePoint::Full),
            _ => None,
        }
    }
}
