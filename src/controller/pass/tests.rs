//! Passes in their order, their delays and their limits.

use std::{
    future,
    sync::atomic::{AtomicU32, Ordering},
};

use kube::{Client, core::DeserializeGuard};
use tokio::sync::watch;

use super::*;
use crate::{
    controller::{active::Active, context::Kicks},
    tell::{
        metrics::Metrics,
        outbox::{Letter, Outbox, Sender, Sent},
    },
};

struct Nowhere;

impl Sender for Nowhere {
    fn send<'a>(&'a self, _: &'a Letter) -> BoxFuture<'a, Sent> {
        future::ready(Sent::Delivered).boxed()
    }
}

fn context() -> (Context, watch::Sender<bool>) {
    let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        Err::<http::Response<kube::client::Body>, _>(tower::BoxError::from("nobody answers"))
    });
    let (leader, leading) = watch::channel(true);
    let metrics = Metrics::default();
    let ctx = Context {
        client: Client::new(nobody, "default"),
        operator_namespace: "haldane-system".into(),
        identity: "me".into(),
        image: None,
        outbox: Outbox::new(Nowhere, Arc::new(|_, _| {}), metrics.clone()),
        metrics,
        kicks: Kicks::default(),
        notes: Arc::default(),
        active: Active::default(),
        backoff: Arc::default(),
        leading,
        retiring: watch::channel(None).1,
    };
    (ctx, leader)
}

fn release() -> Arc<Guarded> {
    let release = json!({
        "apiVersion": "haldane.dev/v1alpha1",
        "kind": "Release",
        "metadata": {"name": "checkout", "namespace": "shop", "uid": "u1"},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
            "images": {"app": "shop:2"},
        },
    });
    Arc::new(DeserializeGuard(Ok(serde_json::from_value(release).unwrap())))
}

/// Does what it is told, and counts how often it came to the end.
struct Script(fn() -> BoxFuture<'static, Result<After>>, Arc<AtomicU32>);

impl Work for Script {
    fn pass(&self, _: Arc<Release>, _: Context) -> BoxFuture<'static, Result<After>> {
        let (pass, ended) = ((self.0)(), self.1.clone());
        async move {
            let after = pass.await;
            ended.fetch_add(1, Ordering::SeqCst);
            after
        }
        .boxed()
    }
}

fn script(pass: fn() -> BoxFuture<'static, Result<After>>) -> Script {
    Script(pass, Arc::default())
}

fn passes(ctx: &Context, outcome: &str) -> bool {
    ctx.metrics.text().unwrap().contains(&format!("haldane_passes_total{{outcome=\"{outcome}\"}} 1"))
}

#[tokio::test]
async fn a_pass_says_when_the_next_one_is_due() {
    let (ctx, _leader) = context();
    let wake = script(|| future::ready(Ok(After { wake: Some(Duration::from_secs(7)), interest: None })).boxed());
    assert_eq!(run(&wake, release(), &ctx).await, Action::requeue(Duration::from_secs(7)));
    let rest = script(|| future::ready(Ok(After::default())).boxed());
    assert_eq!(run(&rest, release(), &ctx).await, Action::await_change());
}

#[tokio::test]
async fn a_panic_ends_its_pass_and_nothing_else() {
    let (ctx, _leader) = context();
    let panics = script(|| async { panic!("a bug") }.boxed());
    let action = run(&panics, release(), &ctx).await;
    assert_ne!(action, Action::await_change(), "it is tried again");
    assert!(passes(&ctx, "panic"));
    let fine = script(|| future::ready(Ok(After::default())).boxed());
    run(&fine, release(), &ctx).await;
    assert!(passes(&ctx, "ok"));
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_hangs_is_ended() {
    let (ctx, _leader) = context();
    let hangs = script(|| future::pending().boxed());
    let action = run(&hangs, release(), &ctx).await;
    assert_ne!(action, Action::await_change());
    assert!(passes(&ctx, "timeout"));
}

#[tokio::test]
async fn a_conflict_is_looked_at_again_at_once_and_is_no_failure() {
    let (ctx, _leader) = context();
    let stale = script(|| future::ready(Err(Error::Stale("Release checkout".into()))).boxed());
    for _ in 0..10 {
        assert_eq!(run(&stale, release(), &ctx).await, Action::requeue(LOOK_AGAIN));
    }
}

#[tokio::test]
async fn without_leadership_no_pass_begins_and_a_running_one_is_dropped() {
    let (ctx, leader) = context();
    let hangs = script(|| {
        async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(After::default())
        }
        .boxed()
    });
    let object = release();
    let (action, ()) = tokio::join!(run(&hangs, object.clone(), &ctx), async {
        tokio::task::yield_now().await;
        leader.send_replace(false);
    });
    assert_eq!(action, Action::await_change());
    assert_eq!(run(&hangs, object, &ctx).await, Action::await_change());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(hangs.1.load(Ordering::SeqCst), 0, "the task went with the pass");
    assert!(!ctx.metrics.text().unwrap().contains("haldane_passes_total{"));
}

#[tokio::test]
async fn what_is_under_way_is_watched_until_it_ends() {
    let (ctx, _leader) = context();
    let moving = script(|| {
        let interest = Some(Interest { deployment: "checkout".into(), ..Interest::default() });
        future::ready(Ok(After { wake: None, interest })).boxed()
    });
    run(&moving, release(), &ctx).await;
    assert!(ctx.active.changes().borrow().contains_key("shop"));
    let ended = script(|| future::ready(Ok(After::default())).boxed());
    run(&ended, release(), &ctx).await;
    assert!(ctx.active.changes().borrow().is_empty());
}

#[test]
fn two_failed_writes_permit_to_lower_without_a_record_and_a_stored_one_ends_that() {
    let (notes, uid) = (crate::controller::context::Notes::default(), "u1");
    assert!(!notes.unrecorded(uid));
    notes.not_stored(uid);
    assert!(!notes.unrecorded(uid));
    notes.not_stored(uid);
    assert!(notes.unrecorded(uid) && !notes.unrecorded("u2"));
    notes.stored(uid);
    assert!(!notes.unrecorded(uid));
}
