//! The literal threshold: a share above its limit, without a break, for as long as the rule says.

use serde::{Deserialize, Serialize};

use super::factor::Counts;

/// A window is made of so many parts; it moves on part by part.
const PARTS: i64 = 4;
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
    /// For long enough: the counts of the whole time.
    Convicted(Counts),
}

/// The last parts: when, and what happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Literal {
    parts: Vec<(i64, [f64; 4])>,
    /// Since when it is exceeded without a break, and the counts since then.
    since: Option<(f64, [f64; 4])>,
    last: f64,
}

fn ratio(n: f64, e: f64) -> Option<f64> {
    (n > 1e-6).then(|| e / n)
}

impl Literal {
    pub fn update(&mut self, rule: &Rule, counts: &Counts, to: f64, interval: f64) -> Stand {
        let window = (2.0 * interval).max((rule.hold / 2.0).min(60.0));
        #[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let part = (to / (window / PARTS as f64)).ceil() as i64;
        let block = [counts.n_canary, counts.e_canary, counts.n_stable, counts.e_stable];
        match self.parts.last_mut() {
            Some((at, sums)) if *at == part => sums.iter_mut().zip(block).for_each(|(sum, n)| *sum += n),
            _ => self.parts.push((part, block)),
        }
        self.parts.retain(|(at, _)| *at > part.saturating_sub(PARTS));
        if self.last > 0.0 && to - self.last > 5.0 * interval {
            self.since = None; // what happened in the gap is not known
        }
        self.last = to;
        let [n, e, m, f] = self.parts.iter().fold([0.0; 4], |mut sum, (_, part)| {
            sum.iter_mut().zip(part).for_each(|(sum, n)| *sum += n);
            sum
        });
        if let Some((_, sums)) = &mut self.since {
            sums.iter_mut().zip(block).for_each(|(sum, n)| *sum += n);
        }
        let above = |r: Option<f64>| r.is_some_and(|r| r > rule.max);
        let shared = |m: f64, f: f64| !rule.strict && f >= MIN_BAD && above(ratio(m, f));
        match ratio(n, e) {
            None => return if self.since.is_some() { Stand::Over } else { Stand::Inside },
            Some(_) if shared(m, f) => {
                self.since = None;
                return Stand::Shared;
            }
            Some(r) if r > rule.max => {
                self.since.get_or_insert((to, [n, e, m, f]));
            }
            Some(_) => {
                self.since = None;
                return Stand::Inside;
            }
        }
        let Some((since, [n, e, m, f])) = self.since else { return Stand::Inside };
        let enough = e >= MIN_BAD && (n >= rule.min_requests || e >= ENOUGH_BAD);
        // The window may still hold a burst that is over by now.
        let lately = ratio(block[0], block[1]).is_none_or(|r| r > rule.max || block[0] * rule.max < 1.0);
        if to - since < rule.hold || !enough || !above(ratio(n, e)) || shared(m, f) || !lately {
            Stand::Over
        } else {
            Stand::Convicted(Counts { n_canary: n, e_canary: e, n_stable: m, e_stable: f })
        }
    }
}
