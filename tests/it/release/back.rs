//! A bad version loses its traffic first, and is not tried again by itself.

use haldane::api::state::{CauseKind, State};
use k8s_openapi::api::core::v1::Service;
use serde_json::Value;

use super::{QUICK, STAYS, Shop};
use crate::{
    harness::{SOON, Write, eventually, pods},
    kstatus::{self, Kstatus},
};

/// The candidate's weight that a write on the route gives; `None`: it is no such write.
pub fn weight(write: &Write) -> Option<u64> {
    if write.resource != "httproutes" {
        return None;
    }
    let refs = |rule: &Value| rule["backendRefs"].as_array().cloned().unwrap_or_default();
    let written = write.body.as_array()?.iter().find(|op| op["op"] == "replace" && op["path"] == "/spec/rules")?;
    let all = written["value"].as_array()?.iter().flat_map(refs).collect::<Vec<_>>();
    all.iter().find(|r| r["name"] == "shop-canary").and_then(|r| r["weight"].as_u64())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashing_version_loses_its_traffic_before_anything_else() {
    let shop = Shop::open().await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    let stable = shop.pods_of("shop:1").await;
    let before = shop.writes().len();
    shop.agent.crash(pods::of_image("shop:2"));
    let status = shop.phase("shop", "RolledBack").await;

    let writes = shop.writes().split_off(before);
    let decided = writes.iter().position(|w| {
        w.resource == "releases/status" && w.code == 200 && w.body["status"]["state"].get("draining").is_some()
    });
    let decided = decided.unwrap_or_else(|| panic!("no decision: {writes:?}"));
    assert!(writes[..decided].iter().all(|w| w.resource == "releases/status"), "{writes:?}");
    assert_eq!(weight(&writes[decided + 1]), Some(0), "{:?}", writes[decided + 1]);

    let Some(State::RolledBack { cause, report, .. }) = &status.state else { panic!("{:?}", status.state) };
    assert_eq!(cause.kind, CauseKind::Bad);
    let sentence = "crashes: container app, 3 restarts, CrashLoopBackOff (1 of 1 pod)";
    assert!(cause.message.starts_with("pod shop-r") && cause.message.ends_with(sentence), "{}", cause.message);
    assert!(report.written_at.is_some() && report.confirmed_at >= report.written_at, "{report:?}");
    assert_eq!(shop.pods_of("shop:1").await, stable, "the stable pods were never touched");
    shop.assert_home("shop:1").await;
    let told = shop.told("shop", "RolledBack").await;
    assert!(told.starts_with(&cause.message), "{told}");
    let reasons: Vec<String> = shop.events("shop").await.into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(reasons, ["Accepted", "Preparing", "StepStarted", "RollingBack", "Reverting", "RolledBack"]);
    shop.recorder.assert_honest("shop");
    assert_eq!(kstatus::of(shop.recorder.of("shop").last().expect("a version")), Kstatus::Failed);

    // A sync of the same manifest, with another plan even, is no reason to try again; a person's order is.
    shop.wish(QUICK).await;
    let again = shop.until("shop", "the new generation is seen", |s| s.observed_generation == 2).await;
    assert!(matches!(again.state, Some(State::RolledBack { .. } | State::Idle { .. })), "{:?}", again.state);
    assert!(again.message.contains("rejected") || again.phase == "RolledBack", "{}", again.message);
    assert_eq!(again.memory.rejected.len(), 1);
    shop.agent.ready(pods::every);
    shop.order("Retry", "").await;
    shop.phase("shop", "Succeeded").await;
    shop.assert_home("shop:2").await;
    assert!(shop.told("shop", "Retried").await.starts_with("sam ordered another try"));
    shop.recorder.assert_honest("shop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_silent_gateway_still_sends_reaches_the_stable_pods() {
    let shop = Shop::open().await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    shop.gateway.go_away();
    shop.order("Rollback", "").await;
    let status = shop
        .until(
            "shop",
            "the canary Service is turned",
            |s| matches!(&s.state, Some(State::Draining { report, .. }) if report.turned_at.is_some()),
        )
        .await;
    assert!(
        status.message.ends_with("what it still sends to the canary reaches the stable pods"),
        "{}",
        status.message
    );
    let services = shop.api::<Service>();
    let hash = async |name: &str| services.get(name).await.ok()?.spec?.selector?.get("pod-template-hash").cloned();
    eventually("both names lead to the stable pods", SOON, async || {
        let (stable, canary) = (hash("shop").await, hash("shop-canary").await);
        if stable.is_some() && stable == canary { Ok(()) } else { Err((stable, canary)) }
    })
    .await;
    assert!(shop.told("shop", "Stuck").await.contains("has not"), "with the gateway's own complaint");
    assert_eq!(shop.pods_of("shop:2").await.len(), 1, "no pod is ended while something may be sent to it");
    shop.gateway.come_back();
    shop.phase("shop", "RolledBack").await;
    shop.assert_home("shop:1").await;
}
