//! In the middle of a step: hands and GitOps tools on the Service, the route and the Deployment.

use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::Trouble;
use crate::{
    harness::{SOON, eventually},
    release::{STAYS, Shop},
};

/// What others change of ours is put back in ten seconds; a busy machine may take longer.
const HEALED: Duration = Duration::from_secs(30);

async fn pin(shop: &Shop) -> Option<String> {
    let service = shop.api::<Service>().get("shop").await.expect("the Service");
    service.spec?.selector?.get("pod-template-hash").cloned()
}

/// The weights of the first rule: the user's Service, the canary's.
async fn weights(shop: &Shop) -> (Option<u64>, Option<u64>) {
    let route = shop.routes().get("shop").await.expect("the route");
    let refs = route.data["spec"]["rules"][0]["backendRefs"].as_array().cloned().unwrap_or_default();
    let of = |name: &str| refs.iter().find(|r| r["name"] == name).and_then(|r| r["weight"].as_u64());
    (of("shop"), of("shop-canary"))
}

async fn back_to_rest(trouble: &Trouble, image: &str) {
    trouble.shop.order("Rollback", "").await;
    trouble.shop.phase("shop", "RolledBack").await;
    trouble.assert_over(image).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_takes_the_pin_off_is_healed_and_keeps_its_own_change() {
    let mut trouble = Trouble::open().await;
    trouble.shop.wish(STAYS).await;
    trouble.shop.in_step().await;
    let pinned = pin(&trouble.shop).await;
    assert!(pinned.is_some());
    let sync = json!({
        "metadata": {"annotations": {"note": "synced"}},
        "spec": {"selector": {"app": "shop", "pod-template-hash": null}},
    });
    let services = trouble.shop.api::<Service>();
    services.patch("shop", &PatchParams::default(), &Patch::Merge(sync)).await.expect("a sync");
    trouble.as_it_is().await;
    let shop = &trouble.shop;
    eventually("the pin is back", HEALED, async || {
        let now = pin(shop).await;
        if now == pinned { Ok(()) } else { Err(now) }
    })
    .await;
    let status = shop.in_step().await;
    assert_eq!((status.phase.as_str(), status.weight), ("Stepping", Some(20)));
    assert_eq!(trouble.before["Service/shop"]["annotations"]["note"], "synced");
    back_to_rest(&trouble, "shop:1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_of_the_route_is_healed_and_keeps_its_own_change() {
    let mut trouble = Trouble::open().await;
    trouble.shop.wish(STAYS).await;
    trouble.shop.in_step().await;
    assert_eq!(weights(&trouble.shop).await, (Some(80), Some(20)));
    // The whole list as it stands in Git, and a new rule's timeout with it.
    let routes = trouble.shop.routes();
    let mut rules = routes.get("shop").await.expect("the route").data["spec"]["rules"].clone();
    let refs = rules[0]["backendRefs"].as_array_mut().expect("backendRefs");
    refs.retain(|r| r["name"] == "shop");
    refs[0]["weight"] = json!(1);
    rules[0]["timeouts"] = json!({"request": "7s"});
    let sync = Patch::Merge(json!({"spec": {"rules": rules}}));
    routes.patch("shop", &PatchParams::default(), &sync).await.expect("a sync");
    trouble.as_it_is().await;
    let shop = &trouble.shop;
    eventually("the share is back", HEALED, async || {
        let now = weights(shop).await;
        if now == (Some(80), Some(20)) { Ok(()) } else { Err(now) }
    })
    .await;
    shop.in_step().await;

    let mut uneven = routes.get("shop").await.expect("the route").data["spec"]["rules"].clone();
    for backend in uneven[0]["backendRefs"].as_array_mut().expect("backendRefs") {
        backend["weight"] = json!(50);
    }
    let hand = Patch::Merge(json!({"spec": {"rules": uneven}}));
    routes.patch("shop", &PatchParams::default(), &hand).await.expect("an edit");
    eventually("the weights are back", HEALED, async || {
        let now = weights(shop).await;
        if now == (Some(80), Some(20)) { Ok(()) } else { Err(now) }
    })
    .await;
    assert_eq!(trouble.before["HTTPRoute/shop"]["spec"]["rules"][0]["timeouts"], json!({"request": "7s"}));
    back_to_rest(&trouble, "shop:1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_restart_is_refused_and_one_written_past_it_ends_the_release() {
    let trouble = Trouble::open().await;
    let shop = &trouble.shop;
    shop.wish(STAYS).await;
    shop.in_step().await;
    let old = shop.pods_of("shop:1").await;
    let done = shop.plane.kubectl_may_fail(&shop.ns, &["rollout", "restart", "deployment/shop"]).await;
    assert!(done.as_ref().is_err_and(|said| said.contains("can't restart paused deployment")), "{done:?}");

    let restart: Value = json!({"spec": {"template": {"metadata": {"annotations": {
        "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"
    }}}}});
    shop.patch_deployment(restart).await;
    let told = shop.told("shop", "Superseded").await;
    assert_eq!(told, "the template of Deployment shop was changed while 2 was on its way");
    let hint = "kubectl rollout resume deployment/shop";
    shop.until("shop", hint, |status| {
        status.phase == "RolledBack"
            && status.conditions.iter().any(|c| c.type_ == "Drifted" && c.message.ends_with(hint))
    })
    .await;
    eventually("the old pods only", SOON, async || {
        let mut left = shop.pods().await;
        left.retain(|name, _| !name.starts_with("beside"));
        if left.keys().eq(old.keys()) { Ok(()) } else { Err(left.into_keys().collect::<Vec<_>>()) }
    })
    .await;
    trouble.assert_harmless(&["Deployment/shop"]).await;
    assert!(shop.api::<Service>().get("shop").await.expect("the Service").labels().is_empty());
}
