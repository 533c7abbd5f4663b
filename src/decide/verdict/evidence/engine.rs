//! One tick: a sample in, a verdict out.
//!
//! Counters → the watermark that all pods have reached → blocks between watermarks, cut where something was changed →
//! every test takes each block in once → one verdict.

use super::{
    block::{self, Block},
    certify::Proof,
    config::Config,
    curve::Row,
    degraded::Suffering,
    dispersion,
    latency::limit_bound,
    literal::Rule,
    output::Output,
    packed,
    roster::Roster,
    sample::{Arm, LAST, Sample},
    series,
    spread::{PICKS, PLACES, Spread, hash},
    state::{Outlier, State, Weight},
};

/// Seconds after which what happened counts half as "lately".
const LATELY: f64 = 120.0;
/// Pods whose first moments are remembered over a restart.
const REMEMBERED: usize = 5;

/// Judges one candidate against the stable version, sample after sample.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(super) config: Config,
    pub(super) state: State,
    pub(super) roster: Roster,
    /// Since when the routes have given the candidate its share without a break.
    stand: Option<f64>,
}

impl Engine {
    /// For a new candidate.
    pub fn new(config: Config) -> Self {
        Self::resume(config, State::default())
    }

    /// Goes on where another engine stood. Show it the last minutes of samples with `recall` first.
    pub fn resume(config: Config, mut state: State) -> Self {
        state.series.follow(&config.metrics, state.onset.left);
        let mut roster = Roster::new(series::counters(&config.metrics), state.gaps.clone());
        roster.layout.bounds.clone_from(&state.bounds);
        Self { config, state, roster, stand: Some(f64::NEG_INFINITY) }
    }

    /// Since when the routes have given the candidate its share without a break; `None`: somebody else has changed one, and
    /// that it gets nothing says nothing of it.
    pub const fn routes_stand(&mut self, since: Option<f64>) {
        self.stand = since;
    }

    /// Takes counters in without judging: after a restart, for samples that were judged before it. Two minutes are enough.
    pub fn recall(&mut self, sample: &Sample) {
        self.see(sample);
        for (name, pod) in &mut self.roster.pods {
            // Who was in his first moments is remembered; the others were ready long before.
            if pod.ready_since.is_some() && known_of(&self.state.young, hash(name)).is_none() {
                pod.ready_since = Some(pod.start);
            }
        }
        if let Some(to) = self.state.watermark {
            self.forget(to);
        }
    }

    /// Judges. Samples come in the order of their time; one that is older than the last is only taken in.
    pub fn tick(&mut self, sample: &Sample) -> Output {
        let mut sample = std::borrow::Cow::Borrowed(sample);
        let began = self.state.began.is_some();
        if sample.t.is_nan() || sample.t.abs() > LAST || began && sample.t < self.state.now {
            sample.to_mut().t = self.state.now; // a clock that jumped
        }
        if !(0.0..=1.0).contains(&sample.weight) {
            let weight = sample.weight.clamp(0.0, 1.0);
            sample.to_mut().weight = if weight.is_nan() { 0.0 } else { weight };
        }
        let sample = sample.as_ref();
        self.see(sample);
        self.weigh(sample);
        self.state.now = sample.t;
        if let Some(to) = self.roster.watermark(sample.t) {
            let from = *self.state.watermark.get_or_insert(to);
            if to > from {
                self.blocks(from, to);
                self.state.watermark = Some(to);
            }
            let to = to.max(from);
            self.state.dispersion.look(&self.roster, to);
            self.state.share.look(&self.roster, to, sample.weight, self.config.horizon);
            self.excuse(to);
            self.forget(to);
        }
        self.state.gaps.clone_from(self.roster.gaps());
        self.state.bounds.clone_from(&self.roster.layout.bounds);
        self.remember(sample.t);
        self.conclude(sample)
    }

    /// What must be kept for `resume`: under 4 KB as JSON.
    pub const fn state(&self) -> &State {
        &self.state
    }

    fn see(&mut self, sample: &Sample) {
        let known = self.state.began.is_some();
        let began = *self.state.began.get_or_insert(sample.t);
        self.roster.take(sample, began, self.config.latency_max, self.state.watermark);
        if known && !(self.state.young.is_empty() && self.state.restarts.is_empty()) {
            for (name, pod) in &mut self.roster.pods {
                let hash = hash(name);
                if let Some(since) = known_of(&self.state.young, hash) {
                    pod.ready_since = Some(pod.ready_since.map_or(since, |s| s.min(since)));
                }
                if let Some(before) = known_of(&self.state.restarts, hash) {
                    pod.restarts_before = before;
                }
            }
        }
    }

    /// Follows the weight: a change begins a new step.
    fn weigh(&mut self, sample: &Sample) {
        let state = &mut self.state;
        let last = state.weights.last().map(|w| w.share);
        let settle = self.config.settle_scrapes * self.roster.interval;
        let changed = last.is_none_or(|last| (last - sample.weight).abs() > 1e-9);
        let first = !state.weights.iter().any(|w| w.share > 0.0);
        if changed {
            let after = if last.is_none() { sample.t } else { state.now };
            state.weights.push(Weight { after, at: sample.t, share: sample.weight, first });
            if state.weights.len() > 3 {
                state.weights.remove(1); // the first tells that there was one
            }
            state.proof = Proof::default();
        }
        let serves = self.config.routed && sample.weight > 0.0 && self.roster.alive(Arm::Canary).any(|(_, p)| p.ready);
        match (serves, state.share.from) {
            (false, _) => state.share.restart(None),
            (true, None) => state.share.restart(Some(sample.t)),
            (true, Some(_)) if changed => {
                state.share.restart(Some(sample.t + if first { 0.0 } else { settle }));
            }
            _ => {}
        }
        match (self.stand, state.share.from) {
            (None, _) => state.share.restart(None),
            (Some(since), Some(from)) if from < since + settle => state.share.restart(Some(since + settle)),
            _ => {}
        }
    }

    /// Judges what happened between two watermarks, piece by piece.
    fn blocks(&mut self, from: f64, to: f64) {
        let settle = self.config.settle_scrapes * self.roster.interval;
        let mut cuts = vec![from, to];
        for weight in &self.state.weights {
            cuts.extend([weight.after, weight.at]);
            if !weight.first {
                cuts.push(weight.at + settle);
            }
        }
        for pod in self.roster.pods.values() {
            cuts.extend(pod.ready_since.map(|since| since + self.config.warm_up));
        }
        cuts.retain(|cut| (from..=to).contains(cut));
        cuts.sort_by(f64::total_cmp);
        cuts.dedup();
        for pair in cuts.windows(2) {
            let disturbed = |w: &Weight| !w.first && pair[0] < w.at + settle && pair[1] > w.after;
            let settled = !self.state.weights.iter().any(disturbed);
            let block = Block::new(&self.roster, pair[0], pair[1], self.config.warm_up, settled);
            self.judge(&block);
        }
    }

    /// All tests take one block in.
    fn judge(&mut self, block: &Block) {
        let Self { config, state, roster, .. } = self;
        let counts = block.errors();
        if counts.n_canary + counts.n_stable > 0.0 {
            state.traffic = Some(block.to);
        }
        let fade = (-std::f64::consts::LN_2 * block.seconds() / LATELY).exp();
        state.recent[0].fade(fade, &block.canary);
        state.recent[1].fade(fade, &block.stable);
        let floor = config.phi_floor;
        let phi = state.dispersion.errors(floor);
        let dispersion = &state.dispersion;
        let phi_slow = |bound: usize| dispersion.slow(bound, floor);

        let limit = limit_bound(&state.bounds, config.latency_max);
        let slow = limit.map(|bound| block.slow(bound));
        state.suffering[0].update(&counts, config.error_max, phi, block.seconds());
        let rule = |max: f64, hold: f64| Rule { max, hold, min_requests: config.min_requests, strict: config.strict };
        let errors = rule(config.error_max, config.error_for);
        state.stands[0] = state.literal[0].update(&errors, &counts, block.to, roster.interval);
        if let (Some(slow), Some(bound)) = (slow, limit) {
            state.suffering[1].update(&slow, config.latency_share, phi_slow(bound), block.seconds());
            let latency = rule(config.latency_share, config.latency_for);
            state.stands[1] = state.literal[1].update(&latency, &slow, block.to, roster.interval);
        }
        if state.suffering.iter().any(Suffering::both) {
            state.proof = Proof::default(); // what both suffer tells nothing of the version: it is proven afterwards
        } else if state.weights.last().is_some_and(|w| block.from >= w.at && w.share > 0.0) {
            state.proof.update(counts.n_canary, counts.e_canary, config.error_max, phi);
            state.proof.timed = packed::milli(state.proof.timed + block.canary_warm.timed());
        }
        if state.onset.left >= 1.0 && counts.n_canary <= 0.0 {
            return; // the candidate has not begun
        }
        for (sum, n) in
            state.totals.iter_mut().zip([counts.n_canary, counts.e_canary, counts.n_stable, counts.e_stable])
        {
            *sum = packed::round(*sum + n);
        }
        if !block.settled {
            return;
        }
        let ln_mass = state.onset.spend(block.seconds(), config.horizon).ln();
        let spent = 1.0 - state.onset.left;
        state.errors.update(block, config, phi, ln_mass);
        state.latency.update(block, &state.bounds, config, &state.recent[1], phi_slow, (ln_mass, spent));
        state.series.update(block, config, &|index| dispersion.metric(index, floor), ln_mass);
        state.series.look(roster, config, block.to, ln_mass);
        let rows = places(&mut state.spread, roster, block, config.warm_up, state.onset.left);
        pick(&mut state.spread, &state.bounds, config, &state.recent[1]);
        state.spread.update(block, &rows, config, (phi, &phi_slow), ln_mass);
        for (place, (row, _)) in state.spread.places.iter_mut().zip(&rows) {
            place.serve(row.requests(), fade);
        }
    }

    /// A pod that certainly differed has gone, and all it did has been judged: what it did tells nothing of the version.
    fn excuse(&mut self, watermark: f64) {
        let Outlier::There(outlier) = self.state.outlier else { return };
        let mut it = self.roster.of(Arm::Canary).filter(|(name, _)| hash(name) == outlier);
        if it.any(|(_, p)| !p.gone || p.curve.last().is_some_and(|last| last > watermark)) {
            return;
        }
        let Self { state, .. } = self;
        let left = state.onset.left;
        state.errors.restart(left);
        state.latency.restart(left);
        state.spread.restart(outlier, left);
        state.proof = Proof::default();
        state.outlier = Outlier::Excused;
    }

    /// Drops what no test looks at any more.
    fn forget(&mut self, watermark: f64) {
        let mut oldest = watermark;
        for earlier in [self.state.share.from, self.state.dispersion.to].into_iter().flatten() {
            oldest = oldest.min(earlier);
        }
        self.roster.forget(oldest.max(watermark - 4.0 * dispersion::LOOK));
    }

    /// Keeps what a restart could not read again.
    fn remember(&mut self, now: f64) {
        let Self { config, state, roster, .. } = self;
        let ours = || roster.alive(Arm::Canary);
        // Longer than a restart may take, so that nobody is young again.
        let young = ours().filter(|(_, p)| p.warming(now - 300.0, config.warm_up));
        state.young.clear();
        state.young.extend(young.filter_map(|(name, p)| Some((hash(name), p.ready_since?))).take(REMEMBERED));
        let before = ours().filter(|(_, p)| p.restarts_before > 0);
        state.restarts.clear();
        state.restarts.extend(before.map(|(name, p)| (hash(name), p.restarts_before)).take(REMEMBERED));
    }
}

fn known_of<T: Copy>(of: &[(u32, T)], hash: u32) -> Option<T> {
    of.iter().find(|(h, _)| *h == hash).map(|(_, value)| *value)
}

/// Each place's part of a block.
fn places(spread: &mut Spread, roster: &Roster, block: &Block, warm_up: f64, left: f64) -> [(Row, Row); PLACES] {
    let mut rows = [(Row::default(), Row::default()); PLACES];
    let alive = |place: u32| roster.alive(Arm::Canary).any(|(name, _)| hash(name) == place);
    for (name, pod) in roster.of(Arm::Canary) {
        let row = pod.curve.between(block.from, block.to);
        if row.requests() <= 0.0 {
            continue;
        }
        let place = spread.place(name, &alive, left);
        if let Some((all, warm)) = rows.get_mut(place) {
            all.add(&row);
            if !pod.warming(block.from, warm_up) {
                warm.add(&row);
            }
        }
    }
    rows
}

/// Chooses the bounds that pods are compared at: about the stable version's slowest 1 %, and the limit.
fn pick(spread: &mut Spread, bounds: &[f64], config: &Config, stable: &Row) {
    if spread.picks.is_some() || bounds.is_empty() || stable.timed() < 200.0 {
        return;
    }
    let nearest = |share: f64| {
        let distance = |bound: &usize| ((stable.slow(*bound) / stable.timed()).max(1e-5) / share).ln().abs();
        (0..bounds.len()).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
    };
    let limit = limit_bound(bounds, config.latency_max).unwrap_or(bounds.len() - 1);
    let picks: [usize; PICKS] = [nearest(0.01), limit];
    spread.picks = Some(picks);
}

/// Requests of both sides lately, for sentences.
pub(super) fn lately(state: &State) -> super::factor::Counts {
    block::errors(&state.recent[0], &state.recent[1])
}
