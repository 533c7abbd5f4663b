//! The cluster has no room: a drained node, a quota, no node for the candidate. None of it speaks against the version.

use haldane::api::state::{CauseKind, State};
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::EvictParams};

use super::Trouble;
use crate::{
    harness::{SOON, eventually, pods},
    release::{STAYS, Shop},
};

/// As `kubectl drain` does it.
async fn evict(shop: &Shop, name: &str) {
    shop.api::<Pod>().evict(name, &EvictParams::default()).await.expect("evicted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_takes_the_traffic_back_until_pods_run_elsewhere() {
    let trouble = Trouble::open().await;
    let shop = &trouble.shop;
    shop.wish(STAYS).await;
    shop.in_step().await;
    let only = shop.pods_of("shop:2").await.into_keys().next().expect("the candidate's pod");
    let one = shop.pods_of("shop:1").await.into_keys().next().expect("a stable pod");
    let other = only.clone();
    shop.agent.hold(move |pod| pods::of_image("shop:2")(pod) && pod.name_any() != other);
    evict(shop, &one).await;
    evict(shop, &only).await;
    let sentence = "no pod of 2 is ready any more; they are started again without traffic";
    shop.until("shop", "Preparing again", |status| {
        matches!(status.state, Some(State::Preparing { resume: Some(0), .. }))
    })
    .await;
    eventually("it is told", SOON, async || {
        let told = shop.events("shop").await;
        if told.iter().any(|(_, note)| note == sentence) { Ok(()) } else { Err(told) }
    })
    .await;
    trouble.assert_harmless(&[]).await;
    shop.agent.ready(pods::every);
    let status = shop.in_step().await;
    assert!(status.memory.rejected.is_empty());
    shop.order("Rollback", "").await;
    shop.phase("shop", "RolledBack").await;
    trouble.assert_over("shop:1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exhausted_quota_is_told_in_its_own_words_and_waited_for() {
    let trouble = Trouble::open().await;
    let shop = &trouble.shop;
    let quota = |pods: u32| {
        format!(
            "{{apiVersion: v1, kind: ResourceQuota, metadata: {{name: tight}}, spec: {{hard: {{pods: '{pods}'}}}}}}"
        )
    };
    shop.plane.apply_yaml(&shop.ns, &quota(3)).await;
    eventually("the quota counts", SOON, async || {
        let quotas = shop.api::<k8s_openapi::api::core::v1::ResourceQuota>().get("tight").await.expect("the quota");
        let used = quotas.status.and_then(|s| s.used?.get("pods").map(|q| q.0.clone()));
        if used.as_deref() == Some("3") { Ok(()) } else { Err(used) }
    })
    .await;
    shop.wish(STAYS).await;
    let told = shop.told("shop", "Stuck").await;
    assert!(told.starts_with("0 of 1 pods of 2 are ready: no pod is created: pods \"shop-"), "{told}");
    assert!(
        told.ends_with("is forbidden: exceeded quota: tight, requested: pods=1, used: pods=3, limited: pods=3"),
        "{told}"
    );
    trouble.assert_harmless(&[]).await;
    shop.plane.apply_yaml(&shop.ns, &quota(9)).await;
    shop.in_step().await;
    shop.order("Rollback", "").await;
    shop.phase("shop", "RolledBack").await;
    trouble.assert_over("shop:1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_finds_no_node_is_given_up_and_not_convicted() {
    let trouble = Trouble::open().await;
    let shop = &trouble.shop;
    shop.agent.unschedulable(pods::of_image("shop:2"));
    let text = "
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: shop}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
  version: '2'
  images: {app: 'shop:2'}
  traffic: {routes: [{name: shop}]}
  plan: {steps: [{pods: 1, weight: 20, for: 1h}, {weight: 100}], deadline: 35s}
";
    shop.plane.apply_yaml(&shop.ns, text).await;
    let told = shop.told("shop", "Stuck").await;
    assert!(told.starts_with("0 of 1 pods of 2 are ready: pod shop-r"), "{told}");
    assert!(told.contains(" finds no node: Unschedulable"), "{told}");
    let status = shop.phase("shop", "RolledBack").await;
    let Some(State::RolledBack { cause, .. }) = &status.state else { unreachable!() };
    assert_eq!(cause.kind, CauseKind::Inconclusive);
    assert!(cause.message.starts_with("0 of 1 pods of 2 were ready after 35 s: pod shop-r"), "{}", cause.message);
    assert!(status.memory.rejected.is_empty(), "the version may be good");
    trouble.assert_over("shop:1").await;
}
