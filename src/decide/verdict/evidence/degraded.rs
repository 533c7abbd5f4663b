//! Whether both versions suffer now: recent evidence only, so that it ends when they have recovered.

use serde::{Deserialize, Serialize};

use super::{
    factor::{self, Counts},
    packed,
};

/// The odds of the limit that count as suffering.
const ODDS: f64 = 3.0;
/// No more evidence than this is kept: what is over is forgotten soon.
const CAP: f64 = 7.0;
/// From here on it suffers: e = 100.
const SUFFERS: f64 = 4.6;
/// Seconds after which evidence has faded to a third, whatever the traffic.
const FADES: f64 = 150.0;

/// Capped sums of evidence that a limit is exceeded, per side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Suffering {
    canary: f64,
    stable: f64,
}

impl Suffering {
    pub fn update(&mut self, counts: &Counts, limit: f64, phi: f64, seconds: f64) {
        if limit <= 0.0 || limit >= 1.0 {
            return;
        }
        let fade = (-seconds / FADES).exp();
        let step = |sum: f64, n: f64, e: f64| {
            packed::milli(sum * fade + factor::threshold(n, e, limit, ODDS, phi)).clamp(0.0, CAP)
        };
        self.canary = step(self.canary, counts.n_canary, counts.e_canary);
        self.stable = step(self.stable, counts.n_stable, counts.e_stable);
    }

    pub fn both(&self) -> bool {
        self.canary >= SUFFERS && self.stable >= SUFFERS
    }
}
