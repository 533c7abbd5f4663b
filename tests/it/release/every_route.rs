//! Whole releases through routes that are no HTTPRoute.

use std::time::Duration;

use haldane::api::state::State;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use serde_json::{Value, json};

use super::{QUICK, STAYS, Shop, Wish};
use crate::harness::{SOON, eventually, gateway::Gateway, pods};

const ISTIO: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: mesh, labels: {team: web}}
spec:
  hosts: [shop]
  http:
  - name: all
    retries: {attempts: 2}
    route: [{destination: {host: shop, subset: all}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec: {host: shop, trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}, subsets: [{name: all, labels: {app: shop}}]}
";
const GRPC: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: rpc}
spec:
  parentRefs: [{name: front}]
  rules: [{matches: [{method: {service: shop.Cart}}], backendRefs: [{name: shop, port: 80}]}]
";
const MESH: &str = "{group: networking.istio.io, kind: VirtualService, name: mesh}";

fn kind(group: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind))
}

fn api(shop: &Shop, resource: &ApiResource) -> Api<DynamicObject> {
    Api::namespaced_with(shop.plane.client(), &shop.ns, resource)
}

async fn specs(shop: &Shop, resource: &ApiResource) -> Vec<(String, Value)> {
    let found = api(shop, resource).list(&ListParams::default()).await.expect("a list").items;
    found.into_iter().map(|o| (o.name_any(), o.data["spec"].clone())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_goes_through_a_virtual_service_and_leaves_nothing_behind() {
    let shop = Shop::open().await;
    shop.plane.apply_yaml(&shop.ns, ISTIO).await;
    let (services, rules) =
        (kind("networking.istio.io", "VirtualService"), kind("networking.istio.io", "DestinationRule"));
    let before = (specs(&shop, &services).await, specs(&shop, &rules).await);
    shop.wish(Wish { routes: MESH, ..QUICK }).await;
    shop.phase("shop", "Stepping").await;
    eventually("the share and the copy are there", SOON, async || {
        let split = specs(&shop, &services).await.remove(0).1;
        let copies = specs(&shop, &rules).await;
        let canary = &split["http"][0]["route"][1];
        let named = canary["destination"] == json!({"host": "shop-canary", "subset": "all"});
        if named && copies.len() == 2 { Ok(()) } else { Err((split, copies)) }
    })
    .await;
    shop.phase("shop", "Succeeded").await;
    shop.assert_home("shop:2").await;
    assert_eq!((specs(&shop, &services).await, specs(&shop, &rules).await), before);

    // No route ever sent to a subset that was not there yet, nor did one go that was still sent to.
    let writes: Vec<(String, String)> = shop.writes().into_iter().map(|w| (w.verb, w.resource)).collect();
    let at = |verb: &str, resource: &str| writes.iter().position(|w| w.0 == verb && w.1 == resource);
    let last = |verb: &str, resource: &str| writes.iter().rposition(|w| w.0 == verb && w.1 == resource);
    assert!(at("create", "destinationrules") < at("patch", "virtualservices"), "{writes:?}");
    assert!(last("delete", "destinationrules") > last("patch", "virtualservices"), "{writes:?}");
    assert!(last("delete", "destinationrules") < last("delete", "services"), "{writes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_version_loses_its_share_of_every_kind_of_route() {
    let shop = Shop::open().await;
    let rpc = kind("gateway.networking.k8s.io", "GRPCRoute");
    let _gateway = Gateway::of(&rpc, &shop.plane, &shop.ns);
    shop.plane.apply_yaml(&shop.ns, &format!("{ISTIO}---{GRPC}")).await;
    let services = kind("networking.istio.io", "VirtualService");
    let before = (specs(&shop, &services).await, specs(&shop, &rpc).await);
    let all = format!("{{name: shop}}, {{kind: GRPCRoute, name: rpc}}, {MESH}");
    shop.wish(Wish { routes: &all, ..STAYS }).await;
    let status = shop.in_step().await;
    assert_eq!(status.weight, Some(20), "{}", status.message);
    let Some(State::Stepping { since, settled: Some(settled), .. }) = status.state else {
        panic!("{:?}", status.state)
    };
    // istiod tells nothing: the pass that sees its time over is planned, and no ordinary look is waited for.
    assert!(settled.since(since) < Duration::from_secs(6), "{since} {settled}");
    for resource in [&services, &rpc] {
        let split = specs(&shop, resource).await.remove(0).1;
        let rules = split["http"].as_array().or(split["rules"].as_array()).expect("rules");
        let backends = rules[0]["route"].as_array().or(rules[0]["backendRefs"].as_array()).expect("backends");
        let weights: Vec<i64> = backends.iter().filter_map(|b| b["weight"].as_i64()).collect();
        assert_eq!(weights, [80, 20], "{split}");
    }
    shop.agent.crash(pods::of_image("shop:2"));
    shop.phase("shop", "RolledBack").await;
    shop.assert_home("shop:1").await;
    eventually("all routes are as their user wrote them", SOON, async || {
        let now = (specs(&shop, &services).await, specs(&shop, &rpc).await);
        if now == before { Ok(()) } else { Err(now) }
    })
    .await;
}
