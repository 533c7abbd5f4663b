//! The evidence of all scrapes in whole looks: what convicts, what is proven, and that nothing hangs on when one looks.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use super::super::{
    Trial, Verdict,
    evidence::State,
    fixture::{INTERVAL, World, load, pair, world},
};
use super::go_on;
use crate::{
    api::{
        checks::{Metric, MetricKind, Sequential},
        status::Evidence,
        units::{At, Percent},
    },
    observe::seen::{Feed, PodSamples, Scrape, Scrapes, Side},
};

/// What the sampler keeps: whole scrapes, those before `from` forgotten but for one.
fn recorded(world: &World, now: f64, from: Option<At>) -> Feed {
    let Feed::Data(mut samples) = world.feed(now) else { return world.feed(now) };
    let scrapes = |pod: &PodSamples| {
        let first = from.map_or(0, |from| pod.points.partition_point(|p| p.at < from).saturating_sub(1));
        let scrape = |p: &crate::observe::seen::Point| {
            Arc::new(Scrape {
                at: p.at,
                requests: p.requests,
                errors: Some(p.errors).filter(|e| *e > 0.0),
                within: vec![p.timed - p.slow, p.timed],
                own: BTreeMap::new(),
            })
        };
        (pod.pod.clone(), pod.points[first..].iter().map(scrape).collect())
    };
    let bounds = vec!["2".to_owned(), "+Inf".to_owned()];
    samples.scrapes = Scrapes { bounds, pods: samples.pods.iter().map(scrapes).collect(), own_trouble: None };
    Feed::Data(samples)
}

/// Looks at the given seconds; the sampler keeps what it keeps.
fn watch(world: &World, looks: impl IntoIterator<Item = u32>) -> Vec<(u32, Verdict)> {
    let mut evidence = Evidence::default();
    let mut seen = Vec::new();
    for second in looks {
        let now = f64::from(second);
        let from = evidence.watermark.map(|w| w.minus(std::time::Duration::from_mins(5)));
        let (next, verdict) = world.look_at(&recorded(world, now, from), now, &evidence);
        let stored = next.engine.as_ref().map_or(0, |engine| engine.to_string().len());
        assert!((1..4096).contains(&stored), "{stored} bytes at {second} s");
        evidence = next;
        seen.push((second, verdict));
    }
    seen
}

fn steadily(end: u32) -> impl Iterator<Item = u32> {
    (INTERVAL..=end).step_by(INTERVAL as usize)
}

fn first_bad(seen: &[(u32, Verdict)]) -> Option<(u32, &str)> {
    seen.iter().find(|(_, v)| matches!(v, Verdict::Bad { .. })).map(|(second, v)| (*second, v.message()))
}

fn without_proof(mut world: World) -> World {
    world.checks.sequential.require_proof = false;
    world
}

#[test]
fn a_version_is_convicted_when_the_evidence_is_strong_and_not_when_a_time_is_over() {
    for (errors, within) in [((|_| 1.0) as fn(f64) -> f64, 10), (|_| 0.2, 15), (|_| 0.04, 60)] {
        let seen = watch(&pair(errors), steadily(300));
        let (second, words) = first_bad(&seen).expect("convicted");
        assert!(second <= within, "{second} s: {words}");
        assert!(words.contains("canary") && words.contains("odds against chance"), "{words}");
    }
}

#[test]
fn how_much_worse_it_is_stands_in_the_status() {
    let bad = pair(|_| 0.2);
    let mut evidence = Evidence::default();
    for second in steadily(30) {
        let now = f64::from(second);
        evidence = bad.look_at(&recorded(&bad, now, None), now, &evidence).0;
    }
    assert!(
        evidence.log.len() > 1 && evidence.log.iter().all(|b| b.counts.split(' ').count() == 4),
        "{:?}",
        evidence.log
    );
    let ratio = evidence.ratio.expect("an interval");
    let number = |text: &str| text.parse::<f64>().expect("a number");
    let most = ratio.at_most.as_deref().map_or(f64::INFINITY, number);
    assert!((2.0..50.0).contains(&number(&ratio.at_least)) && most > 50.0, "20 % and 0.4 %: {ratio:?}");
}

#[test]
fn a_good_version_is_not_convicted_and_its_step_ends_when_that_is_proven() {
    let seen = watch(&pair(|_| 0.004), steadily(600));
    assert_eq!(first_bad(&seen), None);
    let proven = seen.iter().find(|(_, v)| matches!(v, Verdict::Healthy { .. })).map(|(second, _)| *second);
    let needed = |v: &Verdict| if let Verdict::Watching { requests_needed, .. } = v { *requests_needed } else { 0 };
    let waiting: Vec<u64> = seen.iter().map(|(_, v)| needed(v)).take_while(|n| *n > 0).collect();
    assert!(waiting.windows(2).all(|pair| pair[1] <= pair[0]), "{waiting:?}");
    assert!(waiting.len() >= 2 && waiting[0] > 50, "more than the 50 requests of minRequests: {waiting:?}");
    let early = watch(&without_proof(pair(|_| 0.004)), steadily(600));
    let earlier = early.iter().find(|(_, v)| matches!(v, Verdict::Healthy { .. })).map(|(second, _)| *second);
    assert!(earlier < proven && proven.is_some_and(|second| second < 60), "{earlier:?} {proven:?}");
}

#[test]
fn without_the_comparison_the_literal_limits_alone_convict() {
    let mut bad = pair(|_| 0.2);
    bad.checks.sequential = Sequential { enabled: false, ..Sequential::default() };
    let seen = watch(&bad, steadily(200));
    let (second, words) = first_bad(&seen).expect("20 % are more than 5 %");
    assert!(second >= 120 && words.starts_with("error rate"), "{second} s: {words}");
}

#[test]
fn a_candidate_that_gets_nothing_is_convicted_where_a_router_decides() {
    let mut hole = pair(|_| 0.0);
    hole.loads[1].per_second = 0.0;
    let seen = watch(&hole, steadily(60));
    let (second, words) = first_bad(&seen).expect("convicted");
    assert!(second <= 40, "{second} s: {words}");
}

/// A sync put its route back for some seconds, again and again: what went to the stable version then says nothing of it.
#[test]
fn what_a_candidate_does_not_get_while_its_route_is_changed_by_others_does_not_convict_it() {
    let mut taken = pair(|_| 0.0);
    taken.loads[1].served_until = 60.0;
    taken.stands = |t| (t <= 60.0).then_some(0.0);
    assert_eq!(first_bad(&watch(&taken, steadily(240))), None);
    // Where it stands again and still gets nothing, it is the candidate.
    taken.stands = |t| if t <= 60.0 { Some(0.0) } else { (t >= 120.0).then_some(120.0) };
    let seen = watch(&taken, steadily(240));
    let (second, words) = first_bad(&seen).expect("convicted");
    assert!((121..=180).contains(&second), "{second} s: {words}");
    // A route that was changed and put back between two looks of the operator that took over is known since its first look.
    taken.stands = |t| Some((t - 5.0).max(0.0));
    assert_eq!(first_bad(&watch(&taken, steadily(240))), None);
}

#[test]
fn an_outage_of_both_versions_is_told_and_convicts_nobody() {
    let both = world(vec![
        load("shop-5d6f8-aaaaa", Side::Stable, 40.0, |t| if t > 60.0 { 0.3 } else { 0.004 }),
        load("shop-5d6f8-ccccc", Side::Stable, 40.0, |t| if t > 60.0 { 0.3 } else { 0.004 }),
        load("shop-r1-bbbbb", Side::Candidate, 10.0, |t| if t > 60.0 { 0.3 } else { 0.004 }),
    ]);
    let seen = watch(&both, steadily(240));
    assert_eq!(first_bad(&seen), None);
    assert!(matches!(seen.last(), Some((_, Verdict::EnvironmentDegraded { .. }))), "{:?}", seen.last());
}

#[test]
fn a_look_more_or_less_and_a_restart_change_nothing() {
    let slight = || pair(|t| if t > 150.0 { 0.03 } else { 0.004 });
    let all = watch(&slight(), steadily(600));
    let (convicted, words) = first_bad(&all).expect("convicted");
    // The operator is away for a minute, before the onset and across it.
    for away in [60..=120, 130..=190] {
        let gapped = watch(&slight(), steadily(600).filter(|second| !away.contains(second)));
        assert_eq!(first_bad(&gapped), Some((convicted, words)), "{away:?}");
        for (second, verdict) in &gapped {
            let same = all.iter().find(|(s, _)| s == second).map(|(_, v)| v.name());
            assert_eq!(Some(verdict.name()), same, "{second} s");
        }
    }
    // It looks much more often than pods are scraped.
    let often = watch(&slight(), 5..=600);
    let (second, _) = first_bad(&often).expect("convicted");
    assert!(second <= convicted, "{second} s, else {convicted} s");
}

#[test]
fn what_another_version_of_the_operator_wrote_is_begun_anew() {
    let bad = pair(|_| 0.2);
    let mut evidence = Evidence { engine: Some(json!({"now": "soon", "secret": [1]})), ..Evidence::default() };
    for second in steadily(30) {
        let now = f64::from(second);
        let (next, verdict) = bad.look_at(&recorded(&bad, now, None), now, &evidence);
        evidence = next;
        if matches!(verdict, Verdict::Bad { .. }) {
            return;
        }
    }
    panic!("not convicted: {evidence:?}");
}

#[test]
fn the_requests_of_a_pod_that_is_gone_still_speak() {
    let mut died = world(vec![
        load("shop-5d6f8-aaaaa", Side::Stable, 40.0, |_| 0.004),
        load("shop-r1-bbbbb", Side::Candidate, 5.0, |_| 0.5),
        load("shop-r1-ccccc", Side::Candidate, 5.0, |_| 0.5),
    ]);
    died.loads[1].served_until = 12.0;
    died.loads[1].scraped_until = 12.0;
    let feed = recorded(&died, 14.0, None);
    died.loads.remove(1);
    let (_, verdict) = died.look_at(&feed, 14.0, &Evidence::default());
    let gone = verdict.message().to_owned();
    let without = recorded(&died, 14.0, None);
    let (_, verdict) = died.look_at(&without, 14.0, &Evidence::default());
    assert!(gone.contains("canary") && gone != verdict.message(), "{gone} | {}", verdict.message());
}

#[test]
fn settings_of_the_release_are_obeyed() {
    let slight = |floor: u32| {
        let mut world = pair(|_| 0.03);
        world.checks.sequential.floor = Percent::whole(floor);
        first_bad(&watch(&world, steadily(300))).map(|(second, _)| second)
    };
    assert!(slight(1).is_some());
    assert_eq!(slight(4), None, "3 % are accepted");
}

/// Each pod counts 3 payments for 10 requests; the candidate only `share` of that.
fn paying(share: f64, until: u32) -> Vec<(u32, Verdict)> {
    let mut world = pair(|_| 0.004);
    world.checks.metrics = vec![Metric {
        name: "payments".into(),
        query: "payment_success_total".into(),
        kind: MetricKind::Counter,
        must_not_drop: Some(Percent::whole(20)),
        must_not_rise: None,
    }];
    let mut evidence = Evidence::default();
    let look = |second| {
        let now = f64::from(second);
        let Feed::Data(mut samples) = recorded(&world, now, None) else { panic!("data") };
        for (name, scrapes) in &mut samples.scrapes.pods {
            let share = if name.contains("-r1-") { share } else { 1.0 };
            for scrape in scrapes {
                let payments = (0.3 * share * scrape.requests).floor();
                Arc::make_mut(scrape).own.insert(0, payments);
            }
        }
        let (next, verdict) = world.look_at(&Feed::Data(samples), now, &evidence);
        evidence = next;
        (second, verdict)
    };
    steadily(until).map(look).collect()
}

#[test]
fn a_business_counter_that_drops_convicts_and_one_that_drops_as_much_as_is_accepted_does_not() {
    let (second, words) = first_bad(&paying(0.3, 600)).map(|(s, w)| (s, w.to_owned())).expect("convicted");
    assert!(second <= 240 && words.contains("payments"), "{second} s: {words}");
    assert_eq!(first_bad(&paying(0.9, 600)), None);
}

#[test]
fn own_series_that_cannot_be_read_hold_the_step_and_not_the_rollback() {
    let trouble = "spec.checks.metrics: the metric provider refused the query";
    for (errors, bad) in [((|_| 0.004) as fn(f64) -> f64, false), (|_| 0.5, true)] {
        let world = pair(errors);
        let mut evidence = Evidence::default();
        let mut verdicts = Vec::new();
        for second in steadily(200) {
            let now = f64::from(second);
            let Feed::Data(mut samples) = recorded(&world, now, None) else { panic!("data") };
            samples.scrapes.own_trouble = Some(trouble.into());
            let (next, verdict) = world.look_at(&Feed::Data(samples), now, &evidence);
            evidence = next;
            verdicts.push(verdict);
        }
        assert_eq!(verdicts.iter().any(|v| matches!(v, Verdict::Bad { .. })), bad);
        assert!(verdicts.iter().all(|v| !matches!(v, Verdict::Healthy { .. })));
        assert!(bad || verdicts.iter().any(|v| matches!(v, Verdict::NoData { why } if why == trouble)));
    }
}

#[test]
fn what_no_test_looks_back_to_need_not_be_shown_again() {
    // Failures of two stable pods that come in bursts: phi is measured over whole minutes, the share over windows.
    let burst = |t: f64| if t.rem_euclid(40.0) < 10.0 { 0.2 } else { 0.002 };
    let world = world(vec![
        load("shop-5d6f8-aaaaa", Side::Stable, 40.0, burst),
        load("shop-5d6f8-ccccc", Side::Stable, 30.0, |_| 0.01),
        load("shop-r1-bbbbb", Side::Candidate, 10.0, |_| 0.01),
    ]);
    let mut evidence = Evidence::default();
    for second in steadily(600) {
        let now = f64::from(second);
        let feed = recorded(&world, now, None);
        let Feed::Data(samples) = &feed else { panic!("data") };
        let state: State = evidence.engine.clone().and_then(|v| serde_json::from_value(v).ok()).unwrap_or_default();
        let back = state.looks_back_to();
        let ended = |from| {
            let go_on = |trial: &Trial<'_>| {
                go_on(trial, &samples.scrapes, state.clone(), from, &mut Evidence::default()).0.state().clone()
            };
            world.tried(&feed, now, go_on)
        };
        assert_eq!(ended(back), ended(None), "{second} s");
        evidence = world.look_at(&feed, now, &evidence).0;
    }
}
