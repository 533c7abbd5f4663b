//! The loop: watched Releases become passes, a bounded number at a time, while this process leads.

use std::{convert::Infallible, future::Future, sync::Arc};

use futures::{Stream, StreamExt, channel::mpsc::UnboundedReceiver, future::join_all, stream::select, stream::unfold};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        Controller, Predicate, PredicateConfig, WatchStreamExt,
        controller::{self, Action},
        predicates, reflector,
        reflector::ObjectRef,
        watcher,
    },
};
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::debug;

use super::{
    context::{Context, Key, News},
    pass::{self, Work},
    watch as watches,
    watch::Guarded,
};
use crate::{api::units::At, observe::clock};

/// What is watched, and how much runs at once.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Empty: all namespaces.
    pub namespaces: Vec<String>,
    /// Passes at the same time.
    pub concurrency: u16,
}

/// Runs until `stop`. `synced` turns true when all Releases have been listed once; a standby lists them too.
pub async fn run(
    ctx: Context,
    watch_client: Client,
    work: Arc<dyn Work>,
    scope: Scope,
    synced: watch::Sender<bool>,
    stop: CancellationToken,
) {
    let namespaces: Vec<Option<String>> =
        if scope.namespaces.is_empty() { vec![None] } else { scope.namespaces.iter().cloned().map(Some).collect() };
    let slots = Arc::new(Semaphore::new(usize::from(scope.concurrency)));
    let (loops, stores): (Vec<_>, Vec<_>) = namespaces
        .into_iter()
        .map(|namespace| one(&ctx, &watch_client, namespace, &work, &scope, &slots, &stop))
        .unzip();
    let filled = async {
        for store in &stores {
            if store.wait_until_ready().await.is_err() {
                return;
            }
        }
        synced.send_replace(true);
        std::future::pending::<()>().await;
    };
    let _news = AbortOnDropHandle::new(tokio::spawn(news(ctx.kicks.listen_to_news(), ctx.clone(), work.clone())));
    let near = watches::near(watch_client.clone(), ctx.active.clone(), ctx.kicks.clone());
    tokio::select! {
        _ = join_all(loops) => {}
        () = filled => {}
        () = near => {}
        () = terms(&ctx, work.as_ref()) => {}
        () = evenly(&ctx) => {}
    }
}

/// While a release is on its way, its steps last as long as they should, also when somebody sets the machine's clock.
async fn evenly(ctx: &Context) {
    let mut active = ctx.active.changes();
    loop {
        clock::even(!active.borrow_and_update().is_empty());
        if active.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Attends to news one after the other, in memory, so that none waits for a pass or for a free slot.
async fn news(mut heard: UnboundedReceiver<News>, ctx: Context, work: Arc<dyn Work>) {
    while let Some(news) = heard.next().await {
        if *ctx.leading.borrow() {
            pass::first(work.as_ref(), &news, &ctx);
        }
    }
}

/// Leadership ends: what belongs to a term is dropped. The passes have noticed by themselves.
async fn terms(ctx: &Context, work: &dyn Work) {
    let mut leading = ctx.leading.clone();
    loop {
        let leads = *leading.borrow_and_update();
        ctx.metrics.leader(leads);
        if !leads {
            ctx.outbox.stop();
            ctx.active.clear();
            work.term_ended();
        }
        if leading.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The loop of one namespace, or of all.
fn one(
    ctx: &Context,
    client: &Client,
    namespace: Option<String>,
    work: &Arc<dyn Work>,
    scope: &Scope,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> (impl Future<Output = ()>, reflector::Store<Guarded>) {
    let api: Api<Guarded> = match &namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let (store, writer) = reflector::store();
    let forget = {
        let ctx = ctx.clone();
        move |event: &watcher::Result<watcher::Event<Guarded>>| match event {
            Ok(watcher::Event::Delete(gone)) => {
                let key = Key { namespace: gone.namespace().unwrap_or_default(), name: gone.name_any() };
                ctx.forget(&key, &gone.uid().unwrap_or_default());
            }
            Ok(_) => {}
            Err(error) => debug!(%error, "the watch of Releases failed; trying again"),
        }
    };
    // Our own status writes need no pass of their own: the pass that wrote says when the next one is due.
    let changes = predicates::generation::<Guarded>.combine(predicates::annotations).combine(predicates::finalizers);
    // The watch itself waits after an error. Shown one, the controller would stop listening for up to a minute, to orders
    // and new terms too.
    let releases = watcher(api, watches::config())
        .backoff(watches::Patience::default())
        .modify(|r| r.managed_fields_mut().clear())
        .inspect(forget)
        .reflect(writer)
        .touched_objects()
        .predicate_filter(changes, PredicateConfig::default())
        .filter(|change| std::future::ready(change.is_ok()));
    let kicks = ctx.kicks.listen().map(|key| ObjectRef::new(&key.name).within(&key.namespace));
    // A new leader looks at everything, and so does one that is to retire or to go on.
    let terms = select(terms_begun(ctx.leading.clone()), turns(ctx.retiring.clone()));
    let (ctx, work, slots) = (ctx.clone(), work.clone(), slots.clone());
    let triggers = watches::always(client.clone(), namespace, store.clone(), ctx.kicks.clone());
    let controller = Controller::for_stream(releases, store.clone())
        .with_config(controller::Config::default().concurrency(scope.concurrency))
        .reconcile_on(kicks)
        .reconcile_all_on(terms)
        .graceful_shutdown_on(stop.clone().cancelled_owned());
    let stop = stop.clone();
    let passes = controller
        .run(
            move |object, ctx: Arc<Context>| {
                let (work, slots, stop) = (work.clone(), slots.clone(), stop.clone());
                async move {
                    let pass = async {
                        let _slot = slots.acquire().await;
                        pass::run(work.as_ref(), object, &ctx).await
                    };
                    Ok::<_, Infallible>(stop.run_until_cancelled(pass).await.unwrap_or_else(Action::await_change))
                }
            },
            |_, never, _| match *never {},
            Arc::new(ctx),
        )
        .for_each(|outcome| {
            if let Err(error) = outcome {
                debug!(%error, "loop"); // a kick for a Release that is gone, or a watch that will be tried again
            }
            std::future::ready(())
        });
    let run = async move {
        tokio::select! {
            () = passes => {}
            () = triggers => {}
        }
    };
    (run, store)
}

/// One item each time leadership comes.
fn terms_begun(leading: watch::Receiver<bool>) -> impl Stream<Item = ()> + Send + 'static {
    unfold(leading, |mut leading| async move {
        leading.changed().await.ok()?;
        leading.wait_for(|leads| *leads).await.ok()?;
        Some(((), leading))
    })
}

/// One item each time the operator is asked to retire, or is asked no more.
fn turns(retiring: watch::Receiver<Option<At>>) -> impl Stream<Item = ()> + Send + 'static {
    unfold(retiring, |mut retiring| async move {
        retiring.changed().await.ok()?;
        Some(((), retiring))
    })
}
