//! Pins, canary Services and route shares on a real API server: each write does its one thing, can be taken back to the
//! byte, and loses nothing that somebody else writes at the same moment.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use haldane::{
    act::{
        scope::Scope,
        traffic::{canary, pins, routes},
    },
    api::{
        release::{Header, RouteRef},
        routes::Split,
        state::{PinnedTraffic, Revision, Version},
    },
    error::Error,
    observe::{
        seen::Side,
        traffic::{TrafficAsk, TrafficView, look},
    },
};
use http::{Method, Request};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    client::Body,
};
use serde_json::{Value, json};

use crate::harness::{self, Plane, SOON, eventually, gateway, pods};

/// One namespace, and the operator's view of it.
pub struct Stage {
    pub plane: Plane,
    pub ns: String,
    stable: Version,
    pub traffic: PinnedTraffic,
}

impl Stage {
    async fn new(services: &[&str], routes: &[&str]) -> Self {
        Self::of(services, routes.iter().map(|name| route(name)).collect()).await
    }

    pub async fn of(services: &[&str], routes: Vec<RouteRef>) -> Self {
        let plane = harness::plane().await;
        let ns = plane.namespace().await;
        let stable = Version { revision: Revision("1".into()), name: None, images: BTreeMap::new() };
        let traffic = PinnedTraffic {
            services: services.iter().map(|&s| s.into()).collect(),
            routes,
            header: Some(Header { name: "x-canary".into(), value: "true".into() }),
            weights: BTreeMap::new(),
        };
        Self { plane, ns, stable, traffic }
    }

    pub async fn apply(&self, yaml: &str) {
        self.plane.apply_yaml(&self.ns, yaml).await;
    }

    pub fn scope(&self) -> Scope<'_> {
        self.scope_with(self.plane.operator_client())
    }

    fn scope_with(&self, client: Client) -> Scope<'_> {
        Scope {
            client,
            namespace: &self.ns,
            release: "shop",
            release_uid: "uid-of-the-release",
            target: "shop",
            target_uid: "uid-of-the-deployment",
            hold: haldane::observe::seen::Hold::No,
            image: None,
            stable: &self.stable,
            candidate: None,
            traffic: &self.traffic,
        }
    }

    pub async fn look(&self) -> TrafficView {
        self.look_with(&self.plane.operator_client(), Some(&self.traffic.services)).await
    }

    pub async fn look_with(&self, client: &Client, services: Option<&[String]>) -> TrafficView {
        let labels = BTreeMap::from([("app".to_owned(), "shop".to_owned())]);
        let pods: Api<Pod> = Api::namespaced(self.plane.client(), &self.ns);
        let pods = pods.list(&ListParams::default()).await.expect("pods").items;
        let side = |pod: &Pod| match pod.labels().get("pod-template-hash")?.as_str() {
            "h1" => Some((pod.name_any(), Side::Stable)),
            "h2" => Some((pod.name_any(), Side::Candidate)),
            _ => None,
        };
        let ask = TrafficAsk {
            release: "shop",
            services,
            routes: &self.traffic.routes,
            header: self.traffic.header.as_ref(),
            template_labels: &labels,
            candidate_hash: Some("h2"),
            weights: &self.traffic.weights,
            neighbours: &BTreeMap::new(),
            pods: &pods.iter().filter_map(side).collect(),
            now: haldane::observe::clock::now(),
        };
        look(client, &self.ns, &ask).await.expect("a look")
    }

    fn routes(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.plane.client(), &self.ns, &gateway::http_route())
    }

    fn services(&self) -> Api<Service> {
        Api::namespaced(self.plane.client(), &self.ns)
    }

    async fn spec(&self, route: &str) -> Value {
        self.routes().get(route).await.expect("the route").data["spec"].clone()
    }

    pub async fn split(&self, weight: u32, header: bool) {
        for route in &self.traffic.routes {
            routes::split(&self.scope(), &self.traffic, route, weight, header).await.expect("a split");
        }
    }

    /// A client with whose first PATCH somebody else's lands just before it.
    fn overtaken_by<K>(&self, api: Api<K>, name: &'static str, status: bool, patch: Value) -> Client
    where
        K: Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
    {
        let (inner, done) = (self.plane.operator_client(), Arc::new(AtomicBool::new(false)));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (inner, done, api, patch) = (inner.clone(), done.clone(), api.clone(), patch.clone());
            async move {
                if request.method() == Method::PATCH && !done.swap(true, Ordering::Relaxed) {
                    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
                    let sent = if status {
                        api.patch_status(name, &params, &patch).await
                    } else {
                        api.patch(name, &params, &patch).await
                    };
                    sent.expect("the other's write");
                }
                inner.send(request).await
            }
        });
        Client::new(service, &self.ns)
    }
}

fn route(name: &str) -> RouteRef {
    serde_json::from_value(json!({"name": name})).expect("a route")
}

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata:
  name: shop
  labels: {team: blue, app.kubernetes.io/instance: shop, argocd.argoproj.io/instance: shop}
  annotations: {prometheus.io/scrape: 'true', owner: someone}
spec:
  type: NodePort
  selector: {app: shop}
  ports:
  - {name: http, port: 80, targetPort: web, appProtocol: http}
  - {name: admin, port: 81, targetPort: 9090}
---
apiVersion: v1
kind: Service
metadata: {name: pay}
spec: {clusterIP: None, selector: {app: shop}, ports: [{port: 80}]}
";

const ROUTES: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front, labels: {team: blue}, annotations: {note: kept}}
spec:
  parentRefs: [{name: web}, {name: inner, sectionName: http}]
  hostnames: [shop.example]
  rules:
  - name: main
    matches:
    - {path: {type: PathPrefix, value: /shop}}
    - {path: {type: Exact, value: /buy}, method: POST, headers: [{name: tenant, value: a}]}
    timeouts: {request: 3s}
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}]}}]
    backendRefs:
    - {name: shop, port: 80, filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [x]}}]}
  - matches: [{path: {value: /admin}}]
    backendRefs: [{name: shop, port: 81, weight: 5}]
  - matches: [{path: {value: /mixed}}]
    backendRefs: [{name: shop, port: 80, weight: 350}, {name: legacy, port: 8080, weight: 650}, {name: pay, port: 80, weight: 0}]
  - matches: [{path: {value: /old}}]
    filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /shop}}}]
  - matches: [{path: {value: /legacy}}]
    backendRefs: [{name: legacy, port: 8080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: back}
spec:
  parentRefs: [{name: web}]
  rules: [{backendRefs: [{name: pay, port: 80}]}]
";

/// Two ready pods of the stable version, one of the candidate.
const PODS: &str = "
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: shop-h1}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop, pod-template-hash: h1}}
  template:
    metadata: {labels: {app: shop, pod-template-hash: h1}}
    spec: {containers: [{name: app, image: 'shop:1', ports: [{name: web, containerPort: 80}]}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: shop-h2}
spec:
  replicas: 1
  selector: {matchLabels: {app: shop, pod-template-hash: h2}}
  template:
    metadata: {labels: {app: shop, pod-template-hash: h2}}
    spec: {containers: [{name: app, image: 'shop:2', ports: [{name: web, containerPort: 80}]}]}
";

#[tokio::test]
async fn routes_walk_through_all_shares_and_come_back_byte_for_byte() {
    let mut stage = Stage::new(&["shop", "pay"], &["front", "back"]).await;
    let _gateway = gateway::Gateway::start(&stage.plane, &stage.ns);
    stage.apply(SERVICES).await;
    stage.apply(ROUTES).await;
    let (front, back) = (stage.routes().get("front").await.unwrap(), stage.spec("back").await);
    let before = stage.look().await;
    assert!(before.routes.iter().all(|r| r.split.is_none() && r.problem.is_none()), "{before:?}");
    stage.traffic.weights = before.routes.into_iter().flat_map(|r| r.weights).collect();
    assert_eq!(stage.traffic.weights["front/2/0:shop"], 350);

    for (weight, header) in [(0, false), (5, true), (30, true), (99, false), (100, true), (0, true), (0, false)] {
        stage.split(weight, header).await;
        let seen = eventually("both routes are confirmed", SOON, async || {
            let seen = stage.look().await.routes;
            if seen.iter().all(|r| r.confirmed) { Ok(seen) } else { Err(seen) }
        })
        .await;
        let wanted = Some(Split { weight, header, uneven: false });
        assert!(seen.iter().all(|r| r.split == wanted && r.problem.is_none()), "{weight} {header}: {seen:?}");
        assert!(seen.iter().all(|r| r.weights.iter().all(|(k, w)| stage.traffic.weights[k] == *w)));

        let written = stage.routes().get("front").await.unwrap().metadata.resource_version;
        stage.split(weight, header).await;
        let again = stage.routes().get("front").await.unwrap().metadata.resource_version;
        assert_eq!(written, again, "the same once more writes nothing");
    }

    stage.split(40, true).await;
    let spec = stage.spec("front").await;
    let weights = |rule: usize| -> Vec<i64> {
        let refs = spec["rules"][rule]["backendRefs"].as_array().expect("refs");
        refs.iter().map(|r| r["weight"].as_i64().expect("a weight")).collect()
    };
    assert_eq!((weights(1), weights(3), weights(5)), (vec![60, 40], vec![60, 40], vec![210, 140, 650, 0]));
    assert_eq!(spec["rules"][3]["backendRefs"][1]["port"], 81);

    for one in &stage.traffic.routes {
        routes::restore(&stage.scope(), &stage.traffic, one).await.unwrap();
    }
    let after = stage.routes().get("front").await.unwrap();
    assert_eq!(after.data["spec"].to_string(), front.data["spec"].to_string());
    assert_eq!(stage.spec("back").await.to_string(), back.to_string());
    assert_eq!((after.labels(), after.annotations()), (front.labels(), front.annotations()));
}

#[tokio::test]
async fn endpoints_follow_a_pin_and_selectors_come_back_byte_for_byte() {
    let stage = Stage::new(&["shop", "pay"], &[]).await;
    let _agent = pods::Agent::start(&stage.plane, &stage.ns);
    stage.apply(SERVICES).await;
    stage.apply(PODS).await;
    let before = stage.services().get("shop").await.unwrap();
    let counts = async |pin: Option<&str>, stable: u32, candidate: u32| {
        eventually("the endpoints have followed", SOON, async || {
            let seen = stage.look().await.services;
            let fits = |s: &haldane::observe::seen::ServiceSeen| {
                s.pin.as_deref() == pin && (s.stable_endpoints, s.candidate_endpoints) == (stable, candidate)
            };
            if seen.len() == 2 && seen.iter().all(fits) { Ok(()) } else { Err(seen) }
        })
        .await;
    };
    counts(None, 2, 1).await;
    for (hash, stable, candidate) in [("h1", 2, 0), ("h2", 0, 1)] {
        for service in &stage.traffic.services {
            pins::pin(&stage.scope(), service, hash).await.unwrap();
            pins::pin(&stage.scope(), service, hash).await.unwrap();
        }
        counts(Some(hash), stable, candidate).await;
    }
    for service in &stage.traffic.services {
        pins::unpin(&stage.scope(), service).await.unwrap();
    }
    counts(None, 2, 1).await;
    let after = stage.services().get("shop").await.unwrap();
    assert_eq!(serde_json::to_string(&after.spec).unwrap(), serde_json::to_string(&before.spec).unwrap());
    assert_eq!((after.labels(), after.annotations()), (before.labels(), before.annotations()));

    pins::unpin(&stage.scope(), "gone").await.expect("a Service that is gone needs no unpinning");
    let refused = pins::pin(&stage.scope(), "gone", "h1").await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_canary_service_selects_the_candidate_and_looks_like_the_users() {
    let stage = Stage::new(&["shop", "pay"], &["front"]).await;
    let _agent = pods::Agent::start(&stage.plane, &stage.ns);
    stage.apply(SERVICES).await;
    stage.apply(PODS).await;
    for service in ["shop", "pay"] {
        canary::create(&stage.scope(), service, "h0").await.unwrap();
    }
    assert!(!stage.look().await.services[0].canary_service, "it selects an earlier candidate");
    for _ in 0..2 {
        canary::create(&stage.scope(), "shop", "h2").await.unwrap();
    }
    eventually("the candidate's endpoint", SOON, async || {
        let seen = stage.look().await.services.remove(1);
        if seen.canary_service && seen.canary_endpoints == 1 && seen.problem.is_none() { Ok(()) } else { Err(seen) }
    })
    .await;
    let canary = stage.services().get("shop-canary").await.unwrap();
    let spec = canary.spec.clone().unwrap();
    assert_eq!(
        json!(spec.selector),
        json!({"app": "shop", "pod-template-hash": "h2"}),
        "what the user's Service selects, of the candidate"
    );
    assert_eq!(
        json!(spec.ports),
        json!([
            {"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP", "appProtocol": "http"},
            {"name": "admin", "port": 81, "targetPort": 9090, "protocol": "TCP"},
        ])
    );
    assert_eq!(spec.type_.as_deref(), Some("ClusterIP"));
    let labels = json!(canary.labels());
    assert_eq!(labels, json!({"team": "blue", "app.kubernetes.io/instance": "shop", "haldane.dev/release": "shop"}));
    let annotations = json!(canary.annotations());
    assert_eq!(annotations["prometheus.io/scrape"], "true");
    assert_eq!(annotations["haldane.dev/release-uid"], "uid-of-the-release");
    assert_eq!(annotations["argocd.argoproj.io/sync-options"], "Prune=false", "or Argo CD would delete it");
    assert_eq!(annotations.get("owner"), None);
    assert!(canary.owner_references().is_empty());
    let headless = stage.services().get("pay-canary").await.unwrap().spec.unwrap();
    assert_eq!(headless.cluster_ip.as_deref(), Some("None"));

    let by_default = stage.look_with(&stage.plane.operator_client(), None).await.services;
    assert_eq!(by_default.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["pay", "shop"]);
    for _ in 0..2 {
        canary::delete(&stage.scope(), "shop").await.unwrap();
    }
    assert!(stage.services().get_opt("shop-canary").await.unwrap().is_none());
}

#[tokio::test]
async fn a_service_of_somebody_else_with_the_canarys_name_is_never_touched() {
    let stage = Stage::new(&["shop"], &["front"]).await;
    stage.apply(SERVICES).await;
    stage
        .apply(&ROUTES.replace("name: legacy, port: 8080, weight: 650", "name: shop-canary, port: 80, weight: 9"))
        .await;
    stage.apply("{apiVersion: v1, kind: Service, metadata: {name: shop-canary}, spec: {selector: {app: shop}, ports: [{port: 80}]}}").await;
    let before = stage.services().get("shop-canary").await.unwrap();
    for refused in [canary::create(&stage.scope(), "shop", "h2").await, canary::delete(&stage.scope(), "shop").await] {
        assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    }
    assert_eq!(stage.services().get("shop-canary").await.unwrap(), before);
    let seen = stage.look().await;
    let problem = seen.services[0].problem.as_deref().unwrap_or_default();
    assert!(problem.starts_with("Service shop-canary exists and was not created by Haldane"), "{problem}");
    assert_eq!(seen.routes[0].split, None, "his own canary is no trace of ours");
}

#[tokio::test]
async fn what_others_write_between_our_read_and_our_write_is_never_lost() {
    let stage = Stage::new(&["shop", "pay"], &["back"]).await;
    stage.apply(SERVICES).await;
    stage.apply(ROUTES).await;
    let back = &stage.traffic.routes[0];

    let added =
        json!({"spec": {"rules": [{"backendRefs": [{"name": "pay", "port": 80}, {"name": "new", "port": 1}]}]}});
    let client = stage.overtaken_by(stage.routes(), "back", false, added);
    let lost = routes::split(&stage.scope_with(client), &stage.traffic, back, 30, true).await;
    assert!(matches!(lost, Err(Error::Stale(_))), "{lost:?}");
    assert_eq!(stage.spec("back").await["rules"][0]["backendRefs"][1]["name"], "new");

    let other_field = json!({"spec": {"hostnames": ["new.example"]}, "metadata": {"labels": {"new": "label"}}});
    let whole = json!({"spec": {"rules": [{"backendRefs": [{"name": "pay", "port": 80}]}]}});
    stage.routes().patch("back", &PatchParams::default(), &Patch::Merge(whole)).await.unwrap();
    let client = stage.overtaken_by(stage.routes(), "back", false, other_field.clone());
    let overtaken = routes::split(&stage.scope_with(client), &stage.traffic, back, 30, true).await;
    assert!(
        matches!(overtaken, Err(Error::Stale(_))),
        "what gives traffic is computed from the whole spec: {overtaken:?}"
    );
    routes::split(&stage.scope(), &stage.traffic, back, 30, true).await.expect("after another look");
    let now = stage.routes().get("back").await.unwrap();
    assert_eq!((&now.data["spec"]["hostnames"], now.labels()["new"].as_str()), (&json!(["new.example"]), "label"));
    assert_eq!(stage.look().await.routes[0].split, Some(Split { weight: 30, header: true, uneven: false }));

    let status = json!({"status": {"parents": []}});
    let client = stage.overtaken_by(stage.routes(), "back", true, status);
    let in_time = routes::split(&stage.scope_with(client), &stage.traffic, back, 0, false).await;
    in_time.expect("a gateway that writes its status does not hold up a rollback");
    routes::split(&stage.scope(), &stage.traffic, back, 30, true).await.expect("up again");
    let status = json!({"status": {"parents": [], "note": "again"}});
    let client = stage.overtaken_by(stage.routes(), "back", true, status);
    let up = routes::split(&stage.scope_with(client), &stage.traffic, back, 40, true).await;
    up.expect("nor a step");
    let client = stage.overtaken_by(stage.routes(), "back", false, json!({"spec": {"hostnames": ["old.example"]}}));
    let down = routes::split(&stage.scope_with(client), &stage.traffic, back, 0, false).await;
    down.expect("nor does somebody who writes another field hold up the way down");

    // A pin that comes late may find the selector as it was once: no write since is what counts.
    let client = stage.overtaken_by(stage.services(), "shop", false, json!({"metadata": {"labels": {"new": "label"}}}));
    let lost = pins::pin(&stage.scope_with(client), "shop", "h1").await;
    assert!(matches!(lost, Err(Error::Stale(_))), "{lost:?}");

    let selector = json!({"spec": {"selector": {"zone": "b"}}});
    let client = stage.overtaken_by(stage.services(), "shop", false, selector);
    let lost = pins::pin(&stage.scope_with(client), "shop", "h1").await;
    assert!(matches!(lost, Err(Error::Stale(_))), "{lost:?}");
    let kept = stage.services().get("shop").await.unwrap().spec.unwrap().selector;
    assert_eq!(json!(kept), json!({"app": "shop", "zone": "b"}));
}

#[tokio::test]
async fn what_cannot_be_split_says_why_and_what_to_do() {
    let mut stage = Stage::new(&["shop", "outside"], &["front", "back", "gone"]).await;
    stage.apply(SERVICES).await;
    stage.apply(&ROUTES.replace("weight: 350", "weight: 3").replace("weight: 650", "weight: 7")).await;
    stage.apply("{apiVersion: v1, kind: Service, metadata: {name: outside}, spec: {type: ExternalName, externalName: x.example}}").await;
    let seen = stage.look().await;
    let problems: Vec<&str> = seen.routes.iter().map(|r| r.problem.as_deref().unwrap_or_default()).collect();
    for (problem, says) in problems.iter().zip([
        "rule 3 of HTTPRoute front gives Service shop the weight 3 beside other backends",
        "HTTPRoute back sends no traffic to Service outside, shop; name a route that does",
        "HTTPRoute gone does not exist; create it",
    ]) {
        assert!(problem.starts_with(says), "{problem}");
    }
    let external = seen.services[0].problem.as_deref().unwrap_or_default();
    assert!(external.contains("ExternalName"), "{external}");
    let refused = pins::pin(&stage.scope(), "outside", "h1").await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");

    let gone = stage.traffic.routes[2].clone();
    routes::split(&stage.scope(), &stage.traffic, &gone, 0, false).await.expect("nothing to take away");
    routes::restore(&stage.scope(), &stage.traffic, &gone).await.expect("nothing to restore");
    let refused = routes::split(&stage.scope(), &stage.traffic, &gone, 5, false).await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");

    let inner = stage.plane.client();
    let without_crds = Client::new(
        tower::service_fn(move |mut request: Request<Body>| {
            let inner = inner.clone();
            let uri = request.uri().to_string().replace("gateway.networking.k8s.io", "absent.networking.k8s.io");
            *request.uri_mut() = uri.parse().expect("a URI");
            async move { inner.send(request).await }
        }),
        &stage.ns,
    );
    stage.traffic.routes.truncate(1);
    let seen = stage.look_with(&without_crds, Some(&stage.traffic.services)).await;
    let problem = seen.routes[0].problem.as_deref().unwrap_or_default();
    assert!(problem.starts_with("this cluster has no HTTPRoute.gateway.networking.k8s.io; install"), "{problem}");
}

#[tokio::test]
async fn a_share_is_confirmed_only_by_the_gateway_and_for_the_generation_written() {
    let stage = Stage::new(&["pay"], &["back"]).await;
    stage.apply(SERVICES).await;
    stage.apply(ROUTES).await;
    let complaint = async || stage.look().await.routes.remove(0).complaint;
    assert_eq!(complaint().await.as_deref(), Some("Gateway web has not answered yet"));

    let gateway = gateway::Gateway::start(&stage.plane, &stage.ns);
    eventually("confirmed", SOON, async || complaint().await.map_or(Ok(()), Err)).await;
    gateway.go_away();
    stage.split(30, false).await;
    let complaint_now = complaint().await.expect("nobody has confirmed it");
    assert!(complaint_now.starts_with("Gateway web has not looked at generation 2 yet"), "{complaint_now}");

    gateway.refuse(Some("BackendNotFound"));
    gateway.come_back();
    eventually("the gateway's own words", SOON, async || {
        let said = complaint().await.unwrap_or_default();
        if said.starts_with("Gateway web says ResolvedRefs is False: BackendNotFound") { Ok(()) } else { Err(said) }
    })
    .await;
}
