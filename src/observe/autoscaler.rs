//! What a HorizontalPodAutoscaler says of a workload. Pure: the object is read elsewhere.

use k8s_openapi::{
    api::autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::ResourceExt;

use super::seen::Autoscaler;

/// Whether it scales the Deployment of this name.
pub fn scales(hpa: &HorizontalPodAutoscaler, deployment: &str) -> bool {
    let target = hpa.spec.as_ref().map(|spec| &spec.scale_target_ref);
    target.is_some_and(|target| target.kind == "Deployment" && target.name == deployment)
}

/// What it says now.
pub fn told(hpa: &HorizontalPodAutoscaler) -> Autoscaler {
    let max = hpa.spec.as_ref().map_or(0, |spec| u32::try_from(spec.max_replicas).unwrap_or(0));
    Autoscaler { max, load: load(hpa) }
}

/// Why a release of what it scales should be warned of.
pub fn warning(hpa: &HorizontalPodAutoscaler) -> Option<String> {
    let multiplies = |metric: &MetricSpec| {
        let target = metric.object.as_ref().map(|m| &m.target).or(metric.external.as_ref().map(|m| &m.target));
        target.is_some_and(|target| target.type_ == "Value")
    };
    let any = hpa.spec.iter().flat_map(|spec| spec.metrics.iter().flatten()).any(multiplies);
    any.then(|| {
        format!(
            "HorizontalPodAutoscaler {} has a target of type Value, which it multiplies by the ready pods of both \
             versions: it will want too many, up to its maxReplicas; use AverageValue",
            hpa.name_any()
        )
    })
}

/// The highest of its metrics that are averages over pods.
fn load(hpa: &HorizontalPodAutoscaler) -> Option<u32> {
    let (spec, status) = (hpa.spec.as_ref()?, hpa.status.as_ref()?);
    let active = status.conditions.iter().flatten().any(|c| c.type_ == "ScalingActive" && c.status == "True");
    let up = spec.behavior.as_ref().and_then(|b| b.scale_up.as_ref());
    if !active || up.and_then(|rules| rules.select_policy.as_deref()) == Some("Disabled") {
        return None;
    }
    let (wanted, now) = (spec.metrics.iter().flatten(), status.current_metrics.as_deref().unwrap_or_default());
    wanted.filter_map(|metric| now.iter().find_map(|current| of_target(metric, current))).max()
}

/// How a metric stands to its target, if `current` is of the same metric.
fn of_target(metric: &MetricSpec, current: &MetricStatus) -> Option<u32> {
    if let (Some(spec), Some(now)) = (&metric.resource, &current.resource) {
        return (spec.name == now.name).then(|| ratio(&spec.target, &now.current))?;
    }
    if let (Some(spec), Some(now)) = (&metric.container_resource, &current.container_resource) {
        let same = (&spec.name, &spec.container) == (&now.name, &now.container);
        return same.then(|| ratio(&spec.target, &now.current))?;
    }
    let (spec, now) = (metric.pods.as_ref()?, current.pods.as_ref()?);
    (spec.metric == now.metric).then(|| ratio(&spec.target, &now.current))?
}

/// Thousandths, rounded down, as the autoscaler itself rounds what it tells.
fn ratio(target: &MetricTarget, now: &MetricValueStatus) -> Option<u32> {
    let (part, whole) = match (target.average_utilization, now.average_utilization) {
        (Some(target), Some(now)) => (f64::from(now), f64::from(target)),
        _ => (number(now.average_value.as_ref()?)?, number(target.average_value.as_ref()?)?),
    };
    let thousandths = (1000.0 * part / whole).floor();
    (whole > 0.0 && (0.0..=f64::from(u32::MAX)).contains(&thousandths)).then(|| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "its range was looked at")]
        let whole = thousandths as u32;
        whole
    })
}

/// A quantity as Kubernetes writes it: `250m`, `1.5`, `64Mi`, `2e3`.
fn number(quantity: &Quantity) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let text = quantity.0.trim();
    let suffix = SUFFIXES.iter().find_map(|(suffix, by)| text.strip_suffix(suffix).map(|digits| (digits, *by)));
    let (digits, by) = suffix.unwrap_or((text, 1.0));
    digits.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n * by)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn hpa(metrics: &Value, current: &Value, behavior: &Value) -> HorizontalPodAutoscaler {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"});
        serde_json::from_value(json!({
            "metadata": {"name": "auto"},
            "spec": {"scaleTargetRef": target, "maxReplicas": 9, "metrics": metrics, "behavior": behavior},
            "status": {
                "desiredReplicas": 2, "currentMetrics": current,
                "conditions": [{"type": "ScalingActive", "status": "True"}],
            },
        }))
        .expect("an autoscaler")
    }

    fn cpu(target: &Value, now: &Value) -> HorizontalPodAutoscaler {
        let metrics = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
        hpa(&metrics, &json!([{"type": "Resource", "resource": {"name": "cpu", "current": now}}]), &json!({}))
    }

    #[test]
    fn the_average_is_told_in_thousandths_of_the_target() {
        for (target, now, expected) in [
            (json!({"type": "Utilization", "averageUtilization": 50}), json!({"averageUtilization": 33}), Some(660)),
            (json!({"type": "AverageValue", "averageValue": "2"}), json!({"averageValue": "500m"}), Some(250)),
            (json!({"type": "AverageValue", "averageValue": "1Gi"}), json!({"averageValue": "2048Mi"}), Some(2000)),
            (json!({"type": "AverageValue", "averageValue": "3"}), json!({"averageValue": "1e0"}), Some(333)),
            (json!({"type": "AverageValue", "averageValue": "0"}), json!({"averageValue": "1"}), None),
            (json!({"type": "AverageValue", "averageValue": "1"}), json!({"averageValue": "much"}), None),
            (json!({"type": "Utilization", "averageUtilization": 50}), json!({}), None),
        ] {
            assert_eq!(told(&cpu(&target, &now)), Autoscaler { max: 9, load: expected }, "{target} {now}");
        }
    }

    #[test]
    fn the_fullest_metric_counts_and_each_is_held_against_its_own_target() {
        let pods =
            |name: &str| json!({"metric": {"name": name}, "target": {"type": "AverageValue", "averageValue": "10"}});
        let now = |name: &str, n: &str| json!({"type": "Pods", "pods": {"metric": {"name": name}, "current": {"averageValue": n}}});
        let metrics = json!([{"type": "Pods", "pods": pods("a")}, {"type": "Pods", "pods": pods("b")}]);
        let told = told(&hpa(&metrics, &json!([now("b", "9"), now("a", "8"), now("c", "99")]), &json!({})));
        assert_eq!(told.load, Some(900));
    }

    #[test]
    fn what_may_not_or_cannot_scale_up_says_nothing() {
        let (target, now) =
            (json!({"type": "Utilization", "averageUtilization": 50}), json!({"averageUtilization": 50}));
        let mut off = cpu(&target, &now);
        off.spec.as_mut().unwrap().behavior =
            serde_json::from_value(json!({"scaleUp": {"selectPolicy": "Disabled"}})).unwrap();
        assert_eq!(told(&off).load, None);
        let mut blind = cpu(&target, &now);
        blind.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "False".into();
        assert_eq!(told(&blind).load, None);
        assert_eq!(told(&HorizontalPodAutoscaler::default()), Autoscaler::default());
    }

    #[test]
    fn a_value_that_is_multiplied_by_both_versions_is_warned_of() {
        let external = |kind: &str| {
            let target = json!({"type": kind, "value": "5", "averageValue": "5"});
            let metrics = json!([{"type": "External", "external": {"metric": {"name": "queue"}, "target": target}}]);
            warning(&hpa(&metrics, &json!([]), &json!({})))
        };
        assert!(
            external("Value").expect("a warning").contains("HorizontalPodAutoscaler auto has a target of type Value")
        );
        assert_eq!(external("AverageValue"), None);
        assert_eq!(warning(&cpu(&json!({"type": "Utilization", "averageUtilization": 50}), &json!({}))), None);
    }
}
