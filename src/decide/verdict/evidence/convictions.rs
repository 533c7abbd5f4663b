//! Who is convicted, and who is not: bad versions, sick environments, single pods, and what a step needs to end.

use super::{
    fixture::{at, base, load, none, when, world},
    output::Finding,
    sample::Arm,
};
use crate::api::checks::{Metric, MetricKind};

#[test]
fn a_breach_acts_at_once_at_any_step() {
    let mut late = world(|t| if t < 1200.0 { 0.002 } else { 0.2 });
    late.weight = |t| {
        if t < 0.0 {
            0.0
        } else if t < 600.0 {
            0.05
        } else {
            0.1
        }
    };
    let bad = late.first(1400.0, Finding::Bad).unwrap();
    assert!((1200.0..=1232.0).contains(&bad.t), "{bad:?}");
}

#[test]
fn both_versions_failing_is_the_environment_until_both_have_recovered() {
    let fails = |t: f64| if (100.0..400.0).contains(&t) { 0.3 } else { 0.002 };
    let outage = world(fails).with(Arm::Stable, |l| l.bad = |t| if (100.0..400.0).contains(&t) { 0.3 } else { 0.002 });
    let judged = outage.judged(800.0);
    none(&judged, Finding::Bad);
    let held = at(&judged, 200.0);
    assert!(held.verdict == Finding::EnvironmentDegraded && !held.advance, "{held:?}");
    assert!(judged.iter().filter(|o| o.t >= 520.0).all(|o| o.verdict != Finding::EnvironmentDegraded));
    assert!(at(&judged, 600.0).advance, "what both suffered is no proof to the contrary: {:?}", at(&judged, 600.0));
    let letter = outage.checked(|c| c.strict = true).first(800.0, Finding::Bad).unwrap();
    assert_eq!(letter.reason, "ErrorRate", "the letter of the rule: {letter:?}");
}

#[test]
fn one_bad_pod_of_several_is_an_outlier_and_no_conviction() {
    let judged = world(base).one("c1", |l| l.bad = |_| 0.2).judged(600.0);
    none(&judged, Finding::Bad);
    let found = judged.iter().find(|o| o.verdict == Finding::PodOutlier).unwrap();
    assert_eq!(found.pod.as_deref(), Some("c1"));
    assert!(!found.advance && found.t < 60.0, "{found:?}");
}

#[test]
fn an_outlier_that_is_replaced_takes_its_evidence_along_once() {
    let lemon = || world(base).one("c1", |l| (l.bad, l.seen) = (|_| 0.2, |t| t < 120.0));
    let replaced = |bad| {
        let mut world = lemon();
        world.loads.push(load("c3", Arm::Canary, 120.0, |_| 5.0, bad));
        world.judged(900.0)
    };
    let well = replaced(base);
    none(&well, Finding::Bad);
    assert_eq!(at(&well, 115.0).verdict, Finding::PodOutlier);
    let last = well.last().unwrap();
    assert!(last.advance && last.verdict == Finding::Healthy, "{last:?}");
    // What is bad after it is held against the version: never an advance again.
    let again = replaced(|_| 0.2);
    assert_eq!(at(&again, 300.0).pod.as_deref(), Some("c3"), "{:?}", at(&again, 300.0));
    assert!(again.iter().all(|o| o.t < 150.0 || !o.advance));
}

#[test]
fn the_literal_threshold_is_always_evaluated() {
    let slowly = world(|_| 0.2).checked(|c| c.sequential.enabled = false);
    let bad = slowly.first(400.0, Finding::Bad).unwrap();
    assert_eq!(bad.reason, "ErrorRate");
    assert!((120.0..=180.0).contains(&bad.t), "{bad:?}");
    assert!(bad.sentence.starts_with("error rate > 5 % for 120 s"), "{}", bad.sentence);
}

#[test]
fn unhealthy_pods_convict_without_metrics() {
    let unready = world(base).with(Arm::Canary, |l| l.ready = |t| t < 100.0);
    let bad = unready.first(300.0, Finding::Bad).unwrap();
    assert_eq!((bad.reason, when(&bad)), ("Health", 130));
    let probes = world(base).with(Arm::Canary, |l| l.facts = |t, pod| pod.probe = Some(t < 100.0));
    assert_eq!(when(&probes.first(300.0, Finding::Bad).unwrap()), 140);
    let killed = world(base).with(Arm::Canary, |l| {
        l.facts = |t, pod| pod.terminated = (t > 100.0).then(|| "OOMKilled".to_owned());
    });
    assert_eq!(when(&killed.first(300.0, Finding::Bad).unwrap()), 105);
    let one = world(base).one("c1", |l| l.facts = |t, pod| pod.restarts = if t > 100.0 { 2 } else { 0 });
    let judged = one.judged(300.0);
    none(&judged, Finding::Bad);
    assert_eq!(at(&judged, 110.0).pod.as_deref(), Some("c1"));
}

#[test]
fn a_conviction_stays() {
    let judged = world(|t| if t < 60.0 { 0.5 } else { 0.0 }).judged(600.0);
    let first = judged.iter().position(|o| o.verdict == Finding::Bad).unwrap();
    assert!(judged[first..].iter().all(|o| o.verdict == Finding::Bad && !o.advance));
}

#[test]
fn an_advance_needs_weight_new_requests_and_proof() {
    let mut good = world(base);
    good.weight = |t| {
        if t < 0.0 {
            0.0
        } else if t < 100.0 {
            0.05
        } else {
            0.06
        }
    };
    let judged = good.judged(200.0);
    assert!(judged.iter().filter(|o| o.t < 0.0).all(|o| !o.advance));
    assert!(at(&judged, 90.0).advance);
    assert!(!at(&judged, 100.0).advance, "a new step is proven anew");
    assert!(judged.last().unwrap().advance);
    let unproven = world(|_| 0.045).with(Arm::Stable, |l| l.bad = |_| 0.045);
    assert!(unproven.clone().judged(100.0).iter().all(|o| !o.advance));
    assert!(unproven.checked(|c| c.sequential.require_proof = false).judged(100.0).last().unwrap().advance);
}

#[test]
fn slow_requests_convict_by_comparison_and_by_the_limit() {
    let histograms = |w: super::fixture::World| w.with(Arm::Stable, |l| l.slow = Some((|_| 0.01, |_| 0.001)));
    let slower = histograms(world(base)).with(Arm::Canary, |l| l.slow = Some((|_| 0.10, |_| 0.002)));
    let bad = slower.first(300.0, Finding::Bad).unwrap();
    assert_eq!(bad.reason, "Latency");
    assert!((30.0..=105.0).contains(&bad.t), "not in the pods' first moments: {bad:?}");
    assert!(bad.sentence.contains("took more than 0.5 s"), "{}", bad.sentence);
    let equal = histograms(world(base)).with(Arm::Canary, |l| l.slow = Some((|_| 0.01, |_| 0.001)));
    none(&equal.judged(900.0), Finding::Bad);
    let both = world(base)
        .with(Arm::Stable, |l| l.slow = Some((|_| 0.2, |_| 0.1)))
        .with(Arm::Canary, |l| l.slow = Some((|_| 0.2, |_| 0.1)));
    let judged = both.judged(900.0);
    none(&judged, Finding::Bad);
    assert_eq!(judged.last().unwrap().verdict, Finding::EnvironmentDegraded);
}

#[test]
fn a_business_counter_that_drops_and_a_gauge_that_rises_convict() {
    let metric = |name: &str, kind, drop: Option<&str>, rise: Option<&str>| Metric {
        name: name.into(),
        query: "q".into(),
        kind,
        must_not_drop: drop.map(|d| d.parse().unwrap()),
        must_not_rise: rise.map(|r| r.parse().unwrap()),
    };
    let orders = |canary: fn(f64, &mut super::sample::PodSample)| {
        let metrics = vec![
            metric("orders", MetricKind::Counter, Some("20%"), None),
            metric("heap", MetricKind::Gauge, None, Some("50%")),
        ];
        world(base)
            .checked(|c| c.metrics = metrics)
            .with(Arm::Stable, |l| {
                l.facts = |_, pod| {
                    pod.metrics.insert("orders".into(), (pod.total.unwrap_or(0.0) * 0.3).floor());
                    pod.metrics.insert("heap".into(), 100.0);
                }
            })
            .with(Arm::Canary, move |l| l.facts = canary)
    };
    let fine = orders(|_, pod| {
        pod.metrics.insert("orders".into(), (pod.total.unwrap_or(0.0) * 0.29).floor());
        pod.metrics.insert("heap".into(), 120.0);
    });
    none(&fine.judged(1800.0), Finding::Bad);
    let fewer = orders(|_, pod| {
        pod.metrics.insert("orders".into(), (pod.total.unwrap_or(0.0) * 0.1).floor());
        pod.metrics.insert("heap".into(), 100.0);
    });
    let bad = fewer.first(600.0, Finding::Bad).unwrap();
    assert!(bad.reason == "Metric" && bad.sentence.contains("orders"), "{bad:?}");
    let fatter = orders(|_, pod| {
        pod.metrics.insert("orders".into(), (pod.total.unwrap_or(0.0) * 0.3).floor());
        pod.metrics.insert("heap".into(), 300.0);
    });
    let bad = fatter.first(3000.0, Finding::Bad).unwrap();
    assert!(bad.reason == "Metric" && bad.sentence.contains("heap"), "{bad:?}");
}

#[test]
fn a_new_stable_pod_counts_from_its_start() {
    let mut replaced = world(base).one("s1", |l| l.seen = |t| t < 200.0);
    replaced.loads.push(load("s9", Arm::Stable, 200.0, |_| 47.5, base));
    let judged = replaced.judged(500.0);
    none(&judged, Finding::Bad);
    assert_eq!(judged.last().unwrap().verdict, Finding::Healthy);
}

#[test]
fn the_interval_of_the_ratio_holds_the_truth_and_narrows() {
    let mut engine = world(|_| 0.02).checked(|c| c.sequential.tolerance = "50".parse().unwrap()).engine();
    let mut width = f64::INFINITY;
    for sample in world(|_| 0.02).record(1200.0) {
        engine.tick(&sample);
        if let Some((low, high)) = engine.interval() {
            assert!(low <= 10.5 && high >= 9.5, "{low} {high} at {}", sample.t);
            width = high / low;
        }
    }
    assert!(width < 2.5, "{width}");
}

#[test]
fn with_a_cap_two_scrapes_must_agree() {
    let convicted = |cap: Option<&str>| {
        let cap = cap.map(|text| text.parse().unwrap());
        when(&world(|_| 0.5).checked(|c| c.sequential.block_cap = cap).first(300.0, Finding::Bad).unwrap())
    };
    let (without, capped) = (convicted(None), convicted(Some("32")));
    assert!(capped > without && capped <= without + 30, "{without} s, with a cap {capped} s");
}
