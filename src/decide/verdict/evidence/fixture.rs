//! Recordings of pods whose requests come as evenly as clockwork.

use std::collections::BTreeMap;

use super::{
    config::Config,
    engine::Engine,
    output::{Finding, Output},
    sample::{Arm, PodSample, Provider, Sample},
};
use crate::api::checks::Checks;

/// A share of the requests, by time.
pub type Part = fn(f64) -> f64;

/// One pod and what it does.
#[derive(Clone)]
pub struct Load {
    pub name: &'static str,
    pub arm: Arm,
    pub start: f64,
    pub rate: Part,
    pub bad: Part,
    /// The share slower than the bounds 0.5 s and 2 s; `None`: it has no histogram.
    pub slow: Option<(Part, Part)>,
    pub ready: fn(f64) -> bool,
    /// When it is scraped first.
    pub phase: f64,
    pub scraped: fn(f64) -> bool,
    /// When its process begins anew.
    pub reset: f64,
    pub seen: fn(f64) -> bool,
    /// What else is known of it.
    pub facts: fn(f64, &mut PodSample),
    /// It reports failures; else the series is missing.
    pub counts_failures: bool,
}

pub fn load(name: &'static str, arm: Arm, start: f64, rate: Part, bad: Part) -> Load {
    let phase = name.bytes().map(f64::from).sum::<f64>() % 15.0;
    Load {
        name,
        arm,
        start,
        rate,
        bad,
        slow: None,
        ready: |_| true,
        phase,
        scraped: |_| true,
        reset: f64::INFINITY,
        seen: |_| true,
        facts: |_, _| {},
        counts_failures: true,
    }
}

/// A release at 5 %: two pods of the candidate, four of the stable version, 200 requests a second.
#[derive(Clone)]
pub struct World {
    pub loads: Vec<Load>,
    pub weight: Part,
    pub provider: fn(f64) -> Provider,
    pub interval: f64,
    /// The first sample.
    pub from: f64,
    pub checks: Checks,
}

pub fn never(_: f64) -> f64 {
    0.0
}

pub fn base(_: f64) -> f64 {
    0.002
}

pub fn world(bad: Part) -> World {
    let mut loads = vec![load("c1", Arm::Canary, 0.0, |_| 5.0, bad), load("c2", Arm::Canary, 0.0, |_| 5.0, bad)];
    for name in ["s1", "s2", "s3", "s4"] {
        loads.push(load(name, Arm::Stable, -86_400.0, |_| 47.5, base));
    }
    World {
        loads,
        weight: |t| if t >= 0.0 { 0.05 } else { 0.0 },
        provider: |_| Provider::Ok,
        interval: 15.0,
        from: -300.0,
        checks: Checks::default(),
    }
}

/// What a counter shows after so many seconds of a rate; whole requests.
fn counted(load: &Load, to: f64, part: impl Fn(f64) -> f64) -> f64 {
    let from = if to >= load.reset { load.reset } else { load.start.max(-600.0) };
    let mut sum = if load.start < -600.0 && from < load.reset { 1e5 * part(-600.0).min(1.0) } else { 0.0 };
    let mut t = from;
    while t < to {
        let step = (to - t).min(1.0);
        sum += (load.rate)(t) * part(t) * step;
        t += 1.0;
    }
    sum.floor()
}

impl World {
    pub fn sample(&self, now: f64) -> Sample {
        let down = (self.provider)(now) == Provider::Down;
        let mut pods = BTreeMap::new();
        for load in self.loads.iter().filter(|l| l.start <= now && (l.seen)(now)) {
            let mut pod = PodSample {
                arm: load.arm,
                start: load.start,
                ready: (load.ready)(now),
                restarts: u32::from(now >= load.reset),
                scraped: None,
                total: None,
                bad: None,
                le: BTreeMap::new(),
                metrics: BTreeMap::new(),
                probe: None,
                waiting: None,
                terminated: None,
            };
            let first = load.start.max(self.from - 60.0) + load.phase;
            let mut at = first + ((now - first) / self.interval).floor() * self.interval;
            while at > first && !(load.scraped)(at) {
                at -= self.interval;
            }
            if !down && at >= first && (load.scraped)(at) {
                pod.scraped = Some(at);
                pod.total = Some(counted(load, at, |_| 1.0));
                pod.bad = load.counts_failures.then(|| counted(load, at, load.bad));
                if let Some((half, two)) = load.slow {
                    let all = counted(load, at, |_| 1.0);
                    pod.le.insert("0.5".into(), all - counted(load, at, half));
                    pod.le.insert("2".into(), all - counted(load, at, two));
                    pod.le.insert("+Inf".into(), all);
                }
            }
            (load.facts)(now, &mut pod);
            pods.insert(load.name.to_owned(), pod);
        }
        Sample { t: now, weight: (self.weight)(now), provider: (self.provider)(now), pods }
    }

    /// Samples every 5 s.
    pub fn record(&self, to: f64) -> Vec<Sample> {
        let mut out = Vec::new();
        let mut now = self.from;
        while now <= to {
            out.push(self.sample(now));
            now += 5.0;
        }
        out
    }

    pub fn engine(&self) -> Engine {
        Engine::new(Config::new(&self.checks, 3600.0))
    }

    pub fn judged(&self, to: f64) -> Vec<Output> {
        let mut engine = self.engine();
        self.record(to).iter().map(|sample| engine.tick(sample)).collect()
    }

    /// The first sample with a verdict.
    pub fn first(&self, to: f64, verdict: Finding) -> Option<Output> {
        self.judged(to).into_iter().find(|o| o.verdict == verdict)
    }

    pub fn with(mut self, arm: Arm, edit: impl Fn(&mut Load)) -> Self {
        self.loads.iter_mut().filter(|l| l.arm == arm).for_each(edit);
        self
    }

    pub fn one(mut self, name: &str, edit: impl Fn(&mut Load)) -> Self {
        self.loads.iter_mut().filter(|l| l.name == name).for_each(edit);
        self
    }

    pub fn checked(mut self, edit: impl FnOnce(&mut Checks)) -> Self {
        edit(&mut self.checks);
        self
    }
}

pub fn none(outputs: &[Output], verdict: Finding) {
    let found = outputs.iter().find(|o| o.verdict == verdict);
    assert!(found.is_none(), "{found:?}");
}

/// To the tick.
pub fn when(output: &Output) -> i64 {
    format!("{:.0}", output.t).parse().unwrap()
}

pub fn at(outputs: &[Output], t: f64) -> &Output {
    outputs.iter().find(|o| o.t >= t).unwrap()
}
