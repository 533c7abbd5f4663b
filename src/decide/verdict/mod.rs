//! The verdict on a candidate: evidence and one look at the world in, a judgement in words and numbers out.
//!
//! Only `Bad` convicts. Missing data is a verdict of its own: it neither convicts nor passes. Each check gives one
//! `Finding`; `judge` lets the gravest one speak.

mod breach;
mod counters;
mod data;
mod error_rate;
pub mod evidence;
mod health;
mod latency;
mod log;
mod pods;
mod rounds;
mod sentence;
mod sequential;
mod smoke;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::{
    api::{checks::Checks, status::Evidence, units::At},
    observe::seen::{Feed, Pod, Probe, Side, SmokeSeen},
};

use counters::Table;

/// Everything a judgement is made of.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    pub checks: &'a Checks,
    pub now: At,
    /// When the step's pods were ready and its weight confirmed. Samples before it do not count for this step.
    pub since: At,
    /// Pods of both sides.
    pub pods: &'a [Pod],
    pub feed: &'a Feed,
    pub probes: &'a [Probe],
    /// The smoke Job of this step, if it was started.
    pub smoke: Option<&'a SmokeSeen>,
    /// Whether this step may not end without a passed smoke test.
    pub smoke_due: bool,
    /// The candidate's share in percent, for the sentences.
    pub weight: u32,
    /// Whether the candidate should be getting requests.
    pub traffic: bool,
    /// Whether this weight was confirmed at `since`; until then that of the step before stands.
    pub arrived: bool,
    /// A router shares the requests out, and not the number of pods.
    pub routed: bool,
    /// Since when the routes have stood at this weight without a break. `None`: they do not, so what the candidate gets says
    /// nothing of it.
    pub stands: Option<At>,
    /// How long the release is planned to take. Zero: not known.
    pub horizon: Duration,
}

impl<'a> Trial<'a> {
    /// Of pods that have no traffic yet: only they themselves speak.
    pub const fn of_pods(checks: &'a Checks, now: At, pods: &'a [Pod]) -> Self {
        Self {
            checks,
            now,
            since: now,
            pods,
            feed: &Feed::Unset,
            probes: &[],
            smoke: None,
            smoke_due: false,
            weight: 0,
            traffic: false,
            arrived: false,
            routed: false,
            stands: None,
            horizon: Duration::ZERO,
        }
    }
}

impl Trial<'_> {
    /// Pods of a side that are not on their way out.
    fn alive(&self, side: Side) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(move |p| p.side == side && !p.terminating)
    }

    /// Until when a pod's errors are put down to its start. A pod that loses and regains readiness in the middle of a
    /// step is not excused again and again: the moment is bounded by its start or the step's.
    fn warm_until(&self, pod: &Pod) -> At {
        let warm_up = self.checks.warm_up.0;
        let begins = pod.ready_changed_at.filter(|_| pod.ready).unwrap_or(pod.created_at);
        begins.min(pod.started_at.unwrap_or(pod.created_at).max(self.since).plus(warm_up)).plus(warm_up)
    }
}

/// What is known of the candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Fresh samples of this step, enough requests, every limit kept.
    Healthy { summary: String },
    /// Nothing speaks against it, but not enough is known.
    Watching {
        /// Requests still missing; 0 when it waits for something else.
        requests_needed: u64,
        summary: String,
    },
    /// Convicted.
    Bad { message: String },
    /// Nothing can be known.
    NoData { why: String },
    /// Both versions suffer: not this version's doing.
    EnvironmentDegraded { message: String },
    /// One of several pods is bad, the others are not.
    PodOutlier { pod: String, message: String },
    /// A check can never work as it is written.
    ConfigError { message: String },
}

impl Verdict {
    /// The word people see in `status.verdict`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Healthy { .. } => "Healthy",
            Self::Watching { .. } => "Watching",
            Self::Bad { .. } => "Bad",
            Self::NoData { .. } => "NoData",
            Self::EnvironmentDegraded { .. } => "EnvironmentDegraded",
            Self::PodOutlier { .. } => "PodOutlier",
            Self::ConfigError { .. } => "ConfigError",
        }
    }

    /// The sentence that goes with it.
    pub fn message(&self) -> &str {
        match self {
            Self::Healthy { summary } | Self::Watching { summary, .. } => summary,
            Self::Bad { message }
            | Self::EnvironmentDegraded { message }
            | Self::PodOutlier { message, .. }
            | Self::ConfigError { message } => message,
            Self::NoData { why } => why,
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq)]
enum Finding {
    /// Inside its limit, or nothing to judge.
    Fine,
    /// It cannot pass now, but it does not convict either.
    Hold(String),
    Bad(String),
    Outlier {
        pod: String,
        message: String,
    },
    /// The stable version suffers in the same way.
    Shared(String),
    Config(String),
}

/// Judges the candidate. The returned evidence replaces the given one; it starts over by itself when the step's `since`
/// moves past its watermark, so the same evidence may be handed on from step to step. For a new candidate start from
/// `Evidence::default()`.
pub fn judge(trial: &Trial<'_>, evidence: &Evidence) -> (Evidence, Verdict) {
    let mut next = evidence.clone();
    next.healthy_at = next.healthy_at.filter(|at| *at >= trial.since);

    let at_once = [pods::check(trial), smoke::check(trial)];
    let health = health::check(trial);
    let mut limits = Vec::new();
    let table = Table::new(trial);
    if let Some(table) = &table {
        limits.push(error_rate::check(trial, table, &mut next));
        limits.push(latency::check(trial, table, &mut next));
        data::count_up(table, &mut next);
    }
    let evidence = sequential::check(trial, &mut next);
    limits.extend(evidence.as_ref().map(|e| e.finding.clone()));
    let health = recovering(trial, health, &limits, &mut next);
    let gap = data::gap(trial, table.as_ref()).or_else(|| evidence.as_ref().filter(|_| trial.traffic)?.gap.clone());
    next.no_data_since = gap.as_ref().map(|_| next.no_data_since.unwrap_or(trial.now));

    let findings = at_once.into_iter().chain([health]).chain(limits).map(|finding| gone(trial, finding)).collect();
    let verdict = gravest(findings, gap)
        .unwrap_or_else(|| data::enough(trial, table.as_ref(), evidence.and_then(|e| e.lacking), &next));
    // The first moment of each, not the last: what is told and stored must not change with every look.
    next.healthy_at = matches!(verdict, Verdict::Healthy { .. }).then(|| next.healthy_at.unwrap_or(trial.now));
    next.outlier_since = matches!(verdict, Verdict::PodOutlier { .. }).then(|| next.outlier_since.unwrap_or(trial.now));
    (next, verdict)
}

/// A bad pod that is no more has taken its fault with it. Its requests are still in the counts.
fn gone(trial: &Trial<'_>, finding: Finding) -> Finding {
    match finding {
        Finding::Outlier { pod, message } if trial.alive(Side::Candidate).all(|p| p.name != pod) => {
            Finding::Hold(format!("{message}; it is gone"))
        }
        other => other,
    }
}

/// Keeps `degraded_since` from the first moment both versions suffer until both are well again. A health check answers
/// only every few seconds, so that after a shared outage the candidate is given as much time to follow the stable
/// version as a conviction takes; error rate and latency start their own time anew.
fn recovering(trial: &Trial<'_>, health: Finding, limits: &[Finding], next: &mut Evidence) -> Finding {
    let all = || limits.iter().chain([&health]);
    if all().any(|f| matches!(f, Finding::Shared(_))) {
        next.degraded_since.get_or_insert(trial.now);
        next.stable_well_since = None;
        return health;
    }
    if next.degraded_since.is_none() || all().all(|f| *f == Finding::Fine) {
        next.degraded_since = None;
        next.stable_well_since = None;
        return health;
    }
    let well_since = *next.stable_well_since.get_or_insert(trial.now);
    let patience = health::patience(&trial.checks.health);
    match health {
        Finding::Bad(message) | Finding::Outlier { message, .. } if trial.now.since(well_since) < patience => {
            Finding::Shared(format!("{message}; the stable version has just recovered from the same"))
        }
        other => other,
    }
}

/// The finding that speaks for all. A conviction outweighs everything; not knowing outweighs only waiting.
fn gravest(findings: Vec<Finding>, gap: Option<String>) -> Option<Verdict> {
    let rank = |finding: &Finding| match finding {
        Finding::Bad(_) => 0,
        Finding::Outlier { .. } => 1,
        Finding::Shared(_) => 2,
        Finding::Config(_) => 3,
        Finding::Hold(_) => 4,
        Finding::Fine => 5,
    };
    let gravest = findings.into_iter().min_by_key(rank)?;
    let missing = gap.map(|why| Verdict::NoData { why });
    match gravest {
        Finding::Bad(message) => Some(Verdict::Bad { message }),
        Finding::Outlier { pod, message } => Some(Verdict::PodOutlier { pod, message }),
        Finding::Shared(message) => Some(Verdict::EnvironmentDegraded { message }),
        Finding::Config(message) => Some(Verdict::ConfigError { message }),
        Finding::Hold(summary) => missing.or(Some(Verdict::Watching { requests_needed: 0, summary })),
        Finding::Fine => missing,
    }
}
