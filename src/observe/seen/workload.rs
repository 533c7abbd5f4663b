//! The Deployment and its ReplicaSets, as one pass sees them.

use std::{collections::BTreeMap, time::Duration};

use crate::api::{state::Revision, units::At};

/// The Deployment and the ReplicaSets it owns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    pub name: String,
    pub uid: String,
    pub hold: Hold,
    /// It has the label `haldane.dev/held`.
    pub marked_held: bool,
    /// `metadata.generation == status.observedGeneration`.
    pub observed: bool,
    pub paused: bool,
    /// It has the label `haldane.dev/paused-by`: the pause is ours to end, and not the user's.
    pub marked_paused: bool,
    pub deleting: bool,
    /// What our `ControllerRevision` keeps of a held Deployment; not looked for while a release is on its way.
    pub kept: Option<Revision>,
    /// `spec.replicas`.
    pub wanted: u32,
    /// Identity and images of `spec.template` as it stands.
    pub revision: Revision,
    pub images: BTreeMap<String, String>,
    /// Identity of the template with the Release's images put in; equal to `revision` when they are in already.
    pub asked: Asked,
    /// The template with the images of the version before the present one, where history knows it: the way an undo goes.
    pub previous: Option<Asked>,
    /// The value of the label `haldane.dev/handover`: the candidate id of a hand-over that has begun.
    pub handover: Option<String>,
    /// `spec.strategy.type == Recreate` (ours during a hand-over, else the user's).
    pub recreate: bool,
    /// ReplicaSets owned by the Deployment, newest revision first.
    pub sets: Vec<OwnedSet>,
    /// All old pods replaced and all wanted pods available, as `kubectl rollout status` would say.
    pub settled: bool,
    /// Why a release of this workload is refused (hostPort, ReadWriteOnce volume, …): one sentence each.
    pub refusals: Vec<String>,
    /// What a release of this workload should be warned of: one sentence each.
    pub warnings: Vec<String>,
    /// The longest preStop delay of its containers.
    pub pre_stop: Duration,
    /// Why the candidate's ReplicaSet gets no pods, in the API server's words: a quota, or an admission policy.
    pub shortage: Option<String>,
    /// The HorizontalPodAutoscaler that scales it.
    pub autoscaler: Option<Autoscaler>,
}

/// What keeps a Deployment from rolling out by itself what its template says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// Nothing: the Release names images, and at rest the Deployment is its user's alone.
    #[default]
    No,
    /// It is paused between releases too.
    Always,
    /// The API server pauses it in the request that changes its template.
    AtChange,
}

/// What a HorizontalPodAutoscaler says of the pods that it looks at: those of both versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Autoscaler {
    /// The most pods it may want.
    pub max: u32,
    /// What its pods use on average, in thousandths of the target; the highest of its metrics. `None`: it does not look
    /// at what pods use, it may not want more of them, or it knows nothing at the moment.
    pub load: Option<u32>,
}

/// What `spec.images` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub revision: Revision,
    pub images: BTreeMap<String, String>,
    /// Container names in `spec.images` that the template does not have.
    pub unknown: Vec<String>,
}

/// A ReplicaSet that the Deployment owns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedSet {
    pub name: String,
    pub uid: String,
    /// The value of `pod-template-hash`.
    pub hash: String,
    /// Identity of its template without that label.
    pub revision: Revision,
    pub images: BTreeMap<String, String>,
    pub created_at: Option<At>,
    /// `deployment.kubernetes.io/revision`.
    pub number: u64,
    pub size: u32,
    pub ready: u32,
    pub available: u32,
}

impl Workload {
    /// Its template says what is wanted: the Release names no images.
    pub fn held(&self) -> bool {
        self.hold != Hold::No
    }

    /// Paused, and not by its user.
    pub const fn paused_by_us(&self) -> bool {
        self.paused && self.marked_paused
    }

    /// Paused for a release, whose end ends the pause.
    pub fn halted(&self) -> bool {
        self.paused_by_us() && !self.held()
    }

    /// It has rolled out, or is rolling out, another template than the stable one by itself.
    pub fn left(&self, stable: &Revision) -> bool {
        self.revision != *stable && (!self.held() || !self.paused || self.torn())
    }

    /// A change of its template would wait for us, and its stable template is kept. Nothing is to be held where images are named.
    pub fn holds(&self, stable: &Revision) -> bool {
        let paused = match self.hold {
            Hold::No => return true,
            Hold::Always => self.paused_by_us(),
            Hold::AtChange => !self.paused_by_us() || self.revision != *stable,
        };
        paused && self.marked_held && self.kept.as_ref() == Some(stable)
    }

    /// A paused Deployment with pods of the version it asks for: the pause has cut a roll in two.
    fn torn(&self) -> bool {
        self.sets.iter().any(|s| s.size > 0 && s.revision == self.revision)
    }

    /// The ReplicaSet with the most pods.
    pub fn serving(&self) -> Option<&OwnedSet> {
        self.sets.iter().filter(|s| s.size > 0).max_by_key(|s| (s.size, s.number))
    }

    /// The `pod-template-hash` of the pods that run this revision: of the set that has pods, else of the newest.
    pub fn hash_of(&self, revision: &Revision) -> Option<&str> {
        let equal = self.sets.iter().filter(|s| s.revision == *revision);
        equal.max_by_key(|s| (s.size, s.number)).map(|s| s.hash.as_str())
    }
}
