//! Every revision of the store, in its order: etcd's watch, read through its JSON gateway.

use std::{path::PathBuf, time::Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// One stored change.
#[derive(Clone, Debug)]
pub struct Change {
    pub revision: i64,
    /// When it was read here, milliseconds after the first.
    pub at: u64,
    pub namespace: String,
    pub kind: String,
    pub name: String,
    /// `None`: it was deleted.
    pub now: Option<Value>,
}

/// Calls `on` with every change since revision 1, for ever. Panics when a change can not be had any more.
pub async fn follow(socket: PathBuf, mut on: impl FnMut(i64, Vec<Change>)) {
    let client = reqwest::Client::builder().unix_socket(socket).build().expect("a client");
    let all = json!({"create_request": {
        "key": STANDARD.encode("/registry/"), "range_end": STANDARD.encode("/registry0"), "start_revision": "1",
    }});
    let mut answer = client.post("http://etcd/v3/watch").body(all.to_string()).send().await.expect("the watch");
    assert!(answer.status().is_success(), "the watch: {}", answer.status());
    let (begun, mut rest) = (haldane::observe::clock::monotonic(), Vec::new());
    while let Ok(Some(chunk)) = answer.chunk().await {
        let Some(end) = chunk.iter().rposition(|byte| *byte == b'\n') else {
            rest.extend_from_slice(&chunk);
            continue;
        };
        rest.extend_from_slice(&chunk[..end]);
        let whole = std::mem::replace(&mut rest, chunk[end + 1..].to_vec());
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let message: Value = serde_json::from_slice(line).expect("a message");
            let (revision, changes) = read(&message, begun);
            on(revision, changes);
        }
    }
}

fn read(message: &Value, begun: Instant) -> (i64, Vec<Change>) {
    let result = &message["result"];
    assert!(message["error"].is_null() && result["canceled"] != true, "the store's watch ended: {message}");
    let number = |v: &Value| v.as_str().and_then(|n| n.parse::<i64>().ok()).unwrap_or_default();
    let at = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let changes = result["events"].as_array().into_iter().flatten().filter_map(|event| {
        let kv = &event["kv"];
        let key = String::from_utf8(STANDARD.decode(kv["key"].as_str()?).ok()?).ok()?;
        let value = kv["value"].as_str().and_then(|v| STANDARD.decode(v).ok());
        let now = if event["type"] == "DELETE" { None } else { serde_json::from_slice(&value?).ok() };
        let (kind, namespace, name) = place(&key)?;
        Some(Change { revision: number(&kv["mod_revision"]), at, namespace, kind, name, now })
    });
    (number(&result["header"]["revision"]), changes.collect())
}

/// Resource, namespace and name of a namespaced object's key.
fn place(key: &str) -> Option<(String, String, String)> {
    let parts: Vec<&str> = key.strip_prefix("/registry/")?.split('/').collect();
    let (kind, rest) = match parts.as_slice() {
        ["services", "specs", rest @ ..] => ("services", rest),
        ["services", ..] | [] => return None,
        [group, kind, rest @ ..] if group.contains('.') => (*kind, rest),
        [kind, rest @ ..] => (*kind, rest),
    };
    let [namespace, name] = rest else { return None };
    Some((kind.to_owned(), (*namespace).to_owned(), (*name).to_owned()))
}
