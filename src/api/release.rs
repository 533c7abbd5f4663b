//! `Release`: one workload and the version it should run. What people write.

use std::{collections::BTreeMap, fmt};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{checks::Checks, plan::Plan, rollback::RollbackPlan, status::ReleaseStatus};

/// The name of the finalizer that a Release carries while something of ours may be in the cluster.
pub const FINALIZER: &str = "haldane.dev/release";

/// Takes a new version of one Deployment through canary steps, and back if it is bad.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "haldane.dev",
    version = "v1alpha1",
    kind = "Release",
    plural = "releases",
    shortname = "rel",
    namespaced,
    status = "ReleaseStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"STATUS","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"STEP","type":"string","jsonPath":".status.step"}"#,
    printcolumn = r#"{"name":"WEIGHT","type":"integer","jsonPath":".status.weight"}"#,
    printcolumn = r#"{"name":"VERSION","type":"string","jsonPath":".status.version"}"#,
    printcolumn = r#"{"name":"REASON","type":"string","jsonPath":".status.message"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"TARGET","type":"string","priority":1,"jsonPath":".spec.targetRef.name"}"#,
    printcolumn = r#"{"name":"VERDICT","type":"string","priority":1,"jsonPath":".status.verdict"}"#,
    printcolumn = r#"{"name":"STABLE","type":"string","priority":1,"jsonPath":".status.stableRevision"}"#,
    printcolumn = r#"{"name":"CANDIDATE","type":"string","priority":1,"jsonPath":".status.candidateRevision"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.images) == has(oldSelf.images)").message("spec.images cannot be added to a Release or taken out of it, for with it the Release names the version and without it the Deployment does; delete this Release and create one of the other kind"))]
#[x_kube(validation = Rule::new("has(self.images) || !has(self.version)").message("spec.version names the version in spec.images; without spec.images a version is called after the image in the Deployment's template, so remove spec.version"))]
#[x_kube(validation = Rule::new("!has(self.images) || self.plan.floatingTags != 'Refuse' || self.images.all(c, self.images[c].contains('@') || self.images[c].matches(':[^:/]+$') && !self.images[c].endsWith(':latest'))").message("spec.images: spec.plan.floatingTags is Refuse, so each image needs a tag of its own (not latest) or a digest, for example registry.example/shop/checkout:1.4.2"))]
pub struct ReleaseSpec {
    /// The Deployment that is released. Cannot be changed: delete the Release and create another one.
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.targetRef cannot be changed; delete this Release and create one for the other Deployment"))]
    pub target_ref: TargetRef,
    /// What people call this version, for example `1.4.2`. Shown, never interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub version: Option<String>,
    /// The image each named container of the Deployment should run. Containers not named keep theirs. Absent: the Deployment
    /// is held, it stays paused, and whatever its template is changed to is released. Cannot be added or removed later.
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 512}))]
    #[x_kube(validation = Rule::new("self.size() > 0").message("spec.images must name at least one container and its image, for example {app: registry.example/shop/checkout:1.4.2}"))]
    #[x_kube(validation = Rule::new("self.all(c, self[c].matches('^[!-~]+$'))").message("spec.images: each image must be a reference without spaces, for example registry.example/shop/checkout:1.4.2"))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// Stops time and new releases, never safety: a bad version is rolled back all the same.
    #[serde(default)]
    pub paused: bool,
    /// Where the traffic comes from.
    #[serde(default)]
    pub traffic: Traffic,
    /// The steps. Default: 1 pod for 10 min, 30 % for 30 min, 100 % watched for 30 min.
    #[serde(default)]
    pub plan: Plan,
    /// What convicts a version.
    #[serde(default)]
    pub checks: Checks,
    /// What a rollback does beside giving the traffic back: the database, the cache.
    #[serde(default, skip_serializing_if = "RollbackPlan::is_empty")]
    pub rollback: RollbackPlan,
    /// Who is told, and of what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["notifier".into()]))]
    pub notify: Vec<Notify>,
}

impl ReleaseSpec {
    /// It names no images: what the Deployment's template says is released.
    pub fn held(&self) -> bool {
        self.images.is_empty()
    }
}

/// Names the Deployment, in the Release's own namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// `apps/v1`.
    #[x_kube(validation = Rule::new("self == 'apps/v1'").message("spec.targetRef.apiVersion must be apps/v1"))]
    pub api_version: String,
    #[x_kube(validation = Rule::new("self == 'Deployment'").message("spec.targetRef.kind must be Deployment"))]
    /// `Deployment`.
    pub kind: String,
    /// The Deployment's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Which Services and routes carry the workload's traffic.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.canaryHeader) || (has(self.routes) && self.routes.size() > 0)").message("spec.traffic.canaryHeader needs a route to carry its rule; name one in spec.traffic.routes or remove canaryHeader"))]
#[x_kube(validation = Rule::new("!has(self.routes) || self.routes.size() == 0 || !has(self.services) || self.services.size() > 0").message("spec.traffic.routes need a Service to split; remove services: [] or name the Services"))]
pub struct Traffic {
    /// The Services whose pods are split. Default: every Service whose selector matches the Deployment's template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub services: Option<Vec<String>>,
    /// The routes that send to those Services. None: traffic is split by the number of pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["group".into(), "kind".into(), "name".into()]))]
    pub routes: Vec<RouteRef>,
    /// Requests with this header always reach the candidate. Needs a route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_header: Option<Header>,
}

/// A route of the Release's namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(self.kind in ['HTTPRoute', 'GRPCRoute']) || self.group == 'gateway.networking.k8s.io'").message("spec.traffic.routes[].group must be gateway.networking.k8s.io for an HTTPRoute or a GRPCRoute"))]
#[x_kube(validation = Rule::new("self.kind != 'VirtualService' || self.group == 'networking.istio.io'").message("spec.traffic.routes[].group must be networking.istio.io for a VirtualService"))]
pub struct RouteRef {
    /// `gateway.networking.k8s.io`, or `networking.istio.io` for a VirtualService.
    #[serde(default = "gateway_group")]
    #[schemars(length(max = 253))]
    pub group: String,
    /// `HTTPRoute`, `GRPCRoute` or `VirtualService`.
    #[serde(default = "http_route")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("!(self in ['TCPRoute', 'TLSRoute', 'UDPRoute'])").message("spec.traffic.routes[].kind: a TCPRoute, TLSRoute or UDPRoute carries connections, which cannot be divided by request or header nor judged by their answers; name the HTTPRoute, GRPCRoute or VirtualService that sends to the Service, or leave out spec.traffic.routes to split by the number of pods"))]
    #[x_kube(validation = Rule::new("self != 'Ingress'").message("spec.traffic.routes[].kind: an Ingress has no weights to divide its traffic by; name an HTTPRoute, GRPCRoute or VirtualService, or leave out spec.traffic.routes to split by the number of pods"))]
    #[x_kube(validation = Rule::new("self in ['HTTPRoute', 'GRPCRoute', 'VirtualService', 'TCPRoute', 'TLSRoute', 'UDPRoute', 'Ingress']").message("spec.traffic.routes[].kind must be HTTPRoute, GRPCRoute or VirtualService"))]
    pub kind: String,
    /// The route's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

impl fmt::Display for RouteRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

fn gateway_group() -> String {
    "gateway.networking.k8s.io".into()
}

fn http_route() -> String {
    "HTTPRoute".into()
}

/// A request header and the value that selects the candidate.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The header's name, compared without regard to case.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9!#$%&'*+.^_|~-]+$"))]
    pub name: String,
    /// The exact value.
    #[schemars(length(min = 1, max = 256))]
    pub value: String,
}

/// One Notifier of the operator's namespace and what it hears of.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notify {
    /// The Notifier's name.
    #[schemars(length(min = 1, max = 253))]
    pub notifier: String,
    /// Reasons, as they stand in events. Empty: all of them.
    // Not `on`: YAML 1.1 reads that word as `true`, and no manifest could hold the field.
    #[serde(default, rename = "reasons", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub on: Vec<super::notice::Reason>,
}
