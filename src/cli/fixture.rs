//! Releases in every State for tests of what people are shown.

use serde_json::{Value, json};

use crate::api::{Release, units::At};

pub fn now() -> At {
    at("2026-03-02T14:10:00Z")
}

pub fn at(text: &str) -> At {
    At::new(text.parse().unwrap())
}

fn version(name: &str, revision: &str) -> Value {
    json!({"name": name, "revision": revision, "images": {"app": format!("registry.example/shop/checkout:{name}")}})
}

pub fn stable() -> Value {
    version("1.4.1", "0a1b2c3d4e")
}

pub fn candidate() -> Value {
    let mut candidate = version("1.4.2", "5f6a7b8c9d");
    candidate["id"] = "5f6a7b8c9d".into();
    candidate["generation"] = 7.into();
    candidate["targetUid"] = "d-1".into();
    candidate["plan"] = json!({
        "steps": [{"pods": 1, "for": "600s"}, {"weight": 30, "for": "1800s"}, {"weight": 100, "for": "0s"}],
        "watch": {"for": "1800s"},
        "deadline": "600s",
    });
    candidate["targetUid"] = "d-1".into();
    candidate["traffic"] = json!({"services": ["checkout"]});
    candidate
}

pub fn report() -> Value {
    json!({
        "decidedAt": "2026-03-02T14:05:00Z",
        "writtenAt": "2026-03-02T14:05:00.120Z",
        "confirmedAt": "2026-03-02T14:05:00.410Z",
        "provenAt": "2026-03-02T14:05:06.200Z",
        "proof": "Counters",
        "requestsFailed": 31,
    })
}

pub fn cause() -> Value {
    json!({"kind": "Bad", "message": "error rate 7.31 % > 5 % for 2 m at 30 %, stable 0.40 %"})
}

/// All States, by their names.
pub fn states() -> Vec<(&'static str, Value)> {
    let (s, c) = (stable(), candidate());
    let since = "2026-03-02T14:00:00Z";
    let mut recovered = report();
    recovered["recoveredAt"] = "2026-03-02T14:05:20Z".into();
    vec![
        ("Idle", json!({"idle": {"stable": s}})),
        (
            "Waiting",
            json!({"waiting": {"stable": s, "candidate": c, "since": since, "closed": [
                {"name": "Preflight", "message": "Service checkout is of type ExternalName; name the Services that count in spec.traffic.services"},
            ]}}),
        ),
        ("Preparing", json!({"preparing": {"stable": s, "candidate": c, "since": "2026-03-02T14:08:00Z"}})),
        (
            "Stepping",
            json!({"stepping": {"stable": s, "candidate": c, "step": 1, "since": since, "settled": "2026-03-02T14:00:30Z"}}),
        ),
        ("Observing", json!({"observing": {"stable": s, "candidate": c, "since": since, "settled": since}})),
        ("Promoting", json!({"promoting": {"stable": s, "candidate": c, "since": since, "part": "TakeOver"}})),
        (
            "Draining",
            json!({"draining": {"stable": s, "candidate": c, "since": since, "cause": cause(), "report": report()}}),
        ),
        (
            "Reverting",
            json!({"reverting": {"stable": s, "candidate": c, "since": since, "cause": cause(), "report": report()}}),
        ),
        (
            "RolledBack",
            json!({"rolledBack": {"stable": s, "candidate": version("1.4.2", "5f6a7b8c9d"), "cause": cause(), "report": recovered}}),
        ),
        (
            "RollbackFailed",
            json!({"rollbackFailed": {"stable": s, "candidate": c, "cause": cause(), "report": report(), "problem": "the stable version still fails 12.00 % of its requests after 5 m"}}),
        ),
    ]
}

fn state(name: &str) -> Value {
    states().into_iter().find(|(n, _)| *n == name).unwrap().1
}

/// A Release of generation 7 whose status is given, with what every status has filled in.
#[expect(clippy::needless_pass_by_value, reason = "callers write the value in place")]
pub fn release(name: &str, status: Value) -> Release {
    let mut full = json!({
        "formatVersion": 1,
        "observedGeneration": 7,
        "state": state(name),
        "notices": 0,
        "phase": name,
        "version": "1.4.2",
        "message": "the sentence of the operator",
        "stableRevision": "0a1b2c3d4e",
        "conditions": conditions("False", "True", "False"),
    });
    if !matches!(name, "Idle") {
        full["candidateRevision"] = "5f6a7b8c9d".into();
    }
    for (key, value) in status.as_object().unwrap() {
        full[key] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "haldane.dev/v1alpha1",
        "kind": "Release",
        "metadata": {"name": "checkout", "namespace": "shop", "uid": "u-1", "generation": 7, "creationTimestamp": "2026-03-01T12:00:00Z"},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
            "images": {"app": "registry.example/shop/checkout:1.4.2"},
        },
        "status": full,
    }))
    .unwrap()
}

/// Ready, Reconciling, Stalled.
pub fn conditions(ready: &str, reconciling: &str, stalled: &str) -> Value {
    let one = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "Deciding", "message": "the sentence of the operator", "lastTransitionTime": "2026-03-02T14:00:00Z"});
    json!([one("Ready", ready), one("Reconciling", reconciling), one("Stalled", stalled)])
}
