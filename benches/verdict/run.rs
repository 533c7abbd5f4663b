//! Runs all releases of a world on all processors and counts what became of them.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use haldane::decide::verdict::evidence::{Config, Engine, Finding};

use crate::{
    play::Play,
    rules::Rules,
    worlds::{Goal, World},
};

/// What became of the releases of a world. Times are seconds after the onset.
#[derive(Default)]
pub struct Tally {
    pub releases: u64,
    /// Convicted, in a world with a fault after it began.
    pub detected: Vec<f64>,
    /// Convicted before the fault began.
    pub early: u64,
    pub reasons: BTreeMap<&'static str, u64>,
    pub rules: [Vec<f64>; 3],
    pub rules_early: [u64; 3],
    /// Releases that saw this verdict at least once.
    pub degraded: u64,
    /// In such releases: how long after both had recovered it was said last.
    pub held_on: Vec<f64>,
    pub outlier: u64,
    pub no_data: u64,
    /// The first moment at which the step might have ended.
    pub advanced: Vec<f64>,
    /// Seeds that one would want to replay: convicted without a fault, or missed.
    pub wrong: Vec<u64>,
    pub panics: u64,
    pub not_finite: u64,
    pub state_bytes: usize,
}

/// What one release came to.
struct Outcome {
    bad: Option<(f64, &'static str)>,
    rules: [Option<f64>; 3],
    degraded: bool,
    held_on: Option<f64>,
    outlier: bool,
    no_data: bool,
    advanced: Option<f64>,
    not_finite: u64,
    state_bytes: usize,
}

pub fn world(world: &World, seeds: std::ops::Range<u64>, threads: usize) -> Tally {
    let next = AtomicU64::new(seeds.start);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut own = Tally::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    if let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| release(world, seed))) {
                        own.add(world, seed, &outcome);
                    } else {
                        own.panics += 1;
                        own.wrong.push(seed);
                    }
                }
                tally.lock().unwrap_or_else(PoisonError::into_inner).merge(own);
            });
        }
    });
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.sort();
    tally
}

fn release(world: &World, seed: u64) -> Outcome {
    let (scenario, random) = world.scenario(seed);
    let mut engine = Engine::new(Config::new(&scenario.checks, 3600.0));
    let mut play = Play::new(scenario, random);
    let mut rules = Rules::default();
    let onset = match world.goal {
        Goal::Convicted { onset, .. } => onset,
        Goal::Spared(_) => 0.0,
    };
    let mut outcome = Outcome {
        bad: None,
        rules: [None; 3],
        degraded: false,
        held_on: None,
        outlier: false,
        no_data: false,
        advanced: None,
        not_finite: 0,
        state_bytes: 0,
    };
    while play.tick().is_some() {
        let at = play.at();
        rules.tick(at, &play.scrapes, play.sample().provider);
        let all_decided = outcome.bad.is_some() && (!world.is_null() && rules.convicted.iter().all(Option::is_some));
        if all_decided {
            break;
        }
        if outcome.bad.is_some() {
            continue;
        }
        let output = engine.tick(play.sample());
        outcome.not_finite += u64::from(output.ln_e.is_some_and(|e| !e.is_finite()));
        match output.verdict {
            Finding::Bad => {
                outcome.bad = Some((at, output.reason));
                outcome.state_bytes = outcome.state_bytes.max(size(&engine));
            }
            Finding::EnvironmentDegraded => {
                outcome.degraded = true;
                outcome.held_on = longer(outcome.held_on, play.since_recovery());
            }
            Finding::PodOutlier => outcome.outlier = true,
            Finding::NoData if at > 0.0 => outcome.no_data = true,
            _ => {}
        }
        if output.advance && at >= onset && outcome.bad.is_none() {
            outcome.advanced.get_or_insert(at);
        }
    }
    outcome.state_bytes = outcome.state_bytes.max(size(&engine));
    outcome.rules = rules.convicted;
    outcome
}

fn longer(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

fn size(engine: &Engine) -> usize {
    serde_json::to_vec(engine.state()).map_or(usize::MAX, |bytes| bytes.len())
}

impl Tally {
    fn add(&mut self, world: &World, seed: u64, outcome: &Outcome) {
        let onset = match world.goal {
            Goal::Convicted { onset, .. } => onset,
            Goal::Spared(_) => f64::NEG_INFINITY,
        };
        let zero = onset.max(0.0);
        self.releases += 1;
        match outcome.bad {
            Some((at, reason)) => {
                *self.reasons.entry(reason).or_default() += 1;
                if at < onset {
                    self.early += 1;
                    self.wrong.push(seed);
                } else {
                    self.detected.push(at - zero);
                    if world.is_null() {
                        self.wrong.push(seed);
                    }
                }
            }
            None if world.is_null() => {}
            None => self.wrong.push(seed),
        }
        for (index, convicted) in outcome.rules.iter().enumerate() {
            match convicted {
                Some(at) if *at < onset => self.rules_early[index] += 1,
                Some(at) => self.rules[index].push(at - zero),
                None => {}
            }
        }
        self.degraded += u64::from(outcome.degraded);
        self.held_on.extend(outcome.held_on);
        self.outlier += u64::from(outcome.outlier);
        self.no_data += u64::from(outcome.no_data);
        self.advanced.extend(outcome.advanced.map(|at| at - zero));
        self.not_finite += outcome.not_finite;
        self.state_bytes = self.state_bytes.max(outcome.state_bytes);
    }

    fn merge(&mut self, other: Self) {
        self.releases += other.releases;
        self.detected.extend(other.detected);
        self.early += other.early;
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        for (all, own) in self.rules.iter_mut().zip(other.rules) {
            all.extend(own);
        }
        for (all, own) in self.rules_early.iter_mut().zip(other.rules_early) {
            *all += own;
        }
        self.degraded += other.degraded;
        self.held_on.extend(other.held_on);
        self.outlier += other.outlier;
        self.no_data += other.no_data;
        self.advanced.extend(other.advanced);
        self.wrong.extend(other.wrong);
        self.panics += other.panics;
        self.not_finite += other.not_finite;
        self.state_bytes = self.state_bytes.max(other.state_bytes);
    }

    fn sort(&mut self) {
        self.wrong.sort_unstable();
        self.detected.sort_by(f64::total_cmp);
        self.advanced.sort_by(f64::total_cmp);
        self.held_on.sort_by(f64::total_cmp);
        for times in &mut self.rules {
            times.sort_by(f64::total_cmp);
        }
    }
}

/// The value that `share` of all are not above; None if so many never came.
pub fn quantile(sorted: &[f64], all: u64, share: f64) -> Option<f64> {
    let rank = (share * all as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}
