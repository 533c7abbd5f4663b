//! What one look at the pods gives: a line of a recording, or the same read from the cluster.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::curve::{bound, usable};

/// All pods of both versions at one moment. Times are seconds of one clock, wherever its zero lies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub t: f64,
    /// The candidate's share of the traffic that is set at this moment, between 0 and 1.
    pub weight: f64,
    #[serde(default)]
    pub provider: Provider,
    /// By name. A pod that is missing is gone.
    #[serde(default)]
    pub pods: BTreeMap<String, PodSample>,
}

/// Whether the metric provider answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    #[default]
    Ok,
    Down,
}

/// Which version a pod runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    Canary,
    Stable,
}

/// One pod. Counters are raw and cumulative, as they were scraped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodSample {
    pub arm: Arm,
    /// When its process first started.
    pub start: f64,
    pub ready: bool,
    #[serde(default)]
    pub restarts: u32,
    /// When the counters below were read. Absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scraped: Option<f64>,
    /// All requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// The failed ones. Absent while there is a total: none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad: Option<f64>,
    /// Requests that took at most so many seconds, by the bound as Prometheus writes it; `+Inf` is all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub le: BTreeMap<String, f64>,
    /// Counters and gauges of `spec.checks.metrics`, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// Whether the HTTP health check passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<bool>,
    /// Why a container waits, in Kubernetes' word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// Why a container ended last, in Kubernetes' word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminated: Option<String>,
}

/// Times beyond it are none: it lies 30 000 years ahead.
pub const LAST: f64 = 1e12;

impl Sample {
    /// Whether all numbers can be meant. `Err` names the one that cannot.
    pub fn check(&self) -> Result<(), String> {
        if self.t.abs() > LAST || self.t.is_nan() {
            return Err(format!("t is {}, which is no time in seconds", self.t));
        }
        if !(0.0..=1.0).contains(&self.weight) {
            return Err(format!("weight is {}, and not between 0 and 1", self.weight));
        }
        for (name, pod) in &self.pods {
            let at = |field: &str, problem: String| format!("pods.{name}.{field}: {problem}");
            if !pod.start.is_finite() {
                return Err(at("start", format!("{} is no time", pod.start)));
            }
            if let Some(scraped) = pod.scraped.filter(|s| !s.is_finite()) {
                return Err(at("scraped", format!("{scraped} is no time")));
            }
            for (field, value) in [("total", pod.total), ("bad", pod.bad)] {
                if let Some(value) = value.filter(|v| !usable(*v)) {
                    return Err(at(field, format!("{value} is no counter")));
                }
            }
            for (le, value) in &pod.le {
                if bound(le).is_none() {
                    return Err(at("le", format!("'{le}' is no bound in seconds")));
                }
                if !usable(*value) {
                    return Err(at("le", format!("{value} is no counter")));
                }
            }
        }
        Ok(())
    }
}
