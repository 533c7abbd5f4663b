//! An hour of one version as a release of itself: some of its pods are taken for the candidate. Pure.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use crate::{
    api::{checks::Checks, units::At},
    decide::verdict::evidence::{Arm, Config, Engine, Finding, PodSample, Provider, Sample},
    observe::{
        prometheus::reading::{PodReading, Reading},
        seen::Scrape,
    },
};

use super::history::Found;

/// How long a release is taken to last.
pub const HOUR: Duration = Duration::from_hours(1);
/// Of this time before it the engine learns how failures come together.
pub const LEAD: Duration = Duration::from_mins(30);

/// What the checks come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    RolledBack {
        after: Duration,
        sentence: String,
    },
    /// A step would have ended.
    Proven,
    /// It was not convicted, but no step would have ended: too few requests, or a hold all the time.
    Unproven,
    /// Nothing is known of this hour.
    Silent,
}

/// `2026-03-02 14:05 UTC`.
pub fn minute(at: At) -> String {
    at.timestamp().strftime("%F %H:%M UTC").to_string()
}

/// The looks of an hour that begins at `from`. Before it all pods are the stable version's; then `candidates` of them, those
/// whose turn it is, are the candidate's.
pub fn samples(found: &Found, checks: &Checks, from: At, candidates: u32, turn: usize) -> Vec<Sample> {
    let served = |reading: &Reading| reading.values().filter(|pod| pod.requests.is_some()).count();
    let Some((_, first)) = found.readings.range(from..).find(|(_, reading)| served(reading) > 0) else {
        return Vec::new();
    };
    let pods: Vec<&str> =
        first.iter().filter(|(_, pod)| pod.requests.is_some()).map(|((_, name), _)| name.as_str()).collect();
    let most = (pods.len() - 1).max(1);
    let count = usize::try_from(candidates).unwrap_or(1).clamp(1, most);
    let chosen: Vec<&str> = pods.iter().cycle().skip(turn * count % pods.len()).take(count).copied().collect();
    #[expect(clippy::cast_precision_loss, reason = "numbers of pods are small")]
    let share = count as f64 / pods.len() as f64;

    let look = |(at, reading): (&At, &Reading)| {
        let under_way = *at >= from;
        let told = served(reading) > 0;
        let pod = |((_, name), found_pod): (&(String, String), &PodReading)| {
            let canary = chosen.contains(&name.as_str());
            if canary && !under_way {
                return None;
            }
            let scrape = found_pod.scrape(told, &found.bounds)?;
            Some((name.clone(), as_of(&scrape, if canary { Arm::Canary } else { Arm::Stable }, found, checks)))
        };
        Sample {
            t: at.epoch(),
            weight: if under_way { share } else { 0.0 },
            provider: Provider::Ok,
            pods: reading.iter().filter_map(pod).collect(),
        }
    };
    found.readings.iter().map(look).collect()
}

/// It has run for long, and nothing but its counters is known.
fn as_of(scrape: &Scrape, arm: Arm, found: &Found, checks: &Checks) -> PodSample {
    let finite = found.bounds.iter().map(|bound| (bound / found.per_second).to_string());
    let le: BTreeMap<String, f64> = finite.chain(["+Inf".to_owned()]).zip(scrape.within.iter().copied()).collect();
    PodSample {
        arm,
        start: 0.0,
        ready: true,
        restarts: 0,
        scraped: Some(scrape.at.epoch()),
        total: Some(scrape.requests),
        bad: scrape.errors,
        le,
        metrics: scrape.named(&checks.metrics),
        probe: None,
        waiting: None,
        terminated: None,
    }
}

/// What the checks say of these looks.
pub fn judge(checks: &Checks, samples: &[Sample]) -> Said {
    let mut config = Config::new(checks, HOUR.as_secs_f64());
    // Nobody set the share: it is what the pods happened to get.
    config.routed = false;
    let (mut engine, mut proven, mut known, mut begin) = (Engine::new(config), false, false, None);
    for sample in samples {
        let output = engine.tick(sample);
        if sample.weight == 0.0 {
            continue;
        }
        let begin = *begin.get_or_insert(sample.t);
        if output.verdict == Finding::Bad {
            let after = Duration::try_from_secs_f64(sample.t - begin).unwrap_or_default();
            return Said::RolledBack { after, sentence: output.sentence };
        }
        proven |= output.advance;
        known |= output.ln_e.is_some();
    }
    match (proven, known) {
        (true, _) => Said::Proven,
        (false, true) => Said::Unproven,
        (false, false) => Said::Silent,
    }
}

/// All hours together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub hours: u32,
    pub rolled_back: u32,
    unproven: u32,
    silent: u32,
}

impl Tally {
    pub fn add(&mut self, said: &Said) {
        self.hours += 1;
        match said {
            Said::RolledBack { .. } => self.rolled_back += 1,
            Said::Proven => {}
            Said::Unproven => self.unproven += 1,
            Said::Silent => self.silent += 1,
        }
    }

    /// `these settings would have rolled back 0 of 168 hours of shop-5d6f8; …`.
    pub fn sentence(&self, set: &str) -> String {
        let Self { hours, rolled_back, unproven, silent } = *self;
        let mut sentence = format!("these settings would have rolled back {rolled_back} of {hours} hours of {set}");
        if unproven > 0 {
            let _ = write!(sentence, "; in {unproven} no step would have ended");
        }
        if silent > 0 {
            let _ = write!(sentence, "; of {silent} nothing is known");
        }
        sentence
    }
}

#[cfg(test)]
mod tests;
