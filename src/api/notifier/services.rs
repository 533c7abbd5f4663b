//! Services that keep a state: what a notice opens there, a later one closes.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::provider::{ExtraHeader, SecretKey};

/// A PagerDuty service, by its integration "Events API v2".
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PagerDuty {
    /// The key that holds the integration key.
    pub routing_key: SecretKey,
    /// The root of the events API; in Europe `https://events.eu.pagerduty.com`.
    #[serde(default = "pagerduty")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.startsWith('http://') || self.startsWith('https://')").message("spec.pagerduty.url must start with http:// or https://"))]
    pub url: String,
}

/// A Prometheus Alertmanager, by its API v2.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.url) != has(self.urlFrom)").message("spec.alertmanager needs exactly one of url and urlFrom"))]
pub struct Alertmanager {
    /// Its root, for example `http://alertmanager.monitoring:9093`. Of a highly available pair any one will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.startsWith('http://') || self.startsWith('https://')").message("spec.alertmanager.url must start with http:// or https://"))]
    pub url: Option<String>,
    /// For a root that is itself secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<SecretKey>,
    /// Sent with each notice, for example a token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub headers: Vec<ExtraHeader>,
}

/// Issues of a GitHub repository: one while a Release is in trouble, comments for what follows, closed when a version got through.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitHub {
    /// `owner/name`.
    #[schemars(length(min = 3, max = 140), regex(pattern = r"^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$"))]
    pub repository: String,
    /// The key that holds a token that may write issues.
    pub token: SecretKey,
    /// Put on each issue beside `haldane`, by which its issues are found again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub labels: Vec<String>,
    /// The root of the API; of GitHub Enterprise `https://<host>/api/v3`.
    #[serde(default = "github")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.startsWith('http://') || self.startsWith('https://')").message("spec.github.url must start with http:// or https://"))]
    pub url: String,
}

fn pagerduty() -> String {
    "https://events.pagerduty.com".into()
}
fn github() -> String {
    "https://api.github.com".into()
}
