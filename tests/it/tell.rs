//! Status, Events, notices and triggers on a real API server.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use futures::{FutureExt, future::BoxFuture};
use haldane::{
    api::{
        Release, State,
        notice::{EVENT_CHANNEL, Notice, Reason},
        plan::Plan,
        rollback::RollbackPlan,
        state::{Candidate, PinnedTraffic, Revision, Version},
        status::Memory,
        units::At,
    },
    controller::{
        active::{Active, Interest},
        context::{Context, Kicks},
        pass::{After, Work},
        run::{Scope, run},
    },
    error::{Error, Result},
    tell::{
        events,
        metrics::Metrics,
        notify::Post,
        outbox::{Letter, Outbox, Sender, Sent, Subject},
        status::{Change, Shown, change, remember, status},
    },
};
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::harness::{self, Plane, SOON, eventually};

const RELEASE: &str = "
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: checkout}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: checkout}
  images: {app: 'shop:2'}
";

fn at(second: i64) -> At {
    At::new(jiff::Timestamp::from_second(1_790_000_000 + second).unwrap())
}

fn version(name: &str) -> Version {
    Version {
        revision: Revision(name.repeat(5)),
        name: Some(name.into()),
        images: [("app".into(), format!("shop:{name}"))].into(),
    }
}

fn shown<'a>(state: &'a State, memory: &'a Memory) -> Shown<'a> {
    Shown {
        generation: 1,
        now: at(0),
        state: Some(state),
        memory,
        version: Some("v2"),
        spec_paused: false,
        verdict: None,
        weight: 0,
        message: "1 of 3 pods is ready",
        accepted: Ok(()),
        stalled: None,
        drifted: None,
        metrics_available: None,
        gated: false,
        pending: false,
    }
}

async fn release(plane: &Plane, ns: &str) -> Release {
    plane.apply_yaml(ns, RELEASE).await;
    Api::namespaced(plane.client(), ns).get("checkout").await.unwrap()
}

#[tokio::test]
async fn a_status_is_stored_once_by_whoever_read_the_present_release() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let client = plane.operator_client();
    let first = release(&plane, &ns).await;
    let memory = Memory::default();

    let idle = State::Idle { stable: version("v1") };
    let written = status(&Shown { pending: true, ..shown(&idle, &memory) }, None);
    let second = remember(&client, &first, &written).await.unwrap();
    assert_eq!(change(second.status.as_ref(), &written), Change::None, "it reads back as it was written");

    let stale = remember(&client, &first, &written).await.unwrap_err();
    assert!(matches!(stale, Error::Stale(_)), "{stale}");

    // One State takes the place of another; nothing of the old one stays.
    let candidate = Candidate {
        version: version("v2"),
        id: "v2".into(),
        generation: 1,
        plan: Plan::default(),
        traffic: PinnedTraffic::default(),
        rollback: RollbackPlan::default(),
        undo: false,
        replaced: None,
        target_uid: String::new(),
    };
    let preparing = State::Preparing { stable: version("v1"), candidate, since: at(0), resume: None };
    let next = status(&shown(&preparing, &memory), second.status.as_ref());
    let third = remember(&client, &second, &next).await.unwrap();
    assert_eq!(third.status.as_ref().and_then(|s| s.state.clone()), Some(preparing));
    assert_eq!(change(third.status.as_ref(), &next), Change::None);

    // A namesake that came later is another Release.
    let api: Api<Release> = Api::namespaced(plane.client(), &ns);
    api.delete("checkout", &DeleteParams::default()).await.unwrap();
    eventually("it is gone", SOON, async || api.get_opt("checkout").await.unwrap().is_none().then_some(())).await;
    release(&plane, &ns).await;
    assert!(matches!(remember(&client, &third, &next).await, Err(Error::Stale(_))));
}

fn letter(ns: &str, channel: &str) -> Letter {
    Letter {
        subject: Subject {
            namespace: ns.into(),
            name: "checkout".into(),
            uid: "0c6b72f4-aaaa".into(),
            state: "RolledBack".into(),
            version: Some("v2".into()),
        },
        notice: Notice {
            seq: 7,
            reason: Reason::RolledBack,
            at: at(0),
            message: "ü".repeat(900),
            revision: None,
            pending: vec![channel.into()],
            attempts: 0,
        },
        channel: channel.into(),
    }
}

#[tokio::test]
async fn an_event_told_twice_is_there_once() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let letter = letter(&ns, EVENT_CHANNEL);
    for _ in 0..2 {
        assert_eq!(events::send(&plane.operator_client(), &letter, "haldane-0").await, Sent::Delivered);
    }
    let api: Api<Event> = Api::namespaced(plane.client(), &ns);
    let events = api.list(&ListParams::default()).await.unwrap().items;
    let [event] = events.as_slice() else { panic!("{} events", events.len()) };
    assert_eq!(event.name_any(), "checkout.0c6b72f4.7");
    assert_eq!((event.reason.as_deref(), event.type_.as_deref()), (Some("RolledBack"), Some("Warning")));
    assert_eq!(event.regarding.as_ref().unwrap().uid.as_deref(), Some("0c6b72f4-aaaa"));

    let nowhere = self::letter("no-such-namespace", EVENT_CHANNEL);
    let sent = events::send(&plane.client(), &nowhere, "haldane-0").await;
    assert!(matches!(sent, Sent::Never(_)), "a namespace that is gone has no readers: {sent:?}");
}

#[tokio::test]
async fn a_notifier_serves_the_namespaces_it_allows_with_secrets_of_its_own_namespace() {
    let plane = harness::plane().await;
    let (home, tenant) = (plane.namespace().await, plane.namespace().await);
    let (tx, mut got) = mpsc::unbounded_channel();
    let take = async move |headers: HeaderMap, body: Bytes| tx.send((headers, body)).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", post(take))).await.unwrap() });

    let sender = Post::new(plane.client(), home.clone(), "haldane-0".into()).unwrap();
    let why = async || match sender.send(&letter(&tenant, "oncall")).await {
        Sent::Later { why, .. } => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why().await, format!("Notifier oncall does not exist in namespace {home}"));

    let notifier = |allowed: &str| {
        format!(
            "
apiVersion: haldane.dev/v1alpha1
kind: Notifier
metadata: {{name: oncall}}
spec:
  allowedNamespaces: [{allowed}]
  webhook:
    urlFrom: {{name: hook, key: url}}
    headers: [{{name: x-token, secret: {{name: hook, key: token}}}}]
"
        )
    };
    plane.apply_yaml(&home, &notifier("elsewhere")).await;
    assert_eq!(why().await, format!("Notifier oncall does not allow namespace {tenant}"));
    plane.apply_yaml(&home, &notifier(&tenant)).await;
    assert_eq!(why().await, "Notifier oncall: Secret hook does not exist");

    let secret = |keys: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: hook}}\nstringData: {keys}\n");
    plane.apply_yaml(&home, &secret(&format!("{{url: 'http://{address}/hook'}}"))).await;
    assert_eq!(why().await, "Notifier oncall: Secret hook has no key token");
    plane.apply_yaml(&home, &secret(&format!("{{url: 'http://{address}/hook', token: canary-77}}"))).await;
    assert_eq!(sender.send(&letter(&tenant, "oncall")).await, Sent::Delivered);
    let (headers, body) = got.recv().await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(headers["x-token"], "canary-77");
    assert_eq!(body["id"], "0c6b72f4-aaaa-7");
    assert_eq!(body["data"]["namespace"], tenant);
}

/// Notes which Releases are visited, and holds an interest for those whose name begins with `busy`.
struct Visitor(Arc<Mutex<BTreeMap<String, u32>>>);

impl Work for Visitor {
    fn pass(&self, release: Arc<Release>, _: Context) -> BoxFuture<'static, Result<After>> {
        let name = release.name_any();
        *self.0.lock().unwrap().entry(name.clone()).or_default() += 1;
        let interest = name.starts_with("busy").then(|| Interest {
            deployment: release.spec.target_ref.name.clone(),
            services: ["web".into()].into(),
            routes: [serde_json::from_value(json!({"name": "front"})).expect("a route")].into(),
        });
        futures::future::ready(Ok(After { wake: None, interest })).boxed()
    }
}

struct Operator {
    visits: Arc<Mutex<BTreeMap<String, u32>>>,
    leader: watch::Sender<bool>,
    synced: watch::Receiver<bool>,
    _stop: tokio_util::sync::DropGuard,
}

impl Operator {
    fn start(client: &Client, ns: &str) -> Self {
        let (leader, leading) = watch::channel(false);
        let (metrics, kicks) = (Metrics::default(), Kicks::default());
        let post = Post::new(client.clone(), "haldane-system".into(), "me".into()).unwrap();
        let ctx = Context {
            client: client.clone(),
            operator_namespace: "haldane-system".into(),
            identity: "me".into(),
            image: None,
            outbox: Outbox::new(post, Arc::new(|_, _| {}), metrics.clone()),
            metrics,
            kicks,
            notes: Arc::default(),
            active: Active::default(),
            backoff: Arc::default(),
            leading,
            retiring: watch::channel(None).1,
        };
        let visits = Arc::default();
        let (tx, synced) = watch::channel(false);
        let stop = CancellationToken::new();
        let scope = Scope { namespaces: vec![ns.to_owned()], concurrency: 4 };
        let work = Arc::new(Visitor(Arc::clone(&visits)));
        tokio::spawn(run(ctx, client.clone(), work, scope, tx, stop.clone()));
        Self { visits, leader, synced, _stop: stop.drop_guard() }
    }

    fn visits(&self, name: &str) -> u32 {
        self.visits.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    /// Does something, and waits until the Release has been visited because of it.
    async fn visited_after(&self, what: &str, name: &str, act: impl AsyncFnOnce()) {
        let before = self.visits(name);
        act().await;
        eventually(&format!("{name} is visited after {what}"), SOON, async || {
            (self.visits(name) > before).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn each_change_that_matters_brings_a_visit() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let named = |name: &str, target: &str| {
        RELEASE
            .replace("{name: checkout}", &format!("{{name: {name}}}"))
            .replace("name: checkout", &format!("name: {target}"))
    };
    plane.apply_yaml(&ns, &named("calm", "calm")).await;
    plane.apply_yaml(&ns, &named("busy", "busy")).await;
    // The schema lets it through, our reading does not: a number that no field of ours can hold.
    plane.apply_yaml(&ns, &named("broken", "broken")).await;
    plane.apply_yaml(&ns, &named("newer", "newer")).await;
    let api: Api<DynamicObject> = Api::namespaced_with(plane.client(), &ns, &ApiResource::erase::<Release>(&()));
    for (name, version) in [("broken", 1), ("newer", 2)] {
        let status =
            json!({"status": {"formatVersion": version, "observedGeneration": 1, "weight": 9_999_999_999_u64}});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
    }

    let op = Operator::start(&plane.operator_client(), &ns);
    op.synced.clone().wait_for(|synced| *synced).await.unwrap();
    assert!(op.visits.lock().unwrap().is_empty(), "a standby lists and does nothing");
    op.leader.send_replace(true);
    for name in ["calm", "busy"] {
        eventually("each is visited by the new leader", SOON, async || (op.visits(name) > 0).then_some(())).await;
    }

    let told = eventually("the unreadable one is told so", SOON, async || {
        let status = api.get("broken").await.unwrap().data["status"].clone();
        (!status["conditions"].is_null()).then_some(status)
    })
    .await;
    assert_eq!((&told["weight"], &told["formatVersion"]), (&json!(9_999_999_999_u64), &json!(1)), "memory stays");
    let stalled = told["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Stalled").unwrap();
    assert_eq!((&stalled["status"], &stalled["reason"]), (&"True".into(), &"Invalid".into()));
    assert!(stalled["message"].as_str().unwrap().contains("cannot be read"), "{stalled}");
    let left = api.get("newer").await.unwrap().data["status"].clone();
    assert_eq!(left, json!({"formatVersion": 2, "observedGeneration": 1, "weight": 9_999_999_999_u64}), "left alone");
    assert_eq!(op.visits("broken") + op.visits("newer"), 0);

    let deployment = |name: &str| {
        format!(
            "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: app, image: 'shop:1'}}]}}
"
        )
    };
    op.visited_after("a new Deployment", "calm", async || plane.apply_yaml(&ns, &deployment("calm")).await).await;
    let order = "
apiVersion: haldane.dev/v1alpha1
kind: ReleaseAction
metadata: {name: hold}
spec: {release: calm, releaseUid: u, revision: r, type: Pause, by: admin}
";
    op.visited_after("an order", "calm", async || {
        plane.create_yaml(&plane.client(), &ns, order).await.expect("an order");
    })
    .await;

    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: busy}, ports: [{port: 80}]}\n";
    op.visited_after("a Service", "busy", async || plane.apply_yaml(&ns, service).await).await;
    op.visited_after("a route", "busy", async || {
        let route = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front}
spec: {rules: [{backendRefs: [{name: web, port: 80}]}]}
";
        plane.apply_yaml(&ns, route).await;
    })
    .await;
    op.visited_after("a ReplicaSet", "busy", async || plane.apply_yaml(&ns, &deployment("busy")).await).await;

    // Without leadership changes are seen and nothing is done.
    op.leader.send_replace(false);
    let before = (op.visits("calm"), op.visits("busy"));
    plane.apply_yaml(&ns, &deployment("calm").replace("shop:1", "shop:3")).await;
    op.leader.send_replace(true);
    eventually("the next term visits all", SOON, async || {
        (op.visits("calm") > before.0 && op.visits("busy") > before.1).then_some(())
    })
    .await;
}
