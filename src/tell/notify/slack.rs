//! Slack: blocks, through an incoming webhook or by a bot. What a Release says stands in rich text elements, which are not
//! interpreted; the line for phones is, and is escaped.

use serde_json::{Value, json};

use super::{
    call::{Answer, Call, Fault, Outcome, address},
    escape::slack,
    secrets::Secrets,
    text::Text,
};
use crate::{
    api::notifier::{Slack, SlackWay},
    tell::status::shorten,
};

/// Longer texts are refused or cut, bytes.
const LONGEST_TEXT: usize = 3000;

/// A channel with its secrets put in.
pub enum Way {
    Webhook(reqwest::Url),
    Bot { url: reqwest::Url, token: String, channel: String },
}

impl Way {
    pub async fn resolve(settings: &Slack, secrets: &Secrets<'_>) -> Result<Self, String> {
        match settings.way() {
            Some(SlackWay::Webhook(key)) => Ok(Self::Webhook(secrets.address(key).await?)),
            Some(SlackWay::Bot { token, channel, url }) => Ok(Self::Bot {
                url: address(&format!("{}/chat.postMessage", url.trim_end_matches('/')))?,
                token: secrets.get(token).await?,
                channel: channel.to_owned(),
            }),
            None => Err("spec.slack needs urlFrom, or token and channel".into()),
        }
    }

    pub async fn send(&self, web: &reqwest::Client, text: &Text) -> Outcome {
        match self {
            Self::Webhook(url) => {
                let answer = Call::post(url.clone(), body(text, None).to_string()).unread().make(web).await?;
                match answer.status {
                    403 | 404 | 410 => Err(Fault::mend(format!(
                        "Slack does not know the webhook, or its channel is gone ({}); make it anew",
                        answer.status
                    ))),
                    _ => answer.accepted(),
                }
            }
            Self::Bot { url, token, channel } => {
                let body = body(text, Some(channel)).to_string();
                judge(&Call::post(url.clone(), body).bearer(token)?.make(web).await?)
            }
        }
    }
}

/// The body; a bot names the channel.
pub fn body(text: &Text, channel: Option<&str>) -> Value {
    let title = format!("{} {}", text.mark(), text.title);
    let bold = |text: &str| json!({"type": "text", "text": text, "style": {"bold": true}});
    let plain = |text: &str| json!({"type": "text", "text": text});
    let section = |elements: Vec<Value>| json!({"type": "rich_text_section", "elements": elements});
    let sentence = shorten(&text.sentence, LONGEST_TEXT);
    let mut sections = vec![
        section(vec![bold(&format!("{title}\n"))]),
        section(vec![bold(&format!("{}: ", text.because)), plain(&format!("{sentence}\n"))]),
    ];
    sections.extend(text.facts.iter().map(|(label, value)| section(vec![plain(&format!("{label}: {value}\n"))])));
    let brief = format!("{} {}", text.mark(), shorten(&text.brief(), LONGEST_TEXT / 4));
    let mut body = json!({
        "text": slack(&brief),
        "blocks": [{"type": "rich_text", "elements": sections}],
        "unfurl_links": false,
        "unfurl_media": false,
    });
    if let Some(channel) = channel {
        body["channel"] = channel.into();
    }
    body
}

/// A bot's calls are answered 200, and `error` is a word from Slack's list. It is compared, never repeated.
fn judge(answer: &Answer) -> Outcome {
    answer.accepted()?;
    let said = answer.json().ok_or_else(|| Fault::soon("the answer is not Slack's; is the address the right one?"))?;
    if said["ok"] == true {
        return Ok(());
    }
    Err(match said["error"].as_str().unwrap_or_default() {
        "invalid_auth" | "not_authed" | "account_inactive" | "token_revoked" | "token_expired" => {
            Fault::mend("Slack does not take the bot's token; put a valid one into the Secret")
        }
        "missing_scope" => Fault::mend("Slack says that the bot's token lacks the scope chat:write"),
        "channel_not_found" | "is_archived" => {
            Fault::mend("Slack does not find the channel, or it is archived; spec.slack.channel must be its id, C…")
        }
        "not_in_channel" => Fault::mend("Slack says that the bot is no member of the channel; invite it there"),
        "ratelimited" | "rate_limited" => Fault::Later("Slack takes no more for now".into(), answer.after),
        "msg_too_long" | "msg_blocks_too_long" | "invalid_blocks" | "no_text" => {
            Fault::Never("Slack does not take this message".into())
        }
        "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout" => {
            Fault::soon("Slack is in trouble")
        }
        _ => Fault::mend("Slack refused it for a reason that is not known here"),
    })
}
