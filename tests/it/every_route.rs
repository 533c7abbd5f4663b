//! What every kind of route promises, on a real API server, with no more than the operator's own rights; and what Istio has
//! beside its routes. The pure part of the contract, and its table: `src/api/routes/contract`.

use std::time::Duration;

use haldane::{
    act::traffic::{canary, routes},
    api::{release::RouteRef, routes::Split},
    error::Error,
};
use http::Request;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams},
    client::Body,
};
use serde_json::{Value, json};

use crate::{
    harness::{SOON, eventually, gateway::Gateway},
    traffic::Stage,
};

/// One kind of route, and a route of it named `front` that sends to the Service `shop`, with as much of its API as fits.
struct Kind {
    group: &'static str,
    name: &'static str,
    plural: &'static str,
    rules: &'static str,
    backends: &'static str,
    spec: &'static str,
    /// A field of the spec that is nobody's business but the user's.
    hosts: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        group: "gateway.networking.k8s.io",
        name: "HTTPRoute",
        plural: "httproutes",
        rules: "rules",
        backends: "backendRefs",
        spec: "
  parentRefs: [{name: web}, {name: inner, sectionName: http}]
  hostnames: [shop.example]
  rules:
  - name: main
    matches: [{path: {type: PathPrefix, value: /shop}}, {method: POST, headers: [{name: tenant, value: a}]}]
    timeouts: {request: 3s}
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}]}}]
    backendRefs: [{name: shop, port: 80, filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [x]}}]}]
  - backendRefs: [{name: shop, port: 81, weight: 350}, {name: legacy, port: 8080, weight: 650}]
",
        hosts: "hostnames",
    },
    Kind {
        group: "gateway.networking.k8s.io",
        name: "GRPCRoute",
        plural: "grpcroutes",
        rules: "rules",
        backends: "backendRefs",
        spec: "
  parentRefs: [{name: web}]
  hostnames: [shop.example]
  rules:
  - matches: [{method: {service: shop.Cart, method: Add}}, {headers: [{name: tenant, value: a}]}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}]}}]
    backendRefs: [{name: shop, port: 80, filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [x]}}]}]
  - backendRefs: [{name: shop, port: 81, weight: 350}, {name: legacy, port: 8080, weight: 650}]
",
        hosts: "hostnames",
    },
    Kind {
        group: "networking.istio.io",
        name: "VirtualService",
        plural: "virtualservices",
        rules: "http",
        backends: "route",
        spec: "
  hosts: [shop.example]
  gateways: [edge, mesh]
  exportTo: [.]
  http:
  - name: main
    match: [{uri: {prefix: /shop}, name: shop}, {method: {exact: POST}, headers: {tenant: {exact: a}}, ignoreUriCase: true}]
    timeout: 3s
    retries: {attempts: 2, perTryTimeout: 1s, retryOn: '5xx'}
    fault: {delay: {percentage: {value: 0.1}, fixedDelay: 5s}}
    corsPolicy: {allowOrigins: [{exact: 'https://shop.example'}], allowMethods: [GET]}
    mirror: {host: shop}
    mirrorPercentage: {value: 1.5}
    rewrite: {uri: /}
    route: [{destination: {host: shop.NS.svc.cluster.local, port: {number: 80}}, headers: {response: {remove: [x]}}}]
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /shop}
  - route: [{destination: {host: shop, port: {number: 81}}, weight: 350}, {destination: {host: legacy}, weight: 650}]
  tls: [{match: [{port: 443, sniHosts: [raw.example]}], route: [{destination: {host: raw}}]}]
",
        hosts: "hosts",
    },
];

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80}, {name: admin, port: 81}]}
";

impl Kind {
    fn reference(&self) -> RouteRef {
        RouteRef { group: self.group.into(), kind: self.name.into(), name: "front".into() }
    }

    fn resource(&self) -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(self.group, "v1", self.name), self.plural)
    }

    fn api(&self, stage: &Stage) -> Api<DynamicObject> {
        Api::namespaced_with(stage.plane.client(), &stage.ns, &self.resource())
    }

    fn manifest(&self, ns: &str) -> String {
        let spec = self.spec.replace("NS", ns);
        format!(
            "apiVersion: {}/v1\nkind: {}\nmetadata: {{name: front, labels: {{team: blue}}, annotations: {{note: kept}}}}\nspec:{spec}",
            self.group, self.name
        )
    }

    async fn spec_of(&self, stage: &Stage) -> Value {
        self.api(stage).get("front").await.expect("the route").data["spec"].clone()
    }

    fn weights(&self, spec: &Value, rule: usize) -> Vec<i64> {
        let backends = spec[self.rules][rule][self.backends].as_array().expect("backends");
        backends.iter().map(|b| b["weight"].as_i64().expect("a weight")).collect()
    }
}

/// A route of this kind with its Service, and the weights remembered. The guard plays its gateway.
async fn stage(kind: &Kind) -> (Stage, Option<Gateway>) {
    let mut stage = Stage::of(&["shop"], vec![kind.reference()]).await;
    let gateway = (kind.name != "VirtualService").then(|| Gateway::of(&kind.resource(), &stage.plane, &stage.ns));
    stage.apply(SERVICE).await;
    stage.apply(&kind.manifest(&stage.ns)).await;
    let seen = stage.look().await.routes.remove(0);
    assert_eq!((seen.split, seen.problem), (None, None), "{}", kind.name);
    stage.traffic.weights = seen.weights;
    (stage, gateway)
}

#[tokio::test]
async fn every_kind_walks_through_all_shares_and_comes_back_byte_for_byte() {
    for kind in &KINDS {
        let (stage, _gateway) = stage(kind).await;
        let before = kind.api(&stage).get("front").await.unwrap();
        for (weight, header) in [(0, false), (5, true), (30, true), (100, true), (0, false)] {
            stage.split(weight, header).await;
            let wanted = Some(Split { weight, header, uneven: false });
            let seen = stage.look().await.routes.remove(0);
            assert_eq!((seen.split, seen.problem), (wanted, None), "{}", kind.name);
            let written = kind.api(&stage).get("front").await.unwrap().metadata.resource_version;
            stage.split(weight, header).await;
            let again = kind.api(&stage).get("front").await.unwrap().metadata.resource_version;
            assert!(written == again || kind.name != "VirtualService", "the same once more writes nothing");
        }
        stage.split(40, true).await;
        eventually("the share is confirmed", SOON, async || {
            let seen = stage.look().await.routes.remove(0);
            if seen.confirmed { Ok(()) } else { Err(seen) }
        })
        .await;
        let spec = kind.spec_of(&stage).await;
        let last = spec[kind.rules].as_array().unwrap().len() - 1;
        assert_eq!((kind.weights(&spec, 1), kind.weights(&spec, last)), (vec![60, 40], vec![210, 140, 650]), "{spec}");
        assert_eq!(kind.weights(&spec, 0), [1], "the header's own rule");

        routes::restore(&stage.scope(), &stage.traffic, &stage.traffic.routes[0]).await.unwrap();
        let after = kind.api(&stage).get("front").await.unwrap();
        assert_eq!(after.data["spec"].to_string(), before.data["spec"].to_string());
        assert_eq!((after.labels(), after.annotations()), (before.labels(), before.annotations()));
    }
}

#[tokio::test]
async fn every_kind_keeps_what_its_user_edits_in_between() {
    for kind in &KINDS {
        let (stage, _gateway) = stage(kind).await;
        let before = kind.spec_of(&stage).await;
        stage.split(30, true).await;
        let mut spec = kind.spec_of(&stage).await;
        let good = spec.clone();
        spec[kind.hosts] = json!(["new.example"]);
        spec[kind.rules][1][kind.backends][1]["weight"] = json!(90);
        let edit = Patch::Merge(json!({"spec": spec}));
        kind.api(&stage).patch("front", &PatchParams::default(), &edit).await.unwrap();
        let seen = stage.look().await.routes.remove(0).split.expect("a split");
        assert!(seen.uneven && seen.weight > 30, "{}: {seen:?}", kind.name);

        stage.split(30, true).await;
        let healed = kind.spec_of(&stage).await;
        assert_eq!((&healed[kind.rules], &healed[kind.hosts]), (&good[kind.rules], &json!(["new.example"])));
        routes::restore(&stage.scope(), &stage.traffic, &stage.traffic.routes[0]).await.unwrap();
        let after = kind.spec_of(&stage).await;
        assert_eq!((&after[kind.rules], &after[kind.hosts]), (&before[kind.rules], &json!(["new.example"])));
    }
}

#[tokio::test]
async fn every_kind_may_be_deleted_in_the_middle() {
    for kind in &KINDS {
        let (stage, _gateway) = stage(kind).await;
        stage.split(30, true).await;
        kind.api(&stage).delete("front", &DeleteParams::default()).await.unwrap();
        eventually("it is gone", SOON, async || {
            kind.api(&stage).get_opt("front").await.unwrap().map_or(Ok(()), |r| Err(r.metadata.deletion_timestamp))
        })
        .await;
        let seen = stage.look().await.routes.remove(0);
        let says = format!("{} front does not exist; create it, or correct spec.traffic.routes", kind.name);
        assert_eq!((seen.problem, seen.split), (Some(says), None));
        let route = &stage.traffic.routes[0];
        routes::split(&stage.scope(), &stage.traffic, route, 0, false).await.expect("nothing to take away");
        routes::restore(&stage.scope(), &stage.traffic, route).await.expect("nothing to restore");
        let refused = routes::split(&stage.scope(), &stage.traffic, route, 5, false).await;
        assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn every_kind_says_what_is_missing() {
    for kind in &KINDS {
        let (mut stage, _gateway) = stage(kind).await;
        stage.traffic.services = vec!["other".into()];
        let problem = stage.look().await.routes.remove(0).problem.unwrap_or_default();
        let says = format!("{} front sends no traffic to Service other; name a route that does", kind.name);
        assert!(problem.starts_with(&says), "{problem}");

        let (inner, group) = (stage.plane.client(), kind.group);
        let without_crds = Client::new(
            tower::service_fn(move |mut request: Request<Body>| {
                let inner = inner.clone();
                let uri = request.uri().to_string().replace(&format!("/{group}/"), "/absent.example/");
                *request.uri_mut() = uri.parse().expect("a URI");
                async move { inner.send(request).await }
            }),
            &stage.ns,
        );
        let seen = stage.look_with(&without_crds, Some(&stage.traffic.services)).await;
        let problem = seen.routes[0].problem.as_deref().unwrap_or_default();
        let says = format!("this cluster has no {}.{}; install ", kind.name, kind.group);
        assert!(problem.starts_with(&says), "{problem}");
        assert!(problem.ends_with("or leave out spec.traffic.routes to split by the number of pods"), "{problem}");
    }
}

/// What Istio has beside its routes.
const SUBSETS: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop-tuned, labels: {team: blue, argocd.argoproj.io/instance: shop}, annotations: {note: kept}}
spec:
  host: shop.NS.svc.cluster.local
  trafficPolicy:
    connectionPool: {http: {http2MaxRequests: 7}}
    outlierDetection: {consecutive5xxErrors: 3}
    tls: {mode: SIMPLE, sni: shop.internal}
  subsets:
  - {name: v1, labels: {app: shop}, trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}}
  exportTo: [.]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: other}
spec: {host: other, subsets: [{name: v1, labels: {app: other}}]}
";

fn destination_rules(stage: &Stage) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "DestinationRule");
    Api::namespaced_with(stage.plane.client(), &stage.ns, &ApiResource::from_gvk_with_plural(&kind, "destinationrules"))
}

/// The VirtualService of `KINDS`, sending to the subset `v1`.
async fn with_subset() -> Stage {
    let kind = &KINDS[2];
    let mut stage = Stage::of(&["shop"], vec![kind.reference()]).await;
    stage.apply(SERVICE).await;
    let manifest = kind.manifest(&stage.ns).replace("port: {number: 80}}", "port: {number: 80}, subset: v1}");
    stage.apply(&manifest).await;
    stage.apply(&SUBSETS.replace("NS", &stage.ns)).await;
    let seen = stage.look().await;
    assert_eq!(seen.routes[0].problem, None);
    assert!(!seen.services[0].rules_copied && !seen.services[0].canary_service, "{seen:?}");
    stage.traffic.weights = seen.routes[0].weights.clone();
    stage
}

#[tokio::test]
async fn a_destination_rule_is_copied_for_the_canary_and_the_copy_goes_with_it() {
    let stage = with_subset().await;
    let users = destination_rules(&stage).get("shop-tuned").await.unwrap();
    for _ in 0..2 {
        canary::create(&stage.scope(), "shop", "h2").await.unwrap();
    }
    let copy = destination_rules(&stage).get("shop-tuned-canary").await.expect("the copy");
    let mut expected = users.data["spec"].clone();
    expected["host"] = json!(format!("shop-canary.{}.svc.cluster.local", stage.ns));
    assert_eq!(copy.data["spec"].to_string(), expected.to_string());
    assert_eq!(json!(copy.labels()), json!({"team": "blue", "haldane.dev/release": "shop"}));
    let marks = json!({"haldane.dev/release": "shop", "haldane.dev/release-uid": "uid-of-the-release"});
    assert_eq!(json!(copy.annotations()), marks);
    assert!(copy.owner_references().is_empty());
    assert!(stage.look().await.services[0].rules_copied);

    stage.split(30, true).await;
    let spec = KINDS[2].spec_of(&stage).await;
    let canary =
        json!({"host": format!("shop-canary.{}.svc.cluster.local", stage.ns), "port": {"number": 80}, "subset": "v1"});
    assert_eq!(spec["http"][1]["route"][1]["destination"], canary);

    // Its user changes it in the middle: the copy follows.
    let edit = Patch::Merge(json!({"spec": {"trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 9}}}}));
    destination_rules(&stage).patch("shop-tuned", &PatchParams::default(), &edit).await.unwrap();
    assert!(!stage.look().await.services[0].rules_copied);
    canary::create(&stage.scope(), "shop", "h2").await.unwrap();
    let copy = destination_rules(&stage).get("shop-tuned-canary").await.unwrap();
    assert_eq!(copy.data["spec"]["trafficPolicy"]["outlierDetection"]["consecutive5xxErrors"], 9);
    let users = destination_rules(&stage).get("shop-tuned").await.unwrap();

    routes::restore(&stage.scope(), &stage.traffic, &stage.traffic.routes[0]).await.unwrap();
    for _ in 0..2 {
        canary::delete(&stage.scope(), "shop").await.unwrap();
    }
    let left = destination_rules(&stage).list(&kube::api::ListParams::default()).await.unwrap();
    assert_eq!(left.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["other", "shop-tuned"]);
    let after = destination_rules(&stage).get("shop-tuned").await.unwrap();
    assert_eq!(after.metadata.resource_version, users.metadata.resource_version, "the user's is never written");
}

#[tokio::test]
async fn a_destination_rule_of_somebody_else_is_never_touched() {
    let stage = with_subset().await;
    let foreign = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: shop-tuned-canary}, spec: {host: elsewhere.example}}";
    stage.apply(foreign).await;
    let before = destination_rules(&stage).get("shop-tuned-canary").await.unwrap();
    let refused = canary::create(&stage.scope(), "shop", "h2").await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    canary::delete(&stage.scope(), "shop").await.expect("there is nothing of ours");
    assert_eq!(destination_rules(&stage).get("shop-tuned-canary").await.unwrap(), before);
    let problem = stage.look().await.routes.remove(0).problem.unwrap_or_default();
    let says = "DestinationRule shop-tuned-canary exists and was not created by Haldane; rename or delete it";
    assert_eq!(problem, says);
}

#[tokio::test]
async fn a_subset_that_would_not_reach_the_candidate_is_told_before() {
    let stage = with_subset().await;
    let problem = async || stage.look().await.routes.remove(0).problem.unwrap_or_default();
    let edit = |subsets: Value| Patch::Merge(json!({"spec": {"subsets": subsets}}));
    let rules = destination_rules(&stage);
    let other = edit(json!([{"name": "v1", "labels": {"app": "shop", "version": "v1"}}]));
    rules.patch("shop-tuned", &PatchParams::default(), &other).await.unwrap();
    let told = problem().await;
    assert!(told.contains("subset v1 of DestinationRule shop-tuned selects pods with version=v1"), "{told}");
    let none = edit(json!([{"name": "v2"}]));
    rules.patch("shop-tuned", &PatchParams::default(), &none).await.unwrap();
    let told = problem().await;
    assert!(told.contains("sends to subset v1 of Service shop, which no DestinationRule"), "{told}");
    assert!(told.contains("(it knows: v2); define it in one whose host is shop"), "{told}");
}

const SETTLED: Duration = Duration::from_secs(2);

#[tokio::test]
async fn istio_is_given_its_time_and_its_word_counts_where_it_gives_one() {
    let kind = &KINDS[2];
    let (stage, _) = stage(kind).await;
    stage.split(30, false).await;
    let seen = stage.look().await.routes.remove(0);
    let complaint = seen.complaint.clone().unwrap_or_default();
    assert!(complaint.starts_with("istiod has had ") && complaint.ends_with(" s of 2 s to pass it on"), "{seen:?}");
    let settles = seen.settles_at.expect("when it is over");
    let wait = settles.since(haldane::observe::clock::now());
    assert!(wait.as_secs() < 4, "{wait:?}");
    tokio::time::sleep(wait).await;
    // The API server notes a write to the second only, so two looks that know nothing of each other may differ by one.
    let seen = eventually("it is confirmed", SETTLED, async || {
        let seen = stage.look().await.routes.remove(0);
        if seen.confirmed { Ok(seen) } else { Err(seen) }
    })
    .await;
    assert_eq!((seen.settles_at, seen.complaint), (None, None));

    let status = async |status: Value| {
        let patch = Patch::Merge(json!({"status": status}));
        kind.api(&stage).patch_status("front", &PatchParams::default(), &patch).await.unwrap();
        stage.look().await.routes.remove(0)
    };
    let error = json!({"validationMessages": [{"level": "ERROR", "type": {"code": "IST0101", "name": "ReferencedResourceNotFound"}}]});
    let seen = status(error).await;
    assert!(!seen.confirmed, "{seen:?}");
    assert_eq!(seen.complaint.as_deref(), Some("istiod says IST0101 ReferencedResourceNotFound"));
    stage.split(40, false).await;
    let generation = kind.api(&stage).get("front").await.unwrap().metadata.generation;
    let seen = status(json!({"validationMessages": null, "observedGeneration": generation,
        "conditions": [{"type": "Reconciled", "status": "True", "observedGeneration": generation}]}))
    .await;
    assert!(seen.confirmed, "no time has to pass: {seen:?}");
}
