//! The tests' own stage: pods, endpoints and routes behave here as on a cluster, and the operator may do what it should.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod, discovery::v1::EndpointSlice};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams},
};

use crate::harness::{self, SOON, eventually, gateway, pods};

const SHOP: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: app, image: 'shop:1'}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80}]}
";

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: web}]
  rules: [{backendRefs: [{name: shop, port: 80, weight: 7}]}]
";

/// How many endpoints of the Service `shop` serve.
async fn endpoints(api: &Api<EndpointSlice>) -> usize {
    let slices = api.list(&ListParams::default().labels("kubernetes.io/service-name=shop")).await.expect("slices");
    let all = slices.items.into_iter().flat_map(|s| s.endpoints);
    all.filter(|e| e.conditions.as_ref().is_some_and(|c| c.serving == Some(true))).count()
}

#[tokio::test]
async fn deployments_roll_and_endpoints_follow() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let agent = pods::Agent::start(&plane, &ns);
    let slices: Api<EndpointSlice> = Api::namespaced(plane.client(), &ns);
    let deployments: Api<Deployment> = Api::namespaced(plane.client(), &ns);
    plane.apply_yaml(&ns, SHOP).await;
    eventually("two endpoints", SOON, async || (endpoints(&slices).await == 2).then_some(())).await;

    agent.unready(pods::of_image("shop:2"));
    plane.apply_yaml(&ns, &SHOP.replace("shop:1", "shop:2")).await;
    let status = async || deployments.get("shop").await.expect("the Deployment").status.unwrap_or_default();
    eventually("the new pod is not ready", SOON, async || {
        let s = status().await;
        if s.updated_replicas == Some(1) && s.unavailable_replicas == Some(1) { Ok(()) } else { Err(s) }
    })
    .await;
    agent.ready(pods::every);
    eventually("the new version has rolled out", SOON, async || {
        let s = status().await;
        if s.updated_replicas == Some(2) && s.replicas == Some(2) && s.available_replicas == Some(2) {
            Ok(())
        } else {
            Err(s)
        }
    })
    .await;
}

#[tokio::test]
async fn pods_fail_as_told_and_linger() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let agent = pods::Agent::start(&plane, &ns);
    let api: Api<Pod> = Api::namespaced(plane.client(), &ns);
    plane.apply_yaml(&ns, SHOP).await;
    let all = async |what: &str, fits: fn(&serde_json::Value) -> bool| {
        eventually(what, SOON, async || {
            let pods = api.list(&ListParams::default()).await.expect("pods").items;
            let pods: Vec<_> = pods.iter().map(|p| serde_json::to_value(p).expect("a pod")).collect();
            if pods.len() == 2 && pods.iter().all(|p| fits(&p["status"])) { Ok(()) } else { Err(pods) }
        })
        .await;
    };
    let reason = |s: &serde_json::Value| s["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
    all("ready", |s| s["phase"] == "Running" && s["podIP"].is_string()).await;
    agent.crash(pods::named("shop-"));
    eventually("crashing", SOON, async || {
        let pods = api.list(&ListParams::default()).await.expect("pods").items;
        let pods: Vec<_> = pods.iter().map(|p| serde_json::to_value(&p.status).expect("a status")).collect();
        pods.iter().all(|s| reason(s) == "CrashLoopBackOff").then_some(())
    })
    .await;
    agent.image_pull_error(pods::every);
    all("no image", |s| s["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff").await;
    agent.hold(pods::every);
    all("held", |s| s["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating").await;
    agent.unschedulable(pods::every);
    all("unschedulable", |s| s["conditions"][0]["reason"] == "Unschedulable").await;

    agent.ready(pods::every);
    agent.linger(pods::every);
    plane.apply_yaml(&ns, &SHOP.replace("replicas: 2", "replicas: 0")).await;
    let count = async || api.list(&ListParams::default()).await.expect("pods").items;
    eventually("both are being deleted", SOON, async || {
        let pods = count().await;
        (pods.len() == 2 && pods.iter().all(|p| p.metadata.deletion_timestamp.is_some())).then_some(())
    })
    .await;
    agent.finish();
    eventually("both are gone", SOON, async || count().await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn routes_are_accepted_late_refused_or_not_at_all() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let gateway = gateway::Gateway::start(&plane, &ns);
    let api: Api<DynamicObject> = Api::namespaced_with(plane.client(), &ns, &gateway::http_route());
    plane.apply_yaml(&ns, ROUTE).await;
    let weight = || gateway.serving("shop").map(|s| s["rules"][0]["backendRefs"][0]["weight"].clone());
    let accepted = async |status: &str| {
        eventually("the route's status", SOON, async || {
            let route = api.get("shop").await.expect("the route");
            let conditions = &route.data["status"]["parents"][0]["conditions"];
            let fits = conditions[1]["status"] == status
                && conditions[1]["observedGeneration"] == serde_json::json!(route.metadata.generation);
            if fits { Ok(()) } else { Err(route.data) }
        })
        .await;
    };
    accepted("True").await;
    assert_eq!(weight(), Some(7.into()));

    gateway.refuse(Some("BackendNotFound"));
    plane.apply_yaml(&ns, &ROUTE.replace("weight: 7", "weight: 8")).await;
    accepted("False").await;
    assert_eq!(weight(), Some(7.into()), "a refused change does not reach the data plane");

    gateway.refuse(None);
    gateway.lag(Duration::from_millis(200));
    accepted("True").await;
    assert_eq!(weight(), Some(8.into()));

    gateway.go_away();
    plane.apply_yaml(&ns, &ROUTE.replace("weight: 7", "weight: 9")).await;
    assert_eq!(weight(), Some(8.into()));
    gateway.come_back();
    accepted("True").await;
    assert_eq!(weight(), Some(9.into()));
}

#[tokio::test]
async fn strangers_get_nothing() {
    let plane = harness::plane().await;
    let stranger = plane.client_as("mallory", &["system:authenticated"]);
    let pods: Api<Pod> = Api::namespaced(stranger.clone(), "default");
    assert!(pods.list(&ListParams::default()).await.is_err_and(|e| e.to_string().contains("mallory")));
    let created =
        plane.create_yaml(&stranger, "default", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}").await;
    assert!(created.is_err_and(|e| e.contains("\"mallory\" cannot create resource \"configmaps\"")));
    let tokenless = reqwest::Client::builder().danger_accept_invalid_certs(true).build().expect("a client");
    let answer = tokenless.get(format!("{}/api", plane.server())).send().await.expect("an answer");
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn the_controllers_can_be_away() {
    let plane = harness::own_plane().await;
    let ns = plane.namespace().await;
    let _agent = pods::Agent::start(&plane, &ns);
    let slices: Api<EndpointSlice> = Api::namespaced(plane.client(), &ns);
    plane.stop_controllers();
    plane.apply_yaml(&ns, SHOP).await;
    assert_eq!(endpoints(&slices).await, 0);
    plane.continue_controllers();
    eventually("two endpoints", SOON, async || (endpoints(&slices).await == 2).then_some(())).await;
}

#[tokio::test]
async fn the_operators_writes_are_on_record() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let deployments: Api<Deployment> = Api::namespaced(plane.operator_client(), &ns);
    assert!(deployments.delete("nobody", &DeleteParams::default()).await.is_err());
    let service = "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 8}]}}";
    plane.create_yaml(&plane.operator_client(), &ns, service).await.expect("the operator may create Services");
    let writes = plane.operator_writes(&ns);
    let told: Vec<_> = writes.iter().map(|w| (w.verb.as_str(), w.resource.as_str(), w.name.as_str(), w.code)).collect();
    assert_eq!(told, [("delete", "deployments", "nobody", 403), ("create", "services", "a", 201)]);
    assert_eq!(writes[1].body["spec"]["ports"][0]["port"], 8);
}

#[tokio::test]
async fn kubectl_speaks_to_the_plane() {
    let plane = harness::plane().await;
    let said = plane.kubectl("default", &["get", "namespace", "default", "-o", "name"]).await;
    assert_eq!(said, "namespace/default\n");
}
