//! All pods that were seen, the scrape interval, and the moment up to which they can be compared.

use std::collections::{BTreeMap, VecDeque};

use super::{
    curve::{Curve, Layout, bound, follow},
    sample::{Arm, LAST, PodSample, Provider, Sample},
};

/// Until two scrapes of a pod were seen.
const UNKNOWN_INTERVAL: f64 = 15.0;
/// Gaps between scrapes that the interval is the median of.
const GAPS: usize = 9;
/// A pod whose last scrape is older than so many intervals is not waited for.
const PATIENCE: f64 = 2.5;
/// Pods that are remembered at most; those that are gone leave first.
const PODS: usize = 512;

#[derive(Clone, Debug)]
pub struct Pod {
    pub arm: Arm,
    pub start: f64,
    pub curve: Curve,
    pub ready: bool,
    /// Since when it has been ready, also while it is not at the moment.
    pub ready_since: Option<f64>,
    /// Health checks that failed in a row.
    pub failed_probes: u32,
    /// Restarts before it was first seen.
    pub restarts_before: u32,
    pub restarts: u32,
    pub waiting: Option<String>,
    pub terminated: Option<String>,
    /// The last values of the user's gauges.
    pub gauges: BTreeMap<String, f64>,
    pub gone: bool,
    /// Others went on without it: its gap is not judged.
    lagging: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Roster {
    pub pods: BTreeMap<String, Pod>,
    pub layout: Layout,
    pub interval: f64,
    gaps: VecDeque<f64>,
    newest: Option<f64>,
    /// When data came again after nobody had any.
    resumed: f64,
}

impl Pod {
    /// It is expected to have data.
    pub fn expected(&self) -> bool {
        !self.gone && (self.ready || self.curve.last_scrape().is_some())
    }

    /// Its first moments, in which it is slow by nature.
    pub fn warming(&self, at: f64, warm_up: f64) -> bool {
        self.ready_since.is_none_or(|since| at < since + warm_up)
    }
}

impl Roster {
    pub fn new(metrics: Vec<Option<String>>, gaps: VecDeque<f64>) -> Self {
        let mut roster = Self { layout: Layout { bounds: Vec::new(), metrics }, gaps, ..Self::default() };
        roster.learn();
        roster
    }

    /// Takes a sample in. `began`: when the first one was taken; pods that are older do not count from 0.
    pub fn take(&mut self, sample: &Sample, began: f64, latency_max: f64, judged: Option<f64>) {
        for (name, pod) in &mut self.pods {
            pod.gone |= !sample.pods.contains_key(name);
        }
        if self.layout.bounds.is_empty() {
            self.layout.bounds = bounds(sample, latency_max);
        }
        let down = sample.provider == Provider::Down;
        let mut newest = self.newest;
        for (name, seen) in &sample.pods {
            if !self.pods.contains_key(name) {
                self.pods.insert(name.clone(), Pod::new(seen, began, sample.t));
            }
            let Some(pod) = self.pods.get_mut(name) else { continue };
            if pod.gone || pod.arm != seen.arm {
                *pod = Pod::new(seen, began, sample.t); // another one of the same name
            }
            pod.see(seen, sample.t);
            if down {
                continue;
            }
            if !seen.ready {
                pod.curve.idle_until(sample.t);
            }
            if let Some(gap) = pod.curve.scrape(&self.layout, seen, sample.t) {
                newest = pod.curve.last().filter(|last| newest.is_none_or(|n| *last > n)).or(newest);
                if pod.lagging && judged.is_some_and(|j| pod.curve.last().is_some_and(|last| last - gap < j)) {
                    pod.curve.start_over();
                }
                pod.lagging = false;
                if gap > 0.0 {
                    self.gaps.push_back((gap * 1000.0).round() / 1000.0);
                }
            }
        }
        while self.gaps.len() > GAPS {
            self.gaps.pop_front();
        }
        self.learn();
        if let (Some(now), Some(before)) = (newest, self.newest)
            && now - before > 2.0 * self.interval
        {
            self.resumed = sample.t;
        }
        self.newest = newest;
        while self.pods.len() > PODS {
            let Some(name) = self.pods.iter().find(|(_, p)| p.gone).map(|(name, _)| name.clone()) else { break };
            self.pods.remove(&name);
        }
    }

    fn learn(&mut self) {
        let mut sorted: Vec<f64> = self.gaps.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        self.interval = sorted.get(sorted.len() / 2).copied().unwrap_or(UNKNOWN_INTERVAL).clamp(1.0, 300.0);
    }

    pub fn gaps(&self) -> &VecDeque<f64> {
        &self.gaps
    }

    /// The moment that all pods with data have reached. Pods that stay behind while others go on are left out.
    pub fn watermark(&mut self, now: f64) -> Option<f64> {
        let newest = self.newest?;
        let (interval, resumed) = (self.interval, self.resumed);
        let mut lowest = None::<f64>;
        for pod in self.pods.values_mut().filter(|p| p.expected()) {
            let Some(last) = pod.curve.last() else { continue };
            // Who is not ready gets no requests: nothing is lost by not waiting long.
            let patience = if pod.ready { PATIENCE } else { 1.2 } * interval;
            pod.lagging = now - last.max(resumed) > patience && newest - last > 0.6 * patience;
            if !pod.lagging {
                lowest = Some(lowest.map_or(last, |l| l.min(last)));
            }
        }
        Some(lowest.unwrap_or(newest).min(now))
    }

    pub fn of(&self, arm: Arm) -> impl Iterator<Item = (&String, &Pod)> + Clone {
        self.pods.iter().filter(move |(_, p)| p.arm == arm)
    }

    pub fn alive(&self, arm: Arm) -> impl Iterator<Item = (&String, &Pod)> + Clone {
        self.of(arm).filter(|(_, p)| !p.gone)
    }

    /// Forgets scrapes before `time`, and pods that were gone by then.
    pub fn forget(&mut self, time: f64) {
        self.pods.retain(|_, pod| {
            pod.curve.forget(time);
            !pod.gone || pod.curve.last().is_some_and(|last| last > time)
        });
    }
}

impl Pod {
    fn new(seen: &PodSample, began: f64, now: f64) -> Self {
        let born = (seen.start >= began && seen.start <= now).then_some(seen.start);
        // A start that is no time, or lies ahead of us, is now.
        let start = if seen.start <= now { seen.start.max(-LAST) } else { now };
        Self {
            arm: seen.arm,
            start,
            curve: Curve::new(born),
            ready: false,
            ready_since: (seen.ready && now <= began).then_some(start),
            failed_probes: 0,
            restarts_before: if born.is_some() { 0 } else { seen.restarts },
            restarts: seen.restarts,
            waiting: None,
            terminated: None,
            gauges: BTreeMap::new(),
            gone: false,
            lagging: false,
        }
    }

    fn see(&mut self, seen: &PodSample, now: f64) {
        if seen.ready && self.ready_since.is_none() {
            self.ready_since = Some(now);
        }
        self.ready = seen.ready;
        match seen.probe {
            Some(true) => self.failed_probes = 0,
            Some(false) => self.failed_probes = self.failed_probes.saturating_add(1),
            None => {}
        }
        self.restarts = seen.restarts;
        self.waiting.clone_from(&seen.waiting);
        self.terminated.clone_from(&seen.terminated);
        if self.gauges != seen.metrics {
            self.gauges.clone_from(&seen.metrics);
        }
    }
}

/// The bounds to follow: those of the first histogram.
fn bounds(sample: &Sample, limit: f64) -> Vec<f64> {
    let Some(pod) = sample.pods.values().find(|p| p.le.len() > 1) else { return Vec::new() };
    follow(pod.le.keys().filter_map(|b| bound(b)), limit)
}
