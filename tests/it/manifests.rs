//! What the API server makes of manifests by itself: refusals with a sentence, defaults, and one State at a time.

use haldane::api::Release;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::harness::{self, Plane};

/// A good object of each kind.
fn good(kind: &str) -> Value {
    let spec = match kind {
        "Release" => json!({
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
            "images": {"app": "shop:2"},
        }),
        "ReleaseAction" => json!({
            "release": "shop", "releaseUid": "1", "revision": "abc", "type": "Pause", "by": "alice",
        }),
        "MetricProvider" => json!({"url": "http://prometheus:9090"}),
        _ => json!({"webhook": {"url": "https://receiver/"}}),
    };
    json!({"apiVersion": "haldane.dev/v1alpha1", "kind": kind, "metadata": {"name": "shop"}, "spec": spec})
}

/// The kind, what is changed in its good spec (JSON merge patch, as YAML), and what the refusal says.
const REFUSED: &[(&str, &str, &str)] = &[
    ("Release", "images: {app: null}", "spec.images must name at least one container and its image"),
    ("Release", "images: null", "spec.images: Required value"),
    ("Release", "images: {app: 'shop 2'}", "spec.images: each image must be a reference without spaces"),
    ("Release", "images: {app: ''}", "spec.images: each image must be a reference without spaces"),
    ("Release", "targetRef: {kind: StatefulSet}", "spec.targetRef.kind must be Deployment"),
    ("Release", "targetRef: {apiVersion: v1}", "spec.targetRef.apiVersion must be apps/v1"),
    ("Release", "plan: {steps: []}", "spec.plan.steps in body should have at least 1 items"),
    ("Release", "plan: {steps: [{weight: 30}]}", "spec.plan.steps: the last step must be {weight: 100}"),
    ("Release", "plan: {steps: [{for: 1m}, {weight: 100}]}", "spec.plan.steps: each step needs pods or weight"),
    ("Release", "plan: {steps: [{weight: 50}, {pods: 1}, {weight: 30}, {weight: 100}]}", "weights must not go down"),
    (
        "Release",
        "plan: {steps: [{weight: 101}, {weight: 100}]}",
        "spec.plan.steps[0].weight in body should be less than",
    ),
    ("Release", "plan: {deadline: 0s}", "spec.plan.deadline must be at least 1s"),
    (
        "Release",
        "plan: {deadline: 1d}",
        "spec.plan.deadline: Invalid value: \"string\": must be a duration up to 8760h",
    ),
    (
        "Release",
        "plan: {watch: {for: 5 minutes}}",
        "spec.plan.watch.for: Invalid value: \"string\": must be a duration",
    ),
    (
        "Release",
        "checks: {errorRate: {max: '5'}}",
        "spec.checks.errorRate.max: Invalid value: \"string\": must be a percentage",
    ),
    ("Release", "checks: {errorRate: {max: 101%}}", "must be a percentage between 0% and 100% in quotes"),
    ("Release", "checks: {errorRate: {max: 5}}", "spec.checks.errorRate.max in body must be of type string"),
    ("Release", "checks: {latency: {percentile: 100}}", "spec.checks.latency.percentile in body should be less than"),
    ("Release", "checks: {source: {preset: Istio}}", "spec.checks.source needs spec.checks.provider"),
    ("Release", "checks: {provider: p, source: {preset: Custom}}", "preset Custom needs total and errors"),
    (
        "Release",
        "checks: {provider: p, source: {total: x}}",
        "are for preset Custom only; remove them or set preset: Custom",
    ),
    ("Release", "checks: {health: {every: 10ms}}", "spec.checks.health.every must be at least 1s"),
    ("Release", "checks: {health: {http: {path: x, port: http}}}", "spec.checks.health.http.path must start with /"),
    ("Release", "checks: {health: {http: {path: /x, port: '99999'}}}", "spec.checks.health.http.port must be the name"),
    ("Release", "checks: {smoke: {args: [run]}}", "spec.checks.smoke.image: Required value"),
    ("Release", "checks: {smoke: {image: x, after: [Full, Full]}}", "spec.checks.smoke.after[1]: Duplicate value"),
    ("Release", "checks: {smoke: {image: x, timeout: 0s}}", "spec.checks.smoke.timeout must be at least 1s"),
    ("Release", "traffic: {canaryHeader: {name: x-canary, value: 'true'}}", "spec.traffic.canaryHeader needs a route"),
    ("Release", "traffic: {routes: [{name: a}], services: []}", "spec.traffic.routes need a Service to split"),
    ("Release", "traffic: {routes: [{name: a}, {name: a}]}", "spec.traffic.routes[1]: Duplicate value"),
    ("Release", "traffic: {routes: [{name: a, kind: TCPRoute}]}", "spec.traffic.routes[].kind must be HTTPRoute"),
    ("Release", "traffic: {services: [a, a]}", "spec.traffic.services[1]: Duplicate value"),
    ("Release", "notify: [{notifier: a}, {notifier: a}]", "spec.notify[1]: Duplicate value"),
    ("Release", "notify: [{notifier: a, reasons: [Nope]}]", "spec.notify[0].reasons[0]: Unsupported value: \"Nope\""),
    ("Release", "wait: 5m", "unknown field \"spec.wait\""),
    ("ReleaseAction", "to: Full", "spec.to is for type Promote only"),
    ("ReleaseAction", "{type: Retry, until: '2026-01-01T00:00:00Z'}", "spec.until is for type Pause only"),
    ("ReleaseAction", "type: Approve", "spec.type: Unsupported value: \"Approve\""),
    ("MetricProvider", "url: 'file:///etc/passwd'", "spec.url must start with http:// or https://"),
    ("MetricProvider", "url: 'http://me:secret@prometheus'", "spec.url must not hold credentials; use spec.auth"),
    ("MetricProvider", "auth: {}", "spec.auth needs exactly one of bearer and basic"),
    ("MetricProvider", "headers: [{name: X-Scope-OrgID}]", "spec.headers[]: needs exactly one of value and secret"),
    ("MetricProvider", "timeout: 0s", "spec.timeout must be at least 1s"),
    ("Notifier", "webhook: {url: null}", "spec.webhook needs exactly one of url and urlFrom"),
    ("Notifier", "webhook: {url: 'ftp://x'}", "spec.webhook.url must start with http:// or https://"),
];

async fn create(plane: &Plane, namespace: &str, kind: &str, change: &str) -> Result<Value, String> {
    let mut object = good(kind);
    let change: Value = serde_yaml_ng::from_str(change).expect("YAML");
    json_patch::merge(&mut object["spec"], &change);
    plane.create_yaml(&plane.client_as("alice", &["system:masters"]), namespace, &object.to_string()).await
}

#[tokio::test]
async fn a_bad_manifest_is_refused_with_the_field_and_the_cure() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    for (kind, change, sentence) in REFUSED {
        match create(&plane, &ns, kind, change).await {
            Ok(made) => panic!("{kind} with {change} was taken: {made}"),
            Err(refusal) => assert!(refusal.contains(sentence), "{kind} with {change}: {refusal}"),
        }
    }
    for kind in ["Release", "ReleaseAction", "MetricProvider", "Notifier"] {
        create(&plane, &ns, kind, "{}").await.expect("the good one is taken");
    }
}

#[tokio::test]
async fn two_fields_are_enough_and_the_rest_is_the_canary_rule() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let spec = create(&plane, &ns, "Release", "{}").await.expect("a Release")["spec"].take();
    let expected = json!({
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
        "images": {"app": "shop:2"},
        "paused": false,
        "traffic": {},
        "plan": {
            "steps": [{"pods": 1, "for": "600s"}, {"weight": 30, "for": "1800s"}, {"weight": 100, "for": "0s"}],
            "watch": {"for": "1800s"},
            "deadline": "600s",
        },
        "checks": {
            "source": {"preset": "App"},
            "errorRate": {"max": "5%", "for": "120s"},
            "latency": {"percentile": 99, "max": "2s", "for": "300s"},
            "health": {"failures": 3, "every": "10s"},
            "strict": false,
            "minRequests": 50,
            "warmUp": "30s",
            "settleScrapes": 1,
            "onNoData": {"after": "600s", "then": "Pause"},
            "onDegraded": {"after": "300s", "then": "Rollback"},
        },
    });
    assert_eq!(spec, expected);
}

#[tokio::test]
async fn what_cannot_change_does_not_and_only_one_state_fits() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    create(&plane, &ns, "Release", "{}").await.expect("a Release");
    let releases: Api<Release> = Api::namespaced(plane.client(), &ns);
    let merge = PatchParams::default();

    let other = json!({"spec": {"targetRef": {"name": "other"}}});
    let refusal = releases.patch("shop", &merge, &Patch::Merge(&other)).await.expect_err("another target").to_string();
    assert!(refusal.contains("spec.targetRef cannot be changed; delete this Release"), "{refusal}");

    let version = json!({"revision": "a", "images": {"app": "shop:1"}});
    let state = |name: &str| json!({"status": {"formatVersion": 1, "observedGeneration": 1, "state": {name: {"stable": version}}}});
    releases.patch_status("shop", &merge, &Patch::Merge(&state("idle"))).await.expect("one State");
    let report = json!({"decidedAt": "2026-01-01T00:00:00.000Z", "proof": "Pending"});
    let mut second = state("rolledBack");
    second["status"]["state"]["rolledBack"]["candidate"] = version.clone();
    second["status"]["state"]["rolledBack"]["cause"] = json!({"kind": "Bad", "message": "m"});
    second["status"]["state"]["rolledBack"]["report"] = report;
    let refusal = releases.patch_status("shop", &merge, &Patch::Merge(&second)).await.expect_err("two").to_string();
    assert!(refusal.contains("one and only one"), "{refusal}");

    create(&plane, &ns, "ReleaseAction", "{}").await.expect("an order");
    let actions: Api<haldane::api::ReleaseAction> = Api::namespaced(plane.client(), &ns);
    let later = json!({"spec": {"type": "Rollback"}});
    let refusal = actions.patch("shop", &merge, &Patch::Merge(&later)).await.expect_err("an edit").to_string();
    assert!(refusal.contains("a ReleaseAction cannot be changed; create another one"), "{refusal}");
}
