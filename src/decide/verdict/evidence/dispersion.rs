//! How many failures come together: retries, batches, one client. Measured between the stable pods, which run the same
//! version: what differs between them differs for another reason than the version.
//!
//! phi = Σ (e_kp − w_kp·E_k)² / Σ E_k·(1 − Σ w_kp²) over minutes k and stable pods p; 1 while failures are independent.

use serde::{Deserialize, Serialize};

use super::{
    curve::{BOUNDS, METRICS, Row},
    packed,
    roster::Roster,
    sample::Arm,
};

/// Seconds of one look.
pub const LOOK: f64 = 60.0;
/// After so many looks a look counts half: the measurement covers about the last hour.
const HALF_LIFE: f64 = 25.0;
/// With fewer failures than this nothing is known.
const ENOUGH: f64 = 5.0;
/// Followed series: failed requests, slow ones per bound, the user's own.
const SERIES: usize = 1 + BOUNDS + METRICS;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispersion {
    /// The sums of the fraction's upper part, per series.
    #[serde(with = "packed")]
    above: [f64; SERIES],
    /// Those of its lower part.
    #[serde(with = "packed")]
    below: [f64; SERIES],
    /// Up to when was looked.
    pub to: Option<f64>,
}

impl Default for Dispersion {
    fn default() -> Self {
        Self { above: [0.0; SERIES], below: [0.0; SERIES], to: None }
    }
}

/// The series' growth and the requests it belongs to.
fn series(row: &Row, index: usize) -> (f64, f64) {
    match index {
        0 => (row.failed(), row.requests()),
        _ if index <= BOUNDS => (row.slow(index - 1), row.timed()),
        _ => (row.metric(index - 1 - BOUNDS), row.requests()),
    }
}

impl Dispersion {
    /// Looks at all whole minutes up to the watermark.
    pub fn look(&mut self, roster: &Roster, watermark: f64) {
        let from = *self.to.get_or_insert(watermark);
        if watermark - from < LOOK {
            return;
        }
        // A long gap is one look: inside of it nothing can be told apart.
        let to = if watermark - from < 3.0 * LOOK { from + LOOK } else { watermark };
        self.minute(roster, from, to);
        self.to = Some(to);
        self.look(roster, watermark);
    }

    fn minute(&mut self, roster: &Roster, from: f64, to: f64) {
        // Pods that were seen in all of it.
        let whole = |p: &&super::roster::Pod| p.curve.covers(from, to);
        let rows: Vec<Row> =
            roster.of(Arm::Stable).map(|(_, p)| p).filter(whole).map(|p| p.curve.between(from, to)).collect();
        let forget = (-std::f64::consts::LN_2 / HALF_LIFE).exp();
        for index in 0..SERIES {
            let (mut events, mut exposure) = (0.0, 0.0);
            for (e, n) in rows.iter().map(|row| series(row, index)) {
                events += e;
                exposure += n;
            }
            if events <= 0.0 || exposure <= 0.0 || rows.len() < 2 {
                continue;
            }
            let (mut squares, mut even) = (0.0, 0.0);
            for (e, n) in rows.iter().map(|row| series(row, index)) {
                let share = n / exposure;
                squares += (e - share * events).powi(2);
                even += share * share;
            }
            self.above[index] = packed::round(self.above[index] * forget + squares);
            self.below[index] = packed::round(self.below[index] * forget + events * (1.0 - even));
        }
    }

    fn phi(&self, index: usize, floor: f64) -> f64 {
        let (above, below) = (self.above[index], self.below[index]);
        let measured = if below >= ENOUGH { above / below } else { 1.0 };
        measured.max(floor).max(1.0)
    }

    pub fn errors(&self, floor: f64) -> f64 {
        self.phi(0, floor)
    }

    pub fn slow(&self, bound: usize, floor: f64) -> f64 {
        self.phi(1 + bound, floor)
    }

    pub fn metric(&self, index: usize, floor: f64) -> f64 {
        self.phi(1 + BOUNDS + index, floor)
    }
}
