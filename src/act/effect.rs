//! `Effect`: one write to the cluster. Data, so that the order of writes can be tested without a cluster.

use crate::api::{checks::SmokePoint, release::RouteRef, report::Attempt};

/// One write. Each is idempotent and guarded (`test` on what was seen, or a resourceVersion).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    AddFinalizer,
    DropFinalizer,
    /// `spec.paused = true` on the Deployment.
    Pause,
    /// `spec.paused = false`; never while a Service is pinned. `any_template`: even one that nobody has released,
    /// because the Release is leaving.
    Unpause {
        any_template: bool,
    },
    /// From now on a change of the Deployment's template waits for us: the mark of it, and where nobody else sees to that the
    /// pause, a pause of its user taken over.
    Hold,
    /// Un-paused, all our marks off, and if the template is not the stable one that in the same write; `rolling`: its user
    /// rolls it out, and it stays.
    LetGo {
        rolling: bool,
    },
    /// The stable template into a `ControllerRevision` of ours, for the day on which its ReplicaSet is gone.
    KeepTemplate,
    /// What was kept goes: the operator is uninstalled, and the Release that would take it along stays.
    ForgetTemplate,
    /// The stable template into a held Deployment that asks for another one.
    RestoreStable {
        unpause: bool,
    },
    /// Sets our `pod-template-hash` in the Service's selector.
    Pin {
        service: String,
        hash: String,
    },
    Unpin {
        service: String,
    },
    /// `<service>-canary`, selecting the candidate by its hash.
    CreateCanaryService {
        service: String,
    },
    /// `<service>-canary` to the pods of this hash, the stable ones: what a gateway that does not follow its route still sends
    /// there, they answer.
    TurnCanaryService {
        service: String,
        hash: String,
    },
    DeleteCanaryService {
        service: String,
    },
    /// The ownerless ReplicaSet, template = the Deployment's with the candidate's images, without pods: of a request that
    /// arrives when its release is long over, only an empty ReplicaSet is left.
    CreateCandidate,
    ScaleCandidate {
        size: u32,
    },
    /// The mark that keeps others from deleting it.
    MarkCandidate {
        carries_traffic: bool,
    },
    DeleteCandidate,
    /// One bad pod of the candidate goes, and its ReplicaSet starts another.
    ReplacePod {
        pod: String,
    },
    /// Both of our backendRefs and the header rule of one route, in one patch.
    Route {
        route: RouteRef,
        weight: u32,
        header: bool,
    },
    /// The route as the user wrote it.
    RestoreRoute {
        route: RouteRef,
    },
    /// A zero-sized ReplicaSet of the Deployment with the candidate's template: it would be adopted in its place.
    DeleteEqualSet {
        name: String,
    },
    /// One JSON patch: the hand-over label, `Recreate`, and the candidate's template.
    TakeTemplate,
    /// The user's labels on the candidate's ReplicaSet, so that the Deployment adopts it.
    Offer {
        wanted: u32,
    },
    /// Those labels off again: the Deployment releases it with all its pods.
    Withdraw,
    /// The stable template and the user's strategy back, the hand-over label off; stays paused.
    RestoreTemplate,
    /// The user's strategy back, un-paused, the hand-over label off: one write.
    FinishHandOver,
    StartSmoke {
        point: SmokePoint,
    },
    DeleteSmoke {
        point: SmokePoint,
    },
    /// The Job that tries the rollback plan before a release begins.
    StartTrial,
    /// The Job of one attempt of a rollback step.
    StartStep {
        attempt: Attempt,
    },
}
