//! The CRDs as the API server understands them: what it refuses and in which words, what it fills in, what it shows.

use std::path::Path;

use haldane::api::{MetricProvider, Notifier, Release, ReleaseAction};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::harness::{self, Plane};

const RELEASE: &str = "
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: shop}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
  images: {app: 'registry.example/shop:2'}
";
const ACTION: &str = "
apiVersion: haldane.dev/v1alpha1
kind: ReleaseAction
metadata: {name: order}
spec: {release: shop, releaseUid: u-1, revision: abc, type: Pause, by: admin}
";
const PROVIDER: &str = "
apiVersion: haldane.dev/v1alpha1
kind: MetricProvider
metadata: {name: prometheus}
spec: {url: 'http://prometheus:9090'}
";
const NOTIFIER: &str = "
apiVersion: haldane.dev/v1alpha1
kind: Notifier
metadata: {name: oncall}
spec: {webhook: {url: 'https://hooks.example/a'}}
";

/// What is laid over a good `spec` (null takes a field out), and what the API server says of the result.
const BAD: &[(&str, &str, &str)] = &[
    (RELEASE, "targetRef: null", "spec.targetRef: Required value"),
    (RELEASE, "targetRef: {name: null}", "spec.targetRef.name: Required value"),
    (RELEASE, "targetRef: {name: ''}", "spec.targetRef.name in body should be at least 1 chars long"),
    (RELEASE, "targetRef: {apiVersion: apps/v1beta1}", "spec.targetRef.apiVersion must be apps/v1"),
    (RELEASE, "targetRef: {kind: StatefulSet}", "spec.targetRef.kind must be Deployment"),
    (RELEASE, "images: null\nversion: '2'", "spec.version names the version in spec.images"),
    (RELEASE, "images: {app: null}", "spec.images must name at least one container and its image, for example"),
    (RELEASE, "images: {app: ''}", "spec.images: each image must be a reference without spaces"),
    (RELEASE, "images: {app: 'shop 2'}", "spec.images: each image must be a reference without spaces"),
    (
        RELEASE,
        "plan: {floatingTags: Refuse}\nimages: {app: shop}",
        "spec.plan.floatingTags is Refuse, so each image needs",
    ),
    (
        RELEASE,
        "plan: {floatingTags: Refuse}\nimages: {app: 'shop:latest'}",
        "a tag of its own (not latest) or a digest",
    ),
    (RELEASE, "plan: {floatingTags: Refuse}\nimages: {app: 'registry.example:5000/shop'}", "each image needs a tag"),
    (RELEASE, "plan: {floatingTags: Never}", "Unsupported value: \"Never\": supported values: \"Warn\", \"Refuse\""),
    (RELEASE, "version: ''", "spec.version in body should be at least 1 chars long"),
    (RELEASE, "replicas: 3", "unknown field \"spec.replicas\""),
    (RELEASE, "paused: 'yes'", "spec.paused in body must be of type boolean: \"string\""),
    (RELEASE, "plan: {steps: []}", "spec.plan.steps in body should have at least 1 items"),
    (RELEASE, "plan: {steps: [{weight: 30}]}", "spec.plan.steps: the last step must be {weight: 100}"),
    (RELEASE, "plan: {steps: [{for: 5m}, {weight: 100}]}", "spec.plan.steps: each step needs pods or weight"),
    (RELEASE, "plan: {steps: [{weight: 50}, {weight: 30}, {weight: 100}]}", "weights must not go down from one step"),
    (RELEASE, "plan: {steps: [{weight: 50}, {pods: 1}, {weight: 30}, {weight: 100}]}", "weights must not go down"),
    (
        RELEASE,
        "plan: {steps: [{weight: 101}]}",
        "spec.plan.steps[0].weight in body should be less than or equal to 100",
    ),
    (RELEASE, "plan: {steps: [{weight: -1}, {weight: 100}]}", "should be greater than or equal to 0"),
    (
        RELEASE,
        "plan: {steps: [{pods: 0}, {weight: 100}]}",
        "spec.plan.steps[0].pods in body should be greater than or equal",
    ),
    (
        RELEASE,
        "plan: {steps: [{weight: 0.5}, {weight: 100}]}",
        "spec.plan.steps[0].weight in body must be of type integer",
    ),
    (RELEASE, "plan: {steps: [{weight: 30, for: 1d}, {weight: 100}]}", "must be a duration up to 8760h, such as 90s"),
    (RELEASE, "plan: {steps: [{weight: 30, for: 90}, {weight: 100}]}", "steps[0].for in body must be of type string"),
    (
        RELEASE,
        "plan: {watch: {for: 9999h}}",
        "spec.plan.watch.for: Invalid value: \"string\": must be a duration up to 8760h",
    ),
    (RELEASE, "plan: {watch: {for: -5m}}", "must be a duration up to 8760h"),
    (RELEASE, "plan: {deadline: 10ms}", "spec.plan.deadline must be at least 1s: pods need time to become ready"),
    (RELEASE, "plan: {deadline: soon}", "spec.plan.deadline: Invalid value: \"string\": must be a duration"),
    (
        RELEASE,
        "traffic: {canaryHeader: {name: x-canary, value: 'true'}}",
        "needs a route to carry its rule; name one in",
    ),
    (RELEASE, "traffic: {services: [], routes: [{name: shop}]}", "spec.traffic.routes need a Service to split"),
    (
        RELEASE,
        "traffic: {routes: [{kind: TCPRoute, name: shop}]}",
        "spec.traffic.routes[].kind: a TCPRoute, TLSRoute or UDPRoute carries connections, which cannot be divided by \
         request or header nor judged by their answers; name the HTTPRoute, GRPCRoute or VirtualService that sends",
    ),
    (RELEASE, "traffic: {routes: [{kind: TLSRoute, name: shop}]}", "or leave out spec.traffic.routes to split by"),
    (
        RELEASE,
        "traffic: {routes: [{group: networking.k8s.io, kind: Ingress, name: shop}]}",
        "spec.traffic.routes[].kind: an Ingress has no weights to divide its traffic by; name an HTTPRoute",
    ),
    (
        RELEASE,
        "traffic: {routes: [{kind: Route, name: shop}]}",
        "spec.traffic.routes[].kind must be HTTPRoute, GRPCRoute or VirtualService",
    ),
    (
        RELEASE,
        "traffic: {routes: [{group: a.b, name: shop}]}",
        "spec.traffic.routes[].group must be gateway.networking.k8s.io for an HTTPRoute or a GRPCRoute",
    ),
    (
        RELEASE,
        "traffic: {routes: [{kind: VirtualService, name: shop}]}",
        "spec.traffic.routes[].group must be networking.istio.io for a VirtualService",
    ),
    (RELEASE, "traffic: {routes: [{name: shop}, {name: shop}]}", "spec.traffic.routes[1]: Duplicate value"),
    (RELEASE, "traffic: {services: [shop, shop]}", "spec.traffic.services[1]: Duplicate value: \"shop\""),
    (
        RELEASE,
        "traffic: {routes: [{name: a}], canaryHeader: {name: 'x canary', value: 'true'}}",
        "spec.traffic.canaryHeader.name in body should match",
    ),
    (RELEASE, "checks: {source: {preset: Istio}}", "spec.checks.source needs spec.checks.provider"),
    (
        RELEASE,
        "checks: {metrics: [{name: a, query: a, mustNotDrop: 5%}]}",
        "spec.checks.metrics needs spec.checks.provider",
    ),
    (
        RELEASE,
        "checks: {provider: p, metrics: [{name: a, query: a, mustNotDrop: 5%, mustNotRise: 5%}]}",
        "spec.checks.metrics: give either mustNotDrop or mustNotRise",
    ),
    (
        RELEASE,
        "checks: {provider: p, metrics: [{name: a, query: a, mustNotDrop: 5%}, {name: a, query: b, mustNotRise: 5%}]}",
        "spec.checks.metrics[1]: Duplicate value",
    ),
    (RELEASE, "checks: {sequential: {tolerance: '0.5'}}", "must be a number from 1 to 1000 in quotes"),
    (RELEASE, "checks: {source: {preset: Linkerd}}", "Unsupported value: \"Linkerd\": supported values: \"App\""),
    (RELEASE, "checks: {provider: p, source: {preset: Custom, total: a}}", "preset Custom needs total and errors"),
    (RELEASE, "checks: {provider: p, source: {total: a}}", "total, errors and latency are for preset Custom only"),
    (RELEASE, "checks: {errorRate: {max: '5'}}", "must be a percentage between 0% and 100% in quotes, such as \"5%\""),
    (
        RELEASE,
        "checks: {errorRate: {max: '101%'}}",
        "spec.checks.errorRate.max: Invalid value: \"string\": must be a percentage",
    ),
    (
        RELEASE,
        "checks: {errorRate: {max: 0.05}}",
        "spec.checks.errorRate.max in body must be of type string: \"number\"",
    ),
    (RELEASE, "checks: {latency: {percentile: 100}}", "percentile in body should be less than or equal to 99"),
    (
        RELEASE,
        "checks: {latency: {percentile: 99.9}}",
        "spec.checks.latency.percentile in body must be of type integer",
    ),
    (
        RELEASE,
        "checks: {health: {failures: 0}}",
        "spec.checks.health.failures in body should be greater than or equal to 1",
    ),
    (RELEASE, "checks: {health: {every: 100ms}}", "spec.checks.health.every must be at least 1s"),
    (
        RELEASE,
        "checks: {health: {http: {path: healthz, port: http}}}",
        "spec.checks.health.http.path must start with /",
    ),
    (RELEASE, "checks: {health: {http: {path: /, port: '70000'}}}", "or a number from 1 to 65535 in quotes"),
    (RELEASE, "checks: {health: {http: {path: /, port: Http_}}}", "must be the name of a container port, such as http"),
    (RELEASE, "checks: {health: {http: {path: /}}}", "spec.checks.health.http.port: Required value"),
    (RELEASE, "checks: {smoke: {args: [a]}}", "spec.checks.smoke.image: Required value"),
    (RELEASE, "checks: {smoke: {image: a, timeout: 0s}}", "spec.checks.smoke.timeout must be at least 1s"),
    (RELEASE, "checks: {smoke: {image: a, after: []}}", "spec.checks.smoke.after in body should have at least 1 items"),
    (RELEASE, "checks: {smoke: {image: a, after: [Full, Full]}}", "spec.checks.smoke.after[1]: Duplicate value"),
    (RELEASE, "checks: {smoke: {image: a, after: [Later]}}", "Unsupported value: \"Later\""),
    (RELEASE, "checks: {minRequests: 0}", "spec.checks.minRequests in body should be greater than or equal to 1"),
    (RELEASE, "checks: {settleScrapes: 21}", "spec.checks.settleScrapes in body should be less than or equal to 20"),
    (RELEASE, "checks: {onNoData: {after: 5m}}", "spec.checks.onNoData.then: Required value"),
    (RELEASE, "checks: {onDegraded: {after: 5m, then: Promote}}", "Unsupported value: \"Promote\": supported values"),
    (RELEASE, "rollback: {required: true}", "spec.rollback.required is true, so a release needs a rollback plan"),
    (RELEASE, "rollback: {steps: [{name: a}]}", "spec.rollback.steps[]: give either job or redis"),
    (
        RELEASE,
        "rollback: {steps: [{name: a, job: {image: a}, redis: {secretName: s, keys: [a]}}]}",
        "spec.rollback.steps[]: give either job or redis",
    ),
    (RELEASE, "rollback: {steps: [{name: A, job: {image: a}}]}", "spec.rollback.steps[0].name in body should match"),
    (RELEASE, "rollback: {steps: [{name: a, job: {args: [b]}}]}", "spec.rollback.steps[0].job.image: Required value"),
    (RELEASE, "rollback: {steps: [{name: a, job: {image: a}, timeout: 0s}]}", "timeout must be at least 1s"),
    (RELEASE, "rollback: {steps: [{name: a, job: {image: a}, retries: 6}]}", "should be less than or equal to 5"),
    (
        RELEASE,
        "rollback: {steps: [{name: a, job: {image: a}}, {name: a, job: {image: a}}]}",
        "spec.rollback.steps[1]: Duplicate value",
    ),
    (
        RELEASE,
        "rollback: {steps: [{name: a, job: {image: a, env: [{name: X}]}}]}",
        "spec.rollback.steps[].job.env[]: give either value or secret",
    ),
    (
        RELEASE,
        "rollback: {steps: [{name: a, redis: {secretName: s, keys: ['**']}}]}",
        "a pattern of nothing but * and ? deletes everything",
    ),
    (RELEASE, "notify: [{reasons: [RolledBack]}]", "spec.notify[0].notifier: Required value"),
    (RELEASE, "notify: [{notifier: a, reasons: [Broken]}]", "spec.notify[0].reasons[0]: Unsupported value: \"Broken\""),
    (RELEASE, "notify: [{notifier: a}, {notifier: a}]", "spec.notify[1]: Duplicate value"),
    (ACTION, "type: Approve", "spec.type: Unsupported value: \"Approve\""),
    (ACTION, "type: Rollback\nto: Full", "spec.to is for type Promote only; remove it"),
    (ACTION, "type: Resume\nuntil: '2027-01-01T00:00:00Z'", "spec.until is for type Pause only; remove it"),
    (ACTION, "type: Confirm", "spec.step names the step of the rollback plan that type Confirm says yes to"),
    (ACTION, "type: Rollback\nstep: schema", "give it for Confirm only"),
    (ACTION, "until: tomorrow", "spec.until in body must be of type date-time: \"tomorrow\""),
    (ACTION, "releaseUid: null", "spec.releaseUid: Required value"),
    (ACTION, "revision: ''", "spec.revision in body should be at least 1 chars long"),
    (ACTION, "release: null", "spec.release: Required value"),
    (PROVIDER, "url: null", "spec.url: Required value"),
    (PROVIDER, "url: 'prometheus:9090'", "spec.url must start with http:// or https://"),
    (PROVIDER, "url: 'file:///etc/passwd'", "spec.url must start with http:// or https://"),
    (PROVIDER, "url: 'http://me:secret@prometheus'", "spec.url must not hold credentials; use spec.auth"),
    (PROVIDER, "auth: {}", "spec.auth needs exactly one of bearer and basic"),
    (
        PROVIDER,
        "auth: {bearer: {name: a, key: b}, basic: {username: u, password: {name: a, key: b}}}",
        "spec.auth needs exactly one of bearer and basic",
    ),
    (PROVIDER, "auth: {bearer: {name: a}}", "spec.auth.bearer.key: Required value"),
    (PROVIDER, "scrapeInterval: 100ms", "spec.scrapeInterval must be at least 1s"),
    (PROVIDER, "timeout: 0s", "spec.timeout must be at least 1s"),
    (PROVIDER, "podLabel: 'pod-name'", "spec.podLabel in body should match"),
    (PROVIDER, "headers: [{name: X-Scope-OrgID}]", "needs exactly one of value and secret"),
    (PROVIDER, "headers: [{name: 'a b', value: c}]", "spec.headers[0].name in body should match"),
    (NOTIFIER, "webhook: null", "spec needs exactly one of webhook, dingtalk, feishu, wecom, slack, teams, pagerduty"),
    (NOTIFIER, "wecom: {urlFrom: {name: a, key: b}}", "make another Notifier for another channel"),
    (NOTIFIER, "language: fr", "spec.language: Unsupported value: \"fr\""),
    (NOTIFIER, "webhook: null\ndingtalk: {}", "spec.dingtalk.urlFrom: Required value"),
    (
        NOTIFIER,
        "webhook: null\nslack: {}",
        "spec.slack needs exactly one of urlFrom (an incoming webhook) and token (a bot)",
    ),
    (
        NOTIFIER,
        "webhook: null\nslack: {token: {name: a, key: b}}",
        "spec.slack.channel goes with spec.slack.token: a bot needs both",
    ),
    (NOTIFIER, "webhook: null\nalertmanager: {}", "spec.alertmanager needs exactly one of url and urlFrom"),
    (
        NOTIFIER,
        "webhook: null\nalertmanager: {url: 'am:9093'}",
        "spec.alertmanager.url must start with http:// or https://",
    ),
    (
        NOTIFIER,
        "webhook: null\npagerduty: {routingKey: {name: a, key: b}, url: pagerduty}",
        "spec.pagerduty.url must start with http:// or https://",
    ),
    (
        NOTIFIER,
        "webhook: null\ngithub: {token: {name: a, key: b}, repository: ops}",
        "spec.github.repository in body should match",
    ),
    (
        NOTIFIER,
        "webhook: null\nemail: {host: a, from: b@c, to: [d@e], tls: None, auth: {username: u, password: {name: a, key: b}}}",
        "spec.email.auth would send the password in clear text; set spec.email.tls to StartTls or Tls",
    ),
    (NOTIFIER, "webhook: null\nemail: {host: a, from: b, to: [d@e]}", "spec.email.from must be an address such as"),
    (
        NOTIFIER,
        "webhook: null\nemail: {host: a, from: b@c, to: []}",
        "spec.email.to in body should have at least 1 items",
    ),
    (NOTIFIER, "webhook: {url: 'ftp://a'}", "spec.webhook.url must start with http:// or https://"),
    (NOTIFIER, "webhook: {urlFrom: {name: a, key: b}}", "spec.webhook needs exactly one of url and urlFrom"),
    (NOTIFIER, "webhook: {url: null}", "spec.webhook needs exactly one of url and urlFrom"),
    (NOTIFIER, "webhook: {timeout: 10ms}", "spec.webhook.timeout must be at least 1s"),
];

/// A good manifest with something laid over its spec, as text.
fn with(manifest: &str, patch: &str) -> String {
    let mut object: Value = serde_yaml_ng::from_str(manifest).expect("YAML");
    json_patch::merge(&mut object["spec"], &serde_yaml_ng::from_str(patch).expect("YAML"));
    object.to_string()
}

async fn create(plane: &Plane, ns: &str, manifest: &str) -> Value {
    plane.create_yaml(&plane.client(), ns, manifest).await.unwrap_or_else(|e| panic!("{e}: {manifest}"))
}

#[tokio::test]
async fn each_bad_manifest_gets_its_sentence() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let client = plane.client();
    let mut wrong = Vec::new();
    for &(good, patch, sentence) in BAD {
        let answer = plane.try_yaml(&client, &ns, &with(good, patch)).await;
        if !answer.as_ref().is_err_and(|e| e.contains(sentence)) {
            wrong.push(format!("{patch}\n  expected: {sentence}\n  got: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), BAD.len(), wrong.join("\n"));
}

#[tokio::test]
async fn the_shortest_release_gets_the_organisations_rules() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let release = create(&plane, &ns, RELEASE).await;
    let expected = json!({
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
        "images": {"app": "registry.example/shop:2"},
        "paused": false,
        "traffic": {},
        "plan": {
            "floatingTags": "Warn",
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
    assert_eq!(release["spec"], expected);
    let typed: Release = serde_json::from_value(release).expect("our own type reads it");
    assert_eq!(typed.spec.plan, haldane::api::plan::Plan::default());
    assert_eq!(typed.spec.checks, haldane::api::checks::Checks::default());
}

#[tokio::test]
async fn everything_that_can_be_said_is_accepted() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let full = "
version: '1.4.2'
paused: true
images: {app: 'registry.example:5000/a/b@sha256:aa', side: 'b:2'}
traffic:
  services: [shop]
  routes: [{name: shop}, {group: gateway.networking.k8s.io, kind: HTTPRoute, name: other}]
  canaryHeader: {name: x-canary, value: 'true'}
plan:
  steps: [{weight: 0, for: 1m}, {pods: 1, for: 1h30m}, {pods: 2, weight: 30}, {weight: 30}, {weight: 100}]
  floatingTags: Refuse
  watch: {for: 0s}
  deadline: 1s
checks:
  provider: prometheus
  source: {preset: Custom, total: 'a', errors: 'b', latency: 'c_bucket'}
  errorRate: {max: '0.25%', for: 10s}
  health: {failures: 20, every: 1s, http: {path: /healthz, port: '8080'}}
  smoke: {image: smoke, command: [a], args: [b], timeout: 1m, after: [Full]}
rollback:
  required: true
  steps:
  - name: schema
    job: {image: a, command: [a], args: [b], env: [{name: A, value: b}, {name: P, secret: {name: db, key: p}}], resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: '0.5', memory: 1Gi}}}
    timeout: 1m
    retries: 5
    onFailure: Continue
    confirm: Required
  - {name: coupons, redis: {secretName: redis, keys: ['coupon:*', 'cart:?:*'], dryRun: true}}
notify: [{notifier: oncall, reasons: [RolledBack, RollbackFailed, StepFailed, ConfirmationNeeded, Stuck]}, {notifier: all}]
";
    let release = create(&plane, &ns, &with(RELEASE, full)).await;
    assert!(serde_json::from_value::<Release>(release).is_ok());
    let action = create(&plane, &ns, &with(ACTION, "until: '2027-01-01T00:00:00Z'\nreason: lunch")).await;
    assert!(serde_json::from_value::<ReleaseAction>(action).is_ok());
    let provider = "
allowedNamespaces: ['*']
auth: {basic: {username: u, password: {name: a, key: b}}}
ca: {name: a, key: b}
headers: [{name: X-Scope-OrgID, value: a}, {name: X-Other, secret: {name: a, key: b}}]
";
    let provider = create(&plane, &ns, &with(PROVIDER, provider)).await;
    let provider: MetricProvider = serde_json::from_value(provider).expect("our own type reads it");
    assert_eq!(provider.spec.pod_label, "pod");
    create(&plane, &ns, NOTIFIER).await;
    for (name, spec) in [
        ("other", "webhook: {url: null, urlFrom: {name: a, key: b}, signingSecret: {name: a, key: b}}"),
        (
            "dingtalk",
            "webhook: null\nlanguage: zh\ndingtalk: {urlFrom: {name: a, key: b}, signingSecret: {name: a, key: b}}",
        ),
        ("feishu", "webhook: null\nfeishu: {urlFrom: {name: a, key: b}}"),
        ("wecom", "webhook: null\nwecom: {urlFrom: {name: a, key: b}}"),
        ("slack-hook", "webhook: null\nslack: {urlFrom: {name: a, key: b}}"),
        ("slack-bot", "webhook: null\nslack: {token: {name: a, key: b}, channel: C1}"),
        ("teams", "webhook: null\nteams: {urlFrom: {name: a, key: b}}"),
        ("pagerduty", "webhook: null\npagerduty: {routingKey: {name: a, key: b}}"),
        ("alertmanager", "webhook: null\nalertmanager: {url: 'http://am:9093', headers: [{name: a, value: b}]}"),
        (
            "email",
            "webhook: null\nemail: {host: mail.example, from: 'A <a@b>', to: [c@d], auth: {username: u, password: {name: a, key: b}}}",
        ),
        ("github", "webhook: null\ngithub: {repository: shop/ops, token: {name: a, key: b}, labels: [P1]}"),
    ] {
        let made = create(&plane, &ns, &with(NOTIFIER, spec).replace("oncall", name)).await;
        let made: Notifier = serde_json::from_value(made).expect("our own type reads it");
        assert!(made.spec.channel().is_some(), "{name}");
    }
}

#[tokio::test]
async fn a_releases_target_and_an_order_stay_as_they_are() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    create(&plane, &ns, RELEASE).await;
    create(&plane, &ns, ACTION).await;
    let releases: Api<Release> = Api::namespaced(plane.client(), &ns);
    let actions: Api<ReleaseAction> = Api::namespaced(plane.client(), &ns);
    let to = |patch: Value| Patch::Merge(json!({"spec": patch}));
    let params = PatchParams::default();

    let other = releases.patch("shop", &params, &to(json!({"targetRef": {"name": "other"}}))).await;
    let said = other.expect_err("the target is immutable").to_string();
    assert!(
        said.contains("spec.targetRef cannot be changed; delete this Release and create one for the other Deployment"),
        "{said}"
    );
    releases.patch("shop", &params, &to(json!({"images": {"app": "shop:3"}}))).await.expect("images may change");
    let other = releases.patch("shop", &params, &to(json!({"images": null}))).await;
    let said = other.expect_err("but not what names the version").to_string();
    assert!(said.contains("spec.images cannot be added to a Release or taken out of it"), "{said}");

    let other = actions.patch("order", &params, &to(json!({"reason": "because"}))).await;
    let said = other.expect_err("an order is immutable").to_string();
    assert!(said.contains("a ReleaseAction cannot be changed; create another one"), "{said}");
    actions.delete("order", &DeleteParams::default()).await.expect("an order can be deleted");
}

fn version(revision: &str) -> Value {
    json!({"revision": revision, "images": {"app": "shop:1"}})
}

/// A status as the operator writes it, with one variant of State.
fn status(state: &Value, release: &Release) -> Value {
    json!({
        "apiVersion": "haldane.dev/v1alpha1", "kind": "Release",
        "metadata": {"resourceVersion": release.resource_version()},
        "status": {"formatVersion": 1, "observedGeneration": 1, "notices": 0, "phase": "x", "message": "m",
                   "conditions": [], "state": state},
    })
}

fn idle() -> Value {
    json!({"idle": {"stable": version("aaa")}})
}

fn rolled_back() -> Value {
    json!({"rolledBack": {
        "stable": version("aaa"), "candidate": version("bbb"),
        "cause": {"kind": "Bad", "message": "error rate 7.31 % > 5 %"},
        "report": {"decidedAt": "2026-01-02T03:04:05.678Z", "proof": "Counters"},
    }})
}

#[tokio::test]
async fn status_holds_one_state_and_refuses_the_late_writer() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    create(&plane, &ns, RELEASE).await;
    let releases: Api<Release> = Api::namespaced(plane.operator_client(), &ns);
    let ours = PatchParams::apply("haldane").force();

    let first = releases.get("shop").await.expect("the Release");
    let second = releases.patch_status("shop", &ours, &Patch::Apply(status(&idle(), &first))).await.expect("a status");
    let late = releases.patch_status("shop", &ours, &Patch::Apply(status(&rolled_back(), &first))).await;
    assert!(matches!(&late, Err(kube::Error::Api(s)) if s.code == 409), "{late:?}");

    let two = json!({"status": {"state": rolled_back()}});
    let both = releases.patch_status("shop", &PatchParams::default(), &Patch::Merge(two)).await;
    assert!(
        matches!(&both, Err(kube::Error::Api(s)) if s.code == 422 && s.message.contains("Found 2 valid alternatives")),
        "{both:?}"
    );

    let swapped = releases.patch_status("shop", &ours, &Patch::Apply(status(&rolled_back(), &second))).await;
    let raw = serde_json::to_value(swapped.expect("one variant takes the other's place")).expect("JSON");
    assert_eq!(raw["status"]["state"], rolled_back());

    let unknown = json!({"status": {"state": {"rolledBack": null, "flying": {}}}});
    let refused = releases.patch_status("shop", &PatchParams::default(), &Patch::Merge(unknown)).await;
    assert!(refused.is_err(), "a State that nobody knows: {refused:?}");
}

#[tokio::test]
async fn kubectl_shows_where_a_release_stands() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    create(&plane, &ns, RELEASE).await;
    let releases: Api<Release> = Api::namespaced(plane.client(), &ns);
    let shown = json!({"status": {
        "formatVersion": 1, "observedGeneration": 1, "phase": "Stepping", "step": "2/3", "weight": 30, "version": "1.4.2",
        "message": "watching", "verdict": "Healthy", "stableRevision": "aaa", "candidateRevision": "bbb",
    }});
    releases.patch_status("shop", &PatchParams::default(), &Patch::Merge(shown)).await.expect("a status");
    let table = async |wide: &[&str]| {
        let out = plane.kubectl(&ns, &[&["get", "releases"], wide].concat()).await;
        out.lines().map(|l| l.split_whitespace().map(str::to_owned).collect()).collect::<Vec<Vec<String>>>()
    };
    let short = table(&[]).await;
    assert_eq!(short[0], ["NAME", "STATUS", "STEP", "WEIGHT", "VERSION", "REASON", "AGE"]);
    assert_eq!(short[1][..6], ["shop", "Stepping", "2/3", "30", "1.4.2", "watching"]);
    let wide = table(&["-o", "wide"]).await;
    assert_eq!(wide[0][7..], ["TARGET", "VERDICT", "STABLE", "CANDIDATE"]);
    assert_eq!(wide[1][7..], ["shop", "Healthy", "aaa", "bbb"]);
}

#[test]
fn each_crd_is_smaller_than_100_kb() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let sizes: Vec<u64> = std::fs::read_dir(folder)
        .expect("crds")
        .map(|f| f.expect("a file").metadata().expect("its size").len())
        .collect();
    assert_eq!(sizes.len(), 4);
    assert!(sizes.iter().all(|&size| size < 100_000), "{sizes:?}");
}
