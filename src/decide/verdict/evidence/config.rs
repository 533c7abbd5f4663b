//! The engine's settings: `spec.checks` in numbers.

use super::spread::hash;
use crate::api::checks::{Checks, MetricKind};

/// All times are seconds, all shares lie between 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The tests that need no threshold are on.
    pub sequential: bool,
    /// A good version is convicted at most this often.
    pub alpha: f64,
    /// A bad version is certified at most this often.
    pub beta: f64,
    /// So many times the stable version's rate is accepted.
    pub tolerance: f64,
    /// An error rate that is always accepted.
    pub floor: f64,
    pub phi_floor: f64,
    /// The logarithm of the most that one block may multiply the evidence by.
    pub ln_cap: f64,
    pub require_proof: bool,
    /// Literal thresholds without guards.
    pub strict: bool,
    pub min_requests: f64,
    pub warm_up: f64,
    pub settle_scrapes: f64,
    pub error_max: f64,
    pub error_for: f64,
    /// The share of requests that may be slower than `latency_max`.
    pub latency_share: f64,
    pub latency_max: f64,
    pub latency_for: f64,
    pub health_failures: u32,
    pub metrics: Vec<Metric>,
    /// A router shares the requests out. False where connections are shared by the number of pods: there a candidate may
    /// rightly get nothing for a while.
    pub routed: bool,
    /// Pod health and the literal thresholds are judged here too; false where others do that.
    pub alone: bool,
    /// How long the release is planned to take from its first sample on.
    pub horizon: f64,
}

/// A series of the user's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub name: String,
    pub kind: MetricKind,
    /// Falling is bad; else rising is.
    pub drop: bool,
    /// By how much it may be lower or higher than the stable version's.
    pub by: f64,
    /// Of all its fields: where it is another one, another series is judged.
    pub id: u32,
}

impl Config {
    /// `horizon` in seconds; an hour where nothing is known.
    pub fn new(checks: &Checks, horizon: f64) -> Self {
        let sequential = &checks.sequential;
        Self {
            sequential: sequential.enabled,
            alpha: sequential.alpha.ratio().clamp(1e-6, 0.5),
            beta: 0.05,
            tolerance: sequential.tolerance.value(),
            floor: sequential.floor.ratio().clamp(1e-6, 0.5),
            phi_floor: sequential.phi_floor.value(),
            ln_cap: sequential.block_cap.map_or(f64::INFINITY, |cap| cap.value().ln()),
            require_proof: sequential.require_proof,
            strict: checks.strict,
            min_requests: f64::from(checks.min_requests),
            warm_up: checks.warm_up.0.as_secs_f64(),
            settle_scrapes: f64::from(checks.settle_scrapes),
            error_max: checks.error_rate.max.ratio(),
            error_for: checks.error_rate.hold.0.as_secs_f64(),
            latency_share: f64::from(100_u32.saturating_sub(checks.latency.percentile)) / 100.0,
            latency_max: checks.latency.max.0.as_secs_f64(),
            latency_for: checks.latency.hold.0.as_secs_f64(),
            health_failures: checks.health.failures,
            metrics: checks
                .metrics
                .iter()
                .map(|m| Metric {
                    name: m.name.clone(),
                    kind: m.kind,
                    drop: m.must_not_drop.is_some(),
                    by: m.must_not_drop.or(m.must_not_rise).map_or(0.0, crate::api::units::Percent::ratio),
                    id: hash(&format!("{m:?}")),
                })
                .collect(),
            routed: true,
            alone: true,
            horizon: if horizon.is_finite() && horizon > 0.0 { horizon } else { 3600.0 },
        }
    }
}
