//! Pods that are evicted, as a drain, the descheduler or a node's upgrade does it, under a PodDisruptionBudget.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use haldane::{
    act::{promote, workload},
    api::state::State,
    observe::seen::Side,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{EvictParams, ListParams},
};
use tokio::task::JoinHandle;

use super::Trouble;
use crate::{
    harness::{SOON, eventually, own_plane, pods},
    release::{QUICK, STAYS, Shop, Wish},
    workload::{Stage, soon, waits},
};

/// Of the pods of both versions together.
const AT_LEAST_2: &str = "
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: keep}
spec: {minAvailable: 2, selector: {matchLabels: {app: shop}}}
";
const ONE_AT_A_TIME: &str = "
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: keep}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: shop}}}
";

/// One try. The error is the API server's sentence.
async fn evict(client: &Client, ns: &str, name: &str) -> Result<(), String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), ns);
    match pods.evict(name, &EvictParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(other) => Err(other.to_string()),
    }
}

/// As `kubectl drain` does it: until the budget allows it.
async fn evicted(client: &Client, ns: &str, name: &str) {
    eventually(&format!("{name} is evicted"), SOON, async || evict(client, ns, name).await).await;
}

/// A name of one of them.
fn one(pods: &BTreeMap<String, String>) -> String {
    pods.keys().next().expect("a pod").clone()
}

/// Returns when another pod of this image runs in place of `name`, so many in all.
async fn replaced(shop: &Shop, image: &str, name: &str, count: usize) {
    eventually(&format!("another pod of {image} in place of {name}"), SOON, async || {
        let pods = shop.pods_of(image).await;
        if pods.len() == count && !pods.contains_key(name) { Ok(()) } else { Err(pods) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_of_both_versions_lets_the_candidate_be_evicted_and_it_is_replaced() {
    let trouble = Trouble::open().await;
    let (shop, client) = (&trouble.shop, trouble.shop.plane.impatient_client());
    shop.plane.apply_yaml(&shop.ns, AT_LEAST_2).await;
    shop.wish(STAYS).await;
    let told = shop.told("shop", "Accepted").await;
    let warning = "PodDisruptionBudget keep has minAvailable and counts the pods of both versions: all of the candidate's could be \
                   evicted at once; use maxUnavailable";
    assert!(told.contains(warning), "{told}");
    shop.in_step().await;

    // The only pod of the candidate; its successor is not ready for a while.
    let only = one(&shop.pods_of("shop:2").await);
    let gone = only.clone();
    shop.agent.hold(move |pod| pods::of_image("shop:2")(pod) && pod.name_any() != gone);
    evicted(&client, &shop.ns, &only).await;
    shop.until("shop", "Preparing again", |status| {
        matches!(status.state, Some(State::Preparing { resume: Some(0), .. }))
    })
    .await;
    // Two are left, both stable: the budget protects them now.
    let stable = one(&shop.pods_of("shop:1").await);
    let refused = evict(&client, &shop.ns, &stable).await.expect_err("the budget is used up");
    assert!(refused.contains("would violate the pod's disruption budget"), "{refused}");
    shop.agent.ready(pods::every);
    replaced(shop, "shop:2", &only, 1).await;
    let status = shop.in_step().await;
    assert!(status.memory.rejected.is_empty(), "an eviction says nothing of the version");

    evicted(&client, &shop.ns, &stable).await;
    replaced(shop, "shop:1", &stable, 2).await;
    let status = shop.status("shop").await.expect("a status");
    assert!(matches!(status.state, Some(State::Stepping { settled: Some(_), .. })), "the step goes on: {status:?}");
    shop.order("Rollback", "").await;
    shop.phase("shop", "RolledBack").await;
    trouble.assert_over("shop:1").await;
}

/// Evicts whatever the budget allows, a pod at a time, until it is dropped.
struct Drainer {
    evicted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drainer {
    fn start(client: Client, ns: &str) -> Self {
        let (ns, evicted) = (ns.to_owned(), Arc::<AtomicUsize>::default());
        let count = evicted.clone();
        let task = tokio::spawn(async move {
            let pods: Api<Pod> = Api::namespaced(client.clone(), &ns);
            let mut round = 0;
            loop {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                let of_shop = ListParams::default().labels("app=shop");
                let Ok(all) = pods.list(&of_shop).await else { continue };
                let names: Vec<String> = all.items.iter().map(ResourceExt::name_any).collect();
                round += 1;
                if let Some(name) = names.get(round % names.len().max(1))
                    && evict(&client, &ns, name).await.is_ok()
                {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { evicted, task }
    }
}

impl Drop for Drainer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evictions_all_through_the_hand_over_leave_nobody_without_pods() {
    let trouble = Trouble::open().await;
    let shop = &trouble.shop;
    shop.plane.apply_yaml(&shop.ns, ONE_AT_A_TIME).await;
    shop.wish(Wish { watch: "10s", ..QUICK }).await;
    shop.until("shop", "all traffic on 2", |status| {
        matches!(status.state, Some(State::Observing { settled: Some(_), .. }))
    })
    .await;
    let drainer = Drainer::start(shop.plane.impatient_client(), &shop.ns);
    eventually("pods are evicted", SOON, async || {
        let evicted = drainer.evicted.load(Ordering::Relaxed);
        if evicted >= 2 { Ok(()) } else { Err(evicted) }
    })
    .await;
    shop.phase("shop", "Succeeded").await;
    drop(drainer);
    let status = shop.status("shop").await.expect("a status");
    assert!(status.memory.rejected.is_empty());
    trouble.assert_over("shop:2").await;
}

#[tokio::test]
async fn an_evicted_pod_is_replaced_before_and_after_the_offer() {
    let stage = Stage::new().await;
    stage.plane.apply_yaml(&stage.ns, ONE_AT_A_TIME).await;
    stage.prepare(3).await;
    let (client, proven) = (stage.plane.impatient_client(), stage.pods(Side::Candidate).await);
    soon("template taken", async || promote::take_template(&stage.scope()).await).await;
    let mut names = proven.keys();
    let first = names.next().expect("a pod");
    let kept: Vec<String> = proven.keys().cloned().collect();
    stage.agent.hold(move |pod| pods::of_image("shop:2")(pod) && !kept.contains(&pod.name_any()));
    evicted(&client, &stage.ns, first).await;
    eventually("two are left", SOON, async || {
        let set = stage.view().await.candidate.expect("the candidate");
        if set.available == 2 { Ok(()) } else { Err(set) }
    })
    .await;
    let why = waits(promote::offer(&stage.scope(), 3).await);
    assert!(why.contains("are wanted") || why.contains("available"), "{why}");
    let second = names.next().expect("another pod");
    let refused = evict(&client, &stage.ns, second).await.expect_err("one at a time");
    assert!(refused.contains("would violate the pod's disruption budget"), "{refused}");

    stage.agent.ready(pods::every);
    stage.available(3).await;
    soon("offered", async || promote::offer(&stage.scope(), 3).await).await;
    evicted(&client, &stage.ns, second).await;
    soon("mark off", async || workload::mark_candidate(&stage.scope(), false).await).await;
    soon("finished", async || promote::finish_hand_over(&stage.scope()).await).await;
    eventually("three pods, one of them proven", SOON, async || {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &stage.ns);
        let all = pods.list(&ListParams::default().labels("app=shop")).await.expect("pods").items;
        let live: Vec<String> =
            all.iter().filter(|p| p.metadata.deletion_timestamp.is_none()).map(ResourceExt::name_any).collect();
        let kept = live.iter().filter(|name| proven.contains_key(*name)).count();
        if (live.len(), kept) == (3, 1) { Ok(()) } else { Err(live) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_drained_with_pods_of_both_versions_on_it() {
    let plane = own_plane().await; // a drain asks for the pods of all namespaces
    let config = plane.operator_config();
    let trouble = Trouble::of(Box::pin(Shop::open_to(plane, config)).await).await;
    let shop = &trouble.shop;
    shop.plane.apply_yaml(&shop.ns, ONE_AT_A_TIME).await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    let before = shop.pods().await;
    shop.plane.apply_yaml(&shop.ns, "{apiVersion: v1, kind: Node, metadata: {name: other}}").await;
    shop.agent.on_node("other");
    let said = shop.plane.kubectl("default", &["drain", "it", "--timeout=120s"]).await;
    assert!(said.contains("node/it drained"), "{said}");
    shop.in_step().await;
    eventually("all pods are on the other node", SOON, async || {
        let pods = shop.api::<Pod>().list(&ListParams::default().labels("app=shop")).await.expect("pods").items;
        let there = |p: &Pod| p.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some("other");
        let names: Vec<_> = pods.iter().map(|p| (p.name_any(), there(p))).collect();
        if names.len() == 3 && names.iter().all(|(_, there)| *there) { Ok(()) } else { Err(names) }
    })
    .await;
    let after = shop.pods().await;
    assert!(before.keys().all(|name| !after.contains_key(name)), "{before:?} {after:?}");
    let status = shop.in_step().await;
    assert!(status.memory.rejected.is_empty());
    shop.plane.kubectl("default", &["uncordon", "it"]).await;
    shop.order("Rollback", "").await;
    shop.phase("shop", "RolledBack").await;
    trouble.assert_over("shop:1").await;
}
