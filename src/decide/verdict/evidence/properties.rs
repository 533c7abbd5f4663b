//! What must hold for every recording, however broken.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    config::Config,
    curve::{BOUNDS, Curve, Layout},
    engine::Engine,
    fixture::{Part, World, base, world},
    output::Output,
    sample::{Arm, PodSample, Provider, Sample},
    state::State,
};
use crate::api::checks::{Checks, Metric, MetricKind};

/// A number that can be meant, or cannot.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..1e4_f64,
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-1.0), Just(1e300), Just(0.0)],
    ]
}

fn pod() -> impl Strategy<Value = PodSample> {
    let counters = (prop::option::of(number()), prop::option::of(number()), prop::option::of(number()));
    let le = prop::collection::btree_map(
        prop_oneof!["0\\.[0-9]", "[0-9]{1,3}", Just("+Inf".to_owned()), "[a-z]"],
        number(),
        0..15,
    );
    let metrics = prop::collection::btree_map(prop_oneof![Just("a".to_owned()), Just("b".to_owned())], number(), 0..2);
    let state = (
        any::<bool>(),
        any::<bool>(),
        0..4_u32,
        prop::option::of(any::<bool>()),
        prop::option::of("CrashLoopBackOff|Odd"),
    );
    (number(), counters, le, metrics, state).prop_map(|(start, (scraped, total, bad), le, metrics, state)| {
        let (canary, ready, restarts, probe, waiting) = state;
        PodSample {
            arm: if canary { Arm::Canary } else { Arm::Stable },
            start,
            ready,
            restarts,
            scraped,
            total,
            bad,
            le,
            metrics,
            probe,
            waiting,
            terminated: None,
        }
    })
}

fn sample() -> impl Strategy<Value = Sample> {
    let pods = prop::collection::btree_map("[abc]", pod(), 0..4);
    (number(), number(), any::<bool>(), pods).prop_map(|(t, weight, down, pods)| Sample {
        t,
        weight: if weight > 1.0 { weight / 1e4 } else { weight },
        provider: if down { Provider::Down } else { Provider::Ok },
        pods,
    })
}

fn all_checks() -> Checks {
    let metric = |name: &str, kind| Metric {
        name: name.into(),
        query: "q".into(),
        kind,
        must_not_drop: Some("20%".parse().unwrap()),
        must_not_rise: None,
    };
    Checks { metrics: vec![metric("a", MetricKind::Counter), metric("b", MetricKind::Gauge)], ..Checks::default() }
}

const PARTS: [Part; 5] =
    [base, |_| 0.01, |t| if t > 200.0 { 0.2 } else { 0.0 }, |_| 0.06, |t| if t < 60.0 { 0.04 } else { 0.002 }];

fn some_world(canary: usize, stable: usize, slow: bool, reset: f64) -> World {
    let mut world = world(PARTS[canary]).with(Arm::Stable, |l| l.bad = PARTS[stable]).one("s2", |l| l.reset = reset);
    world.weight = |t| {
        if t < 0.0 {
            0.0
        } else if t < 250.0 {
            0.05
        } else {
            0.06
        }
    };
    if slow {
        for load in &mut world.loads {
            load.slow = Some((|_| 0.03, |_| 0.004));
        }
    }
    world
}

fn resumed(engine: &Engine, checks: &Checks, before: &[Sample]) -> Engine {
    let stored = serde_json::to_string(engine.state()).unwrap();
    let state: State = serde_json::from_str(&stored).unwrap();
    assert_eq!(&state, engine.state(), "what is stored reads back equal");
    let mut engine = Engine::resume(Config::new(checks, 3600.0), state);
    let from = before.last().unwrap().t - 150.0;
    for sample in before.iter().filter(|s| s.t >= from) {
        engine.recall(sample);
    }
    engine
}

fn same(a: &Output, b: &Output) {
    assert_eq!((a.t, a.verdict, a.reason, a.advance), (b.t, b.verdict, b.reason, b.advance), "{a:?} {b:?}");
    let near = |x: Option<f64>, y: Option<f64>| match (x, y) {
        (Some(x), Some(y)) => (x - y).abs() <= 1e-3 * x.abs().max(1.0),
        (None, None) => true,
        _ => false,
    };
    assert!(near(a.ln_e, b.ln_e), "{a:?} {b:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_sample_panics_or_yields_a_number_that_is_none(
        samples in prop::collection::vec(sample(), 1..25), sorted in any::<bool>(),
    ) {
        let mut samples = samples;
        if sorted {
            samples.sort_by(|a, b| a.t.total_cmp(&b.t));
        }
        let mut engine = Engine::new(Config::new(&all_checks(), 3600.0));
        for sample in &samples {
            let output = engine.tick(sample);
            prop_assert!(output.ln_e.is_none_or(f64::is_finite), "{output:?}");
            prop_assert!(!output.sentence.contains("NaN"), "{output:?}");
            prop_assert!(engine.tests().iter().all(|(_, ln)| ln.is_finite()));
            let stored = serde_json::to_string(engine.state()).unwrap();
            let read: State = serde_json::from_str(&stored).unwrap();
            prop_assert_eq!(serde_json::to_string(&read).unwrap(), stored);
        }
    }

    #[test]
    fn a_restart_in_the_middle_gives_the_same_verdicts(
        canary in 0..5_usize, stable in 0..2_usize, slow in any::<bool>(), cut in 1..150_usize, reset in 50.0..900.0_f64,
    ) {
        let world = some_world(canary, stable, slow, reset);
        let record = world.record(450.0);
        let cut = cut.min(record.len() - 1);
        let mut engine = world.engine();
        for sample in &record[..cut] {
            engine.tick(sample);
        }
        let mut other = resumed(&engine, &world.checks, &record[..cut]);
        for sample in &record[cut..] {
            let (a, b) = (engine.tick(sample), other.tick(sample));
            same(&a, &b);
        }
    }

    #[test]
    fn a_replay_gives_the_same_verdicts(canary in 0..5_usize, stable in 0..5_usize, slow in any::<bool>()) {
        let world = some_world(canary, stable, slow, 500.0);
        prop_assert_eq!(world.judged(300.0), world.judged(300.0));
    }

    #[test]
    fn equal_versions_are_never_convicted(part in 0..5_usize, slow in any::<bool>(), reset in 50.0..900.0_f64) {
        for output in some_world(part, part, slow, reset).judged(600.0) {
            prop_assert!(output.verdict != super::output::Finding::Bad, "{output:?}");
        }
    }

    /// Slow requests are those above a bound, exactly, whatever the latencies are and however the histogram is cut.
    #[test]
    fn slow_requests_are_counted_exactly(
        latencies in prop::collection::vec(0.001..20.0_f64, 1..200),
        bounds in prop::collection::btree_set(1..150_u32, 1..16),
    ) {
        let bounds: Vec<f64> = bounds.into_iter().map(|b| f64::from(b) / 10.0).collect();
        let number = |n: usize| f64::from(u32::try_from(n).unwrap());
        let within = |bound: f64| number(latencies.iter().filter(|l| **l <= bound).count());
        let mut le: BTreeMap<String, f64> = bounds.iter().map(|b| (b.to_string(), within(*b))).collect();
        let all = number(latencies.len());
        le.insert("+Inf".into(), all);
        let followed: Vec<f64> = bounds.iter().copied().take(BOUNDS).collect();
        let layout = Layout { bounds: followed.clone(), metrics: Vec::new() };
        let mut curve = Curve::new(Some(0.0));
        let pod = PodSample {
            arm: Arm::Canary, start: 0.0, ready: true, restarts: 0, scraped: Some(10.0), total: Some(all), bad: None, le,
            metrics: BTreeMap::new(), probe: None, waiting: None, terminated: None,
        };
        curve.scrape(&layout, &pod, 10.0);
        let row = curve.between(0.0, 10.0);
        prop_assert_eq!(row.timed().to_bits(), all.to_bits());
        for (index, bound) in followed.iter().enumerate() {
            let exact = number(latencies.iter().filter(|l| **l > *bound).count());
            prop_assert_eq!(row.slow(index).to_bits(), exact.to_bits());
        }
    }
}

/// Twenty pods with long names, a dozen bounds, eight series, six steps, a long conviction.
#[test]
fn the_state_of_the_largest_release_is_smaller_than_four_kilobytes() {
    let series = |n: usize| Metric {
        name: format!("a_business_counter_with_a_long_name_{n}"),
        query: "q".into(),
        kind: if n.is_multiple_of(2) { MetricKind::Counter } else { MetricKind::Gauge },
        must_not_drop: Some("20%".parse().unwrap()),
        must_not_rise: None,
    };
    let checks = Checks { metrics: (0..8).map(series).collect(), ..Checks::default() };
    let mut engine = Engine::new(Config::new(&checks, 3600.0));
    let mut largest = String::new();
    for tick in 0..200 {
        let t = 1_700_000_000.123 + f64::from(tick) * 4.999;
        let mut pods = BTreeMap::new();
        for n in 0..20_u32 {
            let served = f64::from(tick) * (70.1 + f64::from(n));
            let canary = n < 12;
            let age = if canary { 0.0 } else { -9e5 };
            let bad = if canary && tick > 150 { served * 0.5 } else { served * 0.003 };
            let bucket = |b: u32| (format!("{}", f64::from(b) * 0.25), (served * (1.0 - 0.3 / f64::from(b))).floor());
            let mut le: BTreeMap<String, f64> = (1..13).map(bucket).collect();
            le.insert("+Inf".into(), served.floor());
            let metrics = checks.metrics.iter().map(|m| (m.name.clone(), (served * 0.37).floor())).collect();
            pods.insert(
                format!("a-deployment-with-a-rather-long-name-r1-5d6f8c9b7d-{n:05}"),
                PodSample {
                    arm: if canary { Arm::Canary } else { Arm::Stable },
                    start: 1_700_000_000.123 + age + f64::from(n % 3),
                    ready: true,
                    restarts: u32::from(!canary),
                    scraped: Some(t - f64::from(n) * 0.7),
                    total: Some(served.floor()),
                    bad: Some(bad.floor()),
                    le,
                    metrics,
                    probe: Some(true),
                    waiting: None,
                    terminated: None,
                },
            );
        }
        let weight = f64::from(tick / 30 + 1) * 0.0371;
        engine.tick(&Sample { t, weight, provider: Provider::Ok, pods });
        let state = serde_json::to_string(engine.state()).unwrap();
        if state.len() > largest.len() {
            largest = state;
        }
    }
    assert!(engine.state().bad.is_some(), "the conviction belongs to it");
    assert!((2000..4096).contains(&largest.len()), "{} bytes: {largest}", largest.len());
}
