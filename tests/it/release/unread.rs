//! Reads that fail for good hold up no rollback, and let nothing rise.

use std::time::Duration;

use futures::future::join_all;
use haldane::{
    api::{state::State, units::At},
    observe::clock,
};

use super::{QUICK, Shop, Wish, back::weight};
use crate::harness::{self, SOON, eventually, pods, proxy::Proxy};

/// Goes on by itself after ten seconds.
const SOON_UP: Wish<'static> =
    Wish { steps: "{pods: 1, weight: 20, for: 10s}, {weight: 50, for: 0s}, {weight: 100, for: 0s}", ..QUICK };

/// The rest of a path, and whether it tells where the traffic goes.
const READS: [(&str, bool); 6] = [
    ("/httproutes/", true),
    ("/services/", true),
    ("/endpointslices", true),
    ("/releaseactions", false),
    ("/horizontalpodautoscalers", false),
    ("/jobs/", false),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_that_fails_holds_up_a_rollback() {
    join_all(READS.map(|(path, traffic)| unreadable(path, traffic))).await;
}

/// Returns when two looks have failed after this moment.
async fn looked_after(proxy: &Proxy, path: &str, moment: At) {
    let mut before = None;
    eventually(&format!("two looks without {path}"), SOON, async || {
        if clock::now() < moment {
            return None;
        }
        let failed = proxy.calls().iter().filter(|c| c.code == 500 && c.path.contains(path)).count();
        (failed >= *before.get_or_insert(failed) + 2).then_some(())
    })
    .await;
}

async fn unreadable(path: &'static str, traffic: bool) {
    let plane = harness::plane().await;
    let proxy = Proxy::start(plane.operator_config()).await;
    let shop = Shop::open_to(plane, proxy.config()).await;
    let smoke = "warmUp: 0s, smoke: {image: 'smoke:1', timeout: 1h, after: [FirstStep]}";
    let checks = if path == "/jobs/" { smoke } else { QUICK.checks };
    shop.wish(Wish { checks, ..SOON_UP }).await;
    shop.in_step().await;
    proxy.rule(move |call| (call.is_read() && call.path.contains(path)).then_some(500));
    eventually(&format!("{path} cannot be read"), SOON, async || {
        proxy.calls().iter().any(|c| c.code == 500).then_some(())
    })
    .await;

    // The step's time is over, and nothing rises.
    let status = shop.status("shop").await.expect("a status");
    let Some(State::Stepping { since, .. }) = status.state else { panic!("{path}: {:?}", status.state) };
    looked_after(&proxy, path, since.plus(Duration::from_secs(10))).await;
    let status = shop.status("shop").await.expect("a status");
    assert!(matches!(status.state, Some(State::Stepping { step: 0, .. })), "{path}: {:?}", status.state);
    if path != "/jobs/" {
        let told = shop.until("shop", "why nothing goes on", |s| s.message.contains("until it can be read")).await;
        assert!(told.message.contains("500") || told.message.contains("as the test says"), "{path}: {}", told.message);
    }

    let before = shop.writes().len();
    shop.agent.crash(pods::of_image("shop:2"));
    eventually(&format!("weight 0 without {path}"), SOON, async || {
        let writes = shop.writes().split_off(before);
        writes.iter().any(|w| weight(w) == Some(0) && w.code == 200).then_some(()).ok_or(writes)
    })
    .await;
    if traffic {
        // What is on its way there has had its time to end, and still nobody knows that nothing more comes.
        looked_after(&proxy, path, clock::now().plus(Duration::from_secs(6))).await;
        let status = shop.status("shop").await.expect("a status");
        let Some(State::Draining { report, .. }) = &status.state else { panic!("{path}: {:?}", status.state) };
        assert_eq!(report.confirmed_at, None, "{path}");
        let candidates = shop.pods_of("shop:2").await;
        assert!(!candidates.is_empty(), "{path}: its pods may still be sent to");
        proxy.no_rule();
        shop.until(
            "shop",
            "confirmed at last",
            |s| !matches!(&s.state, Some(State::Draining { report, .. }) if report.confirmed_at.is_none()),
        )
        .await;
    } else {
        shop.until("shop", "on its way home", |s| {
            matches!(s.state, Some(State::Reverting { .. } | State::RolledBack { .. }))
        })
        .await;
    }
}
