//! Many Deployments with their Services, routes and Releases, and what is played around them: pods, gateway, Prometheus.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures::{StreamExt, TryStreamExt};
use haldane::api::{Release, names::candidate_set, state::State};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, ResourceExt,
    api::ListParams,
    runtime::watcher::{self, Event, watcher},
};
use tokio::{sync::broadcast, task::JoinHandle};

use super::{
    audit::{Audit, Write},
    harness::{Plane, SOON, eventually, gateway::Gateway, metrics, metrics::Metrics, pods::Agent},
};

/// Long enough for any part of a release here.
const LONG: Duration = Duration::from_mins(5);
/// Releases in one namespace.
const TOGETHER: usize = 20;

pub struct Fleet {
    pub plane: Plane,
    pub audit: Audit,
    pub shops: Vec<Shop>,
    pub metrics: Metrics,
    answers: broadcast::Sender<(String, SystemTime)>,
    seen: Arc<Mutex<BTreeMap<(String, String), Release>>>,
    watching: JoinHandle<()>,
    played: Vec<(Agent, Gateway)>,
}

/// One Deployment and its Release.
pub struct Shop {
    pub ns: String,
    pub name: String,
    image: AtomicU32,
}

impl Fleet {
    /// `count` Deployments of `replicas` pods, each with a Release that has nothing to do.
    pub async fn open(plane: Plane, count: usize, replicas: u32) -> Self {
        let metrics = Metrics::start(Duration::from_secs(1)).await;
        let (answers, _) = broadcast::channel(1024);
        let tell = answers.clone();
        metrics.tell(move |pods, sent| {
            if let Some(sent) = sent {
                let _nobody_waits = tell.send((pods.to_owned(), sent));
            }
        });
        let mut fleet = Self {
            audit: Audit::of(plane.kubeconfig().with_file_name("audit.log")),
            seen: Arc::default(),
            watching: tokio::spawn(async {}),
            played: Vec::new(),
            shops: Vec::new(),
            plane,
            metrics,
            answers,
        };
        fleet.watching = tokio::spawn(watch(Api::all(fleet.plane.client()), fleet.seen.clone()));
        for block in 0..count.div_ceil(TOGETHER) {
            let ns = fleet.plane.namespace().await;
            fleet.played.push((Agent::start(&fleet.plane, &ns), Gateway::start(&fleet.plane, &ns)));
            for number in block * TOGETHER..count.min((block + 1) * TOGETHER) {
                let name = format!("s{number:03}");
                fleet.metrics.home(&format!("{name}-"), &ns);
                fleet.shops.push(Shop { ns: ns.clone(), name, image: AtomicU32::new(1) });
            }
        }
        let spaces: Vec<&str> = fleet.shops.iter().map(|s| s.ns.as_str()).collect();
        let provider = format!(
            "{{apiVersion: haldane.dev/v1alpha1, kind: MetricProvider, metadata: {{name: bench}}, spec: {{url: '{}', \
             allowedNamespaces: ['*'], scrapeInterval: 1s}}}}",
            fleet.metrics.url
        );
        println!("  {count} Deployments of {replicas} pods in {} namespaces", spaces.len().div_ceil(TOGETHER));
        fleet.plane.apply_yaml("haldane-system", &provider).await;
        for shop in &fleet.shops {
            fleet.plane.apply_yaml(&shop.ns, &objects(&shop.name, replicas)).await;
        }
        let deployments: Api<Deployment> = Api::all(fleet.plane.client());
        let all = ListParams::default();
        eventually("all pods are ready", LONG, async || {
            let list = deployments.list(&all).await.map_err(|e| e.to_string())?;
            let ready = |d: &&Deployment| d.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0) > 0;
            let ready = list.items.iter().filter(|d| d.name_any().starts_with('s')).filter(ready).count();
            if ready >= fleet.shops.len() { Ok(()) } else { Err(format!("{ready} Deployments")) }
        })
        .await;
        for shop in &fleet.shops {
            fleet.wish(shop, 1, LONG_STEP).await;
        }
        fleet
    }

    /// Writes the Release.
    pub async fn wish(&self, shop: &Shop, image: u32, steps: &str) {
        let name = &shop.name;
        let text = format!(
            "
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {{name: {name}}}
spec:
  targetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}
  version: v{image}
  images: {{app: 'shop:{image}'}}
  traffic: {{routes: [{{name: {name}}}]}}
  plan: {{steps: [{steps}], watch: {{for: 1s}}, deadline: 10m}}
  checks: {{provider: bench, warmUp: 0s, minRequests: 10, errorRate: {{max: 5%, for: 0s}}}}
"
        );
        self.plane.apply_yaml(&shop.ns, &text).await;
    }

    /// Asks for a version that was not there before; gives its number.
    pub async fn next(&self, shop: &Shop, steps: &str) -> u32 {
        let image = shop.image.fetch_add(1, Ordering::Relaxed) + 1;
        self.wish(shop, image, steps).await;
        image
    }

    pub fn state(&self, shop: &Shop) -> Option<State> {
        self.release(shop)?.status?.state
    }

    pub fn release(&self, shop: &Shop) -> Option<Release> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&(shop.ns.clone(), shop.name.clone())).cloned()
    }

    /// How many are on their way.
    pub fn active(&self) -> usize {
        self.shops.iter().filter(|s| self.state(s).is_some_and(|s| s.active())).count()
    }

    pub async fn until(&self, shop: &Shop, what: &str, so: impl Fn(&State) -> bool) {
        eventually(&format!("{}/{}: {what}", shop.ns, shop.name), LONG, async || match self.state(shop) {
            Some(state) if so(&state) => Ok(()),
            state => Err((state.map(|s| s.name()), self.release(shop).and_then(|r| r.status).map(|s| s.message))),
        })
        .await;
    }

    /// Its version serves its share.
    pub async fn in_step(&self, shop: &Shop) {
        self.until(shop, "in its step", |s| matches!(s, State::Stepping { settled: Some(_), .. })).await;
    }

    /// Its version fails from now on. Gives the moment at which the first answer that shows it had been sent.
    pub async fn breach(&self, shop: &Shop) -> SystemTime {
        let mut answers = self.answers.subscribe();
        let state = self.state(shop);
        let id = state.as_ref().and_then(State::candidate).map(|c| c.id.clone());
        let pods = candidate_set(&shop.name, &id.expect("a candidate"));
        self.metrics.fail(&pods);
        loop {
            match answers.recv().await {
                Ok((of, sent)) if of == pods => return sent,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => panic!("the Prometheus has ended"),
            }
        }
    }

    /// An order of a person. Gives the moment of the answer.
    pub async fn order_back(&self, shop: &Shop) -> SystemTime {
        let release = self.release(shop).expect("a Release");
        let revision = release.status.as_ref().and_then(|s| s.candidate_revision.clone()).expect("a candidate");
        let text = format!(
            "{{apiVersion: haldane.dev/v1alpha1, kind: ReleaseAction, metadata: {{generateName: {name}-}}, spec: {{release: \
             {name}, releaseUid: {}, revision: '{revision}', type: Rollback, by: sam}}}}",
            release.uid().expect("a UID"),
            name = shop.name,
        );
        let sam = self.plane.client_as("sam", &["system:masters"]);
        let given = self.plane.create_yaml(&sam, &shop.ns, &text).await;
        let at = metrics::now();
        given.expect("the order is taken");
        at
    }

    /// The write that takes the traffic away.
    pub async fn withdrawn(&self, shop: &Shop, from: usize) -> Write {
        let state = self.state(shop);
        let id = state.as_ref().and_then(State::candidate).map(|c| c.id.clone());
        let is = |w: &Write| w.weight == Some(0) && w.code == 200 && w.namespace == shop.ns && w.name == shop.name;
        let waits = tokio::time::timeout(SOON, self.audit.first(from, is)).await;
        let write =
            waits.unwrap_or_else(|_| panic!("{}/{} kept its traffic: {:?}", shop.ns, shop.name, self.state(shop)));
        self.metrics.silence(&candidate_set(&shop.name, &id.expect("a candidate")));
        write
    }

    /// It has come to rest, and its next version is as good as any.
    pub async fn rested(&self, shop: &Shop) {
        self.until(shop, "back", |s| matches!(s, State::RolledBack { .. } | State::Idle { .. })).await;
        self.metrics.heal(&candidate_set(&shop.name, ""));
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// A step that ends only badly.
pub const LONG_STEP: &str = "{pods: 1, weight: 20, for: 10h}, {weight: 100, for: 0s}";
/// A release of a few seconds.
pub const QUICK_STEPS: &str = "{pods: 1, weight: 20, for: 1s}, {weight: 100, for: 0s}";

fn objects(name: &str, replicas: u32) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: app, image: 'shop:1', ports: [{{name: http, containerPort: 8080}}]}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: http}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{name: front}}]
  rules: [{{backendRefs: [{{name: {name}, port: 80}}]}}]
"
    )
}

async fn watch(api: Api<Release>, seen: Arc<Mutex<BTreeMap<(String, String), Release>>>) {
    let mut events = watcher(api, watcher::Config::default()).boxed();
    loop {
        match events.try_next().await {
            Ok(Some(Event::Apply(release) | Event::InitApply(release))) => {
                let key = (release.namespace().unwrap_or_default(), release.name_any());
                seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key, release);
            }
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => return,
        }
    }
}
