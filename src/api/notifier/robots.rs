//! Chat groups. Their addresses hold a token, so each comes from a Secret, as it was copied from the group's settings.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::provider::SecretKey;

/// A robot of a DingTalk group. Critical notices mention everybody.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DingTalk {
    /// The key that holds the robot's address, `https://oapi.dingtalk.com/robot/send?access_token=…`.
    pub url_from: SecretKey,
    /// The key that holds the secret `SEC…`, where the robot's security setting is a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_secret: Option<SecretKey>,
}

/// A bot of a Feishu or Lark group. Critical notices mention everybody.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Feishu {
    /// The key that holds the bot's address, `https://open.feishu.cn/open-apis/bot/v2/hook/…`.
    pub url_from: SecretKey,
    /// The key that holds the secret, where the bot's security setting is a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_secret: Option<SecretKey>,
}

/// A robot of a WeCom group. After a critical notice a second message mentions everybody.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WeCom {
    /// The key that holds the robot's address, `https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=…`.
    pub url_from: SecretKey,
}

/// A Slack channel: by an incoming webhook, or by a bot that is a member.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.urlFrom) != has(self.token)").message("spec.slack needs exactly one of urlFrom (an incoming webhook) and token (a bot)"))]
#[x_kube(validation = Rule::new("has(self.token) == has(self.channel)").message("spec.slack.channel goes with spec.slack.token: a bot needs both, an incoming webhook has its channel"))]
pub struct Slack {
    /// The key that holds the address of an incoming webhook, `https://hooks.slack.com/services/…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<SecretKey>,
    /// The key that holds a bot's token, `xoxb-…`, with the scope `chat:write`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretKey>,
    /// The id of the bot's channel, `C…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub channel: Option<String>,
    /// The root of the bot's API, where a gateway stands before it.
    #[serde(default = "slack_api")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.startsWith('http://') || self.startsWith('https://')").message("spec.slack.url must start with http:// or https://"))]
    pub url: String,
}

/// The two ways into a channel.
#[derive(Clone, Copy, Debug)]
pub enum SlackWay<'a> {
    Webhook(&'a SecretKey),
    Bot { token: &'a SecretKey, channel: &'a str, url: &'a str },
}

impl Slack {
    /// `None` where the API server's rules did not hold.
    pub fn way(&self) -> Option<SlackWay<'_>> {
        match (&self.url_from, &self.token, &self.channel) {
            (Some(key), None, None) => Some(SlackWay::Webhook(key)),
            (None, Some(token), Some(channel)) => Some(SlackWay::Bot { token, channel, url: &self.url }),
            _ => None,
        }
    }
}

/// A Microsoft Teams channel or chat.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Teams {
    /// The key that holds the address of a workflow "when a Teams webhook request is received".
    pub url_from: SecretKey,
}

fn slack_api() -> String {
    "https://slack.com/api".into()
}
