//! What this process perceives by itself: samples, health checks, and the administrators' objects.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::{Api, Client, ResourceExt};

use super::{
    context::{Key, Kicks},
    preflights::{Preflights, Question},
    providers::Providers,
    sampler::{Interest, Sampler},
};
use crate::{
    api::{Notifier, Release, State, provider::allows},
    observe::{
        clock, holding, orders,
        probe::{Asked, Checkup, Prober, merge},
        prometheus::{own::Own, presets::Family},
        seen::{Blind, Feed, Pod, Probe, Side},
        world::World,
    },
};

/// How long the answer is believed whether a policy stands.
const FRESH: Duration = Duration::from_secs(30);

/// Samples, health checks, providers and notifiers.
pub struct Senses {
    client: Client,
    operator_namespace: String,
    providers: Arc<Providers>,
    sampler: Sampler,
    prober: Prober,
    preflights: Preflights,
    proven: Stands,
    at_change: Stands,
}

/// Whether a policy stands, and when that was asked.
#[derive(Default)]
struct Stands(Mutex<Option<(bool, Instant)>>);

impl Stands {
    /// What `ask` says, or said a moment ago; where it says nothing, what it said last. `false`: it never said anything.
    async fn known(&self, ask: impl Future<Output = Option<bool>>) -> bool {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known {
            Some((stands, at)) if at.elapsed() < FRESH => return stands,
            _ => {}
        }
        let stands = ask.await.or(known.map(|(stands, _)| stands)).unwrap_or(false);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((stands, clock::monotonic()));
        stands
    }
}

impl Senses {
    /// Errors: a sentence, if no HTTP client can be made.
    pub fn new(client: Client, operator_namespace: &str, kicks: &Kicks) -> Result<Self, String> {
        let providers = Arc::new(Providers::new(&client, operator_namespace));
        let preflights = Preflights::new(providers.clone(), kicks.clone());
        let kicks = kicks.clone();
        let news: crate::observe::probe::News =
            Arc::new(move |key: &(String, String)| kicks.news(&key.0, &key.1, None));
        Ok(Self {
            sampler: Sampler::new(providers.clone(), news.clone()),
            prober: Prober::new(news)?,
            preflights,
            providers,
            client,
            operator_namespace: operator_namespace.to_owned(),
            proven: Stands::default(),
            at_change: Stands::default(),
        })
    }

    /// The samples of a release on its way. A provider that is named and silent is never mistaken for none. Asks nobody:
    /// whether the provider may be used is the sampler's own question.
    pub fn feed(&self, key: &Key, release: &Release) -> Feed {
        if release.spec.checks.provider.is_none() {
            return Feed::Unset;
        }
        match self.sampler.feed(&pair(key)) {
            Feed::Unset => Feed::NoData { why: "no samples have been read yet".into() },
            known => known,
        }
    }

    async fn permitted(&self, provider: &str, namespace: &str) -> Result<(), String> {
        let found = self.providers.get(provider).await?;
        if found.allows(namespace) {
            return Ok(());
        }
        Err(format!(
            "MetricProvider {provider} does not allow namespace {namespace}; add it to its spec.allowedNamespaces"
        ))
    }

    pub fn probes(&self, key: &Key) -> Vec<Probe> {
        merge(self.prober.probes(&pair(key)), self.sampler.scrapes(&pair(key)))
    }

    /// A Release is gone: nothing of it is kept.
    pub fn forget(&self, key: &Key) {
        self.rest(key);
        self.preflights.forget(key);
    }

    /// A Release is not on its way: its pods are neither sampled nor checked.
    pub fn rest(&self, key: &Key) {
        self.sampler.forget(&pair(key));
        self.prober.forget(&pair(key));
    }

    /// Leaves all of them alone, as when leadership is lost.
    pub fn clear(&self) {
        self.sampler.clear();
        self.prober.clear();
        self.preflights.clear();
    }

    /// Samples and checks the pods of a release on its way.
    pub fn follow(&self, key: &Key, release: &Release, state: &State, world: &World) {
        let checks = &release.spec.checks;
        let pods: Vec<String> = world.seen.pods.iter().map(|p| p.name.clone()).collect();
        let evidence = release.status.as_ref().and_then(|s| s.memory.evidence.as_ref());
        let longest = checks.error_rate.hold.0.max(checks.latency.hold.0);
        if checks.provider.is_some() {
            self.sampler.watch(Interest {
                key: pair(key),
                provider: checks.provider.clone(),
                source: checks.source.clone(),
                metrics: checks.metrics.clone(),
                latency: checks.latency.max.0,
                pods,
                keep: longest + Duration::from_mins(1),
                since: evidence.and_then(|e| e.watermark),
            });
        }
        let Some(http) = checks.health.http.as_ref().filter(|_| state.active()) else { return };
        let port = http.port.parse().ok().or_else(|| world.ports.get(&http.port).copied());
        let running = world.seen.pods.iter().filter(|p| !p.terminating);
        let asked = running
            .filter_map(|p| Some(Asked { pod: p.name.clone(), ip: *world.addresses.get(&p.name)?, port: port? }));
        self.prober.watch(Checkup {
            key: pair(key),
            every: checks.health.every.0,
            path: http.path.clone(),
            pods: asked.collect(),
        });
    }

    /// Why a named object of the operator's namespace cannot be used. Asked before a release only.
    pub async fn problems(&self, release: &Release, state: Option<&State>, image: bool) -> Vec<String> {
        if state.is_some_and(State::active) {
            return Vec::new();
        }
        let namespace = release.namespace().unwrap_or_default();
        let mut problems = Vec::new();
        if release.spec.rollback.needs_trial() && !image {
            problems.push("the steps of spec.rollback need Haldane's own image, which the operator does not know; set HALDANE_IMAGE in its Deployment".to_owned());
        }
        if let Some(name) = &release.spec.checks.provider {
            problems.extend(self.permitted(name, &namespace).await.err());
            problems.extend(Family::of(&release.spec.checks.source).err());
            problems.extend(Own::of(&release.spec.checks.metrics).err());
        }
        let notifiers: Api<Notifier> = Api::namespaced(self.client.clone(), &self.operator_namespace);
        for name in release.spec.notify.iter().map(|n| &n.notifier) {
            match notifiers.get_opt(name).await {
                Ok(Some(found)) if allows(&found.spec.allowed_namespaces, &namespace) => {}
                Ok(Some(_)) => problems.push(format!(
                    "Notifier {name} does not allow namespace {namespace}; add it to its spec.allowedNamespaces"
                )),
                Ok(None) => problems.push(format!(
                    "Notifier {name} does not exist in namespace {}; create it, or take it out of spec.notify",
                    self.operator_namespace
                )),
                Err(_) => {} // a notifier never stands in the way of a release by being unreadable for a moment
            }
        }
        problems
    }

    /// Why the version that serves cannot be measured with the Release's queries. Asked while it waits.
    pub fn blind(&self, key: &Key, release: &Release, state: Option<&State>, pods: &[Pod]) -> Option<Blind> {
        let checks = &release.spec.checks;
        let provider = checks.provider.clone();
        let (Some(State::Waiting { .. }), Some(provider)) = (state, provider) else {
            self.preflights.forget(key);
            return None;
        };
        let serving = pods.iter().filter(|p| p.side == Side::Stable && p.ready && !p.terminating);
        let pods: Vec<String> = serving.map(|p| p.name.clone()).collect();
        if pods.is_empty() {
            return None; // other gates speak of that
        }
        self.preflights
            .blind(key, Question { provider, source: checks.source.clone(), metrics: checks.metrics.clone(), pods })
    }

    /// Whether the API server proves who orders.
    pub async fn orders_proven(&self) -> bool {
        self.proven.known(async { Some(orders::proven(&self.client).await) }).await
    }

    /// Whether the API server pauses held Deployments in the request that changes them.
    pub async fn holds_at_change(&self) -> bool {
        self.at_change.known(holding::at_change(&self.client)).await
    }
}

fn pair(key: &Key) -> (String, String) {
    (key.namespace.clone(), key.name.clone())
}
