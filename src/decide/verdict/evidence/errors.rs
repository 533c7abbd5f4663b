//! Failed requests: a regression against the stable version, and the limit of the error rate.

use serde::{Deserialize, Serialize};

use super::{
    block::Block,
    config::Config,
    factor::{self, Counts},
    grid::{ODDS, POINTS, RATIOS},
    process::{Process, ln_add},
};

/// In a pod's first moments a comparison asks for so many times the tolerance, and for so many times the floor.
const SOFT_TOLERANCE: f64 = 3.0;
const SOFT_FLOOR: f64 = 12.0;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// More than `tolerance` times the stable version's rate.
    pub relative: Process<POINTS>,
    /// More than is accepted of anybody.
    pub floor: Process<POINTS>,
    /// Over the limit, and more than the stable version at the same time.
    pub slo: Process<POINTS>,
}

impl Errors {
    pub fn update(&mut self, block: &Block, config: &Config, phi: f64, ln_mass: f64) {
        let counts = block.errors();
        let (tolerance, floor) = if block.soft {
            (config.tolerance * SOFT_TOLERANCE, (config.floor * SOFT_FLOOR).min(0.5))
        } else {
            (config.tolerance, config.floor)
        };
        let compare = |factor: f64| if block.comparable { factor.min(config.ln_cap) } else { 0.0 };
        self.relative.update(ln_mass, |g| compare(factor::relative(&counts, tolerance, RATIOS[g]) / phi));
        self.floor
            .update(ln_mass, |g| compare(factor::threshold(counts.n_canary, counts.e_canary, floor, ODDS[g], phi)));
        let limit = config.error_max;
        if limit > 0.0 && limit < 1.0 {
            self.slo.update(ln_mass, |g| over(&counts, limit, phi, g, block.comparable).min(config.ln_cap));
        }
        for process in [&mut self.relative, &mut self.floor, &mut self.slo] {
            process.round();
        }
    }

    pub fn restart(&mut self, left: f64) {
        for process in [&mut self.relative, &mut self.floor, &mut self.slo] {
            process.restart(left);
        }
    }

    /// Takes back what may not have happened yet: see `factor::moved`.
    pub fn doubt(&mut self, edge: &Counts, config: &Config, phi: f64) {
        for (g, ln) in self.relative.ln.iter_mut().enumerate() {
            *ln += factor::moved(edge, config.tolerance, RATIOS[g]) / phi;
        }
        doubt_over(&mut self.slo, edge, phi);
    }

    /// The e-value of the family.
    pub fn ln_e(&self, left: f64) -> f64 {
        let regression = self.relative.ln_m(left).min(self.floor.ln_m(left));
        ln_add(regression, self.slo.ln_m(left)) - std::f64::consts::LN_2
    }
}

/// The same for evidence of `over`.
pub fn doubt_over(process: &mut Process<POINTS>, edge: &Counts, phi: f64) {
    for (g, ln) in process.ln.iter_mut().enumerate() {
        *ln += factor::moved(edge, 1.0, RATIOS[g]).min(-edge.e_canary.max(0.0) * ODDS[g].ln()) / phi;
    }
}

/// Over the limit and worse than the stable version, in the same block: where both suffer, nobody is convicted. Without a
/// stable version to compare with, the limit alone speaks.
pub fn over(counts: &Counts, limit: f64, phi: f64, g: usize, comparable: bool) -> f64 {
    let absolute = factor::threshold(counts.n_canary, counts.e_canary, limit, ODDS[g], phi);
    if comparable { absolute.min(factor::relative(counts, 1.0, RATIOS[g]) / phi) } else { absolute }
}
