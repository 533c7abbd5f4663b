//! An e-process: evidence multiplied up block by block, over all alternatives and all moments at which the fault may have
//! begun.
//!
//! For each alternative g: S(g) ← factor(g) · (S(g) + π), where π is the prior mass of a fault that begins with this
//! block. M = mean of S(g) + the mass that is left. While the null hypothesis holds, the mean of M is at most 1 at every
//! moment, and M ever reaches x with a probability of at most 1/x. All in logarithms.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// ln(e^a + e^b).
pub fn ln_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    let gap = low - high;
    if gap > -45.0 { high + gap.exp().ln_1p() } else { high }
}

/// The S(g) of one test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process<const G: usize> {
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

    /// To the precision in which it is stored, so that a restart changes nothing.
    pub fn round(&mut self) {
        for ln in &mut self.ln {
            *ln = f64::from(short(*ln));
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

#[expect(clippy::cast_possible_truncation, reason = "seven digits are enough for evidence")]
const fn short(ln: f64) -> f32 {
    ln as f32
}

/// Stored as the bytes of 32-bit floats in base64: JSON has no infinity, and a Release has little room.
impl<const G: usize> Serialize for Process<G> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.ln.iter().flat_map(|ln| short(*ln).to_le_bytes()).collect();
        s.serialize_str(&STANDARD_NO_PAD.encode(bytes))
    }
}

impl<'de, const G: usize> Deserialize<'de> for Process<G> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let bytes = STANDARD_NO_PAD.decode(String::deserialize(d)?).map_err(de::Error::custom)?;
        if bytes.len() != 4 * G {
            return Err(de::Error::custom(format!("{} bytes instead of {}", bytes.len(), 4 * G)));
        }
        let mut out = Self::default();
        for (ln, bytes) in out.ln.iter_mut().zip(bytes.chunks_exact(4)) {
            *ln = f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            if ln.is_nan() {
                return Err(de::Error::custom("not a number"));
            }
        }
        Ok(out)
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
