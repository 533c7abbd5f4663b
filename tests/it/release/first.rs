//! A breach or an order takes the traffic away before any pass: one status write, one route write, and no read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use haldane::api::state::CauseKind;
use serde_json::Value;

use super::{STAYS, Shop, Wish};
use crate::harness::{
    self, SOON, eventually,
    metrics::Metrics,
    proxy::{Call, Proxy},
};

const MEASURED: &str = "warmUp: 0s, minRequests: 10, errorRate: {max: 5%, for: 0s}";

/// A write of the operator that has to do with a release.
fn counts(call: &Call) -> bool {
    call.method != http::Method::GET && !call.path.contains("/events") && !call.path.contains("/leases")
}

fn drains(call: &Call) -> bool {
    let body = String::from_utf8_lossy(&call.body);
    call.path.contains("/status") && call.path.contains("/releases/") && body.contains("\"draining\":")
}

fn withdraws(call: &Call) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(&call.body) else { return false };
    let refs = body.as_array().into_iter().flatten().filter(|op| op["path"] == "/spec/rules" && op["op"] == "replace");
    let weights = refs.flat_map(|op| op["value"].as_array().cloned().unwrap_or_default());
    let mut all = weights.flat_map(|rule| rule["backendRefs"].as_array().cloned().unwrap_or_default());
    call.path.contains("/httproutes/") && all.any(|r| r["name"] == "shop-canary" && r["weight"] == 0)
}

async fn shop() -> (Shop, Proxy) {
    let plane = harness::plane().await;
    let proxy = Proxy::start(plane.operator_config()).await;
    let shop = Shop::open_to(plane, proxy.config()).await;
    (shop, proxy)
}

/// A provider for this namespace alone.
async fn measured(shop: &Shop, metrics: &Metrics) -> String {
    let ns = &shop.ns;
    metrics.home("shop-", ns);
    let provider = format!(
        "{{apiVersion: haldane.dev/v1alpha1, kind: MetricProvider, metadata: {{name: prometheus-{ns}}}, spec: {{url: '{}', \
         allowedNamespaces: [{ns}], scrapeInterval: 1s}}}}",
        metrics.url
    );
    shop.plane.apply_yaml("haldane-system", &provider).await;
    format!("provider: prometheus-{ns}, {MEASURED}")
}

/// Returns when a pass has looked at the Release as it stands and found nothing to write.
async fn looked_at(proxy: &Proxy) {
    let begun = proxy.calls().len();
    eventually("two passes that write nothing", SOON, async || {
        let calls = proxy.calls().split_off(begun);
        let last_write = calls.iter().rposition(counts).map_or(0, |at| at + 1);
        let looks = calls[last_write..].iter().filter(|c| c.is_read() && c.path.contains("/httproutes/")).count();
        if looks >= 2 { Ok(()) } else { Err(looks) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breach_waits_for_no_read() {
    let (shop, proxy) = shop().await;
    let metrics = Metrics::start(Duration::from_secs(1)).await;
    let checks = measured(&shop, &metrics).await;
    let told = Arc::new(AtomicBool::new(false));
    shop.wish(Wish { checks: &checks, ..STAYS }).await;
    shop.in_step().await;
    looked_at(&proxy).await;

    // From the deciding answer on no read is answered any more.
    let decided = told.clone();
    metrics.tell(move |_, _| decided.store(true, Ordering::SeqCst));
    proxy.rule(move |call| (told.load(Ordering::SeqCst) && call.is_read()).then_some(500));
    let before = proxy.calls().len();
    metrics.fail("shop-r");
    eventually("weight 0 and its record are written", SOON, async || {
        let calls = proxy.calls().split_off(before);
        (calls.iter().any(withdraws) && calls.iter().any(drains)).then_some(())
    })
    .await;

    let writes: Vec<Call> = proxy.calls().split_off(before).into_iter().filter(counts).collect();
    let decided = writes.iter().position(drains).expect("the decision is stored");
    let withdrawn = writes.iter().position(withdraws).expect("and carried out");
    assert_eq!(decided.abs_diff(withdrawn), 1, "{writes:?}");
    assert!(writes[..decided.min(withdrawn)].iter().all(|w| w.path.contains("/releases/")), "{writes:?}");
    metrics.silence("shop-r");
    proxy.no_rule();
    let status = shop.phase("shop", "RolledBack").await;
    let cause = &status.memory.rejected[0];
    assert_eq!(cause.cause, CauseKind::Bad);
    assert!(cause.message.starts_with("error rate "), "{}", cause.message);
    assert_eq!(
        status.memory.history.last().and_then(|h| h.report.as_ref()).map(|r| r.written_at.is_some()),
        Some(true)
    );
    metrics.heal("shop-r");
    shop.assert_home("shop:1").await;
    shop.recorder.assert_honest("shop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weight_0_does_not_wait_for_its_record() {
    let (shop, proxy) = shop().await;
    let metrics = Metrics::start(Duration::from_secs(1)).await;
    let checks = measured(&shop, &metrics).await;
    shop.wish(Wish { checks: &checks, ..STAYS }).await;
    shop.in_step().await;
    looked_at(&proxy).await;

    proxy.rule(|call| drains(call).then_some(500));
    let before = proxy.calls().len();
    metrics.fail("shop-r");
    eventually("weight 0 is written", SOON, async || proxy.calls()[before..].iter().any(withdraws).then_some(())).await;
    let refused = proxy.calls()[before..].iter().filter(|call| drains(call)).count();
    assert!(refused <= 1, "weight 0 came after {refused} records had failed");
    metrics.silence("shop-r");
    // Its pods get no requests any more, and it is convicted all the same once that can be written down.
    proxy.no_rule();
    let status = shop.phase("shop", "RolledBack").await;
    assert_eq!(status.memory.rejected[0].cause, CauseKind::Bad);
    metrics.heal("shop-r");
    shop.assert_home("shop:1").await;
    shop.recorder.assert_honest("shop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_obeyed_on_a_fresh_look_only() {
    let (shop, proxy) = shop().await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    looked_at(&proxy).await;

    // What has stirred since it was looked at is not acted on: pods may be gone.
    proxy.rule(|call| call.is_read().then_some(500));
    let blind = proxy.calls().len();
    let failed =
        |from: usize| proxy.calls()[from..].iter().filter(|c| c.code == 500 && c.path.contains("/releases/")).count();
    shop.stir("shop:2").await;
    eventually("a pass has failed", SOON, async || (failed(blind) >= 1).then_some(())).await;
    let ordered = proxy.calls().len();
    shop.order("Rollback", "").await;
    eventually("the order was heard and a pass has failed", SOON, async || (failed(ordered) >= 2).then_some(())).await;
    assert!(!proxy.calls()[blind..].iter().any(counts), "{:?}", &proxy.calls()[blind..]);
    proxy.no_rule();
    let status = shop.phase("shop", "RolledBack").await;
    assert_eq!(status.memory.rejected[0].cause, CauseKind::Ordered);

    // On a fresh look it needs no read.
    shop.order("Retry", "").await;
    shop.in_step().await;
    looked_at(&proxy).await;
    let before = proxy.calls().len();
    proxy.rule(|call| call.is_read().then_some(500));
    shop.order("Rollback", "").await;
    eventually("weight 0 is written", SOON, async || proxy.calls()[before..].iter().any(withdraws).then_some(())).await;
    proxy.no_rule();
    shop.phase("shop", "RolledBack").await;
    shop.assert_home("shop:1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_has_changed_meanwhile_costs_one_more_look() {
    let (shop, proxy) = shop().await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    looked_at(&proxy).await;
    let once = AtomicBool::new(true);
    proxy.rule(move |call| (drains(call) && once.swap(false, Ordering::SeqCst)).then_some(409));
    let before = proxy.calls().len();
    shop.order("Rollback", "").await;
    let recorded = |call: &Call| drains(call) && call.code == 200;
    eventually("it is recorded", SOON, async || proxy.calls()[before..].iter().any(recorded).then_some(())).await;
    let writes: Vec<Call> = proxy.calls().split_off(before).into_iter().filter(counts).collect();
    let mut kinds: Vec<(bool, bool, u16)> = writes.iter().map(|w| (drains(w), withdraws(w), w.code)).collect();
    kinds[..2].sort_unstable(); // the two go side by side
    assert_eq!(kinds[..3], [(false, true, 200), (true, false, 409), (true, false, 200)], "{writes:?}");
    shop.phase("shop", "RolledBack").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_that_was_looking_meanwhile_gives_nothing_back() {
    let (shop, proxy) = shop().await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    looked_at(&proxy).await;
    // A pass has read the Release in its step; the route it reads when all is over.
    proxy.hold(|call| call.is_read() && call.path.contains("/httproutes/"));
    eventually("a pass waits for the route", SOON, async || (proxy.held() > 0).then_some(())).await;
    let before = proxy.calls().len();
    shop.order("Rollback", "").await;
    eventually("weight 0 is written", SOON, async || proxy.calls()[before..].iter().any(withdraws).then_some(())).await;
    proxy.go();
    shop.phase("shop", "RolledBack").await;
    let writes = proxy.calls().split_off(before);
    let routes: Vec<bool> =
        writes.iter().filter(|c| counts(c) && c.path.contains("/httproutes/")).map(withdraws).collect();
    assert_eq!(routes.iter().filter(|taken| !**taken).count(), 1, "nothing but its restoration: {writes:?}");
    assert_eq!(routes.first(), Some(&true));
}
