//! Metrics as Prometheus would read them.

use super::*;

#[test]
fn every_number_is_there_and_phases_follow_their_releases() {
    let metrics = Metrics::default();
    metrics.pass("ok", Duration::from_millis(3));
    metrics.rollback();
    metrics.route_written(Duration::from_millis(40));
    metrics.notice("event", "delivered");
    metrics.leader(true);
    metrics.status_too_new();
    metrics.phase("a", Some("Stepping"));
    metrics.phase("a", Some("Stepping"));
    metrics.phase("b", Some("Stepping"));
    metrics.phase("b", Some("Idle"));
    metrics.phase("c", Some("Idle"));
    metrics.phase("c", None);
    for verdict in [Some("Watching"), Some("Watching"), Some("Bad"), None, Some("Watching")] {
        metrics.verdict("a", verdict);
    }
    metrics.verdict("b", Some("Healthy"));
    let text = metrics.text().unwrap();
    for line in [
        r#"haldane_passes_total{outcome="ok"} 1"#,
        "haldane_pass_seconds_count 1",
        "haldane_rollbacks_total 1",
        r#"haldane_rollback_route_seconds_bucket{le="0.05"} 1"#,
        r#"haldane_notices_total{channel="event",outcome="delivered"} 1"#,
        "haldane_leader 1",
        "haldane_statuses_too_new_total 1",
        r#"haldane_releases{phase="Stepping"} 1"#,
        r#"haldane_releases{phase="Idle"} 1"#,
        r#"haldane_verdicts{verdict="Watching"} 1"#,
        r#"haldane_verdicts{verdict="Bad"} 0"#,
        r#"haldane_verdicts{verdict="Healthy"} 1"#,
        r#"haldane_verdict_changes_total{verdict="Watching"} 2"#,
        r#"haldane_verdict_changes_total{verdict="Bad"} 1"#,
        r#"haldane_api_calls_total{verb="patch"} 0"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
}
