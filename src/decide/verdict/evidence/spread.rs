//! Whether it is the version or one pod: a bad node, a broken disk, a poisoned connection.
//!
//! A conviction needs the other pods to lean the same way when any one is left out. How far depends on how sure it is that
//! the pod differs from its brothers: not at all sure, and a slight lean is enough; certain, and the others must convict.

use serde::{Deserialize, Serialize};

use super::{
    block::{Block, errors, slow},
    config::Config,
    curve::Row,
    factor::{self, Counts},
    grid::ROUGH,
    packed,
    process::{Process, ln_add, mean, update},
};

/// Pods that are followed one by one; with more, several share a place.
pub const PLACES: usize = 5;
/// Latency bounds that pods are compared at.
pub const PICKS: usize = 2;
/// The others must lean this far at least: e = 3.
const LEAN: f64 = 1.1;
/// Latencies of one process hang together: e = 20.
const LEAN_LATENCY: f64 = 3.0;
/// How fast what is asked of the others grows with the evidence that the pod differs from them.
const SUSPICION: f64 = 1.5;
/// When that is certain they must do more than convict: they are looked at again and again.
const CERTAIN: f64 = 2.3;
/// From here on it seems to differ.
const SEEMS: f64 = 0.4;
/// One bad request of theirs is a chance, where the pod seems to differ from them.
const OTHERS_BAD: f64 = 2.0;
/// From here on it is certain that a pod differs: e = 20.
const DIFFERS: f64 = 3.0;
/// Others that serve less than this part of the requests have no say.
const SAY: f64 = 0.1;

/// The processes of a place, one behind the other: it differs, the others lean; by errors, then by each bound.
const LOGS: usize = 2 * (1 + PICKS) * ROUGH.len();

/// One pod's place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Of the pod's name.
    pub hash: u32,
    /// Its requests lately; its bad requests in all: failed ones, and slow ones by each bound.
    #[serde(with = "packed")]
    counts: [f64; 2 + PICKS],
    logs: Process<LOGS>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub places: Vec<Place>,
    /// The bounds that pods are compared at, by index; chosen once there is something to choose from.
    pub picks: Option<[usize; PICKS]>,
}

/// Which family a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Errors,
    Latency,
}

/// FNV-1a: the same in every build.
pub fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

/// Where in the logs a process is: `what` is 0 for errors, 1 and on for the bounds.
const fn part(what: usize, others: bool) -> std::ops::Range<usize> {
    let from = (2 * what + if others { 1 } else { 0 }) * ROUGH.len();
    from..from + ROUGH.len()
}

impl Place {
    fn take(&mut self, what: usize, others: bool, ln_mass: f64, factor: impl Fn(usize) -> f64) {
        update(&mut self.logs.ln[part(what, others)], ln_mass, factor);
    }

    fn ln(&self, what: usize, others: bool, left: f64) -> f64 {
        mean(&self.logs.ln[part(what, others)], left)
    }

    fn ln_differs(&self, family: Family, left: f64) -> f64 {
        match family {
            Family::Errors => self.ln(0, false, left),
            Family::Latency => {
                let sum = (1..=PICKS).fold(f64::NEG_INFINITY, |sum, what| ln_add(sum, self.ln(what, false, left)));
                #[expect(clippy::cast_precision_loss, reason = "a handful")]
                let count = PICKS as f64;
                sum - count.ln()
            }
        }
    }

    fn ln_others(&self, family: Family, left: f64) -> f64 {
        match family {
            Family::Errors => self.ln(0, true, left),
            Family::Latency => (1..=PICKS).map(|what| self.ln(what, true, left)).fold(f64::NEG_INFINITY, f64::max),
        }
    }

    /// It served; what it served earlier fades.
    pub fn serve(&mut self, requests: f64, fade: f64) {
        self.counts[0] = packed::round(self.counts[0] * fade + requests);
    }

    const fn requests(&self) -> f64 {
        self.counts[0]
    }

    /// Bad requests, at the bound with the most.
    fn bad(&self, family: Family) -> f64 {
        match family {
            Family::Errors => self.counts[1],
            Family::Latency => self.counts[2..].iter().copied().fold(0.0, f64::max),
        }
    }
}

impl Spread {
    /// The place of a pod: its own, that of one that is gone, or one it shares. `alive`: the names of the pods there are.
    pub fn place(&mut self, name: &str, alive: &dyn Fn(u32) -> bool, left: f64) -> usize {
        let hash = hash(name);
        if let Some(found) = self.places.iter().position(|p| p.hash == hash) {
            return found;
        }
        let spent = (1.0 - left).ln();
        let fresh = Place { hash, counts: [0.0; 2 + PICKS], logs: Process::starting(spent) };
        if let Some(free) = self.places.iter().position(|p| !alive(p.hash)) {
            self.places[free] = fresh;
            free
        } else if self.places.len() < PLACES {
            self.places.push(fresh);
            self.places.len() - 1
        } else {
            usize::try_from(hash).unwrap_or(0) % PLACES
        }
    }

    /// Everybody begins anew; who is gone leaves his place.
    pub fn restart(&mut self, gone: u32, left: f64) {
        self.places.retain(|p| p.hash != gone);
        for place in &mut self.places {
            place.counts = [0.0; 2 + PICKS];
            place.logs.restart(left);
        }
    }

    /// Takes a block in; `rows`: per place all requests, and those of pods past their first moments.
    pub fn update(
        &mut self,
        block: &Block,
        rows: &[(Row, Row); PLACES],
        config: &Config,
        phi: (f64, &dyn Fn(usize) -> f64),
        ln_mass: f64,
    ) {
        if self.places.len() < 2 || !block.settled {
            return;
        }
        for (place, (row, warm)) in self.places.iter_mut().zip(rows) {
            let rest = block.canary.since(row);
            let (own, others) = (errors(row, &rest), errors(&rest, &block.stable));
            place.counts[1] = packed::round(place.counts[1] + own.e_canary);
            place.take(0, false, ln_mass, |g| factor::relative(&own, 1.0, ROUGH[g]) / phi.0);
            place.take(0, true, ln_mass, |g| lean(&others, config.error_max, phi.0, g, block.comparable));
            let rest = block.canary_warm.since(warm);
            for (n, bound) in self.picks.into_iter().flatten().enumerate() {
                let phi = phi.1(bound);
                let (own, others) = (slow(warm, &rest, bound), slow(&rest, &block.stable_warm, bound));
                place.counts[2 + n] = packed::round(place.counts[2 + n] + own.e_canary);
                place.take(1 + n, false, ln_mass, |g| factor::relative(&own, 1.0, ROUGH[g]) / phi);
                place.take(1 + n, true, ln_mass, |g| lean(&others, config.latency_share, phi, g, block.comparable));
            }
            place.logs.round();
        }
    }

    fn heard(&self) -> impl Iterator<Item = &Place> {
        let all: f64 = self.places.iter().map(Place::requests).sum();
        self.places.iter().filter(move |p| all > 0.0 && all - p.requests() >= SAY * all)
    }

    /// No pod alone carries the evidence.
    pub fn agrees(&self, family: Family, left: f64, alpha: f64) -> bool {
        if self.places.len() < 2 {
            return true;
        }
        let convict = -alpha.ln();
        let lean = match family {
            Family::Errors => LEAN,
            Family::Latency => LEAN_LATENCY,
        };
        let bad: f64 = self.places.iter().map(|p| p.bad(family)).sum();
        self.heard().all(|place| {
            let differs = place.ln_differs(family, left);
            let needed = (lean + SUSPICION * differs).clamp(lean.min(convict), convict + CERTAIN);
            let chance = differs > SEEMS && bad - place.bad(family) < OTHERS_BAD - 1e-6;
            !chance && place.ln_others(family, left) >= needed
        })
    }

    /// The place of the pod that certainly differs from its brothers.
    pub fn outlier(&self, family: Family, left: f64) -> Option<&Place> {
        let all: f64 = self.places.iter().map(Place::requests).sum();
        let heard = self.places.iter().filter(|p| p.requests() > 0.0 && p.requests() < all);
        let mut sum = f64::NEG_INFINITY;
        let (mut count, mut worst) = (0.0_f64, None::<(&Place, f64)>);
        for place in heard {
            let ln = place.ln_differs(family, left);
            sum = ln_add(sum, ln);
            count += 1.0;
            if worst.is_none_or(|(_, w)| ln > w) {
                worst = Some((place, ln));
            }
        }
        worst.filter(|_| count >= 2.0 && sum - count.ln() >= DIFFERS).map(|(place, _)| place)
    }
}

/// Against the stable version where there is one to compare with, else against the limit.
fn lean(counts: &Counts, limit: f64, phi: f64, g: usize, comparable: bool) -> f64 {
    if comparable {
        factor::relative(counts, 1.0, ROUGH[g]) / phi
    } else if limit > 0.0 && limit < 1.0 {
        factor::threshold(counts.n_canary, counts.e_canary, limit, ROUGH[g], phi)
    } else {
        0.0
    }
}
