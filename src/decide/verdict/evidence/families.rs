//! All tests together: a weighted mean of e-values is an e-value, whatever ties the tests together.

use std::borrow::Cow;

use super::{
    block::Block, curve::Row, engine::Engine, factor::Counts, latency::limit_bound, process::ln_add, sample::Arm,
    spread::Family, state::Reason,
};

/// What each family gets of the whole: errors, latency, the share of the traffic, the user's own series together.
const ERRORS: f64 = 0.66;
const LATENCY: f64 = 0.18;
const SHARE: f64 = 0.08;
const SERIES: f64 = 0.08;
/// Fewer bad requests prove nothing.
const MIN_BAD: f64 = 3.0;

/// The evidence that must be left without anything that interpolation may have made up: e = 3.
const DOUBT: f64 = 1.1;

/// One family of tests.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub name: Cow<'static, str>,
    pub reason: Reason,
    pub weight: f64,
    pub ln_e: f64,
    /// It may convict: enough bad requests, and not one pod's alone.
    pub admitted: bool,
    /// It would convict but for its brothers.
    pub contested: Option<Family>,
}

impl Member {
    fn weighed(&self) -> f64 {
        self.weight.ln() + self.ln_e
    }
}

/// ln of the weighted mean of those that are let in.
pub fn combined(members: &[Member], admitted_only: bool) -> f64 {
    let counted = members.iter().filter(|m| m.admitted || !admitted_only);
    counted.fold(f64::NEG_INFINITY, |sum, m| ln_add(sum, m.weighed()))
}

/// The one that says most.
pub fn culprit(members: &[Member]) -> Option<&Member> {
    members.iter().filter(|m| m.admitted).max_by(|a, b| a.weighed().total_cmp(&b.weighed()))
}

impl Engine {
    pub(super) fn members(&self) -> Vec<Member> {
        let (state, config) = (&self.state, &self.config);
        let (left, alpha) = (state.onset.left, config.alpha);
        let member = |name: Cow<'static, str>, reason, weight, ln_e| Member {
            name,
            reason,
            weight,
            ln_e,
            admitted: true,
            contested: None,
        };
        let judged = |mut member: Member, family: Family, enough: bool| {
            let agreed = state.spread.agrees(family, left, alpha);
            member.admitted = enough && agreed;
            member.contested = (!agreed).then_some(family);
            member
        };
        let slo = state.errors.slo.ln_m(left);
        let regression = state.errors.ln_e(left);
        let reason = if slo + 1e-9 >= regression { Reason::Slo } else { Reason::Regression };
        let slow = limit_bound(&state.bounds, config.latency_max).unwrap_or(0);
        let slow = (0..=slow).map(|bound| state.recent[0].slow(bound)).fold(0.0, f64::max);
        let mut members = vec![
            judged(member("errors".into(), reason, ERRORS, regression), Family::Errors, state.totals[1] >= MIN_BAD),
            judged(
                member("latency".into(), Reason::Latency, LATENCY, state.latency.ln_e(left, config, &state.recent[0])),
                Family::Latency,
                slow >= MIN_BAD,
            ),
        ];
        let mut share = member("share".into(), Reason::RoutingBroken, SHARE, state.share.ln_e());
        share.admitted = state.share.starved();
        members.push(share);
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let count = config.metrics.len().max(1) as f64;
        for (index, metric) in config.metrics.iter().enumerate() {
            members.push(member(
                metric.name.clone().into(),
                Reason::Metric,
                SERIES / count,
                state.series.ln_e(index, left),
            ));
        }
        if config.metrics.is_empty() {
            members[0].weight += SERIES;
        }
        members
    }

    /// The evidence that is left when the candidate is charged only with what it had surely done by its last scrapes, and
    /// the stable version with all it may have done by then. Where a shared trouble begins, the pods are read at
    /// different moments, and the line between two scrapes is no witness.
    pub(super) fn beyond_doubt(&self, members: &[Member]) -> bool {
        let (state, config) = (&self.state, &self.config);
        let Some(at) = state.watermark else { return false };
        let mut served = Block::new(&self.roster, at - self.roster.interval, at, config.warm_up, true);
        let (ours, theirs) = self.doubtful(at);
        let edge = |mut counts: Counts, doubtful: Counts| {
            (counts.e_canary, counts.e_stable) = (doubtful.e_canary, doubtful.e_stable);
            counts
        };
        served.canary_warm = served.canary;
        served.stable_warm = served.stable;
        let phi = state.dispersion.errors(config.phi_floor);
        let mut errors = state.errors.clone();
        let doubtful = Counts { e_canary: ours.failed(), e_stable: theirs.failed(), ..Counts::default() };
        errors.doubt(&edge(served.errors(), doubtful), config, phi);
        let mut latency = state.latency.clone();
        let slow = |bound: usize| {
            let doubtful = Counts { e_canary: ours.slow(bound), e_stable: theirs.slow(bound), ..Counts::default() };
            edge(served.slow(bound), doubtful)
        };
        latency.doubt(slow, &state.bounds, config, |bound| state.dispersion.slow(bound, config.phi_floor));
        let mut members = members.to_vec();
        let left = state.onset.left;
        members[0].ln_e = errors.ln_e(left);
        members[1].ln_e = latency.ln_e(left, config, &state.recent[0]);
        combined(&members, true) >= DOUBT
    }

    /// What the candidate did up to the watermark only perhaps (less than nothing where more is certain by now), and what
    /// the stable version did perhaps besides.
    fn doubtful(&self, at: f64) -> (Row, Row) {
        let stable = || self.roster.alive(Arm::Stable).filter(|(_, p)| p.curve.last().is_some_and(|last| last >= at));
        // By when half of the stable pods have been read.
        let mut read: Vec<f64> = stable().filter_map(|(_, p)| p.curve.last()).collect();
        read.sort_by(f64::total_cmp);
        let by = read.get(read.len() / 2).copied().unwrap_or(at);
        let (mut ours, mut latest) = (Row::default(), at);
        for (_, pod) in self.roster.of(Arm::Canary) {
            let (time, sure) = pod.curve.surely(by);
            latest = latest.max(time);
            let line = pod.curve.at(at);
            for (sum, (line, sure)) in ours.0.iter_mut().zip(line.0.iter().zip(sure.0)) {
                *sum += line - sure;
            }
        }
        let mut theirs = Row::default();
        let (mut all, mut witnesses) = (0.0, 0.0);
        for (_, pod) in stable() {
            all += 1.0;
            if pod.curve.last().is_some_and(|last| last >= latest) {
                witnesses += 1.0;
                theirs.add(&pod.curve.possibly(latest).since(&pod.curve.at(at)));
            }
        }
        if witnesses > 0.0 {
            for value in &mut theirs.0 {
                *value *= all / witnesses; // those that were not read yet did likely the same
            }
        }
        (ours, theirs)
    }

    /// Each test by name with the natural logarithm of its e-value.
    pub fn tests(&self) -> Vec<(String, f64)> {
        let (state, left) = (&self.state, self.state.onset.left);
        let mut tests = vec![
            ("errors.relative".to_owned(), state.errors.relative.ln_m(left)),
            ("errors.floor".to_owned(), state.errors.floor.ln_m(left)),
            ("errors.slo".to_owned(), state.errors.slo.ln_m(left)),
            ("latency.slo".to_owned(), state.latency.slo.ln_m(left)),
            ("proof".to_owned(), state.proof.ln_e()),
            ("phi".to_owned(), state.dispersion.errors(self.config.phi_floor).ln()),
        ];
        for (bound, process) in state.bounds.iter().zip(&state.latency.slow) {
            tests.push((format!("latency.above.{bound}"), process.ln_m(left)));
        }
        tests.extend(self.members().into_iter().map(|m| (m.name.into_owned(), m.ln_e)));
        tests.retain(|(_, ln)| ln.is_finite());
        tests
    }
}
