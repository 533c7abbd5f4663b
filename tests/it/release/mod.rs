//! Whole releases: the real operator with no more than the chart's rights, on a real API server with the real controllers.
//! Pods and gateway are played. Nothing is measured here, so pod health alone decides.

mod back;
mod change;
mod deaf;
mod every_route;
mod first;
mod good;
mod held;
mod leave;
mod look;
mod orders;
mod outlier;
mod rest;
mod retire;
mod rollback_plan;
mod services;
mod sync;
mod unread;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use clap::{Args, Command, FromArgMatches};
use haldane::{
    api::{Release, state::State, status::ReleaseStatus},
    cli::run::{RunArgs, start},
    controller::{context::Context, pass::Work, senses::Senses, work::Passes},
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Config, Resource, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    harness::{self, Plane, SOON, Write, eventually, gateway, gateway::Gateway, pods, shop::SHOP},
    kstatus::Recorder,
};

/// Longer than any way of a release with a plan of seconds: a way back that nothing measures stands 30 s on its pods.
const LONG: Duration = Duration::from_mins(3);

/// One Deployment with its Service and route, and an operator of its own that looks after its namespace.
pub struct Shop {
    pub plane: Plane,
    pub ns: String,
    pub agent: pods::Agent,
    pub recorder: Recorder,
    address: SocketAddr,
    before: look::Written,
    pub gateway: Gateway,
    config: Config,
    operator: Option<DropGuard>,
}

/// How a Release is written for `Shop`.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    pub name: &'a str,
    pub image: &'a str,
    pub steps: &'a str,
    pub watch: &'a str,
    pub paused: bool,
    pub checks: &'a str,
    pub routes: &'a str,
    pub rollback: &'a str,
}

/// Everything in a few seconds.
pub const QUICK: Wish<'static> = Wish {
    name: "shop",
    image: "shop:2",
    steps: "{pods: 1, weight: 20, for: 1s}, {weight: 100, for: 0s}",
    watch: "1s",
    paused: false,
    checks: "warmUp: 0s",
    routes: "{name: shop}",
    rollback: "",
};
/// Names no image: the Deployment is held.
pub const HELD: Wish<'static> = Wish { image: "", ..QUICK };
/// Stays in its first step.
pub const STAYS: Wish<'static> = Wish { steps: "{pods: 1, weight: 20, for: 1h}, {weight: 100, for: 0s}", ..QUICK };
/// Stays at 100 %.
pub const WATCHED: Wish<'static> = Wish { watch: "1h", ..QUICK };

impl Shop {
    pub async fn open() -> Self {
        let plane = harness::plane().await;
        let config = plane.operator_config();
        Self::open_to(plane, config).await
    }

    /// The operator reaches the API server as `config` says.
    pub async fn open_to(plane: Plane, config: Config) -> Self {
        let ns = plane.namespace().await;
        let (agent, gateway) = (pods::Agent::start(&plane, &ns), Gateway::start(&plane, &ns));
        plane.apply_yaml(&ns, SHOP).await;
        let recorder = Recorder::start(&plane, &ns).await;
        let before = look::written(&plane, &ns).await;
        let (address, operator) = operator(config.clone(), &ns, 0, &[]);
        let operator = Some(operator);
        let shop = Self { plane, ns, agent, recorder, address, before, gateway, config, operator };
        let rolled_out: Api<Deployment> = shop.api();
        eventually("the Deployment runs", SOON, async || {
            let status = rolled_out.get("shop").await.ok()?.status?;
            (status.available_replicas == Some(2)).then_some(())
        })
        .await;
        shop
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.plane.client(), &self.ns)
    }

    pub fn routes(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.plane.client(), &self.ns, &gateway::http_route())
    }

    pub async fn wish(&self, wish: Wish<'_>) {
        let Wish { name, image, steps, watch, paused, checks, routes, rollback } = wish;
        let version = image.rsplit(':').next().expect("a tag");
        let asked = if image.is_empty() {
            String::new()
        } else {
            format!("version: '{version}'\n  images: {{app: '{image}'}}")
        };
        let text = format!(
            "
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {{name: {name}}}
spec:
  targetRef: {{apiVersion: apps/v1, kind: Deployment, name: shop}}
  {asked}
  paused: {paused}
  traffic: {{routes: [{routes}]}}
  plan: {{steps: [{steps}], watch: {{for: {watch}}}, deadline: 2m}}
  checks: {{{checks}}}
  rollback: {{{rollback}}}
"
        );
        self.plane.apply_yaml(&self.ns, &text).await;
    }

    pub async fn status(&self, name: &str) -> Option<ReleaseStatus> {
        self.api::<Release>().get_opt(name).await.expect("an answer")?.status
    }

    /// Returns when the Release is in the State of this name (`Idle` and `Succeeded` differ, as people see it).
    pub async fn phase(&self, name: &str, phase: &str) -> ReleaseStatus {
        self.until(name, phase, |status| status.phase == phase).await
    }

    /// Returns when its status is so.
    pub async fn until(&self, name: &str, what: &str, so: impl Fn(&ReleaseStatus) -> bool) -> ReleaseStatus {
        eventually(&format!("{}/{name}: {what}", self.ns), LONG, async || match self.status(name).await {
            Some(status) if so(&status) => Ok(status),
            other => Err(other.map(|s| format!("{}: {}", s.phase, s.message))),
        })
        .await
    }

    /// Returns when the first step has its traffic.
    pub async fn in_step(&self) -> ReleaseStatus {
        self.until("shop", "settled in its step", |status| {
            matches!(status.state, Some(State::Stepping { settled: Some(_), .. }))
        })
        .await
    }

    /// An order of a person who may order.
    pub async fn order(&self, kind: &str, more: &str) {
        let release: Release = self.api().get("shop").await.expect("the Release");
        let status = release.status.as_ref().expect("a status");
        let given_up = match &status.state {
            Some(State::RolledBack { candidate, .. }) if kind == "Retry" => Some(candidate.revision.0.clone()),
            _ => None,
        };
        let revision =
            given_up.or_else(|| status.candidate_revision.clone()).or_else(|| status.stable_revision.clone());
        let text = format!(
            "{{apiVersion: haldane.dev/v1alpha1, kind: ReleaseAction, metadata: {{generateName: shop-}}, spec: {{release: shop, \
             releaseUid: {}, revision: '{}', type: {kind}, by: sam{more}}}}}",
            release.uid().expect("a UID"),
            revision.expect("a revision")
        );
        let sam = self.plane.client_as("sam", &["system:masters"]);
        self.plane.create_yaml(&sam, &self.ns, &text).await.expect("the order is taken");
    }

    /// What the operator wrote, without Events.
    pub fn writes(&self) -> Vec<Write> {
        self.plane.operator_writes(&self.ns).into_iter().filter(|w| w.resource != "events").collect()
    }

    /// Something harmless happens to one of the pods of an image.
    pub async fn stir(&self, image: &str) {
        let (name, _) = self.pods_of(image).await.into_iter().next().expect("a pod");
        let note = Patch::Merge(serde_json::json!({"metadata": {"annotations": {"note": "stirred"}}}));
        self.api::<Pod>().patch(&name, &PatchParams::default(), &note).await.expect("patched");
    }

    pub async fn delete(&self, name: &str) {
        self.api::<Release>().delete(name, &kube::api::DeleteParams::default()).await.expect("deleting is allowed");
    }

    /// Returns when the Release is gone.
    pub async fn gone(&self, name: &str, within: Duration) {
        eventually(&format!("{}/{name} is gone", self.ns), within, async || {
            match self.api::<Release>().get_opt(name).await.expect("an answer") {
                None => Ok(()),
                Some(r) => Err(r.status.map(|s| format!("{}: {}", s.phase, s.message))),
            }
        })
        .await;
    }

    /// A change of the user.
    pub async fn patch_deployment(&self, patch: Value) {
        let patch = Patch::Strategic(patch);
        self.api::<Deployment>().patch("shop", &PatchParams::default(), &patch).await.expect("a patch");
    }
}

/// Ends when the guard is dropped. With the address of its `/metrics`.
fn operator(config: Config, ns: &str, number: u32, more: &[String]) -> (SocketAddr, DropGuard) {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let line = [
        "run".to_owned(),
        format!("--watch-namespaces={ns}"),
        format!("--address={free}"),
        format!("--lease={ns}"),
        format!("--identity={ns}-{number}"),
        "--image=haldane:it".to_owned(),
    ];
    let line = line.iter().chain(more);
    let args = RunArgs::from_arg_matches(&RunArgs::augment_args(Command::new("run")).get_matches_from(line));
    let work = |ctx: &Context| -> anyhow::Result<Arc<dyn Work>> {
        let senses =
            Senses::new(ctx.client.clone(), &ctx.operator_namespace, &ctx.kicks).map_err(anyhow::Error::msg)?;
        Ok(Arc::new(Arc::new(Passes::new(senses))))
    };
    let stop = CancellationToken::new();
    tokio::spawn(start(args.expect("arguments"), config, work, stop.clone()));
    (free, stop.drop_guard())
}
