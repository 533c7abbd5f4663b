//! What is measured of pods: counters, and health checks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::api::{checks::Metric, units::At};

/// What the metric provider has told.
#[derive(Clone, Debug, PartialEq)]
pub enum Feed {
    /// No provider is named: health alone decides.
    Unset,
    /// Nothing usable, and why.
    NoData {
        why: String,
    },
    Data(Samples),
}

/// Why the queries of a Release tell nothing of the version that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blind {
    /// They have not been asked yet.
    Unasked,
    /// One of them finds nothing: it would find nothing wrong either.
    Config(String),
    /// The provider gives no answer.
    NoData(String),
}

/// Raw counters per pod, up to a moment that all pods have reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    pub pods: Vec<PodSamples>,
    pub scrape_interval: Duration,
    /// The latency bound really counted above: the bucket's bound, seconds. `None`: no usable bucket.
    pub slow_bound: Option<f64>,
    /// The same as it was scraped, for the evidence.
    pub scrapes: Scrapes,
}

/// Counters of the last minutes, each pod's to its own last scrape, with all latency bounds that are followed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrapes {
    /// Seconds, rising, as text; the last is `+Inf`. Empty: latency is not measured.
    pub bounds: Vec<String>,
    /// Oldest first, by pod.
    pub pods: BTreeMap<String, Vec<Arc<Scrape>>>,
    /// Why the user's own series cannot be read, while the requests can.
    pub own_trouble: Option<String>,
}

/// Totals since the process started.
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    pub at: At,
    pub requests: f64,
    /// `None`: none has failed yet.
    pub errors: Option<f64>,
    /// Requests that took at most so long, by `Scrapes::bounds`; empty: not told.
    pub within: Vec<f64>,
    /// The user's own series, by their place in `spec.checks.metrics`; those that were told.
    pub own: BTreeMap<usize, f64>,
}

impl Scrape {
    /// The user's own series by their names.
    pub fn named(&self, metrics: &[Metric]) -> BTreeMap<String, f64> {
        let told = metrics.iter().enumerate();
        told.filter_map(|(index, metric)| Some((metric.name.clone(), *self.own.get(&index)?))).collect()
    }
}

/// One pod's counters, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodSamples {
    pub pod: String,
    pub points: Vec<Point>,
}

/// Counters as scraped: totals since the process started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub at: At,
    pub requests: f64,
    pub errors: f64,
    /// Requests with a measured duration, and those of them above the bound.
    pub timed: f64,
    pub slow: f64,
}

/// The HTTP health check (or `up`) of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub pod: String,
    /// Failures in a row.
    pub failures: u32,
    /// Successes since the pod is known.
    pub successes: u32,
    /// What the last failure said.
    pub last: String,
}
