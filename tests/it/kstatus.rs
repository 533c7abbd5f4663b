//! What GitOps tools make of a Release: kstatus' rules as an oracle over every version of the object that was stored.
//!
//! A test that runs releases starts a `Recorder` first and calls `assert_honest` at its end:
//!
//! ```ignore
//! let recorder = kstatus::Recorder::start(&plane, &ns).await;
//! … a release goes out, or comes back …
//! recorder.assert_honest("shop");
//! assert_eq!(kstatus::of(recorder.of("shop").last().unwrap()), kstatus::Kstatus::Failed);
//! ```

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use futures::{StreamExt, TryStreamExt};
use haldane::api::Release;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    runtime::watcher::{self, Event, watcher},
};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::harness::{self, Plane, SOON, eventually};

/// The answer that Flux, kpt and Helm wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kstatus {
    Terminating,
    InProgress,
    Failed,
    Current,
}

/// kstatus' rules in its own order.
pub fn of(object: &Value) -> Kstatus {
    if object["metadata"]["deletionTimestamp"].is_string() {
        return Kstatus::Terminating;
    }
    let observed = &object["status"]["observedGeneration"];
    if !observed.is_null() && *observed != object["metadata"]["generation"] {
        return Kstatus::InProgress;
    }
    match (says(object, "Reconciling"), says(object, "Stalled"), says(object, "Ready")) {
        ("True", _, _) => Kstatus::InProgress,
        (_, "True", _) => Kstatus::Failed,
        (_, _, "True" | "") => Kstatus::Current,
        _ => Kstatus::InProgress,
    }
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

/// The condition's status; empty where there is no such condition.
fn says<'a>(object: &'a Value, kind: &str) -> &'a str {
    condition(object, kind).and_then(|c| c["status"].as_str()).unwrap_or_default()
}

/// The name of the State's variant.
fn state(object: &Value) -> &str {
    let variants = object["status"]["state"].as_object();
    variants.and_then(|v| v.keys().next()).map_or("", String::as_str)
}

/// Everything that would mislead a tool, in all stored versions of one Release.
pub fn lies(versions: &[Value]) -> Vec<String> {
    let mut lies = Vec::new();
    let told: Vec<&Value> = versions.iter().filter(|v| v["status"]["conditions"].is_array()).collect();
    for now in &told {
        let at = format!("version {}, {}", now["metadata"]["resourceVersion"], state(now));
        lies.extend(lies_alone(now).into_iter().map(|lie| format!("{at}: {lie}")));
    }
    for pair in told.windows(2) {
        let at = format!("version {}, {}", pair[1]["metadata"]["resourceVersion"], state(pair[1]));
        lies.extend(lies_after(pair[0], pair[1]).into_iter().map(|lie| format!("{at}: {lie}")));
    }
    lies
}

fn lies_alone(now: &Value) -> Vec<String> {
    let mut lies = Vec::new();
    let mut lie = |holds: bool, what: &str| {
        if holds {
            lies.push(what.to_owned());
        }
    };
    let observed = now["status"]["observedGeneration"].as_i64();
    lie(observed.is_none(), "observedGeneration is not an integer");
    lie(observed > now["metadata"]["generation"].as_i64(), "observedGeneration is ahead of the generation");
    let conditions = now["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut kinds: Vec<&str> = conditions.iter().filter_map(|c| c["type"].as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    lie(kinds.len() != conditions.len(), "a condition is there twice");
    for kind in ["Accepted", "Ready", "Reconciling", "Stalled", "Drifted", "MetricsAvailable"] {
        lie(!kinds.contains(&kind), &format!("{kind} is missing"));
    }
    for c in conditions {
        let kind = &c["type"];
        lie(c["observedGeneration"].as_i64() != observed, &format!("{kind} speaks of another generation"));
        let reason = c["reason"].as_str().unwrap_or_default();
        let camel =
            reason.starts_with(|c: char| c.is_ascii_uppercase()) && reason.chars().all(|c| c.is_ascii_alphanumeric());
        lie(!camel, &format!("the reason of {kind} is '{reason}'"));
        let status = c["status"].as_str().unwrap_or_default();
        lie(!["True", "False", "Unknown"].contains(&status), &format!("{kind} is '{status}'"));
        let silent = c["message"].as_str().unwrap_or_default().is_empty();
        lie(
            silent && ["Ready", "Stalled"].contains(&kind.as_str().unwrap_or_default()),
            &format!("{kind} gives no message"),
        );
    }
    let (stalled, reconciling) = (says(now, "Stalled") == "True", says(now, "Reconciling") == "True");
    lie(stalled && reconciling, "Reconciling and Stalled at once");
    lie(says(now, "Ready") == "True" && (stalled || reconciling), "Ready though it is not at rest");
    lie(says(now, "Ready") != "True" && !stalled && !reconciling, "neither ready, nor on its way, nor stalled");
    if of(now) == Kstatus::Current {
        lie(state(now) != "idle", "current though the State is not Idle");
        lie(says(now, "Accepted") == "False", "current though it is not accepted");
    }
    let cause = &now["status"]["state"]["rolledBack"]["cause"]["kind"];
    let gave_up = state(now) == "rollbackFailed" || (state(now) == "rolledBack" && cause != "Superseded");
    let fresh = observed == now["metadata"]["generation"].as_i64();
    let failed = of(now) == Kstatus::Failed || of(now) == Kstatus::Terminating;
    lie(gave_up && fresh && !failed, "it has come back and is not told as failed");
    lies
}

fn lies_after(before: &Value, now: &Value) -> Vec<String> {
    let mut lies = Vec::new();
    if before["metadata"]["uid"] != now["metadata"]["uid"] {
        return lies;
    }
    let observed = |v: &Value| v["status"]["observedGeneration"].as_i64();
    if observed(now) < observed(before) {
        lies.push("observedGeneration went back".into());
    }
    // Who waited for this generation has gone home. Only a person's order can bring it into motion again.
    let (candidate, same) = (&now["status"]["state"][state(now)]["candidate"], observed(now) == observed(before));
    let ordered = candidate["undo"] == true;
    if same && !ordered && of(before) == Kstatus::Current && of(now) == Kstatus::InProgress {
        let generation = now["metadata"]["generation"].as_i64();
        if generation == before["metadata"]["generation"].as_i64() {
            lies.push("it was current and is on its way again, without a new generation".into());
        }
    }
    for c in now["status"]["conditions"].as_array().into_iter().flatten() {
        let Some(earlier) = condition(before, c["type"].as_str().unwrap_or_default()) else { continue };
        if earlier["status"] == c["status"] && earlier["lastTransitionTime"] != c["lastTransitionTime"] {
            lies.push(format!("the time of {} moved without a change", c["type"]));
        }
    }
    lies
}

/// Keeps every version of the Releases of one namespace. Stops when dropped.
pub struct Recorder {
    versions: Arc<Mutex<BTreeMap<String, Vec<Value>>>>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Returns when it watches: nothing that is written later is missed.
    pub async fn start(plane: &Plane, namespace: &str) -> Self {
        let versions = Arc::new(Mutex::new(BTreeMap::<String, Vec<Value>>::new()));
        let kept = versions.clone();
        let api: Api<DynamicObject> =
            Api::namespaced_with(plane.client(), namespace, &ApiResource::erase::<Release>(&()));
        let (ready, watching) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut ready = Some(ready);
            let mut events = watcher(api, watcher::Config::default()).boxed();
            while let Ok(event) = events.try_next().await {
                match event {
                    Some(Event::Apply(release) | Event::InitApply(release)) => {
                        let object = serde_json::to_value(&release).expect("JSON");
                        kept.lock().expect("no panic inside").entry(release.name_any()).or_default().push(object);
                    }
                    Some(Event::InitDone) => drop(ready.take().map(|r| r.send(()))),
                    Some(Event::Delete(_) | Event::Init) => {}
                    None => return,
                }
            }
        });
        watching.await.expect("the watch begins");
        Self { versions, task }
    }

    /// All versions of one Release, in the order in which they were stored.
    pub fn of(&self, name: &str) -> Vec<Value> {
        self.versions.lock().expect("no panic inside").get(name).cloned().unwrap_or_default()
    }

    /// No version told a tool anything untrue.
    pub fn assert_honest(&self, name: &str) {
        let versions = self.of(name);
        assert!(!versions.is_empty(), "no version of {name} was stored");
        let lies = lies(&versions);
        assert!(lies.is_empty(), "{name} misleads tools:\n{}", lies.join("\n"));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A Release as it is stored, with `Ready`, `Reconciling` and `Stalled` as given.
fn told(state: &Value, ready: &str, reconciling: &str, stalled: &str) -> Value {
    let all = [("Accepted", "True"), ("Ready", ready), ("Reconciling", reconciling), ("Stalled", stalled)];
    let others = [("Drifted", "False"), ("MetricsAvailable", "Unknown")];
    let condition = |(kind, status): &(&str, &str)| {
        json!({"type": kind, "status": status, "reason": "R", "message": "m", "observedGeneration": 1,
               "lastTransitionTime": "2026-01-02T03:04:05Z"})
    };
    let conditions: Vec<Value> = all.iter().chain(&others).map(condition).collect();
    json!({"metadata": {"generation": 1, "uid": "u"},
           "status": {"formatVersion": 1, "observedGeneration": 1, "state": state, "conditions": conditions}})
}

fn idle() -> Value {
    json!({"idle": {"stable": {"revision": "a", "images": {}}}})
}

fn stepping() -> Value {
    json!({"stepping": {"candidate": {}}})
}

#[test]
fn honest_versions_pass() {
    let moving = told(&stepping(), "False", "True", "False");
    let mut at_rest = told(&idle(), "True", "False", "False");
    for (n, time) in [(1, "T1"), (2, "T1")] {
        at_rest["status"]["conditions"][n]["lastTransitionTime"] = json!(time);
    }
    assert_eq!((of(&moving), of(&at_rest)), (Kstatus::InProgress, Kstatus::Current));
    assert_eq!(lies(&[moving, at_rest]), Vec::<String>::new());
    let back = told(&json!({"rolledBack": {"cause": {"kind": "Bad"}}}), "False", "False", "True");
    assert_eq!((of(&back), lies(std::slice::from_ref(&back))), (Kstatus::Failed, vec![]));
}

#[test]
fn each_lie_is_found() {
    let at_rest = told(&idle(), "True", "False", "False");
    let changed = |change: fn(&mut Value)| {
        let mut object = at_rest.clone();
        change(&mut object);
        object
    };
    let back = json!({"rolledBack": {"cause": {"kind": "Bad"}}});
    let moved = changed(|o| o["status"]["conditions"][1]["lastTransitionTime"] = json!("later"));
    let newer = changed(|o| {
        o["metadata"]["generation"] = json!(2);
        o["status"]["observedGeneration"] = json!(2);
    });
    let found = [
        (vec![told(&stepping(), "True", "False", "False")], "current though the State is not Idle"),
        (vec![told(&stepping(), "False", "True", "True")], "Reconciling and Stalled at once"),
        (vec![told(&stepping(), "False", "False", "False")], "neither ready, nor on its way, nor stalled"),
        (vec![told(&back, "False", "True", "False")], "it has come back and is not told as failed"),
        (vec![told(&idle(), "True", "True", "False")], "Ready though it is not at rest"),
        (vec![changed(|o| o["status"]["observedGeneration"] = json!("1"))], "observedGeneration is not an integer"),
        (vec![changed(|o| o["status"]["observedGeneration"] = json!(2))], "observedGeneration is ahead"),
        (
            vec![changed(|o| o["status"]["conditions"][0]["observedGeneration"] = json!(0))],
            "speaks of another generation",
        ),
        (
            vec![changed(|o| o["status"]["conditions"][0]["status"] = json!("False"))],
            "current though it is not accepted",
        ),
        (vec![changed(|o| o["status"]["conditions"][2]["type"] = json!("Ready"))], "a condition is there twice"),
        (vec![changed(|o| o["status"]["conditions"][1]["reason"] = json!("not camel"))], "is 'not camel'"),
        (vec![changed(|o| o["status"]["conditions"][1]["message"] = json!(""))], "\"Ready\" gives no message"),
        (vec![changed(|o| o["status"]["conditions"][1]["status"] = json!("Yes"))], "\"Ready\" is 'Yes'"),
        (vec![at_rest.clone(), moved], "the time of \"Ready\" moved without a change"),
        (vec![newer, at_rest.clone()], "observedGeneration went back"),
        (vec![at_rest.clone(), told(&stepping(), "False", "True", "False")], "it was current and is on its way again"),
    ];
    for (versions, sentence) in found {
        let lies = lies(&versions);
        assert!(lies.iter().any(|lie| lie.contains(sentence)), "{sentence}: {lies:?}");
    }
    let undo = told(&json!({"preparing": {"candidate": {"undo": true}}}), "False", "True", "False");
    assert!(!lies(&[at_rest, undo]).iter().any(|lie| lie.contains("again")), "an order may take it up again");
}

#[tokio::test]
async fn the_recorder_misses_no_version() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let recorder = Recorder::start(&plane, &ns).await;
    let release = "{apiVersion: haldane.dev/v1alpha1, kind: Release, metadata: {name: shop}, spec: {images: {app: 'shop:2'}, \
                   targetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}}}";
    plane.create_yaml(&plane.client(), &ns, release).await.expect("a Release");
    let api: Api<Release> = Api::namespaced(plane.operator_client(), &ns);
    for (ready, reconciling, stalled) in
        [("Unknown", "True", "False"), ("True", "False", "False"), ("False", "False", "True")]
    {
        let status = told(&idle(), ready, reconciling, stalled)["status"].take();
        let patch = Patch::Merge(json!({"status": status}));
        api.patch_status("shop", &PatchParams::default(), &patch).await.expect("a status");
    }
    let versions = eventually("all four versions", SOON, async || {
        let versions = recorder.of("shop");
        if versions.len() == 4 { Ok(versions) } else { Err(versions.len()) }
    })
    .await;
    let told: Vec<Kstatus> = versions.iter().map(of).collect();
    assert_eq!(
        told,
        [Kstatus::Current, Kstatus::InProgress, Kstatus::Current, Kstatus::Failed],
        "without a status: current"
    );
    recorder.assert_honest("shop");
}
