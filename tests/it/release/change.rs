//! What others do in the middle of a release: another wish, another Release, an edit, a lost status.

use haldane::api::{Release, state::State};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{QUICK, STAYS, Shop, Wish, back::weight};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_version_takes_the_place_of_one_on_its_way() {
    let shop = Shop::open().await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    shop.wish(Wish { image: "shop:3", ..QUICK }).await;
    assert_eq!(shop.told("shop", "Superseded").await, "3 is asked for instead of 2");
    let status = shop.phase("shop", "Succeeded").await;
    assert!(status.memory.rejected.is_empty(), "nothing is wrong with 2");
    shop.assert_home("shop:3").await;
    shop.recorder.assert_honest("shop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_release_of_the_same_deployment_is_refused() {
    let shop = Shop::open().await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    let before = shop.writes().len();
    shop.wish(Wish { name: "shop-too", image: "shop:3", ..QUICK }).await;
    let refused = shop.until("shop-too", "a condition", |status| !status.conditions.is_empty()).await;
    let accepted = refused.conditions.iter().find(|c| c.type_ == "Accepted").expect("Accepted");
    assert_eq!((accepted.status.as_str(), accepted.reason.as_str()), ("False", "Conflict"));
    assert!(accepted.message.starts_with("Release shop already releases Deployment shop"), "{}", accepted.message);
    shop.told("shop-too", "Conflict").await;
    let since = shop.writes().split_off(before);
    assert!(since.iter().all(|w| w.resource == "releases/status"), "{since:?}");
    shop.recorder.assert_honest("shop-too");

    shop.delete("shop-too").await;
    shop.gone("shop-too", crate::harness::SOON).await;
    let state = shop.status("shop").await.and_then(|s| s.state);
    assert!(matches!(state, Some(State::Stepping { .. })), "{state:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_of_the_template_ends_the_release_and_waits_for_its_user() {
    let shop = Shop::open().await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    let edit = json!({"spec": {"template": {"metadata": {"annotations": {"note": "changed"}}}}});
    shop.patch_deployment(edit).await;
    let told = shop.told("shop", "Superseded").await;
    assert_eq!(told, "the template of Deployment shop was changed while 2 was on its way");
    let drifted = shop
        .until("shop", "it says what to do", |status| {
            let drifted = status.conditions.iter().find(|c| c.type_ == "Drifted" && c.status == "True");
            drifted.is_some_and(|c| c.message.ends_with("kubectl rollout resume deployment/shop"))
        })
        .await;
    assert_eq!(drifted.phase, "RolledBack");
    let old = shop.pods_of("shop:1").await;
    assert_eq!(shop.pods().await, old, "what served before serves again");
    shop.plane.kubectl(&shop.ns, &["rollout", "resume", "deployment/shop"]).await;
    let again = shop.in_step().await;
    assert_ne!(again.stable_revision, drifted.stable_revision, "on the template as it is now");
    shop.recorder.assert_honest("shop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_status_takes_the_traffic_away_and_begins_again() {
    let shop = Shop::open().await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    let (stable, before) = (shop.pods_of("shop:1").await, shop.writes().len());
    let lost = Patch::Merge(json!({"status": null}));
    shop.api::<Release>().patch_status("shop", &PatchParams::default(), &lost).await.expect("a patch");
    let told = shop.told("shop", "StatusLost").await;
    assert!(told.starts_with("status was lost"), "{told}");
    shop.in_step().await;

    let since = shop.writes().split_off(before);
    let first = since.iter().find(|w| w.resource != "releases/status").expect("a write");
    assert_eq!(weight(first), Some(0), "{first:?}");
    let gone = since.iter().position(|w| w.verb == "delete" && w.resource == "replicasets").expect("cleaned up");
    assert!(since[gone..].iter().any(|w| w.verb == "create" && w.resource == "replicasets"), "{since:?}");
    assert_eq!(shop.pods_of("shop:1").await, stable, "the stable pods were never touched");
}
