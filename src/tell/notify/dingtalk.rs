//! DingTalk: a message in Markdown from a group's robot. It answers 200 to everything; `errcode` says how it went.

use serde_json::json;

use super::{
    call::{Answer, Call, Fault, Outcome},
    escape::markdown,
    secrets::Secrets,
    sign,
    text::{Text, fit},
};
use crate::api::{notice::Severity, notifier::DingTalk, units::At};

/// Longer bodies are refused.
const LONGEST_BODY: usize = 20_000;

/// A robot with its secrets put in.
pub struct Robot {
    pub url: reqwest::Url,
    pub signing_secret: Option<String>,
}

impl Robot {
    pub async fn resolve(settings: &DingTalk, secrets: &Secrets<'_>) -> Result<Self, String> {
        let signing_secret = secrets.maybe(settings.signing_secret.as_ref()).await?;
        Ok(Self { url: secrets.address(&settings.url_from).await?, signing_secret })
    }

    pub async fn send(&self, web: &reqwest::Client, text: &Text, now: At) -> Outcome {
        let mut url = self.url.clone();
        if let Some(secret) = &self.signing_secret {
            let millis = now.timestamp().as_millisecond();
            let signature = sign::dingtalk(millis, secret);
            url.query_pairs_mut().append_pair("timestamp", &millis.to_string()).append_pair("sign", &signature);
        }
        judge(&Call::post(url, body(text)).make(web).await?)
    }
}

/// The body. The title is what a phone shows.
pub fn body(text: &Text) -> String {
    fit(&text.sentence, LONGEST_BODY, |sentence| {
        let title = format!("{} {}", text.mark(), markdown(&text.title));
        let mut lines = vec![format!("### {title}"), format!("**{}**: {}", text.because, markdown(sentence))];
        let facts: Vec<_> = text.facts.iter().map(|(label, value)| format!("- {label}: {}", markdown(value))).collect();
        lines.push(facts.join("\n"));
        json!({
            "msgtype": "markdown",
            "markdown": {"title": title, "text": lines.join("\n\n")},
            "at": {"isAtAll": text.severity == Severity::Critical},
        })
        .to_string()
    })
}

fn judge(answer: &Answer) -> Outcome {
    match answer.number("errcode")? {
        0 => Ok(()),
        310_000 => Err(Fault::mend(
            "DingTalk refused it (310000): the robot's security setting does not fit. Its signing secret must be in \
             spec.dingtalk.signingSecret, its keywords must be in every message (use a signature instead), its \
             addresses must include the operator's; and the operator's clock must be right",
        )),
        300_001 | 300_005 | 40_014 | 400_101 | 400_106 => {
            Err(Fault::mend("DingTalk does not know the access token of the address; copy it again"))
        }
        130_101 | 410_100 => {
            Err(Fault::mend("DingTalk takes no more from this robot for now: 20 messages a minute are its limit"))
        }
        400_013 => Err(Fault::mend("DingTalk says that the group is gone; make a robot in another")),
        400_102 => Err(Fault::mend("DingTalk says that the robot is disabled; enable it in the group's settings")),
        40_035 | 400_105 | 430_101..=430_104 => {
            Err(Fault::Never(format!("DingTalk does not take this message ({})", answer.number("errcode")?)))
        }
        -1 => Err(Fault::soon("DingTalk is busy")),
        code => Err(Fault::mend(format!("DingTalk refused it with errcode {code}"))),
    }
}
