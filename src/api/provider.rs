//! `MetricProvider`: where to measure, with addresses and secrets that the operator's administrators keep.
//!
//! It counts only in the operator's own namespace. A tenant names one in a Release and never writes an address.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{A_SECOND_OR_MORE, Span};

/// A Prometheus (or one that speaks its query API) that Releases may name.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "haldane.dev",
    version = "v1alpha1",
    kind = "MetricProvider",
    plural = "metricproviders",
    namespaced,
    derive = "PartialEq",
    printcolumn = r#"{"name":"URL","type":"string","jsonPath":".spec.url"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct MetricProviderSpec {
    /// The root of the query API, for example `http://prometheus.monitoring:9090`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.startsWith('http://') || self.startsWith('https://')").message("spec.url must start with http:// or https://"))]
    #[x_kube(validation = Rule::new("!self.contains('@')").message("spec.url must not hold credentials; use spec.auth"))]
    pub url: String,
    /// The namespaces whose Releases may use it. `*` is all of them. Empty: none.
    #[serde(default)]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allowed_namespaces: Vec<String>,
    /// How often Prometheus scrapes the applications.
    #[serde(default = "fifteen_seconds")]
    #[x_kube(validation = Rule::new(A_SECOND_OR_MORE).message("spec.scrapeInterval must be at least 1s"))]
    pub scrape_interval: Span,
    /// How long one query may take.
    #[serde(default = "five_seconds")]
    #[x_kube(validation = Rule::new(A_SECOND_OR_MORE).message("spec.timeout must be at least 1s"))]
    pub timeout: Span,
    /// The label that holds a series' namespace.
    #[serde(default = "namespace")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub namespace_label: String,
    /// The label that holds a series' pod.
    #[serde(default = "pod")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub pod_label: String,
    /// How to say who asks. None: without a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// A PEM bundle to trust instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretKey>,
    /// Sent with each query, for example a tenant header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub headers: Vec<ExtraHeader>,
}

/// How to say who asks. One of the two.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.bearer) != has(self.basic)").message("spec.auth needs exactly one of bearer and basic"))]
pub struct Auth {
    /// The key that holds a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<SecretKey>,
    /// A name and a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,
}

/// A name and the key that holds its password.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Basic {
    /// The name.
    #[schemars(length(min = 1, max = 256))]
    pub username: String,
    /// The key that holds the password.
    pub password: SecretKey,
}

/// One key of a Secret in the operator's namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A header with a plain value or one from a Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.value) != has(self.secret)").message("spec.headers[]: needs exactly one of value and secret"))]
pub struct ExtraHeader {
    /// The header's name.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9!#$%&'*+.^_|~-]+$"))]
    pub name: String,
    /// The value, in plain sight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub value: Option<String>,
    /// The key that holds the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretKey>,
}

/// Whether a Release of `namespace` may name an object that allows `allowed`.
pub fn allows(allowed: &[String], namespace: &str) -> bool {
    allowed.iter().any(|a| a == "*" || a == namespace)
}

const fn fifteen_seconds() -> Span {
    Span::secs(15)
}
const fn five_seconds() -> Span {
    Span::secs(5)
}
fn namespace() -> String {
    "namespace".into()
}
fn pod() -> String {
    "pod".into()
}
