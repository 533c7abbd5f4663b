//! `Notifier`: where notices go, with addresses and secrets that the operator's administrators keep.
//!
//! It counts only in the operator's own namespace. A tenant names one in a Release and never writes an address.

pub mod email;
pub mod robots;
pub mod services;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    provider::{ExtraHeader, SecretKey},
    units::{A_SECOND_OR_MORE, Span},
};
pub use email::Email;
pub use robots::{DingTalk, Feishu, Slack, SlackWay, Teams, WeCom};
pub use services::{Alertmanager, GitHub, PagerDuty};

/// Where notices go: one channel. Name several Notifiers in a Release to be told in several ways.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "haldane.dev",
    version = "v1alpha1",
    kind = "Notifier",
    plural = "notifiers",
    namespaced,
    derive = "PartialEq",
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.webhook), has(self.dingtalk), has(self.feishu), has(self.wecom), has(self.slack), has(self.teams), has(self.pagerduty), has(self.alertmanager), has(self.email), has(self.github)].filter(given, given).size() == 1").message("spec needs exactly one of webhook, dingtalk, feishu, wecom, slack, teams, pagerduty, alertmanager, email and github; make another Notifier for another channel"))]
pub struct NotifierSpec {
    /// The namespaces whose Releases may use it. `*` is all of them. Empty: none.
    #[serde(default)]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allowed_namespaces: Vec<String>,
    /// The language of titles and labels. The sentence that gives the reason is always English, as in the status.
    #[serde(default)]
    pub language: Language,
    /// An HTTP endpoint that takes events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// A robot of a DingTalk group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dingtalk: Option<DingTalk>,
    /// A bot of a Feishu or Lark group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feishu: Option<Feishu>,
    /// A robot of a WeCom (WeChat Work) group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wecom: Option<WeCom>,
    /// A Slack channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<Slack>,
    /// A Microsoft Teams channel or chat, by its workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teams: Option<Teams>,
    /// A PagerDuty service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pagerduty: Option<PagerDuty>,
    /// A Prometheus Alertmanager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<Alertmanager>,
    /// Mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// Issues of a GitHub repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub github: Option<GitHub>,
}

/// The language of titles and labels.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    #[default]
    En,
    Zh,
}

/// The one channel of a Notifier.
#[derive(Clone, Copy, Debug)]
pub enum Channel<'a> {
    Webhook(&'a Webhook),
    DingTalk(&'a DingTalk),
    Feishu(&'a Feishu),
    WeCom(&'a WeCom),
    Slack(&'a Slack),
    Teams(&'a Teams),
    PagerDuty(&'a PagerDuty),
    Alertmanager(&'a Alertmanager),
    Email(&'a Email),
    GitHub(&'a GitHub),
}

impl NotifierSpec {
    /// `None` where the API server's rule did not hold: none is given, or several are.
    pub fn channel(&self) -> Option<Channel<'_>> {
        let mut given = [
            self.webhook.as_ref().map(Channel::Webhook),
            self.dingtalk.as_ref().map(Channel::DingTalk),
            self.feishu.as_ref().map(Channel::Feishu),
            self.wecom.as_ref().map(Channel::WeCom),
            self.slack.as_ref().map(Channel::Slack),
            self.teams.as_ref().map(Channel::Teams),
            self.pagerduty.as_ref().map(Channel::PagerDuty),
            self.alertmanager.as_ref().map(Channel::Alertmanager),
            self.email.as_ref().map(Channel::Email),
            self.github.as_ref().map(Channel::GitHub),
        ]
        .into_iter()
        .flatten();
        let only = given.next()?;
        given.next().is_none().then_some(only)
    }
}

/// A CloudEvents 1.0 POST. Any 2xx answer counts as delivered.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.url) != has(self.urlFrom)").message("spec.webhook needs exactly one of url and urlFrom"))]
pub struct Webhook {
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.startsWith('http://') || self.startsWith('https://')").message("spec.webhook.url must start with http:// or https://"))]
    pub url: Option<String>,
    /// For addresses that are themselves secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<SecretKey>,
    /// How long one attempt may take.
    #[serde(default = "five_seconds")]
    #[x_kube(validation = Rule::new(A_SECOND_OR_MORE).message("spec.webhook.timeout must be at least 1s"))]
    pub timeout: Span,
    /// Sent with each notice, for example a token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub headers: Vec<ExtraHeader>,
    /// Signs each notice as Standard Webhooks says, so that the receiver can tell ours from others. The key holds the
    /// secret, base64, with or without `whsec_` before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_secret: Option<SecretKey>,
}

const fn five_seconds() -> Span {
    Span::secs(5)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_notifier_has_exactly_one_channel() {
        let spec = |value| serde_json::from_value::<NotifierSpec>(value).unwrap();
        let webhook = json!({"url": "https://hooks.example/a"});
        assert!(matches!(spec(json!({"webhook": webhook})).channel(), Some(Channel::Webhook(_))));
        let wecom = json!({"urlFrom": {"name": "a", "key": "b"}});
        assert!(matches!(spec(json!({"wecom": wecom, "language": "zh"})).channel(), Some(Channel::WeCom(_))));
        assert!(spec(json!({})).channel().is_none());
        assert!(spec(json!({"webhook": webhook, "wecom": wecom})).channel().is_none());
    }
}
