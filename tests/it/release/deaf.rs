//! While one watch fails, the operator hears the others.

use std::time::Duration;

use super::{STAYS, Shop};
use crate::harness::{
    self, SOON, eventually,
    proxy::{Call, Proxy},
};

/// So often the watch has failed that the next attempt is many seconds away.
const FAILURES: usize = 7;

/// The watch of Releases, or the list before it.
fn follows_releases(call: &Call) -> bool {
    call.method == http::Method::GET && call.path.contains("/releases?")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_heard_while_the_watch_of_releases_fails() {
    let plane = harness::plane().await;
    let proxy = Proxy::start(plane.operator_config()).await;
    let shop = Shop::open_to(plane, proxy.config()).await;
    shop.wish(STAYS).await;
    shop.in_step().await;

    proxy.rule(|call| follows_releases(call).then_some(500));
    proxy.cut();
    eventually("the watch of Releases has failed again and again", SOON * 3, async || {
        let failed = proxy.calls().iter().filter(|call| follows_releases(call) && call.code == 500).count();
        if failed >= FAILURES { Ok(()) } else { Err(failed) }
    })
    .await;
    shop.order("Pause", "").await;
    eventually("the order is obeyed long before the next attempt", Duration::from_secs(5), async || {
        shop.status("shop").await?.memory.paused
    })
    .await;

    proxy.no_rule();
    shop.order("Resume", "").await;
    shop.until("shop", "resumed", |status| status.memory.paused.is_none()).await;
    shop.recorder.assert_honest("shop");
}
