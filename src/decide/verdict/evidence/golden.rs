//! The e-processes against values computed elsewhere, and what must hold for every block.

use proptest::prelude::*;
use serde::Deserialize;

use super::{
    by_block::{ByBlock, Test},
    factor::{self, Counts},
    grid::{ODDS, RATIOS},
};

/// One case of `tests/data/evidence/golden.json`; the numbers are text, so that both sides read the same digits.
#[derive(Deserialize)]
struct Case {
    test: String,
    parameter: String,
    phi: String,
    onset: Option<u32>,
    blocks: Vec<[String; 4]>,
    ln: Vec<f64>,
}

#[test]
fn e_values_are_those_of_forty_digits() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../../../tests/data/evidence/golden.json")).unwrap();
    assert!(cases.len() >= 60);
    for case in cases {
        let parameter: f64 = case.parameter.parse().unwrap();
        let test = match case.test.as_str() {
            "ratio" => Test::Ratio { rho0: parameter },
            _ => Test::Threshold { p: parameter },
        };
        let mut process = ByBlock::new(test, case.phi.parse().unwrap(), case.onset).unwrap();
        for (block, expected) in case.blocks.iter().zip(case.ln) {
            let [n_canary, e_canary, n_stable, e_stable] = block.clone().map(|n| n.parse::<f64>().unwrap());
            let found = process.add(&Counts { n_canary, e_canary, n_stable, e_stable }).unwrap();
            let error = (found - expected).abs();
            assert!(error <= 1e-12 * expected.abs().max(1.0), "{test:?}: {found} is not {expected}");
        }
    }
}

#[test]
fn numbers_that_cannot_be_meant_are_refused() {
    let ratio = Test::Ratio { rho0: 1.5 };
    for (test, phi, onset) in [
        (ratio, 0.99, None),
        (ratio, f64::NAN, None),
        (ratio, 1.0, Some(0)),
        (Test::Ratio { rho0: 0.0 }, 1.0, None),
        (Test::Threshold { p: 1.0 }, 1.0, None),
        (Test::Threshold { p: 0.0 }, 1.0, None),
    ] {
        assert!(ByBlock::new(test, phi, onset).is_err(), "{test:?} {phi} {onset:?}");
    }
}

fn run(test: Test, phi: f64, onset: Option<u32>, blocks: &[Counts]) -> Vec<f64> {
    let mut process = ByBlock::new(test, phi, onset).unwrap();
    blocks.iter().map(|b| process.add(b).unwrap()).collect()
}

fn block() -> impl Strategy<Value = Counts> {
    (0.0..500.0_f64, 0.0..1.0_f64, 0.0..5000.0_f64, 0.0..1.0_f64, 0..6_u8).prop_map(|(n, e, m, f, odd)| {
        let (n, m) = (if odd == 0 { 0.0 } else { n.floor() }, if odd == 1 { 0.0 } else { m.floor() });
        let part = |share: f64, n: f64| if odd < 3 { 0.0 } else { (share.powi(6) * n).floor() };
        Counts { n_canary: n, e_canary: part(e, n), n_stable: m, e_stable: part(f, m) }
    })
}

fn test() -> impl Strategy<Value = Test> {
    prop_oneof![
        (0.2..5.0_f64).prop_map(|rho0| Test::Ratio { rho0 }),
        (0.0001..0.9_f64).prop_map(|p| Test::Threshold { p }),
    ]
}

proptest! {
    #[test]
    fn more_failures_of_the_candidate_never_lower_the_evidence(
        blocks in prop::collection::vec(block(), 1..12), at in any::<prop::sample::Index>(), more in 0.0..1.0_f64,
        test in test(), phi in 1.0..10.0_f64,
    ) {
        let mut worse = blocks.clone();
        let one = at.get_mut(&mut worse);
        one.e_canary += more * (one.n_canary - one.e_canary);
        let (fewer, more) = (run(test, phi, Some(20), &blocks), run(test, phi, Some(20), &worse));
        for (fewer, more) in fewer.iter().zip(more) {
            prop_assert!(more >= fewer - 1e-9 * fewer.abs().max(1.0), "{fewer} {more}");
        }
    }

    #[test]
    fn swapping_the_versions_tests_the_other_direction(block in block(), rho0 in 0.2..5.0_f64, ratio in 1.01..100.0_f64) {
        // "The candidate fails rho0·ratio times as often" against "… rho0 times" is, seen from the other side, the same
        // pair of hypotheses with inverse ratios.
        let swapped = Counts {
            n_canary: block.n_stable, e_canary: block.e_stable, n_stable: block.n_canary, e_stable: block.e_canary,
        };
        let (one, other) = (factor::relative(&block, rho0, ratio), factor::relative(&swapped, 1.0 / rho0, 1.0 / ratio));
        prop_assert!((one - other).abs() <= 1e-9 * one.abs().max(1.0), "{one} {other}");
    }

    #[test]
    fn equal_shares_and_equal_failures_favour_nobody(n in 1.0..1000.0_f64, share in 0.0..1.0_f64) {
        let same = Counts { n_canary: n, e_canary: n * share, n_stable: n, e_stable: n * share };
        for ratio in RATIOS {
            prop_assert!(factor::relative(&same, 1.0, ratio) <= 1e-9);
        }
    }

    #[test]
    fn splitting_a_block_at_constant_weight_changes_nothing(
        block in block(), cut in 0.01..0.99_f64, errors in 0.0..1.0_f64, test in test(), phi in 1.0..10.0_f64,
    ) {
        let first = Counts {
            n_canary: block.n_canary * cut,
            e_canary: (block.e_canary * errors).min(block.n_canary * cut),
            n_stable: block.n_stable * cut,
            e_stable: (block.e_stable * errors).min(block.n_stable * cut),
        };
        let second = Counts {
            n_canary: block.n_canary - first.n_canary,
            e_canary: (block.e_canary - first.e_canary).min(block.n_canary - first.n_canary),
            n_stable: block.n_stable - first.n_stable,
            e_stable: (block.e_stable - first.e_stable).min(block.n_stable - first.n_stable),
        };
        let whole = Counts {
            e_canary: first.e_canary + second.e_canary, e_stable: first.e_stable + second.e_stable, ..block
        };
        let (parts, whole) = (run(test, phi, None, &[first, second]), run(test, phi, None, &[whole]));
        prop_assert!((parts[1] - whole[0]).abs() <= 1e-7 * whole[0].abs().max(1.0), "{parts:?} {whole:?}");
    }

    #[test]
    fn a_block_without_requests_changes_nothing(
        blocks in prop::collection::vec(block(), 1..8), test in test(), onset in prop::option::of(1..20_u32),
    ) {
        let mut padded = Vec::new();
        for block in &blocks {
            padded.extend([*block, Counts::default()]);
        }
        let (plain, padded) = (run(test, 1.0, onset, &blocks), run(test, 1.0, onset, &padded));
        for (k, ln) in plain.iter().enumerate() {
            prop_assert_eq!(ln.to_bits(), padded[2 * k].to_bits());
            prop_assert_eq!(ln.to_bits(), padded[2 * k + 1].to_bits());
        }
    }

    #[test]
    fn no_counts_yield_nan(blocks in prop::collection::vec(block(), 1..30), test in test(), phi in 1.0..1e6_f64) {
        for ln in run(test, phi, Some(10), &blocks) {
            prop_assert!(!ln.is_nan() && ln < f64::INFINITY, "{ln}");
        }
    }

    /// The promise itself, summed up exactly: while the candidate fails rho0 times as often, or less, the mean factor of
    /// a block is at most 1.
    #[test]
    fn the_mean_factor_under_the_null_hypothesis_is_at_most_one(
        n in 1..40_u32, m in 1..40_u32, p in 0.0..0.6_f64, rho0 in 0.3..1.6_f64, g in 0..12_usize,
    ) {
        let (n_canary, n_stable) = (f64::from(n), f64::from(m));
        let mean = |f: &dyn Fn(f64, f64) -> f64| {
            let mut sum = 0.0;
            for (e, prob) in binomial(n, (p * rho0).min(1.0)) {
                for (s, other) in binomial(m, p) {
                    sum += prob * other * f(e, s).exp();
                }
            }
            sum
        };
        let relative = mean(&|e, s| {
            factor::relative(&Counts { n_canary, e_canary: e, n_stable, e_stable: s }, rho0, RATIOS[g])
        });
        prop_assert!(relative <= 1.0 + 1e-9, "{relative}");
        let limit = (p * rho0).clamp(0.001, 0.999);
        for phi in [1.0, 1.5] {
            let threshold = mean(&|e, _| factor::threshold(n_canary, e, limit, ODDS[g], phi));
            prop_assert!(threshold <= 1.0 + 1e-9, "{threshold}");
        }
    }
}

/// The number of failures of n requests, each with its probability.
fn binomial(n: u32, p: f64) -> Vec<(f64, f64)> {
    let mut prob = vec![0.0; n as usize + 1];
    prob[0] = 1.0;
    for k in 0..n as usize {
        for e in (0..=k).rev() {
            prob[e + 1] += prob[e] * p;
            prob[e] *= 1.0 - p;
        }
    }
    prob.into_iter().enumerate().map(|(e, prob)| (f64::from(u32::try_from(e).unwrap()), prob)).collect()
}
