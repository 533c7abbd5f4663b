//! The evidence of one block of requests: how much likelier it is under an alternative than under the null hypothesis.
//! All results are natural logarithms.

use serde::{Deserialize, Serialize};

/// Requests of both versions between two moments; interpolation makes fractions of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    pub n_canary: f64,
    pub e_canary: f64,
    pub n_stable: f64,
    pub e_stable: f64,
}

impl Counts {
    pub fn is_empty(&self) -> bool {
        self.n_canary + self.n_stable <= 0.0
    }
}

/// Null hypothesis: the candidate fails at most `rho0` times as often as the stable version, whatever that one's rate is.
/// Alternative: `ratio` times `rho0`. Exact for any split of the traffic.
///
/// With w the candidate's share: (r/rho0)^e_c · [(1 − w + w·rho0) / (1 − w + w·r)]^(e_c + e_s), r = ratio · rho0.
pub fn relative(counts: &Counts, rho0: f64, ratio: f64) -> f64 {
    let failed = counts.e_canary + counts.e_stable;
    if failed <= 0.0 || counts.is_empty() {
        return 0.0;
    }
    let null = counts.n_stable + counts.n_canary * rho0;
    let other = counts.n_stable + counts.n_canary * rho0 * ratio;
    counts.e_canary * ratio.ln() + failed * (null / other).ln()
}

/// What `relative` loses when `e_canary` failures turn out not to be the candidate's, and `e_stable` more to be the stable
/// version's, while both served what the counts say.
pub fn moved(counts: &Counts, rho0: f64, ratio: f64) -> f64 {
    if counts.is_empty() {
        return 0.0;
    }
    let null = counts.n_stable + counts.n_canary * rho0;
    let other = counts.n_stable + counts.n_canary * rho0 * ratio;
    (counts.e_stable - counts.e_canary) * (null / other).ln() - counts.e_canary * ratio.ln()
}

/// Null hypothesis: at most a share `p` of `n` fails. Alternative: its odds are `odds` times as high. For `odds` below 1
/// the null hypothesis is "at least".
pub fn bernoulli(n: f64, e: f64, p: f64, odds: f64) -> f64 {
    let norm = (p * (odds - 1.0)).ln_1p();
    let failed = if e > 0.0 { e * odds.ln() } else { 0.0 };
    failed - n * norm
}

/// The same for failures that come in clumps: as if they were counts per time. The caller divides by the clump size.
pub fn poisson(n: f64, e: f64, p: f64, odds: f64) -> f64 {
    let ratio = odds / (1.0 + p * (odds - 1.0));
    let failed = if e > 0.0 { e * ratio.ln() } else { 0.0 };
    failed - n * p * (ratio - 1.0)
}

/// `bernoulli` where failures are independent, `poisson` to the power 1/phi where they come in clumps of up to `phi`.
pub fn threshold(n: f64, e: f64, p: f64, odds: f64, phi: f64) -> f64 {
    if phi > 1.0 { poisson(n, e, p, odds) / phi } else { bernoulli(n, e, p, odds) }
}
