//! Numbers about ourselves, in the OpenMetrics text format.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::Registry,
};

use crate::controller::client::{Calls, Verb};

/// Passes are quick or they hang; the limit of a whole pass is 20 s.
const PASS_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 20.0];
/// The promise is 2 s from the decision to the route.
const ROUTE_BOUNDS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByPhase {
    phase: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByVerdict {
    verdict: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByNotice {
    channel: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByVerb {
    verb: &'static str,
}

/// All of them. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    numbers: Arc<Numbers>,
}

struct Numbers {
    calls: Arc<Calls>,
    passes: Family<ByOutcome, Counter>,
    pass_seconds: Histogram,
    releases: Family<ByPhase, Gauge>,
    /// The phase each Release was counted under, by UID.
    phases: Mutex<HashMap<String, String>>,
    verdicts: Family<ByVerdict, Gauge>,
    verdict_changes: Family<ByVerdict, Counter>,
    /// The verdict each Release was counted under, by UID.
    judged: Mutex<HashMap<String, String>>,
    rollbacks: Counter,
    route_seconds: Histogram,
    notices: Family<ByNotice, Counter>,
    leader: Gauge,
    too_new: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("haldane");
        let numbers = Numbers {
            calls: Arc::default(),
            passes: Family::default(),
            pass_seconds: Histogram::new(PASS_BOUNDS),
            releases: Family::default(),
            phases: Mutex::default(),
            verdicts: Family::default(),
            verdict_changes: Family::default(),
            judged: Mutex::default(),
            rollbacks: Counter::default(),
            route_seconds: Histogram::new(ROUTE_BOUNDS),
            notices: Family::default(),
            leader: Gauge::default(),
            too_new: Counter::default(),
        };
        registry.register("passes", "Passes over a Release, by how they ended", numbers.passes.clone());
        registry.register("pass_seconds", "How long a pass took", numbers.pass_seconds.clone());
        registry.register("releases", "Releases, by phase", numbers.releases.clone());
        registry.register("verdicts", "Releases under way, by their verdict", numbers.verdicts.clone());
        registry.register(
            "verdict_changes",
            "Verdicts that a Release did not have before, by verdict",
            numbers.verdict_changes.clone(),
        );
        registry.register("rollbacks", "Rollbacks decided", numbers.rollbacks.clone());
        registry.register(
            "rollback_route_seconds",
            "From the decision to roll back until the route or pin was written",
            numbers.route_seconds.clone(),
        );
        registry.register("notices", "Attempts to deliver notices, by channel and outcome", numbers.notices.clone());
        registry.register("leader", "1 while this process leads", numbers.leader.clone());
        registry.register(
            "statuses_too_new",
            "Passes left out because a newer version of the operator wrote the status",
            numbers.too_new.clone(),
        );
        registry.register_collector(Box::new(Requests(numbers.calls.clone())));
        Self { registry: Arc::new(registry), numbers: Arc::new(numbers) }
    }
}

impl Metrics {
    /// The counters that clients add to.
    pub fn calls(&self) -> Arc<Calls> {
        self.numbers.calls.clone()
    }

    /// A pass has ended: `ok`, `stale`, `error`, `timeout`, `panic` or `standby`.
    pub fn pass(&self, outcome: &'static str, took: Duration) {
        self.numbers.passes.get_or_create(&ByOutcome { outcome }).inc();
        self.numbers.pass_seconds.observe(took.as_secs_f64());
    }

    /// Counts a Release under its phase; `None` when it is gone.
    pub fn phase(&self, uid: &str, phase: Option<&str>) {
        let gauge = |phase: &str| self.numbers.releases.get_or_create_owned(&ByPhase { phase: phase.to_owned() });
        moved(&self.numbers.phases, uid, phase, gauge);
    }

    /// Counts a Release under its verdict; `None` when it is not judged now.
    pub fn verdict(&self, uid: &str, verdict: Option<&str>) {
        let label = |verdict: &str| ByVerdict { verdict: verdict.to_owned() };
        let gauge = |verdict: &str| self.numbers.verdicts.get_or_create_owned(&label(verdict));
        if moved(&self.numbers.judged, uid, verdict, gauge)
            && let Some(verdict) = verdict
        {
            self.numbers.verdict_changes.get_or_create(&label(verdict)).inc();
        }
    }

    pub fn rollback(&self) {
        self.numbers.rollbacks.inc();
    }

    /// How long it took from the decision to roll back to the write that carries it out.
    pub fn route_written(&self, took: Duration) {
        self.numbers.route_seconds.observe(took.as_secs_f64());
    }

    /// An attempt to deliver: `delivered`, `failed` or `given_up`.
    pub fn notice(&self, channel: &str, outcome: &'static str) {
        self.numbers.notices.get_or_create(&ByNotice { channel: channel.to_owned(), outcome }).inc();
    }

    pub fn leader(&self, leads: bool) {
        self.numbers.leader.set(i64::from(leads));
    }

    pub fn status_too_new(&self) {
        self.numbers.too_new.inc();
    }

    /// The text of `/metrics`.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Takes what has this UID from the gauge it was counted in to that of `now`. Returns whether that is another one.
fn moved(last: &Mutex<HashMap<String, String>>, uid: &str, now: Option<&str>, gauge: impl Fn(&str) -> Gauge) -> bool {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let before = match now {
        Some(now) => last.insert(uid.to_owned(), now.to_owned()),
        None => last.remove(uid),
    };
    if before.as_deref() == now {
        return false;
    }
    if let Some(before) = before {
        gauge(&before).dec();
    }
    if let Some(now) = now {
        gauge(now).inc();
    }
    true
}

/// Reads the clients' counters when asked.
#[derive(Debug)]
struct Requests(Arc<Calls>);

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "api_calls",
            "Requests sent to the API server, by verb.",
            None,
            MetricType::Counter,
        )?;
        for verb in Verb::ALL {
            let labels = ByVerb { verb: verb.name() };
            ConstCounter::new(self.0.count(verb)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
