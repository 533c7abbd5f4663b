//! One test over blocks that somebody counted: for auditors who want to recompute a verdict.

use super::{
    factor::{self, Counts},
    grid::{ODDS, POINTS, RATIOS},
    process::Process,
};

/// What is tested.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Test {
    /// The candidate fails at most `rho0` times as often as the stable version.
    Ratio { rho0: f64 },
    /// At most a share `p` of the candidate's requests fails.
    Threshold { p: f64 },
}

/// The e-process of one test.
#[derive(Clone, Debug)]
pub struct ByBlock {
    test: Test,
    phi: f64,
    /// How many further blocks share the second half of the prior mass. `None`: all of it is in the first.
    onset_blocks: Option<u32>,
    process: Process<POINTS>,
    blocks: u64,
}

impl ByBlock {
    /// `Err` says which number cannot be meant.
    pub fn new(test: Test, phi: f64, onset_blocks: Option<u32>) -> Result<Self, String> {
        match test {
            Test::Ratio { rho0 } if !(rho0.is_finite() && rho0 > 0.0) => {
                return Err(format!("rho0 must be a number above 0, not {rho0}"));
            }
            Test::Threshold { p } if !(p > 0.0 && p < 1.0) => {
                return Err(format!("p must lie between 0 and 1, not {p}"));
            }
            _ => {}
        }
        if !(phi.is_finite() && phi >= 1.0) {
            return Err(format!("phi must be 1 or more, not {phi}: failures do not come in less than ones"));
        }
        if onset_blocks == Some(0) {
            return Err("onset-blocks must be 1 or more".into());
        }
        Ok(Self { test, phi, onset_blocks, process: Process::default(), blocks: 0 })
    }

    /// Takes a block in and returns ln M. A block without requests changes nothing.
    pub fn add(&mut self, counts: &Counts) -> Result<f64, String> {
        for (name, n, e) in [("canary", counts.n_canary, counts.e_canary), ("stable", counts.n_stable, counts.e_stable)]
        {
            if !(n.is_finite() && e.is_finite() && n >= 0.0 && e >= 0.0) {
                return Err(format!("{name}: counts must be 0 or more, not {n} and {e}"));
            }
            if e > n {
                return Err(format!("{name}: {e} failed of only {n}"));
            }
        }
        if !counts.is_empty() {
            let mass = self.mass();
            let (test, phi) = (self.test, self.phi);
            self.process.update(mass.ln(), |g| match test {
                Test::Ratio { rho0 } => factor::relative(counts, rho0, RATIOS[g]) / phi,
                Test::Threshold { p } => factor::threshold(counts.n_canary, counts.e_canary, p, ODDS[g], phi),
            });
            self.blocks += 1;
        }
        Ok(self.process.ln_m(self.left()) + 0.0)
    }

    /// The prior mass of a fault that begins with the next block.
    fn mass(&self) -> f64 {
        match self.onset_blocks {
            None => f64::from(u8::from(self.blocks == 0)),
            Some(_) if self.blocks == 0 => 0.5,
            Some(n) if self.blocks <= u64::from(n) => 0.5 / f64::from(n),
            Some(_) => 0.0,
        }
    }

    /// The mass of all later blocks.
    fn left(&self) -> f64 {
        match self.onset_blocks {
            _ if self.blocks == 0 => 1.0,
            None => 0.0,
            Some(n) => {
                let used = u32::try_from(self.blocks - 1).unwrap_or(u32::MAX).min(n);
                0.5 * f64::from(n - used) / f64::from(n)
            }
        }
    }
}
