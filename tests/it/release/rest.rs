//! At rest: nothing is written, what others change is told, and one broken Release is nobody else's trouble.

use std::{collections::BTreeMap, time::Duration};

use haldane::api::Release;
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::json;

use super::{QUICK, Shop, Wish};
use crate::harness::{
    SOON, eventually,
    notices::{last_event_is_there, only_events_left},
};

/// What runs already is asked for.
const AS_IT_IS: Wish<'static> = Wish { image: "shop:1", ..QUICK };

/// What stands at an address; nothing after a few seconds.
async fn got(url: &str) -> Option<String> {
    let answer = async { reqwest::get(url).await.ok()?.text().await.ok() };
    tokio::time::timeout(Duration::from_secs(5), answer).await.ok().flatten()
}

impl Shop {
    /// Passes that came to their end, as `/metrics` counts them.
    async fn passes(&self) -> Option<u64> {
        let text = got(&format!("http://{}/metrics", self.address)).await?;
        let line = text.lines().find(|l| l.starts_with("haldane_passes_total") && l.contains("\"ok\""))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Returns when a pass has ended that began after the call.
    async fn pass(&self) {
        let before = eventually("a number", SOON, async || self.passes().await).await;
        let touch = Patch::Merge(json!({"metadata": {"annotations": {"touched": before.to_string()}}}));
        self.api::<Release>().patch("shop", &PatchParams::default(), &touch).await.expect("a touch");
        eventually("a pass", SOON, async || self.passes().await.filter(|now| *now > before)).await;
    }

    /// Returns when everything has been told.
    async fn settled(&self) {
        let status = self.until("shop", "told", only_events_left).await;
        let events: Api<Event> = self.api();
        let there = async || last_event_is_there(&events, "shop", &status).await.then_some(());
        eventually("the last Event", SOON, there).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_at_rest_and_a_change_by_others_is_told() {
    let shop = Shop::open().await;
    shop.wish(AS_IT_IS).await;
    let status = shop.phase("shop", "Succeeded").await;
    assert_eq!(status.message, "1 runs");
    shop.settled().await;
    let before = shop.writes();
    for _ in 0..4 {
        shop.pass().await;
    }
    assert_eq!(shop.writes().len(), before.len(), "{:?}", shop.writes().split_off(before.len()));
    assert!(before.iter().all(|w| w.resource == "releases/status"), "nothing but the status: {before:?}");

    let edit = json!({"spec": {"template": {"metadata": {"annotations": {"note": "changed"}}}}});
    shop.patch_deployment(edit).await;
    let told = shop.told("shop", "ChangedOutsideRelease").await;
    assert!(told.starts_with("Deployment shop was changed outside a release: it runs "), "{told}");
    shop.phase("shop", "Succeeded").await;
    shop.recorder.assert_honest("shop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_cannot_be_read_stops_no_other() {
    let shop = Shop::open().await;
    let broken = "
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: broken}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: none}
  images: {app: 'shop:9'}
";
    shop.plane.create_yaml(&shop.plane.client(), &shop.ns, broken).await.expect("a Release");
    // Right by its schema, and later than any moment that can be read.
    let status =
        json!({"status": {"formatVersion": 1, "observedGeneration": 1, "handledBefore": "9999-12-31T23:59:59Z"}});
    let patch = Patch::Merge(status);
    let api: Api<DynamicObject> =
        Api::namespaced_with(shop.plane.client(), &shop.ns, &ApiResource::erase::<Release>(&()));
    api.patch_status("broken", &PatchParams::default(), &patch).await.expect("a patch");
    let conditions = eventually("it is told", SOON, async || {
        let all = shop.recorder.of("broken").pop()?["status"]["conditions"].as_array()?.clone();
        let of = |c: &serde_json::Value| Some((c["type"].as_str()?.to_owned(), c["message"].as_str()?.to_owned()));
        let told: BTreeMap<_, _> = all.iter().filter_map(of).collect();
        told["Stalled"].contains("cannot be read").then_some(told)
    })
    .await;
    assert!(conditions["Stalled"].starts_with("this Release cannot be read: "), "{conditions:?}");
    shop.wish(QUICK).await;
    shop.phase("shop", "Succeeded").await;
    shop.assert_home("shop:2").await;
}
