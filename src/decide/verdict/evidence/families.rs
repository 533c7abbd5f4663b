//! All tests together: a weighted mean of e-values is an e-value, whatever ties the tests together.

use super::{engine::Engine, latency::limit_bound, process::ln_add, spread::Family, state::Reason};

/// What each family gets of the whole: errors, latency, the share of the traffic, the user's own series together.
const ERRORS: f64 = 0.60;
const LATENCY: f64 = 0.20;
const SHARE: f64 = 0.12;
const SERIES: f64 = 0.08;
/// Fewer bad requests prove nothing.
const MIN_BAD: f64 = 3.0;

/// One family of tests.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub name: String,
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
        let member = |name: &str, reason, weight, ln_e| Member {
            name: name.to_owned(),
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
            judged(member("errors", reason, ERRORS, regression), Family::Errors, state.totals[1] >= MIN_BAD),
            judged(
                member("latency", Reason::Latency, LATENCY, state.latency.ln_e(left, config, &state.recent[0])),
                Family::Latency,
                slow >= MIN_BAD,
            ),
        ];
        let mut share = member("share", Reason::RoutingBroken, SHARE, state.share.ln_e());
        share.admitted = state.share.starved();
        members.push(share);
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let count = config.metrics.len().max(1) as f64;
        for (index, metric) in config.metrics.iter().enumerate() {
            members.push(member(&metric.name, Reason::Metric, SERIES / count, state.series.ln_e(index, left)));
        }
        if config.metrics.is_empty() {
            members[0].weight += SERIES;
        }
        members
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
        tests.extend(self.members().into_iter().map(|m| (m.name, m.ln_e)));
        tests.retain(|(_, ln)| ln.is_finite());
        tests
    }
}
