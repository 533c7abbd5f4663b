//! Plays one release: requests reach pods, pods are scraped, and every tick gives a sample as the operator would see it.

use std::collections::BTreeMap;

use haldane::decide::verdict::evidence::{PodSample, Provider, Sample};

use crate::{
    pod::{Conditions, Pod},
    random::Random,
    scenario::{Effect, Scenario, Side, Who},
};

pub const TICK: f64 = 5.0;

/// A canary pod's counters as they were scraped.
#[derive(Clone, Copy, Debug)]
pub struct Scrape {
    pub pod: usize,
    pub at: f64,
    pub total: f64,
    pub bad: f64,
}

pub struct Play {
    scenario: Scenario,
    random: Random,
    pods: Vec<Pod>,
    /// When anything changes: between two of these all rates are constant.
    edges: Vec<f64>,
    at: f64,
    sample: Sample,
    blind: bool,
    /// What was scraped of canary pods since the tick before.
    pub scrapes: Vec<Scrape>,
}

impl Play {
    pub fn new(scenario: Scenario, mut random: Random) -> Self {
        let mut pods = Vec::new();
        for index in 0..scenario.canaries {
            let start = -random.between(scenario.started.0, scenario.started.1);
            let ready = -random.between(scenario.readied.0, scenario.readied.1);
            pods.push(Pod::new(&scenario, &mut random, (Side::Canary, index), (start, ready)));
        }
        for index in 0..scenario.stables {
            let start = -random.between(40_000.0, 400_000.0);
            pods.push(Pod::new(&scenario, &mut random, (Side::Stable, index), (start, start + 10.0)));
        }
        let mut next = (scenario.canaries, scenario.stables);
        for &(start, side) in &scenario.births {
            let index = if side == Side::Canary { &mut next.0 } else { &mut next.1 };
            pods.push(Pod::new(&scenario, &mut random, (side, *index), (start, start + 10.0)));
            *index += 1;
        }
        let edges = edges(&scenario, &pods);
        let at = -scenario.lead - TICK;
        let sample = Sample { t: 0.0, weight: 0.0, provider: Provider::Ok, pods: BTreeMap::new() };
        Self { scenario, random, pods, edges, at, sample, blind: false, scrapes: Vec::new() }
    }

    /// Seconds after the first traffic of the last tick.
    pub fn at(&self) -> f64 {
        self.at
    }

    /// The next sample; its clock starts with 0 at the first. None at the end.
    pub fn tick(&mut self) -> Option<&Sample> {
        self.at += TICK;
        if self.at > self.scenario.length {
            return None;
        }
        self.scrapes.clear();
        let at = self.at;
        let down = self.lasting(at, |effect| matches!(effect, Effect::ProviderDown));
        if self.blind {
            self.sample.pods.clear();
        }
        for index in 0..self.pods.len() {
            self.scrape(index, at - self.scenario.delay);
            self.show(index, at);
        }
        if down {
            for pod in self.sample.pods.values_mut() {
                (pod.scraped, pod.total, pod.bad) = (None, None, None);
                pod.le.clear();
            }
            self.scrapes.clear();
        }
        self.blind = down;
        self.sample.provider = if down { Provider::Down } else { Provider::Ok };
        self.sample.t = at + self.scenario.lead;
        self.sample.weight = self.scenario.weight(at);
        Some(&self.sample)
    }

    /// The last sample that `tick` gave.
    pub fn sample(&self) -> &Sample {
        &self.sample
    }

    /// How long both versions have been well again; None while they are not, or always were.
    pub fn since_recovery(&self) -> Option<f64> {
        let ends = self.scenario.windows.iter().filter(|w| {
            matches!(w.who, Who::All)
                && matches!(
                    w.effect,
                    Effect::Fail(_) | Effect::FailMore(_) | Effect::FailRising(_) | Effect::SlowTimes(_)
                )
        });
        let mut last: Option<f64> = None;
        for window in ends.filter(|w| w.from <= self.at) {
            if self.at < window.to {
                return None;
            }
            last = Some(last.map_or(window.to, |end| end.max(window.to)));
        }
        last.map(|end| self.at - end)
    }

    fn lasting(&self, at: f64, kind: impl Fn(&Effect) -> bool) -> bool {
        self.scenario.windows.iter().any(|w| w.from <= at && at < w.to && kind(&w.effect))
    }

    /// All scrapes of a pod up to now.
    fn scrape(&mut self, index: usize, until: f64) {
        while self.pods[index].next_scrape <= until {
            let at = self.pods[index].next_scrape;
            let jitter = (0.02 * self.random.normal()).clamp(-0.1, 0.1);
            let pod = &mut self.pods[index];
            pod.due += self.scenario.scrape;
            pod.next_scrape = millis(pod.due + jitter);
            if at < pod.start || at >= pod.gone {
                continue;
            }
            self.serve(index, at);
            let pod = &mut self.pods[index];
            let fails = pod.windows.iter().find_map(|w| match w.effect {
                Effect::Unscraped(chance) if w.from <= at && at < w.to => Some(chance),
                _ => None,
            });
            if fails.is_some_and(|chance| self.random.chance(chance)) {
                continue;
            }
            pod.scraped = Some((at, pod.counts.clone()));
            pod.stale = true;
            if pod.side == Side::Canary {
                self.scrapes.push(Scrape { pod: index, at, total: pod.counts.total, bad: pod.counts.bad });
            }
        }
    }

    /// Lets requests reach the pod up to that moment.
    fn serve(&mut self, index: usize, until: f64) {
        let mut from = self.pods[index].served;
        while from < until {
            let next = self.edges.partition_point(|edge| *edge <= from);
            let to = self.edges.get(next).copied().unwrap_or(f64::INFINITY).min(until);
            if self.pods[index].restarts_at(from) {
                self.pods[index].counts.clear();
            }
            let middle = f64::midpoint(from, to);
            let arrivals = self.arrivals(index, middle) * (to - from);
            if arrivals > 0.0 {
                let conditions = self.conditions(index, middle);
                let Self { pods, random, scenario, .. } = self;
                pods[index].take(random, scenario, arrivals, &conditions);
            }
            from = to;
        }
        self.pods[index].served = until;
    }

    /// Requests a second that reach the pod.
    fn arrivals(&self, index: usize, at: f64) -> f64 {
        let pod = &self.pods[index];
        if !pod.serves(at) {
            return 0.0;
        }
        let beside = self.pods.iter().filter(|p| p.side == pod.side && p.serves(at)).count() as f64;
        let weight = self.scenario.weight(at);
        let canary = if weight < 1.0 { weight * self.scenario.given } else { 1.0 };
        let share = if pod.side == Side::Canary { canary } else { 1.0 - canary };
        let wave = self.scenario.wave.map_or(1.0, |w| 1.0 + w.traffic * swing(at, w.period, w.phase));
        self.scenario.rate * wave * pod.traffic(at) * share / beside
    }

    fn conditions(&self, index: usize, at: f64) -> Conditions {
        let wave = self.scenario.wave.map_or(1.0, |w| 1.0 + w.errors * swing(at, w.period / 3.0, w.phase * 5.0));
        self.pods[index].conditions(at, self.scenario.base * wave)
    }

    /// Writes the pod into the sample.
    fn show(&mut self, index: usize, at: f64) {
        let zero = self.scenario.lead;
        let pod = &mut self.pods[index];
        if at < pod.start || at >= pod.gone {
            self.sample.pods.remove(&pod.name);
            return;
        }
        let shown = self.sample.pods.entry(pod.name.clone()).or_insert_with(|| {
            pod.stale = true;
            pod.empty(zero)
        });
        pod.look(shown, at);
        if std::mem::take(&mut pod.stale) {
            pod.write(shown, zero, &self.scenario);
        }
    }
}

fn swing(at: f64, period: f64, phase: f64) -> f64 {
    (std::f64::consts::TAU * (at / period + phase)).sin()
}

pub fn millis(at: f64) -> f64 {
    (at * 1000.0).round() / 1000.0
}

fn edges(scenario: &Scenario, pods: &[Pod]) -> Vec<f64> {
    let mut edges: Vec<f64> = pods.iter().flat_map(|pod| [pod.ready, pod.gone]).collect();
    edges.extend(scenario.windows.iter().flat_map(|w| [w.from, w.to]));
    edges.extend(scenario.weights.iter().map(|(at, _)| *at));
    let step =
        if scenario.unsteady.is_some() || scenario.windows.iter().any(|w| matches!(w.effect, Effect::FailRising(_))) {
            Some(10.0)
        } else {
            scenario.wave.map(|_| 30.0)
        };
    if let Some(step) = step {
        let mut at = -scenario.lead - scenario.scrape;
        while at < scenario.length {
            edges.push(at);
            at += step;
        }
    }
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    edges
}

/// A pod that nothing has been scraped of.
pub fn unscraped(pod: &Pod, zero: f64) -> PodSample {
    PodSample {
        arm: pod.side.arm(),
        start: millis(pod.start + zero),
        ready: false,
        restarts: 0,
        scraped: None,
        total: None,
        bad: None,
        le: BTreeMap::new(),
        metrics: BTreeMap::new(),
        probe: None,
        waiting: None,
        terminated: None,
    }
}
