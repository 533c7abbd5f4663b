//! What the engine remembers between two lives of the operator: a few thousand bytes, however many pods there are.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{
    certify::Proof,
    curve::Row,
    degraded::Suffering,
    dispersion::Dispersion,
    errors::Errors,
    latency::Latency,
    literal::{Literal, Stand},
    packed,
    process::Onset,
    series::Series,
    share::Share,
    spread::Spread,
};

/// Evidence up to a watermark. Raw counters are not in it: they are read again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The first sample's time.
    pub(super) began: Option<f64>,
    /// The last judged sample's time.
    pub(super) now: f64,
    /// Up to when counters have been judged.
    pub(super) watermark: Option<f64>,
    /// The last gaps between two scrapes of a pod.
    pub(super) gaps: VecDeque<f64>,
    /// The latency bounds that are followed.
    pub(super) bounds: Vec<f64>,
    pub(super) weights: Vec<Weight>,
    pub(super) onset: Onset,
    pub(super) errors: Errors,
    pub(super) latency: Latency,
    pub(super) share: Share,
    pub(super) series: Series,
    pub(super) spread: Spread,
    pub(super) outlier: Outlier,
    pub(super) dispersion: Dispersion,
    pub(super) suffering: [Suffering; 2],
    pub(super) literal: [Literal; 2],
    /// What the literal thresholds say at the watermark: errors, latency.
    pub(super) stands: [Stand; 2],
    pub(super) proof: Proof,
    /// What both sides did lately, older things less.
    pub(super) recent: [Row; 2],
    /// Requests and failures since the candidate first had some: candidate, stable.
    #[serde(with = "packed")]
    pub(super) totals: [f64; 4],
    /// When there was last any request.
    pub(super) traffic: Option<f64>,
    pub(super) unwell_since: Option<f64>,
    /// Since when pods in their first moments have been ready, by the hash of the name.
    pub(super) young: Vec<(u32, f64)>,
    /// Restarts of pods from before they were first seen.
    pub(super) restarts: Vec<(u32, u32)>,
    /// The conviction.
    pub(super) bad: Option<Conviction>,
}

impl State {
    /// The time of the last sample that was judged.
    pub fn judged(&self) -> Option<f64> {
        self.began.map(|_| self.now)
    }

    /// The earliest moment that a test still looks back to: what was scraped before it need not be shown again.
    pub fn looks_back_to(&self) -> Option<f64> {
        let windows = [self.share.from, self.dispersion.to];
        self.watermark.map(|judged| windows.into_iter().flatten().fold(judged, f64::min))
    }

    /// Requests and failures of the candidate, then of the stable version, since the candidate first had some.
    pub const fn totals(&self) -> [f64; 4] {
        self.totals
    }

    /// The candidate's share as it was set then.
    pub fn share(&self) -> f64 {
        self.weights.last().map_or(0.0, |w| w.share)
    }
}

/// A change of the candidate's share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f64, f64, f64, bool)", into = "(f64, f64, f64, bool)")]
pub struct Weight {
    /// The last sample with the old one.
    pub after: f64,
    /// The first sample with the new one.
    pub at: f64,
    pub share: f64,
    /// The first share above 0: nothing has to settle.
    pub first: bool,
}

impl From<(f64, f64, f64, bool)> for Weight {
    fn from((after, at, share, first): (f64, f64, f64, bool)) -> Self {
        Self { after, at, share, first }
    }
}

impl From<Weight> for (f64, f64, f64, bool) {
    fn from(w: Weight) -> Self {
        (w.after, w.at, w.share, w.first)
    }
}

/// The pod that certainly differs from its brothers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Outlier {
    #[default]
    Nobody,
    /// By the hash of its name.
    There(u32),
    /// It is gone, and its evidence with it. That happens once: a second one is held against the version.
    Excused,
}

/// A verdict Bad stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conviction {
    pub reason: Reason,
    pub sentence: String,
    pub at: f64,
}

/// Why, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    Regression,
    Slo,
    ErrorRate,
    Latency,
    Health,
    RoutingBroken,
    Metric,
    Config,
    ProviderDown,
    NotScraped,
    Stale,
    NoTraffic,
    Degraded,
    Outlier,
    NoWeight,
    Starting,
    Unwell,
    Collecting,
    Leaning,
    Proving,
    Certified,
}

impl Reason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Regression => "Regression",
            Self::Slo => "Slo",
            Self::ErrorRate => "ErrorRate",
            Self::Latency => "Latency",
            Self::Health => "Health",
            Self::RoutingBroken => "RoutingBroken",
            Self::Metric => "Metric",
            Self::Config => "Config",
            Self::ProviderDown => "ProviderDown",
            Self::NotScraped => "NotScraped",
            Self::Stale => "Stale",
            Self::NoTraffic => "NoTraffic",
            Self::Degraded => "Degraded",
            Self::Outlier => "Outlier",
            Self::NoWeight => "NoWeight",
            Self::Starting => "Starting",
            Self::Unwell => "Unwell",
            Self::Collecting => "Collecting",
            Self::Leaning => "Leaning",
            Self::Proving => "Proving",
            Self::Certified => "Certified",
        }
    }
}
