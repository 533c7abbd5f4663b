//! `spec.rollback`: what a rollback does beside giving the traffic back. Pinned when a candidate is accepted.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{A_SECOND_OR_MORE, Span};

/// The rest of a rollback, once no request reaches the bad version any more: its steps run one after the other.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!self.required || (has(self.steps) && self.steps.size() > 0)").message("spec.rollback.required is true, so a release needs a rollback plan: name its steps in spec.rollback.steps, or set required to false"))]
pub struct RollbackPlan {
    /// A release without steps is refused.
    #[serde(default)]
    pub required: bool,
    /// Run in this order, each at most once per rollback.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub steps: Vec<RollbackStep>,
}

impl RollbackPlan {
    /// Nothing is asked for.
    pub fn is_empty(&self) -> bool {
        !self.required && self.steps.is_empty()
    }

    /// It names Secrets or a Redis: whether they are there, only a pod of the same namespace can tell.
    pub fn needs_trial(&self) -> bool {
        self.steps.iter().any(RollbackStep::needs_trial)
    }
}

/// One step: a Job of yours, or keys of a Redis that go.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.job) != has(self.redis)").message("spec.rollback.steps[]: give either job or redis"))]
pub struct RollbackStep {
    /// What it is called in reports, and part of its Job's name.
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Runs a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobStep>,
    /// Deletes keys of a Redis or Valkey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisStep>,
    /// How long one attempt may take; then it has failed.
    #[serde(default = "five_minutes")]
    #[x_kube(validation = Rule::new(A_SECOND_OR_MORE).message("spec.rollback.steps[].timeout must be at least 1s"))]
    pub timeout: Span,
    /// Further attempts after one that failed.
    #[serde(default)]
    #[schemars(range(min = 0, max = 5))]
    pub retries: u32,
    /// Whether the steps after it run when it has failed. The rollback counts as failed either way.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Required: a person must say yes before it runs, by `kubectl haldane confirm`.
    #[serde(default)]
    pub confirm: Confirm,
}

impl RollbackStep {
    pub fn needs_trial(&self) -> bool {
        self.redis.is_some() || self.job.iter().any(|job| job.env.iter().any(|var| var.secret.is_some()))
    }
}

/// What becomes of the steps after one that failed.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    #[default]
    Stop,
    Continue,
}

/// Whether a person is asked.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confirm {
    /// It runs by itself.
    #[default]
    Automatic,
    /// A person must say yes first.
    Required,
}

/// A container that must end with 0. It runs under the restricted pod security standard and without a token.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobStep {
    /// The image that holds the script.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Instead of the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub command: Vec<String>,
    /// Arguments of the command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub args: Vec<String>,
    /// Beside `HALDANE_RELEASE`, `HALDANE_REVISION`, `HALDANE_VERSION` (the bad one) and `HALDANE_STABLE_VERSION`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// What the container needs, and may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// A variable with a plain value, or one from a Secret of the Release's namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.value) != has(self.secret)").message("spec.rollback.steps[].job.env[]: give either value or secret"))]
pub struct EnvVar {
    /// The variable's name.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// The value, in plain sight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub value: Option<String>,
    /// The Secret's key that holds the value. The operator never reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretRef>,
}

/// One key of a Secret in the Release's own namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Requests and limits, as Kubernetes writes quantities.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What is set aside for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Quantities>,
    /// What it may not exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Quantities>,
}

/// Amounts of the two usual resources.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantities {
    /// Cores, for example `100m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), regex(pattern = r"^[0-9]+(\.[0-9]+)?m?$"))]
    pub cpu: Option<String>,
    /// Bytes, for example `128Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), regex(pattern = r"^[0-9]+(\.[0-9]+)?([kKMGT]i?)?$"))]
    pub memory: Option<String>,
}

/// Keys that go. A Job of Haldane's own image finds them by SCAN and deletes them by UNLINK, so that the server is never held up.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedisStep {
    /// A Secret of the Release's namespace with the key `url` (`redis://` or `rediss://`, with user, password and database), and
    /// `ca.crt` if the server's certificate needs it. The operator never reads it.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Which keys go: patterns as in Redis' KEYS, for example `coupon:*`.
    #[schemars(length(min = 1, max = 16), extend("items" = {"type": "string", "minLength": 1, "maxLength": 256}))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new("self.all(k, !k.matches('^[*?]*$'))").message("spec.rollback.steps[].redis.keys: a pattern of nothing but * and ? deletes everything; name the keys, for example coupon:*"))]
    pub keys: Vec<String>,
    /// Counts the keys and deletes none.
    #[serde(default)]
    pub dry_run: bool,
}

const fn five_minutes() -> Span {
    Span::mins(5)
}
