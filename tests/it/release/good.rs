//! A good version arrives, and everything else is as its user wrote it.

use super::{QUICK, Shop};
use crate::kstatus::{self, Kstatus};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pods_that_were_proven_are_the_pods_that_stay() {
    let shop = Shop::open().await;
    shop.wish(QUICK).await;
    let ready = ["wait", "--for=condition=Ready", "release/shop", "--timeout=180s"];
    let observing = async {
        shop.phase("shop", "Observing").await;
        shop.pods_of("shop:2").await
    };
    let (waited, proven) = tokio::join!(shop.plane.kubectl(&shop.ns, &ready), observing);
    assert_eq!(waited, "release.haldane.dev/shop condition met\n");

    let status = shop.phase("shop", "Succeeded").await;
    let stable = status.memory.history[0].replaced.label();
    // The message of the status itself soon says "2 runs".
    assert_eq!(status.memory.history[0].message, format!("2 replaced {stable}"));
    assert_eq!(shop.pods().await, proven, "the same pods, and no others");
    shop.assert_home("shop:2").await;
    shop.recorder.assert_honest("shop");
    assert_eq!(kstatus::of(shop.recorder.of("shop").last().expect("a version")), Kstatus::Current);

    shop.told("shop", "Succeeded").await;
    let reasons: Vec<String> = shop.events("shop").await.into_iter().map(|(reason, _)| reason).collect();
    let all = ["Accepted", "Preparing", "StepStarted", "StepStarted", "Watching", "Promoting", "Succeeded"];
    assert_eq!(reasons, all, "one Event for each transition");
    let columns = shop.plane.kubectl(&shop.ns, &["get", "releases"]).await;
    let columns: Vec<&str> = columns.split_whitespace().collect();
    assert_eq!(columns[..6], ["NAME", "STATUS", "STEP", "WEIGHT", "VERSION", "REASON"]);
    assert!(columns.windows(2).any(|pair| pair == ["shop", "Succeeded"]), "{columns:?}");
}
