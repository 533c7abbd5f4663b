//! Orders of people, as ReleaseActions that the API server proves.

use haldane::api::state::{CauseKind, State};

use super::{STAYS, Shop, Wish};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_pause_resume_promote_and_go_back() {
    let shop = Shop::open().await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    shop.order("Pause", "").await;
    let paused = shop.until("shop", "paused", |status| status.memory.paused.is_some()).await;
    assert!(paused.message.starts_with("paused by sam"), "{}", paused.message);
    shop.order("Resume", "").await;
    shop.until("shop", "resumed", |status| status.memory.paused.is_none()).await;
    shop.order("Promote", ", to: NextStep, reason: seen enough").await;
    let next = shop.told("shop", "Watching").await;
    assert!(next.starts_with("all of the traffic: "), "{next}");
    shop.phase("shop", "Succeeded").await;
    shop.assert_home("shop:2").await;

    // At rest after a success it brings back what served before, through no step.
    shop.order("Rollback", "").await;
    let rejected = |message: &str| message.contains("was rejected: sam ordered the way back to");
    let undone = shop.until("shop", "2 is rejected", |status| rejected(&status.message)).await;
    assert_eq!(undone.phase, "RolledBack");
    shop.assert_home("shop:1").await;

    shop.wish(Wish { image: "shop:3", ..STAYS }).await;
    shop.in_step().await;
    shop.order("Rollback", ", reason: too slow").await;
    let back = shop.until("shop", "rolled back", |status| matches!(status.state, Some(State::RolledBack { .. }))).await;
    let Some(State::RolledBack { cause, .. }) = &back.state else { panic!("{:?}", back.state) };
    assert_eq!((cause.kind, cause.message.as_str()), (CauseKind::Ordered, "sam (too slow) ordered the rollback of 3"));
    shop.assert_home("shop:1").await;

    let reasons: Vec<String> = shop.events("shop").await.into_iter().map(|(reason, _)| reason).collect();
    let orders: Vec<&str> =
        reasons.iter().map(String::as_str).filter(|r| ["Paused", "Resumed", "OrderRefused"].contains(r)).collect();
    assert_eq!(orders, ["Paused", "Resumed"], "{reasons:?}");
    shop.recorder.assert_honest("shop");
}
