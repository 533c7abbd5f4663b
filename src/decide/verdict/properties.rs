//! What must hold for every feed, however broken.

use proptest::prelude::*;

use crate::{
    api::status::Evidence,
    observe::seen::{Feed, Side},
};

use super::{
    Verdict,
    fixture::{World, load, never, pair, world},
};

/// A good or broken counter.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-1.0), 0.0..1e12]
}

const SHARES: [fn(f64) -> f64; 5] = [never, |_| 0.01, |_| 0.04, |_| 0.2, |_| 1.0];

fn busy(rates: &[f64], share: fn(f64) -> f64, stable: fn(f64) -> f64) -> World {
    let mut loads = vec![load("shop-5d6f8-aaaaa", Side::Stable, 30.0, stable)];
    for (n, rate) in rates.iter().enumerate() {
        loads.push(load(&format!("shop-r1-bbbb{n}"), Side::Candidate, *rate, share));
    }
    world(loads)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn broken_numbers_neither_convict_nor_pass(values in prop::collection::vec(value(), 4), now in 30.0..400.0_f64) {
        let world = pair(never);
        let Feed::Data(mut samples) = world.feed(now) else { return Ok(()) };
        prop_assume!(values.iter().any(|v| !v.is_finite()));
        for point in samples.pods.iter_mut().flat_map(|p| &mut p.points) {
            (point.requests, point.errors, point.timed, point.slow) = (values[0], values[1], values[2], values[3]);
        }
        let (_, verdict) = world.look_at(&Feed::Data(samples), now, &Evidence::default());
        prop_assert!(matches!(verdict, Verdict::NoData { .. }), "{verdict:?}");
    }

    #[test]
    fn no_samples_neither_convict_nor_pass(now in 1.0..4000.0_f64, bad in 0..5_usize) {
        let world = busy(&[5.0, 5.0], SHARES[bad], never);
        let (mut evidence, _) = world.watch(20.0, 120.0);
        let empty = Feed::Data(crate::observe::seen::Samples::default());
        for feed in [&empty, &Feed::NoData { why: "down".into() }] {
            let (next, verdict) = world.look_at(feed, 130.0 + now, &evidence);
            prop_assert!(matches!(verdict, Verdict::NoData { .. }), "{verdict:?}");
            evidence = next;
        }
    }

    #[test]
    fn dropping_samples_never_convicts_a_good_version(
        keep in prop::collection::vec(any::<bool>(), 200), rate in 0.1..50.0_f64,
    ) {
        let world = busy(&[rate, rate / 3.0], |_| 0.01, |_| 0.01);
        let mut evidence = Evidence::default();
        for now in (0..40_u32).map(|n| f64::from(n) * 10.0) {
            let Feed::Data(mut samples) = world.feed(now) else { return Ok(()) };
            for pod in &mut samples.pods {
                let mut n = 0;
                pod.points.retain(|_| { n += 1; keep[n % keep.len()] });
            }
            let (next, verdict) = world.look_at(&Feed::Data(samples), now, &evidence);
            prop_assert!(!matches!(verdict, Verdict::Bad { .. } | Verdict::PodOutlier { .. }), "{verdict:?}");
            evidence = next;
        }
    }

    #[test]
    fn equal_versions_are_never_convicted(rates in prop::collection::vec(0.5..40.0_f64, 1..4), share in 0..5_usize) {
        let (_, seen) = busy(&rates, SHARES[share], SHARES[share]).watch(10.0, 400.0);
        for (now, verdict) in seen {
            prop_assert!(!matches!(verdict, Verdict::Bad { .. } | Verdict::PodOutlier { .. }), "{now}: {verdict:?}");
        }
    }

    #[test]
    fn a_failing_version_is_always_convicted_and_never_healthy_before(
        rates in prop::collection::vec(0.5..40.0_f64, 1..4), strict in any::<bool>(),
    ) {
        let mut world = busy(&rates, |_| 0.2, |_| 0.004);
        world.checks.strict = strict;
        let (_, seen) = world.watch(10.0, 400.0);
        let bad = seen.iter().position(|(_, v)| matches!(v, Verdict::Bad { .. }));
        prop_assert!(bad.is_some());
        prop_assert!(seen.iter().all(|(_, v)| !matches!(v, Verdict::Healthy { .. })), "{seen:?}");
    }

    #[test]
    fn who_looks_late_convicts_what_he_would_have_convicted_in_time(
        share in 0..5_usize, rate in 2.0..40.0_f64, stops in 60.0..400.0_f64, late in 1.0..300.0_f64,
    ) {
        let mut world = busy(&[rate], SHARES[share], |_| 0.004);
        world.loads[1].served_until = stops;
        let (evidence, seen) = world.watch(5.0, stops + late);
        let (_, last) = world.look(stops + late, &evidence); // he too has seen all that there is
        let in_time = seen.iter().map(|(_, v)| v).chain([&last]).any(|v| matches!(v, Verdict::Bad { .. }));
        let (_, verdict) = world.look(stops + late, &Evidence::default());
        prop_assert_eq!(matches!(verdict, Verdict::Bad { .. }), in_time, "{:?}", verdict);
    }

    #[test]
    fn counts_add_up_however_the_time_is_cut(
        cuts in prop::collection::btree_set(1..300_u32, 1..30), rate in 0.2..60.0_f64, share in 0..5_usize,
    ) {
        let world = busy(&[rate, rate], SHARES[share], never);
        let mut evidence = Evidence::default();
        for cut in cuts {
            evidence = world.look(f64::from(cut), &evidence).0;
        }
        evidence = world.look(300.0, &evidence).0;
        let (once, _) = world.look(300.0, &Evidence::default());
        prop_assert!(evidence.requests.abs_diff(once.requests) <= 2, "{evidence:?} {once:?}");
        prop_assert!(evidence.failed.abs_diff(once.failed) <= 2, "{evidence:?} {once:?}");
        prop_assert!(evidence.failed_total.abs_diff(once.failed_total) <= 2, "{evidence:?} {once:?}");
    }
}
