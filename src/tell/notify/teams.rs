//! Microsoft Teams: an adaptive card to a workflow. What a Release says stands in text runs, which are not interpreted.

use serde_json::{Value, json};

use super::{
    call::{Call, Fault, Outcome},
    secrets::Secrets,
    text::{Text, Tone, fit},
};
use crate::api::notifier::Teams;

/// Larger messages are refused, bytes.
const LONGEST_BODY: usize = 27_000;

/// A workflow with its secrets put in.
pub struct Workflow {
    pub url: reqwest::Url,
}

impl Workflow {
    pub async fn resolve(settings: &Teams, secrets: &Secrets<'_>) -> Result<Self, String> {
        Ok(Self { url: secrets.address(&settings.url_from).await? })
    }

    pub async fn send(&self, web: &reqwest::Client, text: &Text) -> Outcome {
        let answer = Call::post(self.url.clone(), body(text)).unread().make(web).await?;
        match answer.status {
            401 | 403 | 404 | 410 => Err(Fault::mend(format!(
                "Teams does not take the workflow's address ({}); turn the workflow on, or copy its address again",
                answer.status
            ))),
            413 => Err(Fault::Never("Teams finds this message too long (413)".into())),
            _ => answer.accepted(),
        }
    }
}

pub fn body(text: &Text) -> String {
    fit(&text.sentence, LONGEST_BODY, |sentence| {
        json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": card(text, sentence),
            }],
        })
        .to_string()
    })
}

fn card(text: &Text, sentence: &str) -> Value {
    let colour = match text.tone() {
        Tone::Bad => "Attention",
        Tone::Warn => "Warning",
        Tone::Good => "Good",
        Tone::Plain => "Accent",
    };
    let bold = |text: &str| json!({"type": "TextRun", "text": text, "weight": "Bolder"});
    let plain = |text: &str| json!({"type": "TextRun", "text": text});
    let lines = |runs: Vec<Value>| json!({"type": "RichTextBlock", "inlines": runs});
    let title = json!({"type": "TextRun", "text": text.title, "weight": "Bolder", "size": "Medium", "color": colour});
    let mut body = vec![lines(vec![title]), lines(vec![bold(&format!("{}: ", text.because)), plain(sentence)])];
    body.extend(text.facts.iter().map(|(label, value)| {
        let mut line = lines(vec![bold(&format!("{label}: ")), plain(value)]);
        line["spacing"] = "None".into();
        line
    }));
    json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": body,
        "msteams": {"width": "full"},
    })
}
