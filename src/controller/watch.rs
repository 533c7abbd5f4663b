//! Watches: they only say that something changed. What it is now, a pass reads for itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    time::Duration,
};

use futures::{TryStreamExt, pin_mut};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, ReplicaSet},
        batch::v1::Job,
        core::v1::{Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, PartialObjectMeta},
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        reflector::Store,
        utils::Backoff,
        watcher::{self, DefaultBackoff, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{
    active::{Active, Extra, Interest, Near},
    context::{Key, Kicks},
};
use crate::{
    api::{
        Release, ReleaseAction,
        action::ActionType,
        routes::{self, destination_rule},
    },
    observe::orders,
};

/// A watch that says nothing is asked again after this long: a dead connection is noticed within it.
const WATCH_SECONDS: u32 = 60;
/// Objects per page of a first list.
const PAGE: u32 = 500;
/// How long a namespace stays watched after its last release has ended; the next one often follows.
const LINGER: Duration = Duration::from_secs(30);

/// A Release that may be unreadable.
pub type Guarded = DeserializeGuard<Release>;

/// Lists are quorum reads; kube's `any_semantic` would go back in time.
pub fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE)
}

/// Follows orders and Deployments for ever: each change kicks the Releases it concerns.
pub async fn always(client: Client, namespace: Option<String>, releases: Store<Guarded>, kicks: Kicks) {
    let actions: Api<DeserializeGuard<ReleaseAction>> = scoped(&client, namespace.as_deref());
    let orders = {
        let kicks = kicks.clone();
        follow("ReleaseAction", actions, move |action| {
            let Ok(action) = &action.0 else { return };
            let (namespace, release) = (action.namespace().unwrap_or_default(), action.spec.release.clone());
            if action.spec.r#type == ActionType::Rollback {
                // The one order that waits for nothing, whoever gave it.
                kicks.news(&namespace, &release, Some(orders::order(action.clone(), false)));
            } else {
                kicks.kick(&namespace, &release);
            }
        })
    };
    let deployments: Api<PartialObjectMeta<Deployment>> = scoped(&client, namespace.as_deref());
    let targets = follow("Deployment", deployments, move |deployment| {
        let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
        let concerned = |r: &Guarded| {
            r.namespace().as_deref() == Some(&namespace)
                && r.0.as_ref().is_ok_and(|release| release.spec.target_ref.name == name)
        };
        for release in releases.state_filter(concerned) {
            kicks.kick(&namespace, &release.name_any());
        }
    });
    tokio::join!(orders, targets);
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// What is watched of a namespace: the kinds that every cluster has, or one that a route of it needs.
type Ground = (String, Option<Extra>);

fn grounds(namespace: &str, releases: &BTreeMap<String, Interest>) -> Vec<Ground> {
    let extra = releases.values().flat_map(Interest::kinds).map(Some);
    std::iter::once(None).chain(extra).map(|extra| (namespace.to_owned(), extra)).collect()
}

/// Keeps the namespaces with something under way watched, and only those.
pub async fn near(client: Client, active: Active, kicks: Kicks) {
    let mut list = active.changes();
    let mut running: BTreeMap<Ground, CancellationToken> = BTreeMap::new();
    loop {
        let wanted: BTreeSet<Ground> = list.borrow_and_update().iter().flat_map(|(ns, all)| grounds(ns, all)).collect();
        for ground in &wanted {
            running.entry(ground.clone()).or_insert_with(|| {
                let (namespace, extra) = ground.clone();
                info!(namespace, ?extra, "watching");
                let stop = CancellationToken::new();
                let (client, active, kicks, until) = (client.clone(), active.clone(), kicks.clone(), stop.clone());
                let work = async move {
                    match extra {
                        None => Box::pin(namespace_of(client, namespace, active, kicks)).await,
                        Some(extra) => extra_of(client, namespace, extra, active, kicks).await,
                    }
                };
                tokio::spawn(async move { until.run_until_cancelled_owned(work).await });
                stop
            });
        }
        let idle = running.keys().any(|ground| !wanted.contains(ground));
        let changed = async {
            // The sender lives in `active`, which we hold.
            list.changed().await.is_ok()
        };
        if idle {
            tokio::select! {
                _ = changed => {}
                () = tokio::time::sleep(LINGER) => running.retain(|ground, stop| {
                    let keep = wanted.contains(ground);
                    if !keep {
                        info!(namespace = ground.0, extra = ?ground.1, "not watching any more");
                        stop.cancel();
                    }
                    keep
                }),
            }
        } else if !changed.await {
            return;
        }
    }
}

/// Kicks the Releases that a changed object concerns.
fn kicker(near: Near, active: &Active, kicks: &Kicks) -> impl Fn(&ObjectMeta) + use<> {
    let (active, kicks) = (active.clone(), kicks.clone());
    move |meta: &ObjectMeta| {
        for Key { namespace, name } in active.touched(&near, meta) {
            kicks.kick(&namespace, &name);
        }
    }
}

async fn namespace_of(client: Client, namespace: String, active: Active, kicks: Kicks) {
    let on = |near: Near| kicker(near, &active, &kicks);
    let (on_set, on_pod, on_service) = (on(Near::ReplicaSet), on(Near::Pod), on(Near::Service));
    let (on_slice, on_job) = (on(Near::EndpointSlice), on(Near::Job));
    tokio::join!(
        follow("ReplicaSet", metadata::<ReplicaSet>(&client, &namespace), move |o| on_set(&o.metadata)),
        follow("Pod", metadata::<Pod>(&client, &namespace), move |o| on_pod(&o.metadata)),
        follow("Service", metadata::<Service>(&client, &namespace), move |o| on_service(&o.metadata)),
        follow("EndpointSlice", metadata::<EndpointSlice>(&client, &namespace), move |o| on_slice(&o.metadata)),
        follow("Job", metadata::<Job>(&client, &namespace), move |o| on_job(&o.metadata)),
    );
}

async fn extra_of(client: Client, namespace: String, extra: Extra, active: Active, kicks: Kicks) {
    let resource: Option<ApiResource> = match &extra {
        Extra::DestinationRule => Some(destination_rule::resource()),
        Extra::Route(kind) => routes::kinds().into_iter().find_map(|k| Some(k.resource()).filter(|r| r.kind == *kind)),
    };
    let Some(resource) = resource else { return };
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::namespaced_with(client, &namespace, &resource);
    let on = kicker(Near::Extra(extra), &active, &kicks);
    follow(&resource.kind, api, move |o| on(&o.metadata)).await;
}

fn metadata<K>(client: &Client, namespace: &str) -> Api<PartialObjectMeta<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), namespace)
}

/// The usual pauses of a watch that failed, but never more than five seconds: after a long outage of the API server nobody
/// should be seen half a minute late.
#[derive(Default)]
pub struct Patience(DefaultBackoff);

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0.next()?.min(Duration::from_secs(5)))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// Calls `on` for each object that appeared, changed or went, for ever. Errors (a kind that is not installed, an API
/// server that is away) are told once and tried again with growing pauses.
async fn follow<K>(kind: &str, api: Api<K>, on: impl Fn(&K))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let stream = watcher(api, config()).backoff(Patience::default()).touched_objects();
    pin_mut!(stream);
    let mut told = String::new();
    loop {
        match stream.try_next().await {
            Ok(Some(object)) => {
                told.clear();
                on(&object);
            }
            Ok(None) => return,
            Err(error) => {
                let error = error.to_string();
                if error == told {
                    debug!(kind, error, "watch");
                } else {
                    info!(kind, error, "watch failed; trying again");
                    told = error;
                }
            }
        }
    }
}
