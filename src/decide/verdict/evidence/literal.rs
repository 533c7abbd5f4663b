//! The literal threshold: a share above its limit, without a break, for as long as the rule says.

use serde::{Deserialize, Serialize};

use super::{factor::Counts, packed};

/// A window is made of so many parts; it moves on part by part.
const PARTS: usize = 4;
/// Fewer bad requests than this prove nothing, whatever share they are.
const MIN_BAD: f64 = 3.0;
/// So many convict also where the requests are too few for `minRequests`.
const ENOUGH_BAD: f64 = 5.0;

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub max: f64,
    pub hold: f64,
    pub min_requests: f64,
    pub strict: bool,
}

/// Where the candidate stands with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Stand {
    #[default]
    Inside,
    /// Above, but not for long enough.
    Over,
    /// The stable version is above it as well.
    Shared,
    /// For long enough.
    Convicted,
}

/// The last parts: what happened in them, both versions' requests and bad ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Literal {
    /// The newest part's number.
    part: i64,
    /// The newest part last.
    #[serde(with = "packed")]
    parts: [f64; 4 * PARTS],
    /// Since when it is exceeded without a break.
    since: Option<f64>,
    /// The counts since then.
    #[serde(with = "packed")]
    counts: [f64; 4],
    last: f64,
}

impl Default for Literal {
    fn default() -> Self {
        Self { part: 0, parts: [0.0; 4 * PARTS], since: None, counts: [0.0; 4], last: 0.0 }
    }
}

fn ratio(n: f64, e: f64) -> Option<f64> {
    (n > 1e-6).then(|| e / n)
}

fn add(sums: &mut [f64], block: [f64; 4]) {
    for (sum, n) in sums.iter_mut().zip(block) {
        *sum = packed::round(*sum + n);
    }
}

impl Literal {
    /// What happened while it was exceeded.
    pub const fn counts(&self) -> Counts {
        let [n_canary, e_canary, n_stable, e_stable] = self.counts;
        Counts { n_canary, e_canary, n_stable, e_stable }
    }

    pub fn update(&mut self, rule: &Rule, counts: &Counts, to: f64, interval: f64) -> Stand {
        let window = (2.0 * interval).max((rule.hold / 2.0).min(60.0));
        #[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let part = (to / (window / PARTS as f64)).ceil() as i64;
        let moved = usize::try_from(part.saturating_sub(self.part)).map_or(PARTS, |m| m.min(PARTS));
        self.parts.copy_within(4 * moved.., 0);
        self.parts[4 * (PARTS - moved)..].fill(0.0);
        self.part = part;
        let block = [counts.n_canary, counts.e_canary, counts.n_stable, counts.e_stable];
        add(&mut self.parts[4 * (PARTS - 1)..], block);
        if self.last > 0.0 && to - self.last > 5.0 * interval {
            self.since = None; // what happened in the gap is not known
        }
        self.last = to;
        let mut sums = [0.0; 4];
        for part in self.parts.chunks_exact(4) {
            sums.iter_mut().zip(part).for_each(|(sum, n)| *sum += n);
        }
        let [n, e, m, f] = sums;
        if self.since.is_some() {
            add(&mut self.counts, block);
        }
        let above = |r: Option<f64>| r.is_some_and(|r| r > rule.max);
        let shared = |m: f64, f: f64| !rule.strict && f >= MIN_BAD && above(ratio(m, f));
        match ratio(n, e) {
            None => return if self.since.is_some() { Stand::Over } else { Stand::Inside },
            Some(_) if shared(m, f) => {
                self.since = None;
                return Stand::Shared;
            }
            share if above(share) => {
                if self.since.is_none() {
                    self.since = Some(to);
                    self.counts = sums.map(packed::round);
                }
            }
            Some(_) => {
                self.since = None;
                return Stand::Inside;
            }
        }
        let (Some(since), [n, e, m, f]) = (self.since, self.counts) else { return Stand::Inside };
        let enough = e >= MIN_BAD && (n >= rule.min_requests || e >= ENOUGH_BAD);
        // The window may still hold a burst that is over by now.
        let lately = ratio(block[0], block[1]).is_none_or(|r| r > rule.max || block[0] * rule.max < 1.0);
        if to - since < rule.hold || !enough || !above(ratio(n, e)) || shared(m, f) || !lately {
            Stand::Over
        } else {
            Stand::Convicted
        }
    }
}
