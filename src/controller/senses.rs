//! What this process perceives by itself: samples, health checks, and the administrators' objects.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::{Api, Client, ResourceExt};

use super::{
    context::{Key, Kicks},
    providers::Providers,
    sampler::{Interest, Sampler},
};
use crate::{
    api::{Notifier, Release, State, provider::allows},
    observe::{
        clock, orders,
        probe::{Asked, Checkup, Prober, merge},
        prometheus::{preflight::preflight, presets::Family},
        seen::{Blind, Feed, Pod, Probe, Side},
        world::World,
    },
};

/// How long the answer whether orders are proven is believed.
const FRESH: Duration = Duration::from_secs(30);

/// Samples, health checks, providers and notifiers.
pub struct Senses {
    client: Client,
    operator_namespace: String,
    providers: Arc<Providers>,
    sampler: Sampler,
    prober: Prober,
    proven: Mutex<Option<(bool, Instant)>>,
}

impl Senses {
    /// Errors: a sentence, if no HTTP client can be made.
    pub fn new(client: Client, operator_namespace: &str, kicks: &Kicks) -> Result<Self, String> {
        let kicks = kicks.clone();
        let news: crate::observe::probe::News =
            Arc::new(move |key: &(String, String)| kicks.news(&key.0, &key.1, None));
        let providers = Arc::new(Providers::new(&client, operator_namespace));
        Ok(Self {
            sampler: Sampler::new(providers.clone(), news.clone()),
            prober: Prober::new(news)?,
            providers,
            client,
            operator_namespace: operator_namespace.to_owned(),
            proven: Mutex::default(),
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

    /// Leaves a Release alone.
    pub fn forget(&self, key: &Key) {
        self.sampler.forget(&pair(key));
        self.prober.forget(&pair(key));
    }

    /// Leaves all of them alone, as when leadership is lost.
    pub fn clear(&self) {
        self.sampler.clear();
        self.prober.clear();
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
    pub async fn problems(&self, release: &Release, state: Option<&State>) -> Vec<String> {
        if state.is_some_and(State::active) {
            return Vec::new();
        }
        let namespace = release.namespace().unwrap_or_default();
        let mut problems = Vec::new();
        if let Some(name) = &release.spec.checks.provider {
            problems.extend(self.permitted(name, &namespace).await.err());
            problems.extend(Family::of(&release.spec.checks.source).err());
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

    /// Whether the version that serves can be measured with the Release's queries. Asked while it waits, and not where
    /// the provider or a query is known to be unusable (`problems`).
    pub async fn blind(&self, release: &Release, state: Option<&State>, pods: &[Pod]) -> Option<Blind> {
        let Some(State::Waiting { .. }) = state else { return None };
        let namespace = release.namespace().unwrap_or_default();
        let provider = self.providers.get(release.spec.checks.provider.as_deref()?).await.ok()?;
        let family = Family::of(&release.spec.checks.source).ok()?;
        let serving: Vec<String> = pods
            .iter()
            .filter(|p| p.side == Side::Stable && p.ready && !p.terminating)
            .map(|p| p.name.clone())
            .collect();
        if serving.is_empty() || !provider.allows(&namespace) {
            return None; // other gates speak of that
        }
        preflight(&provider, &family, &namespace, &serving).await
    }

    /// Whether the API server proves who orders.
    pub async fn orders_proven(&self) -> bool {
        let known = *self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((proven, at)) = known
            && at.elapsed() < FRESH
        {
            return proven;
        }
        let proven = orders::proven(&self.client).await;
        *self.proven.lock().unwrap_or_else(PoisonError::into_inner) = Some((proven, clock::monotonic()));
        proven
    }
}

fn pair(key: &Key) -> (String, String) {
    (key.namespace.clone(), key.name.clone())
}
