//! `Seen`: the world as one pass sees it. Plain data: `decide` and `act::steps` read it, nothing here calls anything.

mod feed;
mod workload;

use std::{collections::BTreeMap, time::Duration};

pub use feed::{Blind, Feed, PodSamples, Point, Probe, Samples, Scrape, Scrapes};
pub use workload::{Asked, Autoscaler, Hold, OwnedSet, Workload};

pub use crate::api::routes::Split;
use crate::api::{
    action::{ActionType, PromoteTo},
    checks::SmokePoint,
    release::RouteRef,
    state::{PinnedTraffic, Revision},
    units::At,
};

/// One snapshot with one `now`.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub now: At,
    pub release: ReleaseSeen,
    pub target: Target,
    /// The candidate's ReplicaSet of the present attempt, or one left over from a lost status.
    pub candidate: Option<CandidateSet>,
    /// Pods of both sides.
    pub pods: Vec<Pod>,
    /// The Services that count, in the order of their names.
    pub services: Vec<ServiceSeen>,
    /// The routes that count, in the order of `spec.traffic.routes`.
    pub routes: Vec<RouteSeen>,
    /// The candidate's share that all routes give it and that is confirmed, and since when this process has seen that at every
    /// look. `None`: they give it different ones, or nobody has confirmed it.
    pub stands: Option<(u32, At)>,
    pub metrics: Feed,
    /// Results of the HTTP health check and of `up`, by pod.
    pub probes: Vec<Probe>,
    /// The smoke Job of the present candidate, by its moment.
    pub smoke: BTreeMap<SmokePoint, SmokeSeen>,
    /// The Job that tries the rollback plan of a candidate that waits.
    pub trial: StepJob,
    /// The Job of the rollback step that is running.
    pub step_job: StepJob,
    /// All orders to this Release, oldest first.
    pub orders: Vec<Order>,
    /// When this process wrote the weight 0 or the pin of a running rollback; `None` after a restart.
    pub route_written_at: Option<At>,
    /// `(seq, channel)` pairs that a sender has delivered or given up since the last status write.
    pub delivered: Vec<(u64, String)>,
    pub unread: Unread,
}

/// What could not be read, one sentence each. It is not confirmed, nothing rises on it, and no way down waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Routes, Services and EndpointSlices: where the traffic goes.
    pub traffic: Vec<String>,
    /// What only the way up needs: autoscalers, orders, smoke tests.
    pub around: Vec<String>,
}

impl Unread {
    /// The first sentence, if there is any.
    pub fn first(&self) -> Option<&str> {
        self.traffic.first().or(self.around.first()).map(String::as_str)
    }
}

/// The Release's own metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseSeen {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub generation: i64,
    pub created_at: Option<At>,
    /// Why everything of ours goes; `None`: it stays.
    pub leaving: Option<Leaving>,
    pub finalizer: bool,
    /// The name of an older Release for the same Deployment, or for a route rule this one wants.
    pub conflict: Option<String>,
    /// Why a named object of the operator's namespace cannot be used: one sentence per problem.
    pub problems: Vec<String>,
    /// Why the stable version cannot be measured as the candidate will be. Asked while it waits.
    pub blind: Option<Blind>,
}

/// Why everything of ours goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// The Release is deleted: since when, and how it goes.
    Deleted { at: At, how: Parting },
    /// The operator is being uninstalled, and the Release stays: since when that is known.
    Uninstalled { since: At },
}

/// How a deleted Release goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// Everything is put back first.
    InOrder,
    /// Its namespace goes too: nothing but the finalizer is written.
    WithItsNamespace,
    /// Its user has given up waiting (`haldane.dev/abandon`): nothing but the finalizer is written.
    Abandoned,
}

/// The Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Missing,
    Found(Box<Workload>),
}

impl Target {
    pub fn found(&self) -> Option<&Workload> {
        match self {
            Self::Found(workload) => Some(workload),
            Self::Missing => None,
        }
    }
}

/// The candidate's own ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateSet {
    pub name: String,
    pub uid: String,
    /// The attempt it belongs to.
    pub id: String,
    /// The value of `pod-template-hash`.
    pub hash: String,
    pub revision: Revision,
    pub size: u32,
    pub ready: u32,
    pub available: u32,
    pub deleting: bool,
    /// `status.observedGeneration` has caught up.
    pub observed: bool,
    /// It carries the user's labels, so that his Deployment adopts it.
    pub offered: bool,
    pub owner: Owner,
    /// It is marked as carrying traffic, which protects it from deletion by others.
    pub carries_traffic: bool,
    /// Labels or annotations of ours are on it.
    pub marked: bool,
}

/// Who controls the candidate's ReplicaSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Nobody,
    /// The user's Deployment has adopted it.
    Deployment,
    Stranger,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Stable,
    Candidate,
}

/// One pod of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub side: Side,
    pub ready: bool,
    pub terminating: bool,
    pub created_at: At,
    /// When its node took it on. Until then it waits for a place, which says nothing of the version.
    pub started_at: Option<At>,
    /// Since when `Ready` has had its present value.
    pub ready_changed_at: Option<At>,
    pub restarts: u32,
    pub trouble: Option<PodTrouble>,
}

/// Why a pod cannot do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodTrouble {
    /// `CrashLoopBackOff`, or containers that ended and restarted: the container, its exit code and reason.
    Crash(String),
    /// `ImagePullBackOff`, `ErrImagePull`, `InvalidImageName`: the container and the runtime's words.
    Image(String),
    /// Wrong Secret, ConfigMap or command: `CreateContainerConfigError` and the like.
    Config(String),
    /// The scheduler's words.
    Unschedulable(String),
    /// Evicted, preempted or lost with its node: not the version's fault.
    Evicted(String),
}

/// A Service whose pods are split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSeen {
    pub name: String,
    /// The value of our `pod-template-hash` in its selector.
    pub pin: Option<String>,
    /// Endpoints that serve and do not terminate.
    pub stable_endpoints: u32,
    pub candidate_endpoints: u32,
    /// `<name>-canary` exists, is ours, and leads to the candidate.
    pub canary_service: bool,
    /// It exists, is ours, and leads elsewhere: to the stable pods, or to nobody any more.
    pub canary_left: bool,
    /// What DestinationRules say of the Service, copies of ours say of `<name>-canary`. True where nothing is to be said.
    pub rules_copied: bool,
    /// Endpoints of `<name>-canary` that serve and do not terminate.
    pub canary_endpoints: u32,
    /// Why it cannot be used (missing, ExternalName, without selector, canary name taken).
    pub problem: Option<String>,
}

/// A route and what it sends where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSeen {
    pub route: RouteRef,
    /// Why it cannot be used (missing, CRD absent, does not name the Service, weights that cannot be split).
    pub problem: Option<String>,
    /// How our backendRefs stand. `None`: as the user wrote them.
    pub split: Option<Split>,
    /// The user's own weights by `<route>/<rule>/<backend>`, to pin and to restore.
    pub weights: BTreeMap<String, i32>,
    /// All parents have accepted this very generation with resolved references.
    pub confirmed: bool,
    /// What the gateway says if it has not.
    pub complaint: Option<String>,
    /// When time alone will confirm it.
    pub settles_at: Option<At>,
}

/// The smoke Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmokeSeen {
    Running { since: At },
    Succeeded,
    Failed(String),
}

/// Whether the Job of a rollback step is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StepJob {
    /// It was not asked for, or could not be read.
    #[default]
    Unknown,
    Absent,
    There(JobSeen),
}

/// How the Job of a rollback step stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobSeen {
    Running {
        since: At,
        /// Why a container of it is not started.
        stuck: Option<String>,
    },
    /// What it says of its work, where it says something.
    Succeeded {
        said: Option<String>,
    },
    Failed(String),
}

/// A ReleaseAction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub uid: String,
    pub created_at: At,
    pub release_uid: String,
    pub revision: String,
    pub kind: ActionType,
    pub to: PromoteTo,
    /// Of a Confirm: the step of the rollback plan.
    pub step: Option<String>,
    pub until: Option<At>,
    pub by: String,
    pub reason: Option<String>,
    /// The API server proves `by` (the admission policy is in place).
    pub proven: bool,
}

impl ReleaseSeen {
    /// It is to go as soon as its finalizer does.
    pub const fn deleting(&self) -> bool {
        matches!(self.leaving, Some(Leaving::Deleted { .. }))
    }

    /// The operator goes, and it stays.
    pub const fn uninstalled(&self) -> bool {
        matches!(self.leaving, Some(Leaving::Uninstalled { .. }))
    }
}

impl Seen {
    /// Nothing of ours is left in the cluster but the finalizer, and the pause of a held Deployment.
    pub fn is_home(&self) -> bool {
        self.is_clear() && !self.target.found().is_some_and(Workload::halted)
    }

    /// Nothing of ours is left at all: a held Deployment is let go, too, and nothing is kept of it that the Release would not take
    /// along.
    pub fn is_let_go(&self) -> bool {
        let kept = |w: &Workload| self.release.uninstalled() && w.kept.is_some();
        let held = |w: &Workload| w.paused_by_us() || w.marked_held || kept(w);
        self.is_clear() && !self.target.found().is_some_and(held)
    }

    /// Nothing of ours is left but, perhaps, the pause of the Deployment.
    pub fn is_clear(&self) -> bool {
        let pods = self.candidate.as_ref().is_none_or(|c| c.owner == Owner::Deployment && !c.marked);
        let pins = self.services.iter().all(|s| s.pin.is_none() && !s.canary_service && !s.canary_left);
        let routes = self.routes.iter().all(|r| r.split.is_none());
        let workload = self.target.found().is_none_or(|w| w.handover.is_none());
        pods && pins && routes && workload && self.ghosts() == 0 && self.unread.traffic.is_empty()
    }

    /// Pods of a candidate whose ReplicaSet is gone already.
    pub fn ghosts(&self) -> u32 {
        if self.candidate.is_none() { self.alive(Side::Candidate) } else { 0 }
    }

    /// Every route gives the candidate this share and its gateway has accepted it.
    pub fn arrived(&self, weight: u32) -> bool {
        self.unread.traffic.is_empty()
            && self.routes.iter().all(|r| r.confirmed && r.split.is_some_and(|s| s.weight == weight && !s.uneven))
    }

    /// Fills in `stands`. What stood at the `last` look and stands now has stood all the time: each change of a route brings a
    /// look.
    pub fn stand(&mut self, last: Option<(u32, At)>) {
        let weight = self.routes.first().and_then(|route| route.split).map(|split| split.weight);
        let arrived = weight.filter(|weight| self.arrived(*weight));
        self.stands = arrived.map(|weight| match last {
            Some((before, since)) if before == weight => (weight, since),
            _ => (weight, self.now),
        });
    }

    /// How long until time alone confirms a route: nothing else will tell of it.
    pub fn settles_in(&self) -> Option<Duration> {
        self.routes.iter().filter_map(|r| r.settles_at).min().map(|at| at.since(self.now))
    }

    /// Every route's gateway has accepted what stands there. A route that is gone or unusable holds nothing up.
    pub fn confirmed(&self) -> bool {
        self.unread.traffic.is_empty() && self.routes.iter().all(|r| r.confirmed || r.problem.is_some())
    }

    /// Ready, not terminating pods of a side.
    pub fn ready(&self, side: Side) -> u32 {
        let count = self.pods.iter().filter(|p| p.side == side && p.ready && !p.terminating).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Pods of a side that still run, ready or not.
    pub fn alive(&self, side: Side) -> u32 {
        let count = self.pods.iter().filter(|p| p.side == side && !p.terminating).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The candidate's share as the data plane has it: the highest of the routes, or the share of the pods behind the
    /// Services.
    pub fn weight(&self, traffic: &PinnedTraffic) -> u32 {
        if traffic.routed() {
            return self.routes.iter().filter_map(|r| r.split).map(|s| s.weight).max().unwrap_or(0);
        }
        let hash = self.candidate.as_ref().map(|c| c.hash.as_str());
        let (stable, candidate) = (self.ready(Side::Stable), self.ready(Side::Candidate));
        let share = |n: u32, of: u32| if of == 0 { 0 } else { (100 * n).div_ceil(of) };
        let by_pods = share(candidate, stable + candidate);
        if self.services.is_empty() {
            return by_pods; // a worker: each pod takes its part of the work
        }
        self.services
            .iter()
            .map(|s| match (&s.pin, hash) {
                (Some(pin), Some(hash)) if pin == hash => 100,
                (Some(_), _) => 0,
                (None, _) => share(s.candidate_endpoints, s.stable_endpoints + s.candidate_endpoints),
            })
            .max()
            .unwrap_or(by_pods)
    }
}
