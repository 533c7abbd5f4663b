//! Proof that a step is good: the error rate lies below its limit. No alarm is no proof.

use serde::{Deserialize, Serialize};

use super::{factor, grid::SAFE_ODDS, packed, process::Process};

/// The proof of the present step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    process: Process<{ SAFE_ODDS.len() }>,
    /// The candidate's requests in this step, and those that failed.
    pub requests: f64,
    pub failed: f64,
    /// Those whose latency counted.
    pub timed: f64,
}

impl Default for Proof {
    fn default() -> Self {
        Self { process: Process::starting(0.0), requests: 0.0, failed: 0.0, timed: 0.0 }
    }
}

impl Proof {
    pub fn update(&mut self, n: f64, e: f64, limit: f64, phi: f64) {
        self.requests = packed::milli(self.requests + n);
        self.failed = packed::milli(self.failed + e);
        if limit > 0.0 && limit < 1.0 {
            self.process.update(f64::NEG_INFINITY, |g| factor::threshold(n, e, limit, SAFE_ODDS[g], phi));
            self.process.round();
        }
    }

    pub fn ln_e(&self) -> f64 {
        self.process.ln_m(0.0)
    }

    /// About how many more requests of the same kind prove it. `None`: at this rate it cannot be proven.
    pub fn needed(&self, limit: f64, beta: f64, phi: f64) -> Option<f64> {
        let missing = -beta.ln() - self.ln_e();
        if missing <= 0.0 {
            return Some(0.0);
        }
        let rate = self.failed / self.requests.max(1.0);
        // Each alternative grows on its own from where it stands; the first to arrive proves it.
        #[expect(clippy::cast_precision_loss, reason = "a handful of points")]
        let points = SAFE_ODDS.len() as f64;
        let arrival = |g: usize| {
            let growth = factor::threshold(1.0, rate, limit, SAFE_ODDS[g], phi);
            let way = points.ln() - beta.ln() - self.process.ln[g];
            (growth > 0.0).then_some(way / growth)
        };
        (0..SAFE_ODDS.len()).filter_map(arrival).min_by(f64::total_cmp).map(|n| n.max(1.0))
    }
}
