//! The user's own series beside the requests: `spec.checks.metrics` as parts of a Release's one query.

use super::{
    presets::part,
    promql::{Custom, Scope},
};
use crate::api::checks::{Metric, MetricKind};

/// What a part of such a series is called; its place in `spec.checks.metrics` follows.
const NAME: &str = "metric";

/// The series of one Release, in the order of `spec.checks.metrics`.
#[derive(Clone, Debug, Default)]
pub struct Own(Vec<(String, Custom)>);

impl Own {
    /// Errors: a sentence that names the field and says what to change.
    pub fn of(metrics: &[Metric]) -> Result<Self, String> {
        let query = |metric: &Metric| {
            let field = format!("spec.checks.metrics[{}].query", metric.name);
            let query = match metric.kind {
                MetricKind::Counter => Custom::parse(&field, &metric.query),
                MetricKind::Gauge => Custom::gauge(&field, &metric.query),
            };
            Ok((metric.name.clone(), query?))
        };
        metrics.iter().map(query).collect::<Result<_, _>>().map(Self)
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What people call them, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The parts to join to a Release's query. A user's sum may have dropped the namespace, so only the pod is asked for.
    pub fn parts(&self, scope: &Scope, pod_label: &str) -> Result<Vec<String>, String> {
        let one = |(index, (_, query)): (usize, &(String, Custom))| {
            Ok(part(&format!("{NAME}{index}"), &format!("sum by ({pod_label}) ({})", query.within(scope)?.0)))
        };
        self.0.iter().enumerate().map(one).collect()
    }
}

/// Which series a part of an answer is of.
pub fn index(part: &str) -> Option<usize> {
    part.strip_prefix(NAME)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, query: &str, kind: MetricKind) -> Metric {
        Metric { name: name.into(), query: query.into(), kind, must_not_drop: None, must_not_rise: None }
    }

    #[test]
    fn each_series_is_a_part_and_known_again_by_its_place() {
        let metrics = [
            metric("payments", "payment_success_total", MetricKind::Counter),
            metric("heap", "jvm_memory_used_bytes / jvm_memory_max_bytes", MetricKind::Gauge),
        ];
        let own = Own::of(&metrics).unwrap();
        let parts = own.parts(&Scope::new(("namespace", "pod"), ["shop"], ["a"]), "pod").unwrap();
        let scope = r#"namespace=~"shop",pod=~"a""#;
        assert_eq!(
            parts,
            [
                part("metric0", &format!("sum by (pod) (payment_success_total{{{scope}}})")),
                part(
                    "metric1",
                    &format!("sum by (pod) (jvm_memory_used_bytes{{{scope}}} / jvm_memory_max_bytes{{{scope}}})")
                ),
            ]
        );
        assert_eq!((index("metric1"), index("metric"), index("requests")), (Some(1), None, None));
    }

    #[test]
    fn a_counter_is_raw_and_a_gauge_may_be_a_rate() {
        let pauses = |kind| Own::of(&[metric("gc", "rate(jvm_gc_pause_seconds_sum[1m])", kind)]).map(|_| ());
        assert_eq!(pauses(MetricKind::Gauge), Ok(()));
        assert_eq!(
            pauses(MetricKind::Counter).unwrap_err(),
            "spec.checks.metrics[gc].query calls rate(); give the raw counter, its increase is taken here"
        );
    }
}
