//! Scaled to 0 and back by a scaler (KEDA does it through the subresource `scale`): in a step, and on the way back.

use std::time::Duration;

use haldane::{
    api::{state::State, units::At},
    observe::clock,
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::{
    harness::{SOON, eventually},
    release::{QUICK, STAYS, Shop, Wish},
};

/// As a scaler does it.
async fn scale(shop: &Shop, replicas: u32) {
    let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    shop.api::<Deployment>().patch_scale("shop", &PatchParams::default(), &scale).await.expect("scaled");
}

/// Scales, and returns when the Deployment has so many pods of its own.
async fn scaled(shop: &Shop, replicas: u32) {
    scale(shop, replicas).await;
    eventually("the stable side follows", SOON, async || {
        let pods = shop.pods_of("shop:1").await;
        if pods.len() == replicas as usize { Ok(()) } else { Err(pods) }
    })
    .await;
}

async fn weight(shop: &Shop) -> Option<u64> {
    let route = shop.routes().get("shop").await.expect("the route");
    let refs = route.data["spec"]["rules"][0]["backendRefs"].as_array().cloned().unwrap_or_default();
    refs.iter().find(|r| r["name"] == "shop-canary").and_then(|r| r["weight"].as_u64())
}

/// Its number of pods is the scaler's alone.
fn assert_not_scaled_by_us(shop: &Shop) {
    let of_deployment = shop.writes().into_iter().filter(|w| w.resource.starts_with("deployments"));
    let sizes: Vec<_> = of_deployment.filter(|w| w.body.to_string().contains("/spec/replicas")).collect();
    assert!(sizes.is_empty(), "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaled_to_0_in_a_step_it_is_not_judged_and_goes_on_with_its_pods() {
    let shop = Shop::open().await;
    shop.wish(Wish { steps: "{pods: 1, weight: 20, for: 5s}, {weight: 100, for: 0s}", ..QUICK }).await;
    shop.in_step().await;
    let first = shop.pods_of("shop:2").await;
    scaled(&shop, 0).await;
    let status = shop
        .until("shop", "it stays long after the step's time", |status| match status.state {
            Some(State::Stepping { step: 0, settled: Some(at), .. }) => {
                clock::now().since(at) > Duration::from_secs(15)
            }
            _ => false,
        })
        .await;
    let told = "Deployment shop is scaled to 0, and the step ends when it has pods again; ";
    assert!(status.message.starts_with(told), "{}", status.message);
    assert_eq!(shop.pods_of("shop:2").await, first, "the candidate's pod stays");
    assert_eq!(weight(&shop).await, Some(20));

    scale(&shop, 2).await;
    shop.phase("shop", "Succeeded").await;
    let after = shop.pods().await;
    assert!(first.iter().all(|(name, uid)| after.get(name) == Some(uid)), "{first:?} {after:?}");
    shop.assert_home("shop:2").await;
    assert_not_scaled_by_us(&shop);
    shop.recorder.assert_honest("shop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaled_to_0_its_traffic_goes_back_when_there_are_pods_to_take_it() {
    let shop = Shop::open().await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    scaled(&shop, 0).await;
    shop.order("Rollback", "").await;
    shop.phase("shop", "Draining").await;
    let waits = "sam ordered the rollback of 2; no pod of shop:1 is ready, so its traffic cannot be taken back yet";
    shop.until("shop", "it waits for pods", |status| status.message == waits).await;
    assert_eq!(weight(&shop).await, Some(20), "the candidate's pod is all there is");
    assert_eq!(shop.pods_of("shop:2").await.len(), 1);

    scaled(&shop, 2).await;
    shop.phase("shop", "RolledBack").await;
    shop.assert_home("shop:1").await;
    assert_not_scaled_by_us(&shop);
    shop.recorder.assert_honest("shop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaled_to_0_on_the_way_back_there_is_nothing_to_recover() {
    let shop = Shop::open().await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    shop.order("Rollback", "").await;
    shop.phase("shop", "Reverting").await;
    scaled(&shop, 0).await;
    shop.phase("shop", "RolledBack").await;
    scaled(&shop, 2).await;
    shop.assert_home("shop:1").await;
    assert_not_scaled_by_us(&shop);
    shop.recorder.assert_honest("shop");
}

/// Ready is not enough: a pod that dies after a few seconds would have had traffic by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_comes_when_the_pods_have_been_ready_for_min_ready_seconds() {
    const SECONDS: u64 = 8;
    let shop = Shop::open().await;
    shop.patch_deployment(json!({"spec": {"minReadySeconds": SECONDS}})).await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    let pods = shop.api::<Pod>().list(&ListParams::default()).await.expect("pods").items;
    let of_candidate = pods.iter().find(|p| shop_2(p)).expect("the candidate's pod");
    let conditions = of_candidate.status.as_ref().and_then(|s| s.conditions.as_ref()).expect("conditions");
    let ready = conditions.iter().find(|c| c.type_ == "Ready" && c.status == "True").expect("it is ready");
    let since = At::new(ready.last_transition_time.as_ref().expect("a time").0);
    let status = shop.status("shop").await.expect("a status");
    let Some(State::Stepping { since: begun, .. }) = status.state else { panic!("{status:?}") };
    // The transition is noted in whole seconds.
    assert!(begun.since(since) >= Duration::from_secs(SECONDS - 1), "{since:?} {begun:?}");
}

fn shop_2(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|s| s.containers[0].image.as_deref() == Some("shop:2"))
}
