//! Leadership on a real API server: one works, the other takes over, and who was frozen writes nothing.

use std::{sync::Arc, thread, time::Duration};

use haldane::controller::{
    client::{CALL_LIMIT, Calls, Fence, Verb, guarded, not_leader, plain},
    lease::{Lease, election::Timing},
};
use k8s_openapi::api::{coordination::v1::Lease as Object, core::v1::ConfigMap};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::harness::{self, Plane, SOON, eventually};

/// One process that competes.
struct Candidate {
    fence: Fence,
    leading: watch::Receiver<bool>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Candidate {
    fn start(plane: &Plane, ns: &str, name: &str) -> Self {
        let fence = Fence::closed();
        let (lease, leading) = Lease::new(plane.client(), ns, "haldane", name, Timing::default(), fence.clone());
        let stop = CancellationToken::new();
        let task = tokio::spawn(lease.run(stop.clone()));
        Self { fence, leading, stop, task }
    }

    async fn leads(&self) {
        said(&mut self.leading.clone(), true).await;
    }
}

/// Returns when it says that it leads, or that it does not.
async fn said(leading: &mut watch::Receiver<bool>, so: bool) {
    let waited = tokio::time::timeout(SOON, leading.wait_for(|leads| *leads == so)).await;
    waited.unwrap_or_else(|_| panic!("not in time: leads = {so}")).expect("it lives");
}

async fn stored(plane: &Plane, ns: &str) -> (String, i32) {
    let api: Api<Object> = Api::namespaced(plane.client(), ns);
    let spec = api.get("haldane").await.expect("the lease").spec.expect("a spec");
    (spec.holder_identity.unwrap_or_default(), spec.lease_transitions.unwrap_or(0))
}

/// Waits until the lease has been renewed so many times.
async fn renewed(plane: &Plane, ns: &str, times: usize) {
    let api: Api<Object> = Api::namespaced(plane.client(), ns);
    let mut seen = std::collections::BTreeSet::new();
    eventually("the lease is renewed", SOON, async || {
        let at = api.get("haldane").await.expect("the lease").spec.and_then(|s| s.renew_time).map(|t| t.0);
        seen.insert(at);
        if seen.len() > times { Ok(()) } else { Err(seen.len()) }
    })
    .await;
}

#[tokio::test]
async fn a_dead_leader_is_followed_and_a_stopped_one_gives_the_lease_back() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let a = Candidate::start(&plane, &ns, "a");
    a.leads().await;
    let b = Candidate::start(&plane, &ns, "b");
    // Several renewals later it still is the only one.
    renewed(&plane, &ns, 3).await;
    assert!(*a.leading.borrow() && a.fence.held() && !*b.leading.borrow() && !b.fence.held());
    assert_eq!(stored(&plane, &ns).await, ("a".into(), 0));

    a.task.abort();
    b.leads().await;
    assert!(!a.fence.held(), "the fence of the dead one fell before the lease ended");
    assert_eq!(stored(&plane, &ns).await, ("b".into(), 1));

    let c = Candidate::start(&plane, &ns, "c");
    b.stop.cancel();
    b.task.await.expect("b ends");
    assert!(!b.fence.held() && !*b.leading.borrow());
    // Far less than the length of a lease: nobody waits for one that was given back.
    tokio::time::timeout(Duration::from_secs(3), c.leads()).await.expect("c leads at once");
}

#[tokio::test]
async fn the_same_process_takes_its_own_lease_again_at_once() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let first = Candidate::start(&plane, &ns, "pod-0");
    first.leads().await;
    first.task.abort();
    let second = Candidate::start(&plane, &ns, "pod-0");
    tokio::time::timeout(Duration::from_secs(3), second.leads()).await.expect("without waiting for the lease to end");
    assert_eq!(stored(&plane, &ns).await, ("pod-0".into(), 0), "it never changed hands");
}

#[tokio::test]
async fn a_frozen_leader_wakes_up_behind_the_fence() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;

    // The whole runtime of the first one stands still while `freeze` blocks it, as with SIGSTOP.
    let (freeze, frozen) = oneshot::channel::<()>();
    let (thaw, thawed) = std::sync::mpsc::channel::<()>();
    let (fence, calls) = (Fence::closed(), Arc::new(Calls::default()));
    let config = plane.operator_config();
    let (own_fence, own_calls, own_ns) = (fence.clone(), calls.clone(), ns.clone());
    let (tell, told) = oneshot::channel();
    let (end, ended) = oneshot::channel::<()>();
    let kubeconfig = plane.kubeconfig();
    let process = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
            let admin = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            let client = Client::try_from(admin).unwrap();
            let (lease, leading) =
                Lease::new(client, &own_ns, "haldane", "frozen", Timing::default(), own_fence.clone());
            tokio::spawn(lease.run(CancellationToken::new()));
            let work = guarded(plain(config, CALL_LIMIT).unwrap(), own_fence, own_calls, CALL_LIMIT);
            tell.send(leading).unwrap();
            frozen.await.unwrap();
            thawed.recv().unwrap();
            // The first thing it does on waking is the write it was about to send.
            let api: Api<ConfigMap> = Api::namespaced(work, &own_ns);
            let error = api.create(&PostParams::default(), &ConfigMap::default()).await.unwrap_err();
            ended.await.unwrap();
            error
        })
    });
    let mut leading = told.await.unwrap();
    said(&mut leading, true).await;
    assert!(fence.held());

    freeze.send(()).unwrap();
    let other = Candidate::start(&plane, &ns, "other");
    other.leads().await;
    assert!(!fence.held());
    thaw.send(()).unwrap();
    said(&mut leading, false).await;
    end.send(()).unwrap();
    let error = process.join().unwrap();
    assert!(not_leader(&error), "{error}");
    assert_eq!(calls.count(Verb::Create), 0);
    assert!(*other.leading.borrow() && other.fence.held());
    assert_eq!(stored(&plane, &ns).await, ("other".into(), 1));
}
