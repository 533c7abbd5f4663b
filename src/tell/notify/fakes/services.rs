//! Services that keep a state: PagerDuty, Alertmanager, GitHub; and a Teams workflow.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::{Fake, Said, Seen, said, serve};
use crate::{api::units::At, observe::clock};

pub const ROUTING_KEY: &str = "0123456789abcdef0123456789abcdef";

/// The open incidents, by their key, with the severity.
pub type Incidents = Arc<Mutex<BTreeMap<String, String>>>;

pub async fn pagerduty() -> (Fake, Incidents) {
    let open = Incidents::default();
    let book = Arc::clone(&open);
    let fake = serve(move |call| pagerduty_says(call, &mut book.lock().unwrap())).await;
    (fake, open)
}

fn pagerduty_says(call: &Seen, open: &mut BTreeMap<String, String>) -> Said {
    let invalid = |what: &str| {
        said(400, json!({"status": "invalid event", "message": "Event object is invalid", "errors": [what]}))
    };
    let (body, payload) = (&call.body, &call.body["payload"]);
    if body["routing_key"] != ROUTING_KEY {
        return invalid("'routing_key' is invalid");
    }
    if call.size > 512 * 1024 {
        return invalid("too large");
    }
    let summary = payload["summary"].as_str().is_some_and(|s| !s.is_empty() && s.chars().count() <= 1024);
    match (call.path.as_str(), body["event_action"].as_str()) {
        ("/v2/change/enqueue", None) if summary => {}
        ("/v2/enqueue", Some("trigger")) => {
            let severity = payload["severity"].as_str().unwrap_or_default();
            if !summary
                || !["critical", "error", "warning", "info"].contains(&severity)
                || !payload["source"].is_string()
            {
                return invalid("'payload' is invalid");
            }
            let Some(key) = body["dedup_key"].as_str().filter(|key| key.len() <= 255) else {
                return invalid("'dedup_key' is invalid");
            };
            open.insert(key.into(), severity.into());
        }
        ("/v2/enqueue", Some("resolve")) => {
            let Some(key) = body["dedup_key"].as_str() else { return invalid("'dedup_key' is missing") };
            open.remove(key);
        }
        _ => return invalid("'event_action' is invalid"),
    }
    said(202, json!({"status": "success", "message": "Event processed"}))
}

/// The alerts, by their labels.
pub type Alerts = Arc<Mutex<BTreeMap<String, Value>>>;

pub async fn alertmanager() -> (Fake, Alerts) {
    let alerts = Alerts::default();
    let book = Arc::clone(&alerts);
    let fake = serve(move |call| {
        let refused = |why: &str| said(400, json!(why));
        let Some(all) = call.body.as_array().filter(|_| call.path == "/api/v2/alerts") else {
            return refused("parsing alerts failed");
        };
        for alert in all {
            let name = |name: &String| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let labels = alert["labels"].as_object().filter(|labels| !labels.is_empty() && labels.keys().all(name));
            let Some(labels) = labels.filter(|labels| labels.values().all(Value::is_string)) else {
                return refused("invalid label set");
            };
            if moment(&alert["endsAt"]) < moment(&alert["startsAt"]) {
                return refused("start time must be before end time");
            }
            book.lock().unwrap().insert(json!(labels).to_string(), alert.clone());
        }
        said(200, "")
    })
    .await;
    (fake, alerts)
}

fn moment(value: &Value) -> At {
    At::new(value.as_str().unwrap().parse().unwrap())
}

/// Those that fire now.
pub fn firing(alerts: &Alerts) -> Vec<Value> {
    let now = clock::now();
    alerts.lock().unwrap().values().filter(|alert| moment(&alert["endsAt"]) > now).cloned().collect()
}

pub type Issues = Arc<Mutex<Vec<Value>>>;

/// The issues of `shop/ops`, for the token `ghp-1`.
pub async fn github() -> (Fake, Issues) {
    let issues = Issues::default();
    let book = Arc::clone(&issues);
    let fake = serve(move |call| github_says(call, &mut book.lock().unwrap())).await;
    (fake, issues)
}

fn github_says(call: &Seen, issues: &mut Vec<Value>) -> Said {
    let header = |name: &str| call.headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    let refused = |status: u16, why: &str| said(status, json!({"message": why}));
    if header("user-agent").is_empty() {
        return refused(
            403,
            "Request forbidden by administrative rules. Please make sure your request has a User-Agent header",
        );
    }
    if header("authorization") != "Bearer ghp-1" {
        return refused(401, "Bad credentials");
    }
    let Some(path) = call.path.strip_prefix("/repos/shop/ops/issues") else { return refused(404, "Not Found") };
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let count = issues.len();
    let number = |text: &str| text.parse::<usize>().ok().filter(|n| (1..=count).contains(n)).map(|n| n - 1);
    match (call.method.as_str(), parts.as_slice()) {
        ("GET", []) => {
            let query = |name: &str| call.query.get(name).cloned().unwrap_or_default();
            let listed = |issue: &&Value| {
                issue["state"] == query("state")
                    && issue["labels"].as_array().unwrap().contains(&json!(query("labels")))
            };
            said(200, json!(issues.iter().rev().filter(listed).collect::<Vec<_>>()))
        }
        ("POST", []) if call.body["title"].as_str().is_some_and(|t| !t.is_empty() && t.chars().count() <= 256) => {
            let mut issue = call.body.clone();
            issue["number"] = json!(issues.len() + 1);
            issue["state"] = "open".into();
            issue["comments"] = json!([]);
            issues.push(issue.clone());
            said(201, issue)
        }
        ("POST", [n, "comments"]) if number(n).is_some() && call.body["body"].is_string() => {
            let n = number(n).unwrap();
            issues[n]["comments"].as_array_mut().unwrap().push(call.body["body"].clone());
            said(201, json!({"id": 1}))
        }
        ("PATCH", [n]) if number(n).is_some() => {
            let n = number(n).unwrap();
            issues[n]["state"] = call.body["state"].clone();
            said(200, &issues[n])
        }
        _ => refused(422, "Validation Failed"),
    }
}

/// A workflow at `/workflows/w`.
pub async fn teams() -> Fake {
    serve(|call| {
        let card = &call.body["attachments"][0];
        if call.path != "/workflows/w" {
            said(404, json!({"error": {"code": "WorkflowNotFound"}}))
        } else if call.size > 28 * 1024 {
            said(413, "")
        } else if call.body["type"] != "message"
            || card["contentType"] != "application/vnd.microsoft.card.adaptive"
            || card["content"]["type"] != "AdaptiveCard"
        {
            said(400, json!({"error": {"code": "TriggerInputSchemaMismatch"}}))
        } else {
            said(202, "")
        }
    })
    .await
}
