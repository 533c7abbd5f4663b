//! One bad pod of several.

use haldane::api::state::{CauseKind, State};

use super::{STAYS, Shop, Wish};
use crate::harness::{SOON, eventually, pods};

const TWO: Wish<'static> = Wish { steps: "{pods: 2, weight: 20, for: 1h}, {weight: 100, for: 0s}", ..STAYS };

/// The names of the candidate's pods, when there are two and `gone` is not among them.
async fn two(shop: &Shop, gone: &str) -> Vec<String> {
    eventually("two pods of the candidate", SOON, async || {
        let names: Vec<String> = shop.pods_of("shop:2").await.into_keys().collect();
        if names.len() == 2 && names.iter().all(|name| name != gone) { Ok(names) } else { Err(names) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_replaced_and_if_the_next_one_is_bad_too_the_version_goes_back() {
    let shop = Shop::open().await;
    shop.wish(TWO).await;
    shop.in_step().await;
    let first = two(&shop, "").await.swap_remove(0);
    shop.agent.crash(pods::named(&first));
    let pods = two(&shop, &first).await;
    let well = |status: &haldane::api::ReleaseStatus| {
        let replaced = status.state.as_ref().and_then(State::candidate).and_then(|c| c.replaced.clone());
        replaced.as_deref() == Some(&first) && status.verdict.as_deref() == Some("Healthy")
    };
    shop.until("shop", "well again", well).await;

    shop.agent.crash(pods::named(&pods[0]));
    shop.phase("shop", "RolledBack").await;
    let status = shop.status("shop").await.expect("a status");
    let cause = &status.memory.rejected[0];
    assert_eq!(cause.cause, CauseKind::Bad);
    assert!(
        cause.message.ends_with(&format!("; pod {first} was bad before it and has been replaced")),
        "{}",
        cause.message
    );
    shop.assert_home("shop:1").await;
    shop.recorder.assert_honest("shop");
}
