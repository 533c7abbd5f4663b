//! The user's own series in the middle of a release: gaps, and settings that change.

use super::{
    config::Config,
    engine::Engine,
    fixture::{World, base, none, world},
    output::Finding,
    sample::{Arm, PodSample},
};
use crate::api::checks::{Metric, MetricKind};

/// Compares one counter by name.
fn comparing(mut world: World, name: &str, may: &str) -> World {
    let by = |word: &str| (may == word).then(|| "20%".parse().unwrap());
    world.checks.metrics = vec![Metric {
        name: name.into(),
        query: "q".into(),
        kind: MetricKind::Counter,
        must_not_drop: by("not drop"),
        must_not_rise: by("not rise"),
    }];
    world
}

/// So many for each request.
fn count(pod: &mut PodSample, name: &str, each: f64) {
    pod.metrics.insert(name.into(), (each * pod.total.unwrap_or(0.0)).floor());
}

fn evidence(engine: &Engine, name: &str) -> f64 {
    engine.tests().into_iter().find(|(test, _)| test == name).unwrap().1
}

#[test]
fn a_sample_without_it_is_no_reset() {
    let told = comparing(world(base), "retries", "not rise")
        .with(Arm::Stable, |l| l.facts = |_, pod| count(pod, "retries", 0.3))
        .with(Arm::Canary, |l| {
            l.facts = |t, pod| {
                if t.rem_euclid(75.0) >= 15.0 {
                    count(pod, "retries", 0.3);
                }
            };
        });
    none(&told.judged(1800.0), Finding::Bad);
}

#[test]
fn one_that_is_exchanged_for_another_begins_anew() {
    // Half as many payments as the stable version's, and as many orders.
    let pays = comparing(world(base), "payments", "not drop")
        .with(Arm::Stable, |l| {
            l.facts = |_, pod| {
                count(pod, "payments", 0.3);
                count(pod, "orders", 0.3);
            };
        })
        .with(Arm::Canary, |l| {
            l.facts = |_, pod| {
                count(pod, "payments", 0.15);
                count(pod, "orders", 0.3);
            };
        });
    let convicted = pays.first(900.0, Finding::Bad).expect("convicted").t;
    let samples = pays.record(900.0);
    let (before, after) = samples.split_at(samples.partition_point(|s| s.t < convicted));
    let mut engine = pays.engine();
    for sample in before {
        engine.tick(sample);
    }
    let leaning = evidence(&engine, "payments");
    assert!(leaning > 1.0, "{leaning}");
    let resumed = |name: &str| {
        let checks = comparing(pays.clone(), name, "not drop").checks;
        let mut next = Engine::resume(Config::new(&checks, 3600.0), engine.state().clone());
        for sample in before {
            next.recall(sample);
        }
        next
    };
    assert!((evidence(&resumed("payments"), "payments") - leaning).abs() < 1e-9, "it goes on where nothing changed");
    let mut next = resumed("orders");
    assert!(evidence(&next, "orders").abs() < 0.1, "of this one nothing is known");
    let judged: Vec<_> = after.iter().map(|sample| next.tick(sample)).collect();
    none(&judged, Finding::Bad);
    none(&judged, Finding::ConfigError);
}
