//! PagerDuty, Events API v2: a Release in trouble is one incident, which ends when it ended well; all else is a change event,
//! which pages nobody and stands beside later incidents.

use serde_json::{Map, Value, json};

use super::{
    call::{Answer, Call, Fault, Outcome, address},
    secrets::Secrets,
    text::{Course, Text},
};
use crate::{
    api::{
        notice::{Reason, Severity},
        notifier::PagerDuty,
    },
    tell::{outbox::Letter, status::shorten},
};

/// Longer summaries are cut there, characters; counted in bytes here.
const LONGEST_SUMMARY: usize = 1024;

/// A service with its secrets put in.
pub struct Service {
    pub root: String,
    pub routing_key: String,
}

impl Service {
    pub async fn resolve(settings: &PagerDuty, secrets: &Secrets<'_>) -> Result<Self, String> {
        Ok(Self { root: settings.url.clone(), routing_key: secrets.get(&settings.routing_key).await? })
    }

    pub async fn send(&self, web: &reqwest::Client, letter: &Letter, text: &Text) -> Outcome {
        let url = address(&format!("{}{}", self.root.trim_end_matches('/'), path(text.course)))?;
        judge(&Call::post(url, body(letter, text, &self.routing_key).to_string()).unread().make(web).await?)
    }
}

const fn path(course: Course) -> &'static str {
    match course {
        Course::Opens | Course::Closes => "/v2/enqueue",
        Course::Passes => "/v2/change/enqueue",
    }
}

pub fn body(letter: &Letter, text: &Text, routing_key: &str) -> Value {
    let (subject, notice) = (&letter.subject, &letter.notice);
    let source = format!("{}/{}", subject.namespace, subject.name);
    let summary = shorten(&text.brief(), LONGEST_SUMMARY).into_owned();
    let mut details: Map<String, Value> =
        text.facts.iter().map(|(label, value)| ((*label).to_owned(), value.as_str().into())).collect();
    details.insert(text.because.to_owned(), text.sentence.as_str().into());
    let event = match text.course {
        Course::Closes => {
            return json!({"routing_key": routing_key, "event_action": "resolve", "dedup_key": subject.uid});
        }
        Course::Passes => {
            let payload = json!({
                "summary": summary, "source": source, "timestamp": notice.at, "custom_details": details,
            });
            return json!({"routing_key": routing_key, "payload": payload});
        }
        Course::Opens => json!({
            "summary": summary,
            "source": source,
            "severity": severity(notice.reason),
            "timestamp": notice.at,
            "component": subject.name,
            "group": subject.namespace,
            "class": notice.reason.to_string(),
            "custom_details": details,
        }),
    };
    json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": subject.uid,
        "client": "Haldane",
        "payload": event,
    })
}

/// `error` where users may be getting a bad version at this moment.
fn severity(reason: Reason) -> &'static str {
    match (reason.severity(), reason) {
        (Severity::Critical, _) => "critical",
        (_, Reason::RollingBack | Reason::Reverting | Reason::Degraded) => "error",
        (Severity::Warning, _) => "warning",
        (Severity::Info, _) => "info",
    }
}

fn judge(answer: &Answer) -> Outcome {
    match answer.status {
        400 | 403 | 404 => Err(Fault::mend(format!(
            "PagerDuty refused it ({}); is the key in spec.pagerduty.routingKey that of an integration \"Events API v2\"?",
            answer.status
        ))),
        413 => Err(Fault::Never("PagerDuty finds this event too large (413)".into())),
        _ => answer.accepted(),
    }
}
