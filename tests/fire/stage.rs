//! A namespace with the shop, its played pods and gateway, and an operator on a line that can fail.

use std::{sync::Arc, time::Duration};

use haldane::{
    api::{Release, State, names, status::ReleaseStatus},
    controller::client::{CALL_LIMIT, plain},
};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    core::v1::Namespace,
    events::v1::Event,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde_json::json;

use crate::{
    audit::Auditor,
    fault::Line,
    harness::{
        Plane,
        gateway::Gateway,
        notices::{last_event_is_there, only_events_left},
        own_plane, pods,
        shop::SHOP,
        within,
    },
    operator::Operator,
    sink::{NOTIFIER, Sink},
};

/// Longer than any story takes, also with a fault in it and many beside it.
const LONG: Duration = Duration::from_mins(6);

/// What all stages of a test share.
pub struct Theatre {
    pub plane: Plane,
    pub auditor: Auditor,
    pub sink: Sink,
    admin: Client,
    raw: Client,
}

impl Theatre {
    /// With a control plane of its own: what the auditor reads is this test's.
    pub async fn open() -> Arc<Self> {
        let _already = rustls::crypto::ring::default_provider().install_default();
        let plane = own_plane().await;
        let raw = plain(plane.operator_config(), CALL_LIMIT).expect("a client");
        let (auditor, sink) = (Auditor::start(&plane), Sink::open(&plane).await);
        Arc::new(Self { admin: plane.client(), plane, auditor, sink, raw })
    }
}

/// One story's namespace.
pub struct Stage {
    pub theatre: Arc<Theatre>,
    pub ns: String,
    pub agent: pods::Agent,
    pub line: Line,
    pub gateway: Gateway,
    operator: Option<Operator>,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Wish {
    pub image: &'static str,
    /// How long the first step lasts.
    pub first: &'static str,
    /// By a route, or by numbers of pods.
    pub routed: bool,
    /// How long it is watched at 100 %.
    pub watch: &'static str,
    pub paused: bool,
    /// With a rollback plan, whose first attempt fails.
    pub plan: bool,
}

pub const QUICK: Wish = Wish { image: "shop:2", first: "1s", routed: true, watch: "1s", paused: false, plan: false };
pub const STAYS: Wish = Wish { first: "1h", ..QUICK };

/// What a story could not reach, and what was seen last.
pub type Story<T> = Result<T, String>;

impl Stage {
    /// With an operator of its own.
    pub async fn open(theatre: &Arc<Theatre>) -> Story<Self> {
        let mut stage = Self::alone(theatre).await?;
        stage.operator = Some(Operator::start(&stage.ns, &stage.line));
        Ok(stage)
    }

    /// Without an operator.
    pub async fn alone(theatre: &Arc<Theatre>) -> Story<Self> {
        let plane = &theatre.plane;
        let ns = plane.namespace().await;
        let (agent, gateway) = (pods::Agent::start(plane, &ns), Gateway::start(plane, &ns));
        plane.apply_yaml(&ns, SHOP).await;
        let line = Line::new(theatre.raw.clone());
        theatre.sink.attend(&ns, &line);
        let stage = Self { theatre: theatre.clone(), ns, agent, line, gateway, operator: None };
        let deployments: Api<Deployment> = stage.api();
        within(LONG, async || {
            let status = deployments.get("shop").await.ok()?.status?;
            (status.available_replicas == Some(2)).then_some(())
        })
        .await
        .map_err(|last| format!("the Deployment does not run: {last}"))?;
        Ok(stage)
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.theatre.admin.clone(), &self.ns)
    }

    pub async fn wish(&self, wish: Wish) {
        let Wish { image, first, routed, watch, paused, plan } = wish;
        let version = image.rsplit(':').next().expect("a tag");
        let asked = format!("version: '{version}'\n  images: {{app: '{image}'}}");
        let asked = if image.is_empty() { "" } else { &asked };
        let traffic =
            if routed { "{routes: [{name: shop}], canaryHeader: {name: x-canary, value: 'true'}}" } else { "{}" };
        let rollback = if plan {
            "{steps: [{name: schema, retries: 1, job: {image: 'schema:1'}}, {name: seeds, job: {image: 'seeds:1'}}]}"
        } else {
            "{}"
        };
        let text = format!(
            "
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {{name: shop}}
spec:
  targetRef: {{apiVersion: apps/v1, kind: Deployment, name: shop}}
  {asked}
  paused: {paused}
  traffic: {traffic}
  plan: {{steps: [{{pods: 1, weight: 20, for: {first}}}, {{weight: 100, for: 0s}}], watch: {{for: {watch}}}, deadline: 2m}}
  checks: {{warmUp: 0s}}
  rollback: {rollback}
  notify: [{{notifier: {NOTIFIER}}}]
"
        );
        self.theatre.plane.apply_yaml(&self.ns, &text).await;
    }

    /// A Release without images; returns when the Deployment is held.
    pub async fn hold(&self, wish: Wish) -> Story<()> {
        self.wish(Wish { image: "", ..wish }).await;
        let (deployments, revisions) = (self.api::<Deployment>(), self.api::<ControllerRevision>());
        let looked = within(LONG, async || {
            let held = deployments.get("shop").await.ok()?.labels().contains_key(names::HELD);
            let kept = revisions.get_opt(&names::kept_template("shop")).await.ok()?.is_some();
            (held && kept).then_some(())
        });
        looked.await.map_err(|last| format!("the Deployment is not held: {last}"))?;
        self.told("held", |_| true).await
    }

    /// Somebody writes another image into the Deployment.
    pub async fn set_image(&self, image: &str) {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}});
        let patch = Patch::Strategic(patch);
        self.api::<Deployment>().patch("shop", &PatchParams::default(), &patch).await.expect("a patch");
    }

    /// As it is stored: a dozen stories that ask the API server all the time leave it none for their operators.
    pub fn status(&self) -> Option<ReleaseStatus> {
        self.theatre.auditor.peek(&self.ns, |ledger| {
            let release = ledger.world().get("releases", "shop")?;
            serde_json::from_value(release["status"].clone()).ok()
        })?
    }

    /// Returns when its status is so.
    pub async fn until(&self, what: &str, so: impl Fn(&ReleaseStatus) -> bool) -> Story<ReleaseStatus> {
        let looked = within(LONG, async || match self.status() {
            Some(status) if so(&status) => Ok(status),
            other => Err(other.map(|s| {
                let untold = s.memory.outbox.iter().map(|n| format!("{} {} {:?}", n.seq, n.reason, n.pending));
                format!("{}: {}; to tell: {:?}", s.phase, s.message, untold.collect::<Vec<_>>())
            })),
        });
        looked.await.map_err(|last| format!("{}: not within {LONG:?}: {what}; last: {last}", self.ns))
    }

    /// Returns when the first step has its traffic.
    pub async fn in_step(&self) -> Story<()> {
        let settled = |status: &ReleaseStatus| matches!(status.state, Some(State::Stepping { settled: Some(_), .. }));
        self.until("settled in its step", settled).await.map(drop)
    }

    /// Returns when it is so and everything has been told.
    pub async fn told(&self, what: &str, so: impl Fn(&ReleaseStatus) -> bool) -> Story<()> {
        let status = self.until(&format!("{what}, all told"), |s| so(s) && only_events_left(s)).await?;
        let events: Api<Event> = self.api();
        let looked = within(LONG, async || {
            if last_event_is_there(&events, "shop", &status).await { Ok(()) } else { Err("it is not there") }
        });
        looked.await.map_err(|_| format!("{}: no Event of notice {} within {LONG:?}", self.ns, status.memory.notices))
    }

    /// Returns when the Release rests so and everything has been told.
    pub async fn rests(&self, phase: &str, version: &str) -> Story<()> {
        self.told(&format!("{phase} with {version}"), |s| s.phase == phase && s.version.as_deref() == Some(version))
            .await
    }

    pub async fn order(&self, kind: &str) {
        let release = self.api::<Release>().get("shop").await.expect("the Release");
        let status = release.status.clone().expect("a status");
        let revision = status.candidate_revision.or(status.stable_revision).expect("a revision");
        let text = format!(
            "{{apiVersion: haldane.dev/v1alpha1, kind: ReleaseAction, metadata: {{name: shop-order}}, spec: {{release: shop, \
             releaseUid: {}, revision: '{revision}', type: {kind}, by: sam}}}}",
            release.uid().expect("a UID"),
        );
        let sam = self.theatre.plane.client_as("sam", &["system:masters"]);
        self.theatre.plane.create_yaml(&sam, &self.ns, &text).await.expect("the order is taken");
    }

    pub async fn delete(&self) {
        self.api::<Release>().delete("shop", &DeleteParams::default()).await.expect("deleting is allowed");
    }

    /// Returns when the Release is gone.
    pub async fn gone(&self) -> Story<()> {
        let looked = within(LONG, async || match self.api::<Release>().get_opt("shop").await {
            Ok(None) => Ok(()),
            Ok(Some(release)) => Err(release.status.map(|s| format!("{}: {}", s.phase, s.message))),
            Err(error) => Err(Some(error.to_string())),
        });
        looked.await.map_err(|last| format!("the Release is not gone; last: {last}"))
    }

    /// A revision of the store that is later than all that has happened so far.
    pub async fn revision(&self) -> i64 {
        let namespaces: Api<Namespace> = Api::all(self.theatre.admin.clone());
        let mark = json!({"metadata": {"annotations": {"read": "to here"}}});
        let marked = namespaces.patch(&self.ns, &PatchParams::default(), &Patch::Merge(mark)).await.expect("a mark");
        marked.resource_version().and_then(|v| v.parse().ok()).expect("a revision")
    }
}
