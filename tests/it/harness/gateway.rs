//! Plays the gateway controller of one namespace: accepts routes of the Gateway API as a test says and knows what the data plane would do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
    discovery::ApiResource,
    runtime::watcher::{self, Event, watcher},
};
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinHandle};

use super::{AGAIN, Plane};

#[derive(Default)]
struct Manner {
    lag: Duration,
    away: bool,
    /// The reason with which `ResolvedRefs` is False.
    refusal: Option<String>,
    /// What each route really does: the last accepted `spec`.
    serving: BTreeMap<String, Value>,
}

/// Runs until it is dropped.
pub struct Gateway {
    manner: Arc<Mutex<Manner>>,
    changed: Arc<Notify>,
    task: JoinHandle<()>,
}

/// The Gateway API's HTTPRoute.
pub fn http_route() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"))
}

impl Gateway {
    pub fn start(plane: &Plane, namespace: &str) -> Self {
        Self::of(&http_route(), plane, namespace)
    }

    /// For routes of another kind.
    pub fn of(kind: &ApiResource, plane: &Plane, namespace: &str) -> Self {
        let (manner, changed) = (Arc::new(Mutex::new(Manner::default())), Arc::new(Notify::new()));
        let api = Api::namespaced_with(plane.client(), namespace, kind);
        let task = tokio::spawn(run(api, manner.clone(), changed.clone()));
        Self { manner, changed, task }
    }

    /// From now on a change takes this long to arrive.
    pub fn lag(&self, lag: Duration) {
        self.change(|m| m.lag = lag);
    }

    /// It does nothing until `come_back`.
    pub fn go_away(&self) {
        self.change(|m| m.away = true);
    }

    pub fn come_back(&self) {
        self.change(|m| m.away = false);
    }

    /// `ResolvedRefs` is False for this reason, for example `BackendNotFound`; `None`: accepted again.
    pub fn refuse(&self, reason: Option<&str>) {
        self.change(|m| m.refusal = reason.map(str::to_owned));
    }

    /// The `spec` of the route as it was accepted last.
    pub fn serving(&self, route: &str) -> Option<Value> {
        self.manner.lock().expect("no panic inside").serving.get(route).cloned()
    }

    fn change(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.manner.lock().expect("no panic inside"));
        self.changed.notify_one();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(api: Api<DynamicObject>, manner: Arc<Mutex<Manner>>, changed: Arc<Notify>) {
    let mut routes: BTreeMap<String, DynamicObject> = BTreeMap::new();
    let config = watcher::Config::default();
    let mut events = watcher(api.clone(), config).boxed();
    loop {
        tokio::select! {
            event = events.try_next() => match event {
                Ok(Some(Event::Apply(route) | Event::InitApply(route))) => {
                    routes.insert(route.name_any(), route);
                }
                Ok(Some(Event::Delete(route))) => {
                    routes.remove(&route.name_any());
                    manner.lock().expect("no panic inside").serving.remove(&route.name_any());
                }
                Ok(Some(Event::Init | Event::InitDone)) => {}
                // An API server that is gone refuses at once: without a pause this task could not even be ended.
                Err(_) => tokio::time::sleep(AGAIN).await,
                Ok(None) => return,
            },
            () = changed.notified() => {}
        }
        for route in routes.values() {
            attend(&api, route, &manner).await;
        }
    }
}

async fn attend(api: &Api<DynamicObject>, route: &DynamicObject, manner: &Mutex<Manner>) {
    let (lag, away, refusal) = {
        let m = manner.lock().expect("no panic inside");
        (m.lag, m.away, m.refusal.clone())
    };
    let generation = route.metadata.generation;
    let condition = |kind: &str, refusal: Option<&str>| {
        json!({
            "type": kind, "status": if refusal.is_none() { "True" } else { "False" },
            "reason": refusal.unwrap_or(kind), "message": "", "observedGeneration": generation,
        })
    };
    let conditions = [condition("Accepted", None), condition("ResolvedRefs", refusal.as_deref())];
    let told = |known: &Value| {
        conditions.iter().all(|c| known["conditions"].as_array().is_some_and(|all| all.iter().any(|k| same(k, c))))
    };
    let known = route.data["status"]["parents"].as_array();
    if away || known.is_some_and(|parents| !parents.is_empty() && parents.iter().all(told)) {
        return;
    }
    tokio::time::sleep(lag).await;
    if refusal.is_none() {
        manner.lock().expect("no panic inside").serving.insert(route.name_any(), route.data["spec"].clone());
    }
    let now = haldane::observe::clock::now().timestamp().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let conditions = conditions.map(|mut c| {
        c["lastTransitionTime"] = json!(now);
        c
    });
    let parents: Vec<Value> = route.data["spec"]["parentRefs"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|parent| json!({"parentRef": parent, "controllerName": "haldane.dev/it", "conditions": conditions}))
        .collect();
    let patch = Patch::Merge(json!({"status": {"parents": parents}}));
    let _stale = api.patch_status(&route.name_any(), &PatchParams::default(), &patch).await;
}

/// Whether two conditions say the same, whenever they said it.
fn same(known: &Value, wanted: &Value) -> bool {
    ["type", "status", "reason", "observedGeneration"].iter().all(|key| known[key] == wanted[key])
}
