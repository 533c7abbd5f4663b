//! The operator as a whole: it starts, leads, answers, and goes in order.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use clap::{Args, Command, FromArgMatches};
use futures::{FutureExt, future::BoxFuture};
use haldane::{
    api::Release,
    cli::run::{RunArgs, start},
    controller::{
        context::Context,
        pass::{After, Work},
    },
    error::Result,
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use tokio_util::sync::CancellationToken;

use crate::harness::{self, SOON, eventually};

struct Counter(Arc<AtomicU32>);

impl Work for Counter {
    fn pass(&self, _: Arc<Release>, _: Context) -> BoxFuture<'static, Result<After>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        futures::future::ready(Ok(After::default())).boxed()
    }
}

fn args(ns: &str, address: SocketAddr, lease: &str) -> RunArgs {
    let line = [
        "run".to_owned(),
        format!("--watch-namespaces={ns}"),
        format!("--address={address}"),
        format!("--lease={lease}"),
        format!("--identity={lease}-0"),
    ];
    RunArgs::from_arg_matches(&RunArgs::augment_args(Command::new("run")).get_matches_from(line)).unwrap()
}

async fn code(address: SocketAddr, path: &str) -> Option<u16> {
    let answer = tokio::time::timeout(Duration::from_secs(5), reqwest::get(format!("http://{address}{path}")));
    Some(answer.await.ok()?.ok()?.status().as_u16())
}

#[tokio::test]
async fn it_leads_answers_and_gives_the_lease_back() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let release = "
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: checkout}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: checkout}
  images: {app: 'shop:2'}
";
    plane.apply_yaml(&ns, release).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (stop, passes) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)));
    let counter = Arc::clone(&passes);
    let work = move |_: &Context| -> anyhow::Result<Arc<dyn Work>> { Ok(Arc::new(Counter(counter))) };
    let operator = tokio::spawn(start(args(&ns, free, &ns), plane.operator_config(), work, stop.clone()));

    eventually("a pass", SOON, async || (passes.load(Ordering::SeqCst) > 0).then_some(())).await;
    eventually("ready", SOON, async || (code(free, "/readyz").await == Some(200)).then_some(())).await;
    assert_eq!(code(free, "/healthz").await, Some(200));
    let leases: Api<Lease> = Api::namespaced(plane.client(), "haldane-system");
    let holder = async || leases.get(&ns).await.unwrap().spec.unwrap().holder_identity;
    assert_eq!(holder().await, Some(format!("{ns}-0")));

    stop.cancel();
    tokio::time::timeout(Duration::from_secs(3), operator).await.expect("within 3 s").unwrap().unwrap();
    assert_eq!(holder().await, None, "the lease was given back");
    assert_eq!(code(free, "/healthz").await, None);
}
