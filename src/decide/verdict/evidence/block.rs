//! What both versions did between two moments in which nothing was changed.

use super::{curve::Row, factor::Counts, roster::Roster, sample::Arm};

/// Below this share of all requests the stable version has too few to compare with.
const COMPARABLE: f64 = 0.05;
/// Above this share of requests served by pods in their first moments, relative tests ask for more.
const SOFT: f64 = 0.2;

#[derive(Clone, Copy, Debug, Default)]
pub struct Block {
    pub from: f64,
    pub to: f64,
    pub canary: Row,
    pub stable: Row,
    /// Without pods in their first moments.
    pub canary_warm: Row,
    pub stable_warm: Row,
    /// Much of what the candidate served was served by pods in their first moments.
    pub soft: bool,
    /// The stable version served enough to compare with.
    pub comparable: bool,
    /// No change of weight is so near that the comparison would suffer.
    pub settled: bool,
}

impl Block {
    pub fn new(roster: &Roster, from: f64, to: f64, warm_up: f64, settled: bool) -> Self {
        let mut block = Self { from, to, settled, ..Self::default() };
        for pod in roster.pods.values() {
            let row = pod.curve.between(from, to);
            let warm = !pod.warming(from, warm_up);
            let (all, old) = match pod.arm {
                Arm::Canary => (&mut block.canary, &mut block.canary_warm),
                Arm::Stable => (&mut block.stable, &mut block.stable_warm),
            };
            all.add(&row);
            if warm {
                old.add(&row);
            }
        }
        let (ours, theirs) = (block.canary.requests(), block.stable.requests());
        block.soft = ours - block.canary_warm.requests() > SOFT * ours;
        block.comparable = theirs > 0.0 && theirs >= COMPARABLE * (ours + theirs);
        block
    }

    pub fn seconds(&self) -> f64 {
        self.to - self.from
    }

    pub fn errors(&self) -> Counts {
        errors(&self.canary, &self.stable)
    }

    /// Requests slower than a bound.
    pub fn slow(&self, bound: usize) -> Counts {
        slow(&self.canary_warm, &self.stable_warm, bound)
    }
}

pub fn errors(canary: &Row, stable: &Row) -> Counts {
    Counts {
        n_canary: canary.requests(),
        e_canary: canary.failed().min(canary.requests()),
        n_stable: stable.requests(),
        e_stable: stable.failed().min(stable.requests()),
    }
}

pub fn slow(canary: &Row, stable: &Row, bound: usize) -> Counts {
    Counts {
        n_canary: canary.timed(),
        e_canary: canary.slow(bound).min(canary.timed()),
        n_stable: stable.timed(),
        e_stable: stable.slow(bound).min(stable.timed()),
    }
}
