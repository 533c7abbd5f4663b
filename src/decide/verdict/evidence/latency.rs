//! Slow requests, counted from histogram buckets: "P99 above L" is "more than 1 % of the requests above L". No quantile is
//! estimated.

use serde::{Deserialize, Serialize};

use super::{
    block::Block,
    config::Config,
    curve::{BOUNDS, Row},
    errors::{doubt_over, over},
    factor::{self, Counts},
    grid::{COARSE, POINTS},
    process::{Process, ln_add},
};

/// A bound that more of the stable version's requests exceed tells little.
const USELESS: f64 = 0.5;
/// Bounds that fewer of the candidate's requests exceed than this part of the percentile's share concern nobody.
const CONCERN: f64 = 0.5;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Per bound: more requests above it than `tolerance` times the stable version's share.
    pub slow: Vec<Process<{ COARSE.len() }>>,
    /// More than the percentile's share above the limit, and more than the stable version at the same time.
    pub slo: Process<POINTS>,
}

/// The bound that stands for the limit: the limit itself, or the next one above it.
pub fn limit_bound(bounds: &[f64], limit: f64) -> Option<usize> {
    bounds.iter().position(|b| *b >= limit * (1.0 - 1e-9))
}

/// The share of a side's requests above a bound.
fn share(row: &Row, bound: usize) -> f64 {
    if row.timed() > 0.0 { row.slow(bound) / row.timed() } else { 0.0 }
}

impl Latency {
    pub fn update(
        &mut self,
        block: &Block,
        bounds: &[f64],
        config: &Config,
        stable: &Row,
        phi: impl Fn(usize) -> f64,
        (ln_mass, spent): (f64, f64),
    ) {
        if self.slow.len() < bounds.len() && block.canary_warm.timed() > 0.0 {
            // A histogram that appears late finds the mass of the time before it on its first block.
            let late = (spent - ln_mass.exp()).max(0.0).ln();
            self.slow.resize(bounds.len().min(BOUNDS), Process::starting(late));
            self.slo = Process::starting(late);
        }
        for (bound, process) in self.slow.iter_mut().enumerate() {
            let counts = block.slow(bound);
            if block.comparable && share(stable, bound) <= USELESS {
                let phi = phi(bound);
                let factor = |g: usize| factor::relative(&counts, config.tolerance, COARSE[g]) / phi;
                process.update(ln_mass, |g| factor(g).min(config.ln_cap));
            } else {
                process.update(ln_mass, |_| 0.0);
            }
        }
        if let Some(bound) = limit_bound(bounds, config.latency_max)
            && config.latency_share > 0.0
            && !self.slow.is_empty()
        {
            let counts = block.slow(bound);
            let factor = |g| over(&counts, config.latency_share, phi(bound), g, block.comparable);
            self.slo.update(ln_mass, |g| factor(g).min(config.ln_cap));
        }
        for process in &mut self.slow {
            process.round();
        }
        self.slo.round();
    }

    pub fn restart(&mut self, left: f64) {
        for process in &mut self.slow {
            process.restart(left);
        }
        self.slo.restart(left);
    }

    /// Takes back what may not have happened yet; `edge`: by bound.
    pub fn doubt(
        &mut self,
        edge: impl Fn(usize) -> Counts,
        bounds: &[f64],
        config: &Config,
        phi: impl Fn(usize) -> f64,
    ) {
        for (bound, process) in self.slow.iter_mut().enumerate() {
            let (edge, phi) = (edge(bound), phi(bound));
            for (g, ln) in process.ln.iter_mut().enumerate() {
                *ln += factor::moved(&edge, config.tolerance, COARSE[g]) / phi;
            }
        }
        if let Some(bound) = limit_bound(bounds, config.latency_max) {
            doubt_over(&mut self.slo, &edge(bound), phi(bound));
        }
    }

    /// The e-value of the family; `recent`: what the candidate did lately.
    pub fn ln_e(&self, left: f64, config: &Config, recent: &Row) -> f64 {
        if self.slow.is_empty() {
            return 0.0;
        }
        let mut sum = f64::NEG_INFINITY;
        for (bound, process) in self.slow.iter().enumerate() {
            if share(recent, bound) >= CONCERN * config.latency_share {
                sum = ln_add(sum, process.ln_m(left));
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a dozen bounds")]
        let count = self.slow.len() as f64;
        ln_add(sum - count.ln(), self.slo.ln_m(left)) - std::f64::consts::LN_2
    }
}
