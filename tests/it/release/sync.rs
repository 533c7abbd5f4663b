//! A GitOps tool re-applies the whole manifest set all the time: a good release, a bad one and an undo end as they should, and
//! nothing is written back and forth.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use haldane::api::state::State;

use super::{HELD, QUICK, Shop, Wish};
use crate::harness::{self, eventually, pods, shop::SHOP};

/// How often it syncs.
const EVERY: Duration = Duration::from_secs(3);

const HAND_OVER: [&str; 2] = [
    "while haldane hands a release over",
    "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy",
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Apply {
    ClientSide,
    ServerSideWithForce,
}

/// Applies what is in Git until it is dropped.
struct Sync {
    git: Arc<Mutex<String>>,
    /// What the API server refused, and how often it was synced.
    refused: Arc<Mutex<Vec<String>>>,
    rounds: Arc<Mutex<u32>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Sync {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sync {
    fn start(shop: &Shop, how: Apply, manifests: &str) -> Self {
        let git = Arc::new(Mutex::new(manifests.to_owned()));
        let (refused, rounds) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let ns = shop.ns.clone();
        let (from, to, n) = (git.clone(), refused.clone(), rounds.clone());
        let task = tokio::spawn(async move {
            let plane = harness::plane().await;
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("shop.yaml");
            let file = path.to_str().expect("a path");
            loop {
                std::fs::write(&path, &*locked(&from)).expect("written");
                let args: &[&str] = match how {
                    Apply::ClientSide => &["apply", "-f", file],
                    Apply::ServerSideWithForce => {
                        &["apply", "--server-side", "--force-conflicts", "--field-manager=sync", "-f", file]
                    }
                };
                if let Err(said) = plane.kubectl_may_fail(&ns, args).await {
                    locked(&to).push(said);
                }
                *locked(&n) += 1;
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { git, refused, rounds, task }
    }

    fn commit(&self, manifests: &str) {
        *locked(&self.git) = manifests.to_owned();
    }

    /// Returns when it has synced so many times more.
    async fn times(&self, n: u32) {
        let from = *locked(&self.rounds);
        eventually("it syncs", super::LONG, async || (*locked(&self.rounds) >= from + n).then_some(())).await;
    }

    /// Only in the hand-over a sync may be refused, and that for seconds: by the policy, or before it because the strategy is
    /// Recreate for so long.
    fn assert_refusals(&self) {
        let refused = locked(&self.refused);
        let others: Vec<_> = refused.iter().filter(|said| !HAND_OVER.iter().any(|why| said.contains(why))).collect();
        assert!(others.is_empty() && refused.len() <= 4, "{refused:#?}");
    }
}

impl Shop {
    /// Nothing is written while it is synced on.
    async fn assert_silent(&self, sync: &Sync) {
        sync.times(2).await;
        let before = self.writes().len();
        sync.times(4).await;
        let after = self.writes();
        assert_eq!(after.len(), before, "{:?}", &after[before..]);
    }
}

/// What Git says of the Deployment; `None`: its image is nobody's business there.
fn manifests(image: Option<&str>) -> String {
    match image {
        Some(image) => SHOP.replace("shop:1", image),
        None => SHOP.replace("image: 'shop:1', ", ""),
    }
}

async fn held(how: Apply) {
    let shop = Shop::open().await;
    shop.wish(HELD).await;
    let sync = Sync::start(&shop, how, &manifests(Some("shop:1")));
    shop.assert_silent(&sync).await;

    shop.agent.crash(pods::of_image("shop:2"));
    sync.commit(&manifests(Some("shop:2")));
    shop.phase("shop", "RolledBack").await;
    shop.assert_silent(&sync).await;
    assert_eq!(shop.pods_of("shop:1").await.len(), 2, "{how:?}");
    assert_eq!(shop.pods().await.len(), 2, "{how:?}");

    sync.commit(&manifests(Some("shop:3")));
    shop.phase("shop", "Observing").await;
    let proven = shop.pods_of("shop:3").await;
    shop.phase("shop", "Succeeded").await;
    shop.assert_silent(&sync).await;
    assert_eq!(shop.pods().await, proven, "{how:?}: each pod was started once");

    // Taken back by an order, Git still says the version that was rejected: nothing fights over it.
    shop.order("Rollback", "").await;
    shop.until("shop", "it is taken back", |s| {
        s.memory.history.len() == 3 && !matches!(s.state, Some(State::Promoting { .. }))
    })
    .await;
    shop.assert_silent(&sync).await;
    assert_eq!(shop.pods_of("shop:1").await.len(), 2, "{how:?}");
    assert_eq!(shop.pods().await.len(), 2, "{how:?}");
    sync.assert_refusals();
}

async fn by_images(how: Apply) {
    let shop = Shop::open().await;
    let sync = Sync::start(&shop, how, &manifests(None));
    shop.agent.crash(pods::of_image("shop:2"));
    shop.wish(QUICK).await;
    shop.phase("shop", "RolledBack").await;
    shop.assert_silent(&sync).await;
    assert_eq!((shop.pods_of("shop:1").await.len(), shop.pods().await.len()), (2, 2), "{how:?}");

    shop.wish(Wish { image: "shop:3", ..QUICK }).await;
    shop.phase("shop", "Observing").await;
    let proven = shop.pods_of("shop:3").await;
    shop.phase("shop", "Succeeded").await;
    shop.assert_silent(&sync).await;
    assert_eq!(shop.pods().await, proven, "{how:?}: each pod was started once");
    sync.assert_refusals();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_loop_and_a_held_deployment_do_not_fight() {
    join_all([Apply::ClientSide, Apply::ServerSideWithForce].map(held)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_a_sync_loop_and_a_release_that_names_its_images() {
    join_all([Apply::ClientSide, Apply::ServerSideWithForce].map(by_images)).await;
}
