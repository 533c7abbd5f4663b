//! A held Deployment: whatever its template is changed to is released, and nothing else ever rolls.

use std::time::Duration;

use futures::future::join_all;
use haldane::api::{names, state::State};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy},
};
use serde_json::json;

use super::{HELD, LONG, Shop, Wish};
use crate::harness::{SOON, eventually, own_plane, pods};

/// A Deployment that asks nobody: paused when its template changes, or the policy is not in force yet.
const PROBE: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: probe, labels: {haldane.dev/held: probe}}
spec:
  replicas: 0
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec: {containers: [{name: app, image: 'probe:1'}]}
";

impl Shop {
    /// Returns when the Deployment is paused by the Release and at rest.
    pub async fn hold(wish: Wish<'_>) -> Self {
        let shop = Box::pin(Self::open()).await;
        shop.wish(wish).await;
        eventually(&format!("{}: the Deployment is held", shop.ns), SOON, async || {
            let kept = shop.api::<ControllerRevision>().get_opt("shop-haldane-stable").await.expect("an answer");
            (shop.paused().await && kept.is_some()).then_some(())
        })
        .await;
        shop
    }

    /// The same where the API server pauses it: held, and not paused.
    pub async fn hold_at_change() -> Self {
        let plane = own_plane().await;
        plane.apply_yaml("default", include_str!("../../../deploy/hold-at-change.yaml")).await;
        plane.apply_yaml("default", PROBE).await;
        let mut n = 1;
        eventually("the policy is in force", SOON, async || {
            n += 1;
            plane.kubectl("default", &["set", "image", "deployment/probe", &format!("app=probe:{n}")]).await;
            let probe: Api<Deployment> = Api::namespaced(plane.client(), "default");
            (probe.get("probe").await.ok()?.spec?.paused == Some(true)).then_some(())
        })
        .await;
        let config = plane.operator_config();
        let shop = Box::pin(Self::open_to(plane, config)).await;
        shop.wish(HELD).await;
        eventually("it is held", SOON, async || shop.marked_held().await.then_some(())).await;
        assert!(!shop.paused_by_anybody().await, "and not paused");
        shop
    }

    async fn deployment(&self) -> Deployment {
        self.api::<Deployment>().get("shop").await.expect("the Deployment")
    }

    pub async fn paused(&self) -> bool {
        let deployment = self.deployment().await;
        let labelled =
            deployment.labels().contains_key(names::PAUSED_BY) && deployment.labels().contains_key(names::HELD);
        labelled && deployment.spec.is_some_and(|spec| spec.paused == Some(true))
    }

    pub async fn marked_held(&self) -> bool {
        self.deployment().await.labels().contains_key(names::HELD)
    }

    pub async fn paused_by_anybody(&self) -> bool {
        self.deployment().await.spec.is_some_and(|spec| spec.paused == Some(true))
    }

    /// As `kubectl set image`, `helm upgrade` and a GitOps sync do.
    pub async fn set_image(&self, image: &str) {
        let args = ["set", "image", "deployment/shop", &format!("app={image}")];
        self.plane.kubectl(&self.ns, &args).await;
    }

    pub async fn image(&self) -> Option<String> {
        self.deployment().await.spec?.template.spec?.containers.first()?.image.clone()
    }

    /// Returns when so many pods run, all of this image.
    pub async fn only(&self, image: &str, count: usize) {
        eventually(&format!("{}: {count} pods of {image} and no others", self.ns), LONG, async || {
            let (of_image, all) = (self.pods_of(image).await.len(), self.pods().await);
            if of_image == count && all.len() == count { Ok(()) } else { Err(all) }
        })
        .await;
    }

    /// A version that crashes in its step is taken back.
    pub async fn refuse(&self, image: &str) {
        self.agent.crash(pods::of_image(image));
        self.set_image(image).await;
        self.phase("shop", "RolledBack").await;
        self.only("shop:1", 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_template_is_released_with_each_pod_started_once() {
    let shop = Box::pin(Shop::hold(HELD)).await;
    let old = shop.pods().await;
    shop.set_image("shop:2").await;
    shop.phase("shop", "Observing").await;
    assert_eq!(shop.pods_of("shop:1").await, old, "the old pods stay until the end");
    let proven = shop.pods_of("shop:2").await;
    let status = shop.phase("shop", "Succeeded").await;
    assert_eq!(status.memory.history[0].message, "shop:2 replaced shop:1");
    shop.only("shop:2", 2).await;
    assert_eq!(shop.pods().await, proven, "the same pods, and no others");
    assert!(shop.paused().await, "it stays held");
    // As people and pipelines wait for it and look at it.
    let said = shop.plane.kubectl(&shop.ns, &["rollout", "status", "deployment/shop", "--timeout=60s"]).await;
    assert!(said.contains("successfully rolled out"), "{said}");
    let history = shop.plane.kubectl(&shop.ns, &["rollout", "history", "deployment/shop"]).await;
    let numbers: Vec<&str> =
        history.lines().filter_map(|l| l.split_whitespace().next()?.parse::<u32>().ok().map(|_| l)).collect();
    assert_eq!(numbers.len(), 2, "{history}");

    // Something else than an image, and an undo.
    shop.patch_deployment(json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "env": [{"name": "A", "value": "c"}]}]}}}})).await;
    let status =
        shop.until("shop", "another one replaced it", |s| s.memory.history.len() == 2 && s.phase == "Succeeded").await;
    let message = &status.memory.history[1].message;
    assert!(message.starts_with("shop:2 (") && message.ends_with(") replaced shop:2"), "{message}");
    shop.order("Rollback", "").await;
    let status = shop
        .until("shop", "it is taken back", |s| {
            s.memory.history.len() == 3 && matches!(s.state, Some(State::Idle { .. }))
        })
        .await;
    assert_eq!(status.stable_revision, status.memory.history[0].version.revision.0.clone().into());
    assert!(shop.paused().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_version_goes_and_the_template_stays_as_its_user_wants_it() {
    let shop = Box::pin(Shop::hold(HELD)).await;
    let old = shop.pods().await;
    shop.refuse("shop:2").await;
    assert_eq!(shop.pods().await, old, "the stable pods were never touched");
    assert_eq!(shop.image().await.as_deref(), Some("shop:2"), "Git and the Deployment agree");
    assert!(shop.paused().await);

    // The same again, and a size: nothing happens but what is asked for.
    shop.set_image("shop:2").await;
    shop.plane.kubectl(&shop.ns, &["scale", "deployment/shop", "--replicas=3"]).await;
    shop.only("shop:1", 3).await;
    shop.plane.kubectl(&shop.ns, &["scale", "deployment/shop", "--replicas=0"]).await;
    shop.only("shop:1", 0).await;
    shop.plane.kubectl(&shop.ns, &["scale", "deployment/shop", "--replicas=2"]).await;
    shop.only("shop:1", 2).await;

    // Whoever un-pauses it is told what to do instead.
    let resume = json!({"spec": {"paused": false}});
    let refused = shop.api::<Deployment>().patch("shop", &PatchParams::default(), &Patch::Merge(resume)).await;
    let refused = refused.expect_err("only the operator un-pauses").to_string();
    assert!(
        refused.contains("Release shop holds it") && refused.contains("kubectl haldane promote --full"),
        "{refused}"
    );

    shop.set_image("shop:3").await;
    shop.phase("shop", "Succeeded").await;
    shop.only("shop:3", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_deletes_the_stable_replica_set_gets_the_stable_version_back() {
    let shop = Box::pin(Shop::hold(HELD)).await;
    shop.refuse("shop:2").await;
    let sets = shop.api::<ReplicaSet>();
    let now = DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    for set in sets.list(&ListParams::default()).await.expect("sets").items {
        sets.delete(&set.name_any(), &now).await.expect("deleting is allowed");
    }
    // The Deployment starts it anew, with its own template, and is held again.
    eventually("it serves again and is held", LONG, async || {
        let running = shop.pods_of("shop:1").await.len() == 2 && shop.pods().await.len() == 2;
        if running && shop.paused().await { Ok(()) } else { Err(shop.status("shop").await.map(|s| s.message)) }
    })
    .await;
    assert_eq!(shop.image().await.as_deref(), Some("shop:1"));
}

/// Deletes the Release of a held Deployment in a State; no pod is started for it, and nothing of ours is left.
async fn leave(phase: &str) {
    let steps = if phase == "Stepping" { "{pods: 1, weight: 20, for: 1h}, {weight: 100, for: 0s}" } else { HELD.steps };
    let shop = Box::pin(Shop::hold(Wish { steps, ..HELD })).await;
    let old = shop.pods().await;
    match phase {
        "RolledBack" => shop.refuse("shop:2").await,
        "Stepping" => {
            shop.set_image("shop:2").await;
            shop.in_step().await;
        }
        _ => {}
    }
    shop.delete("shop").await;
    shop.gone("shop", Duration::from_secs(90)).await;
    shop.only("shop:1", 2).await;
    assert_eq!(shop.pods().await, old, "{phase}: the same pods");
    eventually("what belonged to the Release is collected", LONG, async || {
        let ours = shop.ours().await;
        if ours.is_empty() { Ok(()) } else { Err(ours) }
    })
    .await;
    shop.assert_home("shop:1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_the_release_gives_the_deployment_back_without_a_roll() {
    join_all(["Idle", "Stepping", "RolledBack"].map(leave)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_api_server_pauses_it_a_held_deployment_is_not_paused_at_rest() {
    let shop = Box::pin(Shop::hold_at_change()).await;
    let paused = async || shop.paused_by_anybody().await;
    // In the very request: no ReplicaSet of the new version is ever the Deployment's own.
    shop.set_image("shop:2").await;
    assert!(paused().await, "the API server has paused it");
    shop.phase("shop", "Observing").await;
    let proven = shop.pods_of("shop:2").await;
    shop.phase("shop", "Succeeded").await;
    shop.only("shop:2", 2).await;
    assert_eq!(shop.pods().await, proven, "each pod was started once");
    assert!(!paused().await, "un-paused with the end of the release");

    shop.agent.crash(pods::of_image("shop:3"));
    shop.set_image("shop:3").await;
    shop.phase("shop", "RolledBack").await;
    shop.plane.kubectl(&shop.ns, &["rollout", "resume", "deployment/shop"]).await;
    assert!(paused().await, "what was refused is not rolled out by hand either");
    shop.only("shop:2", 2).await;
    shop.set_image("shop:2").await;
    eventually("taken back, it is at rest as before", LONG, async || (!paused().await).then_some(())).await;
    assert_eq!(shop.pods().await, proven, "and nothing was started");

    // A restart is a change like any other.
    shop.plane.kubectl(&shop.ns, &["rollout", "restart", "deployment/shop"]).await;
    shop.until("shop", "restarted step by step", |s| s.memory.history.len() == 3 && s.phase == "Succeeded").await;
    shop.only("shop:2", 2).await;
    assert!(shop.pods().await.keys().all(|pod| !proven.contains_key(pod)));

    shop.delete("shop").await;
    shop.gone("shop", Duration::from_secs(90)).await;
    eventually("nothing of ours is left", LONG, async || {
        let ours = shop.ours().await;
        if ours.is_empty() { Ok(()) } else { Err(ours) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_in_the_middle_of_a_roll_is_held_when_it_has_ended() {
    let shop = Shop::open().await;
    shop.agent.hold(pods::of_image("shop:2"));
    shop.set_image("shop:2").await;
    eventually("it rolls", SOON, async || (!shop.pods_of("shop:2").await.is_empty()).then_some(())).await;
    shop.wish(HELD).await;
    shop.until("shop", "it is looked at", |s| s.state.is_some()).await;
    assert!(!shop.paused().await, "a pause would cut the roll in two");
    shop.agent.ready(pods::of_image("shop:2"));
    shop.only("shop:2", 2).await;
    eventually("and then it is held", LONG, async || shop.paused().await.then_some(())).await;
    assert!(shop.status("shop").await.is_some_and(|s| s.memory.rejected.is_empty() && s.memory.history.is_empty()));
}
