//! What users of other tools complain about, and what is right: one test for each case.

use super::{
    fixture::{base, load, never, world},
    output::{Finding, Output},
    sample::{Arm, Provider},
};
use crate::api::checks::{Metric, MetricKind};

fn none(outputs: &[Output], verdict: Finding) {
    let found = outputs.iter().find(|o| o.verdict == verdict);
    assert!(found.is_none(), "{found:?}");
}

/// To the tick.
fn when(output: &Output) -> i64 {
    format!("{:.0}", output.t).parse().unwrap()
}

fn at(outputs: &[Output], t: f64) -> &Output {
    outputs.iter().find(|o| o.t >= t).unwrap()
}

#[test]
fn no_traffic_yet_is_no_data_and_holds() {
    let mut quiet = world(base).with(Arm::Canary, |l| l.rate = never).with(Arm::Stable, |l| l.rate = never);
    let judged = quiet.judged(600.0);
    none(&judged, Finding::Bad);
    none(&judged, Finding::Healthy);
    assert!(judged.iter().all(|o| !o.advance));
    let last = judged.last().unwrap();
    assert_eq!((last.verdict, last.reason), (Finding::NoData, "NoTraffic"), "{last:?}");
    for load in &mut quiet.loads {
        load.facts = |_, pod| pod.total = Some(f64::NAN);
    }
    let judged = quiet.judged(120.0);
    none(&judged, Finding::Bad);
    none(&judged, Finding::Healthy);
    assert_eq!(judged.last().unwrap().reason, "NotScraped");
}

#[test]
fn traffic_that_stops_midway_never_advances() {
    let stops = |l: &mut super::fixture::Load| {
        l.rate = if l.arm == Arm::Canary {
            |t| if t < 20.0 { 5.0 } else { 0.0 }
        } else {
            |t| if t < 20.0 { 47.5 } else { 0.0 }
        };
    };
    let judged =
        world(base).with(Arm::Canary, stops).with(Arm::Stable, stops).checked(|c| c.min_requests = 500).judged(400.0);
    none(&judged, Finding::Bad);
    assert!(judged.iter().all(|o| !o.advance));
    assert_eq!(at(&judged, 150.0).reason, "NoTraffic");
}

#[test]
fn stable_has_traffic_and_the_canary_has_none() {
    let hole = world(base).with(Arm::Canary, |l| l.rate = never);
    let bad = hole.first(120.0, Finding::Bad).unwrap();
    assert_eq!(bad.reason, "RoutingBroken");
    assert!(bad.t <= 50.0, "{bad:?}");
    assert!(bad.sentence.contains("got nothing while stable served"), "{}", bad.sentence);
    // It is not the route when the candidate has no ready pod, or should get nothing.
    let idle = |edit: fn(&mut super::fixture::World)| {
        let mut world = hole.clone();
        edit(&mut world);
        none(&world.judged(120.0), Finding::Bad);
    };
    idle(|w| w.weight = never);
}

#[test]
fn traffic_that_starts_stops_and_steps_breaks_no_route() {
    let mut stepping = world(base);
    stepping.weight = |t| {
        if t < 0.0 {
            0.0
        } else if t < 100.0 {
            0.05
        } else {
            0.5
        }
    };
    let stepping = stepping
        .with(Arm::Canary, |l| {
            l.rate = |t| {
                if t < 50.0 || (200.0..260.0).contains(&t) {
                    0.0
                } else if t < 100.0 {
                    5.0
                } else {
                    50.0
                }
            }
        })
        .with(Arm::Stable, |l| {
            l.rate = |t| {
                if t < 50.0 || (200.0..260.0).contains(&t) {
                    0.0
                } else if t < 100.0 {
                    47.5
                } else {
                    25.0
                }
            }
        });
    none(&stepping.judged(600.0), Finding::Bad);
}

#[test]
fn one_failure_at_low_traffic_convicts_nobody_and_says_how_many_more_are_needed() {
    let low = world(|t| if (30.0..40.0).contains(&t) { 1.0 } else { 0.0 })
        .with(Arm::Canary, |l| l.rate = |_| 0.1)
        .with(Arm::Stable, |l| l.rate = |_| 1.0);
    let judged = low.judged(600.0);
    none(&judged, Finding::Bad);
    let watching = at(&judged, 200.0);
    assert_eq!(watching.verdict, Finding::Watching);
    assert!(watching.requests_needed > 10 && watching.sentence.starts_with("about "), "{watching:?}");
    let failing = low.with(Arm::Canary, |l| l.bad = |_| 0.5);
    let bad = failing.first(900.0, Finding::Bad).unwrap();
    assert!(bad.sentence.contains("failed"), "a few failures are enough: {bad:?}");
}

#[test]
fn a_missing_error_series_means_no_errors_while_there_is_a_total() {
    let mut clean = world(never);
    for load in &mut clean.loads {
        load.counts_failures = load.arm == Arm::Stable;
    }
    let judged = clean.judged(120.0);
    assert_eq!(judged.last().unwrap().verdict, Finding::Healthy);
    let blind = clean.with(Arm::Canary, |l| l.facts = |_, pod| pod.total = None);
    let judged = blind.judged(120.0);
    none(&judged, Finding::Healthy);
    assert_eq!(judged.last().unwrap().verdict, Finding::NoData);
}

#[test]
fn a_canary_that_fails_every_request_is_convicted_though_no_good_series_exists() {
    let bad = world(|_| 1.0).first(120.0, Finding::Bad).unwrap();
    assert!(bad.t <= 30.0, "{bad:?}");
    assert!(bad.sentence.contains("(100.0 %)") && bad.sentence.contains("> 10 000 : 1"), "{}", bad.sentence);
}

#[test]
fn without_a_baseline_the_limits_alone_judge_and_proof_is_needed() {
    let alone = |bad| {
        let mut alone = world(bad);
        alone.loads.retain(|l| l.arm == Arm::Canary);
        alone.weight = |t| if t < 0.0 { 0.0 } else { 1.0 };
        alone
    };
    let judged = alone(|_| 0.01).judged(600.0);
    none(&judged, Finding::Bad);
    let healthy = judged.iter().position(|o| o.verdict == Finding::Healthy).unwrap();
    assert!(judged[..healthy].iter().all(|o| !o.advance));
    let bad = alone(|_| 0.2).first(120.0, Finding::Bad).unwrap();
    assert!(bad.t <= 60.0, "{bad:?}");
}

#[test]
fn a_query_that_returns_nothing_for_the_stable_pods_is_a_config_error_that_names_it() {
    let metric = Metric {
        name: "payments".into(),
        query: "payment_succes_total".into(),
        kind: MetricKind::Counter,
        must_not_drop: Some("20%".parse().unwrap()),
        must_not_rise: None,
    };
    let mut wrong = world(|_| 1.0).checked(|c| c.metrics = vec![metric]);
    let last = wrong.judged(100.0).pop().unwrap();
    assert_eq!(last.verdict, Finding::ConfigError);
    assert!(last.sentence.contains("metrics[payments]"), "{}", last.sentence);
    for load in &mut wrong.loads {
        load.bad = base;
        load.facts = |_, pod| {
            pod.metrics.insert("payments".into(), (pod.total.unwrap_or(0.0) * 0.5).floor());
        };
    }
    none(&wrong.judged(300.0), Finding::ConfigError);
    none(&wrong.judged(300.0), Finding::Bad);
}

#[test]
fn a_provider_that_is_down_holds_and_loses_nothing() {
    let down = |t: f64| if (20.0..320.0).contains(&t) { Provider::Down } else { Provider::Ok };
    let mut good = world(base);
    good.provider = down;
    let judged = good.judged(600.0);
    none(&judged, Finding::Bad);
    let held = at(&judged, 100.0);
    assert_eq!((held.verdict, held.reason, held.advance), (Finding::NoData, "ProviderDown", false));
    assert!(at(&judged, 100.0).ln_e == at(&judged, 300.0).ln_e, "no evidence while nothing is known");
    assert_eq!(judged.last().unwrap().verdict, Finding::Healthy);

    // What happened meanwhile is in the counters.
    let mut bad = world(|t| if (50.0..250.0).contains(&t) { 0.5 } else { 0.0 });
    bad.provider = down;
    let convicted = bad.first(600.0, Finding::Bad).unwrap();
    assert!((320.0..=345.0).contains(&convicted.t), "{convicted:?}");

    // Pod health needs no provider.
    let mut crashing = good.with(Arm::Canary, |l| {
        l.facts = |t, pod| pod.waiting = (t > 100.0).then(|| "CrashLoopBackOff".to_owned());
    });
    crashing.provider = down;
    let convicted = crashing.first(300.0, Finding::Bad).unwrap();
    assert_eq!((convicted.reason, when(&convicted)), ("Health", 105));
}

#[test]
fn scrape_gaps_and_late_data_are_stale_and_convict_nobody() {
    let late = world(base).with(Arm::Canary, |l| l.scraped = |t| !(100.0..400.0).contains(&t));
    let judged = late.judged(600.0);
    none(&judged, Finding::Bad);
    assert_eq!(at(&judged, 200.0).reason, "Stale");
    assert_eq!(judged.last().unwrap().verdict, Finding::Healthy);
    // One pod of several is silent: the others speak.
    let partial = world(|_| 0.2).one("c1", |l| l.scraped = |_| false);
    assert!(partial.first(200.0, Finding::Bad).is_some());
}

#[test]
fn a_counter_reset_loses_no_failures_and_invents_none() {
    let good = world(base).one("s1", |l| l.reset = 100.0).one("c1", |l| l.reset = 150.0);
    let judged = good.judged(400.0);
    none(&judged, Finding::Bad);
    assert_eq!(judged.last().unwrap().verdict, Finding::Healthy);
    let bad = world(|_| 0.2).one("c1", |l| l.reset = 12.0).first(200.0, Finding::Bad).unwrap();
    assert!(bad.t <= 40.0, "{bad:?}");
}

#[test]
fn the_first_requests_of_a_new_pod_count() {
    // All failures happen before its first scrape.
    let early = world(|t| if t < 2.0 { 1.0 } else { 0.0 });
    let mut engine = early.engine();
    for sample in early.record(40.0) {
        engine.tick(&sample);
    }
    assert!(engine.state.totals[1] >= 18.0, "{:?}", engine.state.totals);
    // An older pod's counter says nothing of this release.
    let old = early.with(Arm::Canary, |l| l.start = -400.0);
    let mut engine = old.engine();
    for sample in old.record(40.0) {
        engine.tick(&sample);
    }
    assert!(engine.state.totals[0] <= 3420.0, "5 a second each since -300: {:?}", engine.state.totals);
}

#[test]
fn no_number_of_points_is_needed() {
    let bad = world(|_| 1.0).first(60.0, Finding::Bad).unwrap();
    assert!(bad.t <= 30.0, "two scrapes are enough: {bad:?}");
}

#[test]
fn every_verdict_has_a_reason_and_a_sentence() {
    let mut worlds = vec![world(base), world(|_| 0.2), world(base).with(Arm::Canary, |l| l.rate = never)];
    let mut down = world(base);
    down.provider = |t| if t > 50.0 { Provider::Down } else { Provider::Ok };
    worlds.push(down);
    for world in worlds {
        for output in world.judged(200.0) {
            assert!(!output.reason.is_empty() && !output.sentence.is_empty(), "{output:?}");
            assert!(!output.sentence.contains("NaN") && !output.sentence.contains("inf"), "{output:?}");
        }
    }
}

#[test]
fn a_hold_ends_by_itself_when_data_come_back() {
    let back = world(base).with(Arm::Canary, |l| l.scraped = |t| !(60.0..300.0).contains(&t));
    let judged = back.judged(500.0);
    assert_eq!(at(&judged, 250.0).verdict, Finding::NoData);
    let last = judged.last().unwrap();
    assert!(last.verdict == Finding::Healthy && last.advance, "{last:?}");
}

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
    assert!(bad.sentence.contains("over 0.5 s"), "{}", bad.sentence);
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
