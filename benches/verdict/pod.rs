//! One simulated pod: what reaches it, what it counts, and what is shown of it.

use haldane::decide::verdict::evidence::{Arm, PodSample};

use crate::{
    play::{millis, unscraped},
    random::{Random, normal_below},
    scenario::{BOUNDS, Clump, Effect, Latency, NAMES, Scenario, Side, Window},
};

/// Counters since the process started.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub total: f64,
    pub bad: f64,
    /// Requests up to each bound, not cumulative; the last are slower than all bounds.
    le: [f64; BOUNDS.len() + 1],
}

/// What a request meets at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    fails: f64,
    slow: f64,
    stuck: f64,
}

#[derive(Clone, Debug)]
pub struct Pod {
    pub name: String,
    pub side: Side,
    pub start: f64,
    pub ready: f64,
    pub gone: f64,
    pub windows: Vec<Window>,
    spread: f64,
    /// Factors of the error rate, one for each ten seconds from -lead - scrape on.
    unsteady: Vec<f64>,
    lead: f64,
    pub due: f64,
    pub next_scrape: f64,
    /// Requests have reached it up to this moment.
    pub served: f64,
    pub counts: Counts,
    pub scraped: Option<(f64, Counts)>,
    /// The sample does not show the last scrape yet.
    pub stale: bool,
}

impl Side {
    pub fn arm(self) -> Arm {
        match self {
            Self::Canary => Arm::Canary,
            Self::Stable => Arm::Stable,
        }
    }
}

impl Counts {
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Pod {
    pub fn new(
        scenario: &Scenario,
        random: &mut Random,
        (side, index): (Side, usize),
        (start, ready): (f64, f64),
    ) -> Self {
        let spread = if side == Side::Canary { &scenario.spread.0 } else { &scenario.spread.1 };
        let windows: Vec<_> = scenario.windows.iter().filter(|w| w.who.is(side, index)).cloned().collect();
        let gone = windows.iter().find(|w| matches!(w.effect, Effect::Gone)).map_or(f64::INFINITY, |w| w.from);
        let from = -scenario.lead - scenario.scrape;
        let cells = ((scenario.length - from) / 10.0).ceil().max(0.0) as usize + 1;
        let unsteady = scenario.unsteady.map(|shape| (0..cells).map(|_| random.gamma(shape)).collect());
        // A new pod is found by the scraper some seconds after its start.
        let found = (start + random.between(1.0, 6.0)).max(from);
        let due = found + random.between(0.0, scenario.scrape);
        let mut counts = Counts::default();
        if start < from {
            let age = from - start;
            counts.total = (scenario.rate * age / scenario.stables.max(1) as f64).round();
            counts.bad = (counts.total * scenario.base).round();
            if let Some(latency) = scenario.latency {
                let shares = latency.shares(1.0);
                for (count, share) in counts.le.iter_mut().zip(shares) {
                    *count = (counts.total * share).round();
                }
                counts.total = counts.le.iter().sum();
            }
        }
        let letter = if side == Side::Canary { 'c' } else { 's' };
        Self {
            name: format!("{letter}{}", index + 1),
            side,
            start: millis(start),
            ready: millis(ready),
            gone,
            windows,
            spread: spread.get(index).copied().unwrap_or(1.0),
            unsteady: unsteady.unwrap_or_default(),
            lead: -from,
            due,
            next_scrape: millis(due),
            served: start.max(from),
            counts,
            scraped: None,
            stale: true,
        }
    }

    fn lasting(&self, at: f64) -> impl Iterator<Item = &Window> {
        self.windows.iter().filter(move |w| w.from <= at && at < w.to)
    }

    fn is_ready(&self, at: f64) -> bool {
        let out = |w: &Window| matches!(w.effect, Effect::Unready | Effect::Restart | Effect::CrashLoop);
        at >= self.ready && at < self.gone && !self.lasting(at).any(out)
    }

    /// Requests are sent to it.
    pub fn serves(&self, at: f64) -> bool {
        self.is_ready(at)
    }

    pub fn restarts_at(&self, at: f64) -> bool {
        self.windows.iter().any(|w| w.from == at && matches!(w.effect, Effect::Restart | Effect::CrashLoop))
    }

    pub fn traffic(&self, at: f64) -> f64 {
        self.lasting(at).map(|w| if let Effect::Traffic(share) = w.effect { share } else { 1.0 }).product()
    }

    pub fn conditions(&self, at: f64, base: f64) -> Conditions {
        let cell = ((at + self.lead) / 10.0) as usize;
        let mut fails = base * self.spread * self.unsteady.get(cell).copied().unwrap_or(1.0);
        let (mut slow, mut stuck) = (1.0, 0.0);
        for window in self.lasting(at) {
            match window.effect {
                Effect::Fail(share) => fails = fails.max(share),
                Effect::FailMore(share) => fails += share,
                Effect::FailRising(share) => fails += share * (at - window.from) / (window.to - window.from),
                Effect::FailTimes(factor) => fails *= factor,
                Effect::SlowTimes(factor) => slow *= factor,
                Effect::Stuck(share) => stuck = share,
                _ => {}
            }
        }
        Conditions { fails: fails.clamp(0.0, 1.0), slow, stuck }
    }

    /// So many requests, give or take chance.
    pub fn take(&mut self, random: &mut Random, scenario: &Scenario, arrivals: f64, now: &Conditions) {
        let failed = failures(random, scenario.clump, arrivals * now.fails);
        let fine = arrivals * (1.0 - now.fails);
        self.counts.bad += failed;
        let Some(latency) = scenario.latency else {
            self.counts.total += failed + random.poisson(fine);
            return;
        };
        let mut shares = latency.shares(now.slow);
        for share in &mut shares {
            *share *= 1.0 - now.stuck;
        }
        shares[BOUNDS.iter().filter(|bound| **bound < 3.0).count()] += now.stuck;
        for (count, share) in self.counts.le.iter_mut().zip(shares) {
            *count += random.poisson(fine * share);
        }
        let mut left = failed;
        while left >= 1.0 {
            let mut at = random.unit();
            let found = shares.iter().position(|share| {
                at -= share;
                at <= 0.0
            });
            self.counts.le[found.unwrap_or(BOUNDS.len())] += 1.0;
            left -= 1.0;
        }
        self.counts.total = self.counts.le.iter().sum();
    }

    pub fn empty(&self, zero: f64) -> PodSample {
        unscraped(self, zero)
    }

    /// What the API server says of it.
    pub fn look(&self, shown: &mut PodSample, at: f64) {
        shown.ready = self.is_ready(at);
        let restarted = |w: &&Window| w.from <= at && matches!(w.effect, Effect::Restart | Effect::CrashLoop);
        shown.restarts = self.windows.iter().filter(restarted).count() as u32;
        let crashes = self.lasting(at).any(|w| matches!(w.effect, Effect::CrashLoop));
        if crashes != shown.waiting.is_some() {
            shown.waiting = crashes.then(|| "CrashLoopBackOff".to_owned());
        }
    }

    /// What was scraped of it last.
    pub fn write(&self, shown: &mut PodSample, zero: f64, scenario: &Scenario) {
        let Some((at, counts)) = &self.scraped else { return };
        shown.scraped = Some(millis(at + zero));
        if scenario.lazy && counts.total == 0.0 {
            (shown.total, shown.bad) = (None, None);
            shown.le.clear();
            return;
        }
        shown.total = Some(counts.total);
        shown.bad = (counts.bad > 0.0).then_some(counts.bad);
        if scenario.latency.is_none() {
            return;
        }
        let mut sum = 0.0;
        for (index, count) in counts.le.iter().enumerate() {
            sum += count;
            match shown.le.get_mut(NAMES[index]) {
                Some(shown) => *shown = sum,
                None => drop(shown.le.insert(NAMES[index].to_owned(), sum)),
            }
        }
    }
}

impl Latency {
    /// Which share ends between two bounds.
    fn shares(self, slow: f64) -> [f64; BOUNDS.len() + 1] {
        let mut below = 0.0;
        std::array::from_fn(|index| {
            let up_to =
                BOUNDS.get(index).map_or(1.0, |bound| normal_below((bound / (self.median * slow)).ln() / self.sigma));
            let share = (up_to - below).max(0.0);
            below = up_to;
            share
        })
    }
}

fn failures(random: &mut Random, clump: Clump, mean: f64) -> f64 {
    match clump {
        Clump::Of(size) => size * random.poisson(mean / size),
        Clump::Geometric(size) => {
            let clumps = random.poisson(mean / size);
            let (mut sum, mut drawn) = (0.0, 0.0);
            while drawn < clumps {
                sum += 1.0 + (random.unit().ln() / (1.0 - 1.0 / size).ln()).floor();
                drawn += 1.0;
            }
            sum
        }
    }
}
