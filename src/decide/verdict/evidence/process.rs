//! An e-process: evidence multiplied up block by block, over all alternatives and all moments at which the fault may have
//! begun.
//!
//! For each alternative g: S(g) ← factor(g) · (S(g) + π), where π is the prior mass of a fault that begins with this
//! block. M = mean of S(g) + the mass that is left. While the null hypothesis holds, the mean of M is at most 1 at every
//! moment, and M ever reaches x with a probability of at most 1/x. All in logarithms.

use serde::{Deserialize, Serialize};

use super::packed;

/// ln(e^a + e^b).
pub fn ln_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    let gap = low - high;
    if gap > -45.0 { high + gap.exp().ln_1p() } else { high }
}

/// The S(g) of one test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Process<const G: usize> {
    #[serde(with = "packed")]
    pub ln: [f64; G],
}

impl<const G: usize> Default for Process<G> {
    fn default() -> Self {
        Self { ln: [f64::NEG_INFINITY; G] }
    }
}

impl<const G: usize> Process<G> {
    /// With prior mass that was given out before.
    pub fn starting(ln_mass: f64) -> Self {
        Self { ln: [ln_mass; G] }
    }

    /// Forgets all evidence: from here on as at the start, with the prior mass that was given out by now.
    pub fn restart(&mut self, left: f64) {
        *self = Self::starting(packed::round((1.0 - left).ln()));
    }

    /// To the precision in which it is stored, so that a restart changes nothing.
    pub fn round(&mut self) {
        for ln in &mut self.ln {
            *ln = packed::round(*ln);
        }
    }

    /// Takes a block in: the logarithm of its factor for each alternative, and of the mass that starts with it.
    pub fn update(&mut self, ln_mass: f64, factor: impl Fn(usize) -> f64) {
        update(&mut self.ln, ln_mass, factor);
    }

    /// ln M, with the prior mass that is left.
    pub fn ln_m(&self, left: f64) -> f64 {
        mean(&self.ln, left)
    }
}

/// Takes a block in: S(g) ← factor(g) · (S(g) + mass).
pub fn update(ln: &mut [f64], ln_mass: f64, factor: impl Fn(usize) -> f64) {
    for (g, ln) in ln.iter_mut().enumerate() {
        *ln = factor(g) + ln_add(*ln, ln_mass);
    }
}

/// ln(mean of e^ln + left).
pub fn mean(ln: &[f64], left: f64) -> f64 {
    let top = ln.iter().copied().fold(f64::NEG_INFINITY, f64::max).max(left.ln());
    if top == f64::NEG_INFINITY {
        return top;
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful of points")]
    let count = ln.len() as f64;
    let sum: f64 = ln.iter().map(|l| (l - top).exp()).sum::<f64>() / count + left * (-top).exp();
    top + sum.ln()
}

/// When the fault may begin: half of the mass at once, the rest over the planned time and, ever thinner, after it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Onset {
    /// The mass of all later beginnings.
    pub left: f64,
}

impl Default for Onset {
    fn default() -> Self {
        Self { left: 1.0 }
    }
}

impl Onset {
    /// The mass of a fault that begins in the next `seconds` of a release planned for `horizon` seconds.
    pub fn spend(&mut self, seconds: f64, horizon: f64) -> f64 {
        let mass = if self.left >= 1.0 { 0.5 } else { self.left * -(-seconds / horizon).exp_m1() };
        self.left -= mass;
        mass
    }
}
