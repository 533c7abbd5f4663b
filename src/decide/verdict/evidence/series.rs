//! The user's own series: counters per request, gauges as they stand.
//!
//! A counter that must not rise is compared like failures: (A) with its growth in the place of failed requests. One that
//! must not drop is the same with the versions swapped. A gauge is looked at once a minute: in a bet on whether the
//! candidate's pods stand worse than every stable pod, which among equals happens at most every second time.

use serde::{Deserialize, Serialize};

use super::{
    block::Block,
    config::{Config, Metric},
    curve::METRICS,
    factor::{self, Counts},
    grid::COARSE,
    process::Process,
    roster::Roster,
    sample::Arm,
};
use crate::api::checks::MetricKind;

/// Seconds between two looks at a gauge: what it shows changes slowly.
const LOOK: f64 = 60.0;
/// How much is bet on a gauge.
const STAKES: [f64; COARSE.len()] = [0.1, 0.25, 0.45, 0.7, 0.9];

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    processes: Vec<Process<{ COARSE.len() }>>,
    /// Whose they are, by `Metric::id`.
    ids: Vec<u32>,
    looked: Option<f64>,
    /// Which of them were ever reported by a stable pod; empty until that was looked at.
    pub known: Vec<bool>,
}

/// Counters by their place in a row.
pub fn counters(metrics: &[Metric]) -> Vec<Option<String>> {
    let name = |m: &Metric| (m.kind == MetricKind::Counter).then(|| m.name.clone());
    metrics.iter().take(METRICS).map(name).collect()
}

impl Series {
    /// Where the settings name other series than before, those begin anew. `left`: the prior mass that is left.
    pub fn follow(&mut self, metrics: &[Metric], left: f64) {
        let ids: Vec<u32> = metrics.iter().take(METRICS).map(|m| m.id).collect();
        if ids == self.ids {
            return;
        }
        let before = std::mem::take(self);
        for id in &ids {
            let same = before.ids.iter().position(|b| b == id);
            let mut fresh = Process::default();
            fresh.restart(left);
            self.processes.push(same.and_then(|at| before.processes.get(at)).copied().unwrap_or(fresh));
        }
        (self.ids, self.looked) = (ids, before.looked);
    }

    pub fn update(&mut self, block: &Block, config: &Config, phi: &dyn Fn(usize) -> f64, ln_mass: f64) {
        for (index, (metric, process)) in config.metrics.iter().zip(&mut self.processes).enumerate() {
            if metric.kind == MetricKind::Gauge {
                continue;
            }
            let counts = Counts {
                n_canary: block.canary_warm.requests(),
                e_canary: block.canary_warm.metric(index),
                n_stable: block.stable_warm.requests(),
                e_stable: block.stable_warm.metric(index),
            };
            let (counts, rho0) = if metric.drop {
                let swapped = Counts {
                    n_canary: counts.n_stable,
                    e_canary: counts.e_stable,
                    n_stable: counts.n_canary,
                    e_stable: counts.e_canary,
                };
                (swapped, 1.0 / (1.0 - metric.by).max(0.01))
            } else {
                (counts, 1.0 + metric.by)
            };
            let speaks = block.comparable && !block.soft;
            process.update(ln_mass, |g| {
                let factor = || factor::relative(&counts, rho0, COARSE[g]) / phi(index);
                if speaks { factor().min(config.ln_cap) } else { 0.0 }
            });
            process.round();
        }
    }

    /// Looks at the gauges, and at what is reported at all.
    pub fn look(&mut self, roster: &Roster, config: &Config, now: f64, ln_mass: f64) {
        self.known.resize(config.metrics.len(), false);
        for (metric, known) in config.metrics.iter().zip(&mut self.known) {
            *known = *known || roster.alive(Arm::Stable).any(|(_, p)| p.gauges.contains_key(&metric.name));
        }
        if self.looked.is_some_and(|looked| now - looked < LOOK) || self.processes.is_empty() {
            return;
        }
        self.looked = Some(now);
        for (metric, process) in config.metrics.iter().zip(&mut self.processes) {
            if metric.kind == MetricKind::Counter {
                continue;
            }
            let values = |arm: Arm| -> Vec<f64> {
                let warm = roster.alive(arm).filter(|(_, p)| p.ready && !p.warming(now, config.warm_up));
                warm.filter_map(|(_, p)| p.gauges.get(&metric.name).copied()).filter(|v| v.is_finite()).collect()
            };
            let worse = worse(&values(Arm::Canary), &values(Arm::Stable), metric);
            process.update(ln_mass, |g| match worse {
                None => 0.0,
                Some(true) => STAKES[g].ln_1p(),
                Some(false) => (-STAKES[g]).ln_1p(),
            });
            process.round();
        }
    }

    pub fn ln_e(&self, index: usize, left: f64) -> f64 {
        self.processes.get(index).map_or(0.0, |p| p.ln_m(left))
    }
}

/// Whether the candidate's mean is beyond every stable pod, and beyond their mean by more than is accepted.
fn worse(ours: &[f64], theirs: &[f64], metric: &Metric) -> Option<bool> {
    #[expect(clippy::cast_precision_loss, reason = "a number of pods")]
    let mean = |v: &[f64]| (!v.is_empty()).then(|| v.iter().sum::<f64>() / v.len() as f64);
    let (our, their) = (mean(ours)?, mean(theirs)?);
    Some(if metric.drop {
        our < their * (1.0 - metric.by) && theirs.iter().all(|t| our < *t)
    } else {
        our > their * (1.0 + metric.by) && theirs.iter().all(|t| our > *t)
    })
}
