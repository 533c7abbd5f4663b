//! A candidate that should serve and gets nothing: a route that leads nowhere, or a process that hangs.
//!
//! Null hypothesis: the candidate's share of the requests is at least half of what is set. Counters are read at different
//! moments, so all requests it may have served in a window stand against those the stable version surely served.

use serde::{Deserialize, Serialize};

use super::{
    curve::Known,
    factor,
    process::{Onset, Process},
    roster::Roster,
    sample::Arm,
};

/// The odds that are tried, as parts of those of half the share.
const ODDS: [f64; 3] = [0.2, 0.05, 0.0];
/// Scrapes that a window spans at least, so that each pod was read twice in it.
const SPAN: f64 = 1.2;
/// It is starved while it gets less than this part of its share.
const STARVED: f64 = 0.1;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Share {
    process: Process<{ ODDS.len() }>,
    onset: Onset,
    /// The present window's beginning. `None`: the candidate is not expected to get anything.
    pub from: Option<f64>,
    /// The last window's result.
    starved: bool,
    /// What the stable version surely served while the candidate got nothing.
    pub missed: f64,
}

impl Share {
    /// Something changed: what was sent where before `at` cannot be told apart.
    pub fn restart(&mut self, at: Option<f64>) {
        self.from = at;
        self.starved = false;
        self.missed = 0.0;
    }

    /// Looks whether a window is full at the watermark.
    pub fn look(&mut self, roster: &Roster, watermark: f64, weight: f64, horizon: f64) {
        let Some(from) = self.from else { return };
        if watermark - from < SPAN * roster.interval {
            return;
        }
        for (_, pod) in roster.of(Arm::Canary) {
            match pod.curve.known(from, watermark) {
                Known::Whole => {}
                Known::NotYet if !pod.gone => return,
                // What it served at the end of its life, or in a gap, nobody knows.
                Known::NotYet | Known::Not => return self.restart(Some(watermark)),
            }
        }
        let most: f64 = roster.of(Arm::Canary).map(|(_, p)| p.curve.requests_between(from, watermark).1).sum();
        let least: f64 = roster.of(Arm::Stable).map(|(_, p)| p.curve.requests_between(from, watermark).0).sum();
        if least <= 0.0 && most <= 0.0 && watermark - from < 4.0 * roster.interval {
            return;
        }
        let theta = weight / 2.0;
        let mass = self.onset.spend(watermark - from, horizon);
        if theta > 0.0 {
            let all = most + least;
            self.process.update(mass.ln(), |g| factor::bernoulli(all, most, theta, ODDS[g]).max(-1e4));
            self.process.round();
        }
        self.starved = least > 0.0 && most < STARVED * weight * (most + least);
        self.missed = if self.starved { self.missed + least } else { 0.0 };
        self.from = Some(watermark);
    }

    /// The e-value, and whether it still gets nothing.
    pub fn ln_e(&self) -> f64 {
        self.process.ln_m(self.onset.left)
    }

    pub fn starved(&self) -> bool {
        self.starved
    }
}
