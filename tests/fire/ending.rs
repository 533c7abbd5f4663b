//! How a story ended, so that it can be compared with another telling of it: everything in the namespace without names,
//! times and numbers that are new each time, and how many objects were made and deleted on the way.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::audit::{Ledger, world::ready};

/// By kind and name.
pub type Ending = BTreeMap<String, Value>;

/// Compared as objects. Pods and Events are counted instead, for their names are new each time.
const KINDS: [&str; 7] = ["deployments", "replicasets", "services", "httproutes", "releases", "jobs", "releaseactions"];

pub fn ending(ledger: &Ledger, ns: &str) -> Ending {
    let world = ledger.world();
    let mut ending = Ending::new();
    for kind in KINDS {
        for (name, object) in world.all(kind) {
            ending.insert(format!("{kind} {}", unmarked(name)), plain(kind, object, ns));
        }
        let (made, deleted) = ledger.made.get(kind).copied().unwrap_or_default();
        ending.insert(format!("{kind} made and deleted"), json!([made, deleted]));
    }
    let mut count = |what: String| {
        let n = ending.get(&what).and_then(Value::as_u64).unwrap_or(0);
        ending.insert(what, json!(n + 1));
    };
    for (_, pod) in world.all("pods") {
        let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        count(format!("pods of {image}, {}", if ready(pod) { "ready" } else { "not ready" }));
    }
    for (_, event) in world.all("events") {
        if event["reportingController"] == "haldane.dev/operator"
            || event["reportingComponent"] == "haldane.dev/operator"
        {
            count(format!("Events {}", event["reason"]));
        }
    }
    let pods = ledger.made.get("pods").copied().unwrap_or_default();
    ending.insert("pods made and deleted".into(), json!([pods.0, pods.1]));
    ending
}

/// What differs, object by object.
pub fn differences(reference: &Ending, now: &Ending) -> Vec<String> {
    let mut keys: Vec<&String> = reference.keys().chain(now.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let nothing = Value::Null;
    let pairs =
        keys.into_iter().map(|key| (key, reference.get(key).unwrap_or(&nothing), now.get(key).unwrap_or(&nothing)));
    pairs.filter(|(_, was, is)| was != is).map(|(key, was, is)| apart(key, was, is)).collect()
}

/// The smallest part that differs.
fn apart(path: &str, was: &Value, is: &Value) -> String {
    if let (Some(a), Some(b)) = (was.as_object(), is.as_object()) {
        let keys = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k)));
        let inner: Vec<String> = keys
            .filter(|k| was[k.as_str()] != is[k.as_str()])
            .map(|k| apart(&format!("{path}.{k}"), &was[k.as_str()], &is[k.as_str()]))
            .collect();
        return inner.join("; ");
    }
    format!("{path} was {was} and is {is}")
}

/// An object without what is new each time.
fn plain(kind: &str, object: &Value, ns: &str) -> Value {
    let meta = &object["metadata"];
    let mut out = json!({
        "labels": meta["labels"],
        "annotations": meta["annotations"],
        "finalizers": meta["finalizers"],
        "deleting": !meta["deletionTimestamp"].is_null(),
        "spec": object["spec"],
    });
    match kind {
        "services" => {
            for field in ["clusterIP", "clusterIPs"] {
                out["spec"].as_object_mut().map(|spec| spec.remove(field));
            }
        }
        "releases" => {
            out["status"] = object["status"].clone();
            // All has been told when a story ends; whether the last Event is crossed off already is chance.
            out["status"].as_object_mut().map(|status| status.remove("outbox"));
        }
        "jobs" => {
            // The rest is the Job controller's, and named after the Job.
            out["spec"] = object["spec"]["template"]["spec"].clone();
        }
        "replicasets" | "deployments" => {
            for field in ["replicas", "readyReplicas", "availableReplicas", "unavailableReplicas"] {
                out[field] = object["status"][field].clone();
            }
        }
        _ => {}
    }
    mask(&mut out, ns);
    out
}

/// The Job of a rollback step is called after the moment of the decision.
pub fn unmarked(name: &str) -> String {
    let mut parts = name.rsplitn(3, '-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(number), Some(_), Some(stem)) if stem.contains("-rollback-") => format!("{stem}-{number}"),
        _ => name.to_owned(),
    }
}

/// Blots out moments and identities.
fn mask(value: &mut Value, ns: &str) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                match key.as_str() {
                    "haldane.dev/release-uid" | "haldane.dev/paused-by" | "releaseUid" | "targetUid" => {
                        *value = json!("a UID");
                    }
                    "handledActions" => *value = json!(value.as_array().map_or(0, Vec::len)),
                    // Which moments are known depends on which process saw them; how it is known does not.
                    "report" => *value = value["proof"].clone(),
                    _ => mask(value, ns),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|one| mask(one, ns)),
        Value::String(text) => {
            if text.parse::<jiff::Timestamp>().is_ok() {
                "a moment".clone_into(text);
            } else if text.contains(' ') {
                *text = text.split(' ').map(|word| known(word, ns)).collect::<Vec<_>>().join(" ");
            }
        }
        _ => {}
    }
}

/// A word of a sentence: names of pods and of the namespace are new each time.
fn known<'a>(word: &'a str, ns: &str) -> &'a str {
    match word.rsplit_once('-') {
        Some((set, end)) if set.starts_with("shop-r") && end.len() == 5 => set,
        _ if word == ns => "NAMESPACE",
        _ => word,
    }
}
