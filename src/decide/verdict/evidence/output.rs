//! What the engine says of the candidate.

use serde::Serialize;

/// The verdicts, in the order in which they outweigh each other, the lightest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Finding {
    /// A check can never work as it is written.
    ConfigError,
    /// Convicted. Stays for this candidate.
    Bad,
    /// Nothing can be known.
    NoData,
    /// Both versions suffer: not this version's doing.
    EnvironmentDegraded,
    /// One of several pods is bad, the others are not.
    PodOutlier,
    /// Nothing speaks against it, but not enough is known.
    Watching,
    /// Proven to be inside its limits.
    Healthy,
}

/// What one tick comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub t: f64,
    pub verdict: Finding,
    /// One word, stable: `Regression`, `Slo`, `Latency`, `Health`, `RoutingBroken`, `Stale`, …
    pub reason: &'static str,
    /// For people, with the counts.
    pub sentence: String,
    /// The natural logarithm of the combined e-value. `None` before there is data.
    pub ln_e: Option<f64>,
    /// Whether the step's evidence is complete.
    pub advance: bool,
    /// About how many more requests of the candidate are needed; 0 when none, or when it waits for something else.
    pub requests_needed: u64,
    /// The pod that the verdict is about.
    pub pod: Option<String>,
}
