//! What would be sent by a Notifier, without its secrets: `kubectl haldane notify test --dry-run`.

use serde_json::{Value, json};

use super::{
    alertmanager, dingtalk, email, feishu, github, pagerduty, slack, teams,
    text::{Course, Text},
    webhook, wecom,
};
use crate::{
    api::{
        notifier::{Channel, NotifierSpec, SlackWay},
        provider::SecretKey,
        units::At,
    },
    tell::outbox::Letter,
};

/// Stands for each secret.
const SECRET: &str = "…";

/// Where it would go, and what: one part per message.
pub fn preview(spec: &NotifierSpec, letter: &Letter, now: At) -> Result<Vec<String>, String> {
    let channel = spec.channel().ok_or("its spec must have exactly one channel")?;
    let text = Text::of(letter, spec.language);
    let parts = match channel {
        Channel::Webhook(it) => {
            vec![post(&place(it.url.as_deref(), it.url_from.as_ref()), &webhook::cloud_event(letter))]
        }
        Channel::DingTalk(it) => vec![post(&place(None, Some(&it.url_from)), &json(&dingtalk::body(&text)))],
        Channel::Feishu(it) => {
            let signature = it.signing_secret.as_ref().map(|_| (now.timestamp().as_second(), SECRET));
            vec![post(&place(None, Some(&it.url_from)), &json(&feishu::body(&text, signature)))]
        }
        Channel::WeCom(it) => {
            let bodies = wecom::bodies(&text);
            bodies.iter().map(|body| post(&place(None, Some(&it.url_from)), &json(body))).collect()
        }
        Channel::Slack(it) => match it.way().ok_or("spec.slack needs urlFrom, or token and channel")? {
            SlackWay::Webhook(key) => vec![post(&place(None, Some(key)), &slack::body(&text, None))],
            SlackWay::Bot { channel, url, .. } => {
                vec![post(&format!("{url}/chat.postMessage"), &slack::body(&text, Some(channel)))]
            }
        },
        Channel::Teams(it) => vec![post(&place(None, Some(&it.url_from)), &json(&teams::body(&text)))],
        Channel::PagerDuty(it) => vec![post(&it.url, &pagerduty::body(letter, &text, SECRET))],
        Channel::Alertmanager(it) => {
            vec![post(&place(it.url.as_deref(), it.url_from.as_ref()), &alertmanager::body(letter, &text))]
        }
        Channel::Email(it) => {
            let envelope = email::Envelope::of(it)?;
            let mail = email::message(letter, &text, &envelope)?.formatted();
            vec![format!("MAIL to {}\n{}", it.host, String::from_utf8_lossy(&mail))]
        }
        Channel::GitHub(it) => {
            vec![issue(&format!("{}/repos/{}/issues", it.url, it.repository), letter, &text, &it.labels)]
        }
    };
    Ok(parts)
}

fn issue(place: &str, letter: &Letter, text: &Text, labels: &[String]) -> String {
    let body = github::issue(letter, text, labels);
    match github::course(letter.notice.reason) {
        Course::Opens => post(place, &body),
        Course::Closes => format!(
            "Closes the open issue of the Release with a comment; without one nothing is sent.\n{}",
            post(place, &body)
        ),
        Course::Passes => {
            format!("A comment of the open issue of the Release; without one nothing is sent.\n{}", post(place, &body))
        }
    }
}

fn place(url: Option<&str>, key: Option<&SecretKey>) -> String {
    match (url, key) {
        (Some(url), _) => url.to_owned(),
        (None, Some(key)) => format!("{SECRET} (key {} of Secret {})", key.key, key.name),
        (None, None) => "nowhere".into(),
    }
}

fn post(place: &str, body: &Value) -> String {
    format!("POST {place}\n{body:#}\n")
}

fn json(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|_| json!(body))
}
