//! Bad days, one by one, as `docs/trouble.md` lists them: what the operator does, the sentence its user sees, that no
//! object of others is changed, and that no side without ready pods is sent to.

mod before;
mod evict;
mod metrics;
mod midway;
mod room;
mod sizes;
mod table;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use haldane::{api::names, observe::clock};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, Service},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    harness::{SOON, eventually, gateway},
    release::Shop,
};

/// A workload beside the one that is released, of the same team.
const BESIDE: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: beside, labels: {team: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: beside}}
  template:
    metadata: {labels: {app: beside}}
    spec: {containers: [{name: app, image: 'beside:1'}]}
---
apiVersion: v1
kind: Service
metadata: {name: beside, labels: {team: web}}
spec: {selector: {app: beside}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: beside}
data: {a: b}
";

/// How long a side may be sent to without a ready pod, if the other has one.
const BLIND: Duration = Duration::from_secs(2);

/// A shop with neighbours, and somebody who looks at where requests would go all the time.
pub struct Trouble {
    pub shop: Shop,
    watch: Watch,
    before: BTreeMap<String, Value>,
}

impl Trouble {
    pub async fn open() -> Self {
        Self::of(Box::pin(Shop::open()).await).await
    }

    pub async fn of(shop: Shop) -> Self {
        shop.plane.apply_yaml(&shop.ns, BESIDE).await;
        let watch = Watch::start(shop.plane.client(), &shop.ns);
        let before = foreign(&shop).await;
        Self { shop, watch, before }
    }

    /// What others have changed since is what they want.
    pub async fn as_it_is(&mut self) {
        self.before = foreign(&self.shop).await;
    }

    /// No object of others was changed, but for `changed` (`Kind/name`), and every request had somewhere to go.
    pub async fn assert_harmless(&self, changed: &[&str]) {
        let (mut before, mut now) = (self.before.clone(), foreign(&self.shop).await);
        before.retain(|key, _| !changed.contains(&key.as_str()));
        now.retain(|key, _| !changed.contains(&key.as_str()));
        assert_eq!(now, before, "{}", self.shop.ns);
        self.watch.assert_served();
    }

    /// As `assert_harmless` when all is over: nothing of ours is left but the Release, and this image runs.
    pub async fn assert_over(&self, image: &str) {
        self.shop.recorder.assert_honest("shop");
        let template = if image == "shop:1" { &[][..] } else { &["Deployment/shop"] };
        eventually(&format!("{}: nothing of ours is left", self.shop.ns), SOON, async || {
            let (ours, pods) = (self.shop.ours().await, self.shop.pods_of(image).await);
            if ours.is_empty() && pods.len() == 2 { Ok(()) } else { Err((ours, pods)) }
        })
        .await;
        self.assert_harmless(template).await;
    }

    /// Nothing but the status was written.
    pub fn assert_untouched(&self) {
        let writes = self.shop.writes();
        assert!(writes.iter().all(|w| w.resource == "releases/status"), "{writes:?}");
    }
}

/// Everything in the namespace that is not ours, without our keys in it.
async fn foreign(shop: &Shop) -> BTreeMap<String, Value> {
    let all = ListParams::default();
    let mut found = BTreeMap::new();
    let mut add = |kind: &str, object: Value| {
        let marked = object["metadata"]["annotations"].get(names::RELEASE).is_some();
        if !marked {
            let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
            found.insert(format!("{kind}/{name}"), masked(object));
        }
    };
    for o in shop.api::<Deployment>().list(&all).await.expect("Deployments") {
        add("Deployment", value(&o));
    }
    for o in shop.api::<Service>().list(&all).await.expect("Services") {
        add("Service", value(&o));
    }
    for o in shop.api::<ConfigMap>().list(&all).await.expect("ConfigMaps") {
        add("ConfigMap", value(&o));
    }
    for o in shop.routes().list(&all).await.expect("routes") {
        add("HTTPRoute", value(&o));
    }
    found
}

fn value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("JSON")
}

fn masked(mut object: Value) -> Value {
    let ours = |key: &String| key.starts_with(names::PREFIX) || key.starts_with("deployment.kubernetes.io/");
    for field in ["labels", "annotations"] {
        if let Some(map) = object["metadata"][field].as_object_mut() {
            map.retain(|key, _| !ours(key));
        }
    }
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.remove("paused");
    }
    if let Some(selector) = object["spec"]["selector"].as_object_mut() {
        selector.remove(names::HASH);
    }
    for rule in object["spec"]["rules"].as_array_mut().into_iter().flatten() {
        let Some(refs) = rule["backendRefs"].as_array_mut() else { continue };
        refs.retain(|r| r["name"] != "shop-canary");
        for user in refs.iter_mut().filter(|r| r["name"] == "shop") {
            user.as_object_mut().expect("a backendRef").remove("weight");
        }
    }
    let meta = &object["metadata"];
    json!({"labels": meta["labels"], "annotations": meta["annotations"], "spec": object["spec"], "data": object["data"]})
}

/// Looks every 100 ms whether each Service that the route sends to selects a ready pod.
struct Watch {
    blind: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Watch {
    fn start(client: Client, ns: &str) -> Self {
        let blind = Arc::default();
        let task = tokio::spawn(watch(client, ns.to_owned(), Arc::clone(&blind)));
        Self { blind, task }
    }

    fn assert_served(&self) {
        let blind = self.blind.lock().expect("no panic inside").clone();
        assert!(blind.is_empty(), "requests went nowhere: {blind:?}");
        assert!(!self.task.is_finished(), "somebody has looked all the time");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(client: Client, ns: String, blind: Arc<Mutex<Vec<String>>>) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &ns);
    let services: Api<Service> = Api::namespaced(client.clone(), &ns);
    let routes: Api<DynamicObject> = Api::namespaced_with(client, &ns, &gateway::http_route());
    let all = ListParams::default();
    let mut since: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let Ok((pods, services, route)) = tokio::try_join!(pods.list(&all), services.list(&all), routes.get("shop"))
        else {
            continue; // gone, or not an answer: the next look tells
        };
        let ready: Vec<&Pod> = pods.items.iter().filter(|p| is_ready(p)).collect();
        let now = unserved(&ready, &services.items, &route);
        since.retain(|name, _| now.contains(name));
        for name in now {
            let first = *since.entry(name.clone()).or_insert_with(clock::monotonic);
            if first.elapsed() > BLIND {
                blind.lock().expect("no panic inside").push(format!("Service {name} for {:?}", first.elapsed()));
            }
        }
    }
}

/// Services of the workload that get requests and have no ready pod, while some pod of it is ready.
fn unserved(ready: &[&Pod], services: &[Service], route: &DynamicObject) -> Vec<String> {
    let of_shop = |p: &Pod| p.labels().get("app").is_some_and(|app| app == "shop");
    if !ready.iter().any(|p| of_shop(p)) {
        return Vec::new();
    }
    let rules = route.data["spec"]["rules"].as_array().into_iter().flatten();
    let refs = rules.flat_map(|rule| rule["backendRefs"].as_array().into_iter().flatten());
    let sent = refs.filter(|r| r["weight"].as_u64() != Some(0)).filter_map(|r| r["name"].as_str());
    let serves = |name: &str| {
        let service = services.iter().find(|s| s.name_any() == name);
        let selector = service.and_then(|s| s.spec.as_ref()?.selector.as_ref());
        let fits = |p: &Pod| selector.is_some_and(|s| s.iter().all(|(k, v)| p.labels().get(k) == Some(v)));
        ready.iter().any(|p| fits(p))
    };
    sent.filter(|name| name.starts_with("shop") && !serves(name)).map(str::to_owned).collect()
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none() && conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

#[test]
fn a_service_without_ready_pods_is_noticed_while_another_version_is_ready() {
    let pod = |hash: &str, ready: bool| -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": hash, "labels": {"app": "shop", names::HASH: hash}},
            "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        }))
        .expect("a pod")
    };
    let service = |name: &str, selector: Value| -> Service {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"selector": selector}})).expect("a Service")
    };
    let services = [
        service("shop", json!({"app": "shop", names::HASH: "h1"})),
        service("shop-canary", json!({names::HASH: "h2"})),
    ];
    let route = |weight: u32| -> DynamicObject {
        let refs = json!([{"name": "shop", "weight": 100 - weight}, {"name": "shop-canary", "weight": weight}]);
        serde_json::from_value(json!({"metadata": {"name": "shop"}, "spec": {"rules": [{"backendRefs": refs}]}}))
            .expect("a route")
    };
    let (stable, candidate) = (pod("h1", true), pod("h2", false));
    let ready: Vec<&Pod> = [&stable, &candidate].into_iter().filter(|p| is_ready(p)).collect();
    assert_eq!(unserved(&ready, &services, &route(20)), ["shop-canary"]);
    assert!(unserved(&ready, &services, &route(0)).is_empty());
    assert!(unserved(&[], &services, &route(20)).is_empty(), "nobody could have answered");
}

#[test]
fn an_object_is_compared_without_our_keys_and_with_all_others() {
    let route = |refs: Value, timeout: &str| {
        masked(json!({
            "metadata": {"name": "shop", "labels": {"team": "web"}, "annotations": {format!("{}x", names::PREFIX): "1"}},
            "spec": {"rules": [{"backendRefs": refs, "timeouts": {"request": timeout}}]},
        }))
    };
    let users = route(json!([{"name": "shop", "weight": 1}]), "7s");
    let ours = json!([{"name": "shop", "weight": 80}, {"name": "shop-canary", "weight": 20}]);
    assert_eq!(route(ours.clone(), "7s"), users);
    assert_ne!(route(ours, "8s"), users);
    assert_ne!(route(json!([{"name": "shop", "port": 81}]), "7s"), users);
}
