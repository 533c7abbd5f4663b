//! Alertmanager, API v2: a Release in trouble is an alert until it ended well. Alerts go through templates of others, so
//! what a Release says is defused.

use std::time::Duration;

use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::{
    call::{self, Call, Fault, Outcome, address},
    escape::defuse,
    secrets::Secrets,
    text::{Course, Text},
};
use crate::{
    api::{notice::Severity, notifier::Alertmanager, units::At},
    tell::outbox::Letter,
};

/// An alert that nobody ends goes by itself after this.
const LASTS: Duration = Duration::from_hours(24);
/// News is an alert for so long: more than an Alertmanager waits to group it.
const NEWS_LASTS: Duration = Duration::from_mins(10);

/// An Alertmanager with its secrets put in.
pub struct Receiver {
    pub url: reqwest::Url,
    pub headers: HeaderMap,
}

impl Receiver {
    pub async fn resolve(settings: &Alertmanager, secrets: &Secrets<'_>) -> Result<Self, String> {
        let root = secrets.either(settings.url.as_ref(), settings.url_from.as_ref(), "spec.alertmanager").await?;
        let url = address(&format!("{}/api/v2/alerts", root.as_str().trim_end_matches('/')))?;
        Ok(Self { url, headers: call::headers(&settings.headers, secrets).await? })
    }

    pub async fn send(&self, web: &reqwest::Client, letter: &Letter, text: &Text) -> Outcome {
        let mut call = Call::post(self.url.clone(), body(letter, text).to_string()).unread();
        call.headers.extend(self.headers.clone());
        let answer = call.make(web).await?;
        match answer.status {
            400 | 422 => Err(Fault::mend(format!(
                "the Alertmanager refused the alert ({}); is it version 0.22 or newer, and the address its root?",
                answer.status
            ))),
            _ => answer.accepted(),
        }
    }
}

/// The alerts. An end is told with the same labels and all annotations: the Alertmanager keeps none of an alert's first ones.
pub fn body(letter: &Letter, text: &Text) -> Value {
    let at = letter.notice.at;
    let alert = |name: &str, severity: &str, ends: At| {
        json!({
            "labels": labels(letter, name, severity),
            "annotations": annotations(text),
            "startsAt": at,
            "endsAt": ends,
        })
    };
    let own = label(text.severity);
    match text.course {
        Course::Opens => json!([alert("HaldaneRelease", own, at.plus(LASTS))]),
        // It may have been opened as either.
        Course::Closes => json!([alert("HaldaneRelease", "warning", at), alert("HaldaneRelease", "critical", at)]),
        Course::Passes => {
            let mut news = alert("HaldaneReleaseNews", own, at.plus(NEWS_LASTS));
            news["labels"]["reason"] = letter.notice.reason.to_string().into();
            json!([news])
        }
    }
}

fn labels(letter: &Letter, name: &str, severity: &str) -> Value {
    let subject = &letter.subject;
    json!({
        "alertname": name,
        "namespace": defuse(&subject.namespace),
        "release": defuse(&subject.name),
        "uid": defuse(&subject.uid),
        "severity": severity,
    })
}

fn annotations(text: &Text) -> Value {
    let mut all: Map<String, Value> = Map::new();
    all.insert("summary".into(), defuse(&text.title).into());
    all.insert("description".into(), defuse(&text.sentence).into());
    let facts: Vec<String> = text.facts.iter().map(|(label, value)| format!("{label}: {}", defuse(value))).collect();
    all.insert("details".into(), facts.join(", ").into());
    all.into()
}

const fn label(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}
