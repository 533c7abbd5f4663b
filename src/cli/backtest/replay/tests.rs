//! Hours of made-up counters, looked at as a release.

use super::*;
use crate::observe::prometheus::reading::PodReading;

const FROM: u32 = 1800;

fn at(second: u32) -> At {
    At::from_epoch(1_767_225_600.0 + f64::from(second)).unwrap()
}

/// Three pods that serve ten requests a second each; `failing(pod, second)` is the share of them that fails.
fn found(failing: impl Fn(usize, u32) -> f64) -> Found {
    let mut found = Found { per_second: 1.0, ..Found::default() };
    let mut errors = [0.0; 3];
    for second in (0..=FROM + 3600).step_by(15) {
        let mut reading = Reading::new();
        for (pod, errors) in errors.iter_mut().enumerate() {
            *errors += 150.0 * failing(pod, second);
            let counted = PodReading {
                at: Some(at(second)),
                requests: Some(10.0 * f64::from(second)),
                coded: true,
                server_errors: errors.floor(),
                ..PodReading::default()
            };
            reading.insert(("shop".into(), format!("shop-5d6f8-{pod}")), counted);
        }
        found.readings.insert(at(second), reading);
    }
    found
}

fn said(found: &Found, turn: usize) -> Said {
    judge(&Checks::default(), &samples(found, &Checks::default(), at(FROM), 1, turn))
}

#[test]
fn a_version_that_is_as_good_as_itself_is_proven() {
    assert_eq!(said(&found(|_, _| 0.002), 0), Said::Proven);
    assert_eq!(
        said(&found(|_, second| if second > 3000 { 0.2 } else { 0.002 }), 0),
        Said::Proven,
        "all of them at once"
    );
}

#[test]
fn one_pod_that_is_worse_is_convicted_in_its_turn_only() {
    let third = found(|pod, second| if pod == 2 && second > 3000 { 0.2 } else { 0.002 });
    let Said::RolledBack { after, sentence } = said(&third, 2) else { panic!("{:?}", said(&third, 2)) };
    assert!((1_200..1_300).contains(&after.as_secs()) && sentence.starts_with("canary "), "{after:?} {sentence}");
    assert_eq!(said(&third, 0), Said::Proven);
    assert_eq!(said(&third, 1), Said::Proven);
    assert_eq!(said(&third, 5), said(&third, 2), "turns come round again");
}

#[test]
fn before_the_hour_all_pods_are_the_stable_versions() {
    let all = samples(&found(|_, _| 0.0), &Checks::default(), at(FROM), 1, 1);
    let arms = |sample: &Sample| sample.pods.values().filter(|pod| pod.arm == Arm::Canary).count();
    let (before, during): (Vec<_>, Vec<_>) = all.iter().partition(|sample| sample.t < at(FROM).epoch());
    assert!(before.len() == 120 && before.iter().all(|s| arms(s) == 0 && s.pods.len() == 2 && s.weight == 0.0));
    assert!(during.len() == 241 && during.iter().all(|s| arms(s) == 1 && s.pods.len() == 3));
    let two = samples(&found(|_, _| 0.0), &Checks::default(), at(FROM), 9, 0);
    assert_eq!(two.last().map(arms), Some(2), "one pod at least stays to be compared with");
}

#[test]
fn hours_without_requests_say_nothing() {
    assert_eq!(
        judge(&Checks::default(), &samples(&Found::default(), &Checks::default(), at(FROM), 1, 0)),
        Said::Silent
    );
    let mut tally = Tally::default();
    for said in [Said::Proven, Said::Silent, Said::Unproven, Said::Proven] {
        tally.add(&said);
    }
    assert_eq!(
        tally.sentence("shop-5d6f8"),
        "these settings would have rolled back 0 of 4 hours of shop-5d6f8; in 1 no step would have ended; of 1 nothing is known"
    );
}
