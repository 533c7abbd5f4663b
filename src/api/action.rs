//! `ReleaseAction`: one order of one person to one Release. Created once, never changed.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::At;

/// An order. It is obeyed once; deleting it undoes nothing.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "haldane.dev",
    version = "v1alpha1",
    kind = "ReleaseAction",
    plural = "releaseactions",
    shortname = "relact",
    namespaced,
    derive = "PartialEq",
    printcolumn = r#"{"name":"RELEASE","type":"string","jsonPath":".spec.release"}"#,
    printcolumn = r#"{"name":"TYPE","type":"string","jsonPath":".spec.type"}"#,
    printcolumn = r#"{"name":"BY","type":"string","jsonPath":".spec.by"}"#,
    printcolumn = r#"{"name":"REVISION","type":"string","jsonPath":".spec.revision"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a ReleaseAction cannot be changed; create another one"))]
#[x_kube(validation = Rule::new("self.type == 'Promote' || !has(self.to)").message("spec.to is for type Promote only; remove it"))]
#[x_kube(validation = Rule::new("self.type == 'Pause' || !has(self.until)").message("spec.until is for type Pause only; remove it"))]
#[x_kube(validation = Rule::new("(self.type == 'Confirm') == has(self.step)").message("spec.step names the step of the rollback plan that type Confirm says yes to; give it for Confirm only"))]
pub struct ReleaseActionSpec {
    /// The Release's name, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub release: String,
    /// The Release's UID, so that an order never reaches a namesake.
    #[schemars(length(min = 1, max = 64))]
    pub release_uid: String,
    /// The revision the person saw: the candidate's, or the stable one's where there is no candidate.
    #[schemars(length(min = 1, max = 64))]
    pub revision: String,
    /// What is ordered.
    pub r#type: ActionType,
    /// For Promote. Default: NextStep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<PromoteTo>,
    /// For Confirm: the step of the rollback plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    pub step: Option<String>,
    /// For Pause: when it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<At>,
    /// Who orders it; the API server proves that it is the caller.
    #[schemars(length(min = 1, max = 512))]
    pub by: String,
    /// Why, in a person's words. Shown in events and history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
}

/// What can be ordered.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ActionType {
    /// Skips a step's time and evidence; never a bad verdict, never the watch.
    Promote,
    /// Stops time and new releases, never safety.
    Pause,
    Resume,
    /// Gives the traffic back and rejects the revision; at rest after a success it brings back the previous version.
    Rollback,
    /// Takes a rejected revision off the list and tries it again.
    Retry,
    /// Says yes to the step of a rollback that waits for it.
    Confirm,
}

/// How far a Promote goes.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PromoteTo {
    #[default]
    NextStep,
    /// To 100 % at once. The watch after it stays.
    Full,
}
