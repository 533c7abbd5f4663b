//! How many times as often the candidate fails as the stable version: all ratios that the evidence does not refute.

use super::{
    engine::Engine,
    factor::{self, Counts},
    grid::RATIOS,
    process::mean,
};
use crate::api::status::Ratio;

/// The factors that are tried.
const LOWEST: f64 = 1e-3;
const HIGHEST: f64 = 1e4;

impl Ratio {
    /// As people read it. What is beyond everything that was tried is no limit.
    pub fn between((low, high): (f64, f64)) -> Self {
        let words = |ratio: f64| if ratio < 10.0 { format!("{ratio:.1}") } else { format!("{ratio:.0}") };
        Self { at_least: words(low), at_most: (high < 0.99 * HIGHEST).then(|| words(high)) }
    }
}

impl Engine {
    /// From and to; wide while little is known. Its coverage of 1 - alpha holds while the weight stands; over several
    /// steps it is an approximation.
    pub fn interval(&self) -> Option<(f64, f64)> {
        let [n_canary, e_canary, n_stable, e_stable] = self.state.totals;
        if n_canary <= 0.0 || n_stable <= 0.0 {
            return None;
        }
        let counts = Counts { n_canary, e_canary, n_stable, e_stable };
        let phi = self.state.dispersion.errors(self.config.phi_floor);
        // Each direction with half of alpha.
        let enough = -(self.config.alpha / 2.0).ln();
        Some((
            edge(|rho0| evidence(&counts, rho0, phi, 1.0) >= enough, LOWEST, HIGHEST),
            edge(|rho0| evidence(&counts, rho0, phi, -1.0) < enough, LOWEST, HIGHEST),
        ))
    }
}

/// Against "at most rho0 times as often" (direction 1) or "at least" (direction -1).
fn evidence(counts: &Counts, rho0: f64, phi: f64, direction: f64) -> f64 {
    mean(&RATIOS.map(|ratio| factor::relative(counts, rho0, ratio.powf(direction)) / phi), 0.0)
}

/// Where `below` ends to be true.
fn edge(below: impl Fn(f64) -> bool, from: f64, to: f64) -> f64 {
    let (mut low, mut high) = (from.ln(), to.ln());
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if below(middle.exp()) {
            low = middle;
        } else {
            high = middle;
        }
    }
    high.exp()
}
