//! WeCom: a message in Markdown from a group's robot. Only a message of plain text can mention everybody, so a critical
//! notice is two.

use serde_json::json;

use super::{
    call::{Answer, Call, Fault, Outcome},
    escape::{defuse, markdown},
    secrets::Secrets,
    text::{Text, Tone, fit},
};
use crate::{
    api::{notice::Severity, notifier::WeCom},
    tell::status::shorten,
};

/// Longer contents are refused, bytes.
const LONGEST_MARKDOWN: usize = 4096;
const LONGEST_TEXT: usize = 2048;

/// A robot with its secrets put in.
pub struct Robot {
    pub url: reqwest::Url,
}

impl Robot {
    pub async fn resolve(settings: &WeCom, secrets: &Secrets<'_>) -> Result<Self, String> {
        Ok(Self { url: secrets.address(&settings.url_from).await? })
    }

    /// A second message that fails has both sent again: rather twice than nobody called.
    pub async fn send(&self, web: &reqwest::Client, text: &Text) -> Outcome {
        for body in bodies(text) {
            judge(&Call::post(self.url.clone(), body).make(web).await?)?;
        }
        Ok(())
    }
}

/// The bodies, in the order they are sent.
pub fn bodies(text: &Text) -> Vec<String> {
    let colour = match text.tone() {
        Tone::Bad | Tone::Warn => "warning",
        Tone::Good => "info",
        Tone::Plain => "comment",
    };
    let content = fit(&text.sentence, LONGEST_MARKDOWN, |sentence| {
        let mut lines = vec![
            format!("<font color=\"{colour}\">{}</font>", markdown(&text.title)),
            format!("**{}**: {}", text.because, markdown(sentence)),
        ];
        lines.extend(text.facts.iter().map(|(label, value)| format!("> {label}: {}", markdown(value))));
        lines.join("\n")
    });
    let mut bodies = vec![json!({"msgtype": "markdown", "markdown": {"content": content}}).to_string()];
    if text.severity == Severity::Critical {
        let brief = defuse(&text.brief());
        let call = json!({"content": shorten(&brief, LONGEST_TEXT), "mentioned_list": ["@all"]});
        bodies.push(json!({"msgtype": "text", "text": call}).to_string());
    }
    bodies
}

fn judge(answer: &Answer) -> Outcome {
    match answer.number("errcode")? {
        0 => Ok(()),
        93_000 => Err(Fault::mend("WeCom does not know the key of the address (93000); copy it again")),
        45_009 => Err(Fault::soon("WeCom takes no more for now: 20 messages a minute are its limit")),
        40_058 => Err(Fault::Never("WeCom finds this message too long (40058)".into())),
        -1 => Err(Fault::soon("WeCom is busy")),
        code => Err(Fault::mend(format!("WeCom refused it with errcode {code}"))),
    }
}
