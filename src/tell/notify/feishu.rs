//! Feishu and Lark: a card from a group's bot. What a Release says stands in plain text elements, which are not interpreted.

use serde_json::{Value, json};

use super::{
    call::{Answer, Call, Fault, Outcome},
    secrets::Secrets,
    sign,
    text::{Text, Tone, fit},
};
use crate::api::{notice::Severity, notifier::Feishu, units::At};

/// Longer bodies are refused.
const LONGEST_BODY: usize = 20_000;

/// A bot with its secrets put in.
pub struct Bot {
    pub url: reqwest::Url,
    pub signing_secret: Option<String>,
}

impl Bot {
    pub async fn resolve(settings: &Feishu, secrets: &Secrets<'_>) -> Result<Self, String> {
        let signing_secret = secrets.maybe(settings.signing_secret.as_ref()).await?;
        Ok(Self { url: secrets.address(&settings.url_from).await?, signing_secret })
    }

    pub async fn send(&self, web: &reqwest::Client, text: &Text, now: At) -> Outcome {
        let seconds = now.timestamp().as_second();
        let signature = self.signing_secret.as_ref().map(|secret| sign::feishu(seconds, secret));
        let body = body(text, signature.as_deref().map(|signature| (seconds, signature)));
        judge(&Call::post(self.url.clone(), body).make(web).await?)
    }
}

/// The body, with the time and the signature of it.
pub fn body(text: &Text, signature: Option<(i64, &str)>) -> String {
    fit(&text.sentence, LONGEST_BODY, |sentence| {
        let mut body = json!({"msg_type": "interactive", "card": card(text, sentence)});
        if let Some((seconds, signature)) = signature {
            body["timestamp"] = seconds.to_string().into();
            body["sign"] = signature.into();
        }
        body.to_string()
    })
}

fn card(text: &Text, sentence: &str) -> Value {
    let plain = |content: &str| json!({"tag": "plain_text", "content": content});
    let fields: Vec<Value> = text
        .facts
        .iter()
        .map(|(label, value)| json!({"is_short": true, "text": plain(&format!("{label}: {value}"))}))
        .collect();
    let mut elements = vec![
        json!({"tag": "div", "text": plain(&format!("{}: {sentence}", text.because))}),
        json!({"tag": "div", "fields": fields}),
    ];
    if text.severity == Severity::Critical {
        elements.push(json!({"tag": "div", "text": {"tag": "lark_md", "content": "<at id=all></at>"}}));
    }
    let colour = match text.tone() {
        Tone::Bad => "red",
        Tone::Warn => "orange",
        Tone::Good => "green",
        Tone::Plain => "blue",
    };
    json!({
        "config": {"wide_screen_mode": true},
        "header": {"title": plain(&text.title), "template": colour},
        "elements": elements,
    })
}

fn judge(answer: &Answer) -> Outcome {
    match answer.number("code")? {
        0 => Ok(()),
        19_021 => Err(Fault::mend(
            "Feishu refused the signature (19021): the bot's secret must be in spec.feishu.signingSecret, and the \
             operator's clock must be right",
        )),
        19_022 => Err(Fault::mend("Feishu refused the operator's address (19022); add it to the bot's list")),
        19_024 => Err(Fault::mend("Feishu misses the bot's keyword (19024); use a signature instead of keywords")),
        19_001 => Err(Fault::mend("Feishu does not know the address (19001); copy it again from the bot's settings")),
        11_232 | 9_499 | 99_991_400 => {
            Err(Fault::soon("Feishu takes no more for now: 100 messages a minute are its limit"))
        }
        code => Err(Fault::mend(format!("Feishu refused it with code {code}"))),
    }
}
