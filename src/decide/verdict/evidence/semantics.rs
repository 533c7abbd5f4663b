//! What users of other tools complain about, and what is right: one test for each case.

use super::{
    fixture::{at, base, never, none, when, world},
    output::Finding,
    sample::{Arm, Provider},
};
use crate::api::checks::{Metric, MetricKind};

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
