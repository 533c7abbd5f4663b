//! The semantics of the literal thresholds, case by case.

use std::time::Duration;

use crate::{
    api::{
        checks::HttpCheck,
        status::Evidence,
        units::{Percent, Span},
    },
    observe::seen::{Feed, PodTrouble, Side, SmokeSeen},
};

use super::{
    Verdict,
    fixture::{Load, World, at, load, never, pair, probe, world},
};

fn is_outlier(verdict: &Verdict, name: &str) -> bool {
    matches!(verdict, Verdict::PodOutlier { pod, .. } if pod == name)
}

#[test]
fn twenty_percent_of_errors_convict_after_two_minutes_and_not_before() {
    let (when, message) = pair(|_| 0.2).convicted(300.0).unwrap();
    assert!((125.0..140.0).contains(&when), "{when}"); // one scrape to settle, 2 min, the next scrape
    assert!(message.starts_with("error rate 20.0"), "{message}");
    assert!(message.contains("% > 5 % for 2 m at 20 %, stable 0.4"), "{message}");
    assert!(message.contains("requests failed, stable"), "{message}");
}

#[test]
fn a_breach_with_a_break_starts_its_time_anew() {
    let broken = pair(|s| if s > 110.0 && s < 220.0 { 0.0 } else { 0.3 });
    let (when, _) = broken.convicted(600.0).unwrap();
    assert!((345.0..375.0).contains(&when), "{when}");
    assert!(pair(|s| if s % 200.0 < 60.0 { 0.3 } else { 0.0 }).convicted(900.0).is_none());
}

#[test]
fn a_new_pods_first_moments_do_not_count_against_it() {
    let mut cold = pair(|s| if s < 25.0 { 1.0 } else { 0.0 });
    cold.loads[1].pod.created_at = at(-5.0);
    cold.loads[1].pod.ready_changed_at = Some(at(0.0));
    let (evidence, seen) = cold.watch(5.0, 120.0);
    assert!(seen.iter().all(|(_, v)| !v.message().contains("error rate 100")), "{seen:?}");
    assert!(matches!(seen.last().unwrap().1, Verdict::Healthy { .. }), "{seen:?}");
    assert_eq!(evidence.failed, 0);
    assert!(evidence.failed_total >= 240, "users have met them all the same: {evidence:?}");
}

#[test]
fn the_limit_itself_is_still_allowed() {
    assert!(pair(|_| 0.049).convicted(900.0).is_none());
    assert!(pair(|_| 0.2).checked(|c| c.error_rate.max = Percent::whole(21)).convicted(600.0).is_none());
}

#[test]
fn counts_that_are_no_numbers_are_no_evidence() {
    for odd in [f64::NAN, f64::INFINITY, -1.0] {
        let world = pair(|_| 0.0);
        let Feed::Data(mut samples) = world.feed(300.0) else { unreachable!() };
        for pod in samples.pods.iter_mut().filter(|p| p.pod == world.loads[1].pod.name) {
            pod.points.iter_mut().for_each(|point| point.errors = odd);
        }
        let (evidence, verdict) = world.look_at(&Feed::Data(samples), 300.0, &Evidence::default());
        assert!(matches!(verdict, Verdict::NoData { .. } | Verdict::Watching { .. }), "{odd}: {verdict:?}");
        assert_eq!(evidence.requests, 0, "{odd}");
    }
}

#[test]
fn a_good_version_is_healthy_once_enough_requests_were_seen() {
    let world = pair(|_| 0.004);
    let (evidence, seen) = world.watch(5.0, 120.0);
    let first = seen.iter().find(|(_, v)| matches!(v, Verdict::Healthy { .. })).unwrap();
    assert!((10.0..25.0).contains(&first.0), "{first:?}");
    assert!(matches!(&seen[1].1, Verdict::Watching { .. }), "{:?}", seen[1]);
    assert_eq!(evidence.healthy_at, Some(at(first.0)), "the first moment: it does not move with every look");
    assert!(evidence.requests >= 1000, "{evidence:?}");
    let few = pair(|_| 0.0).checked(|c| c.min_requests = 5000).last(120.0);
    let Verdict::Watching { requests_needed, summary } = few else { panic!("{few:?}") };
    assert!((3800..4000).contains(&requests_needed), "{summary}");
    assert!(summary.contains("of 5000 requests seen at 20 %"), "{summary}");
}

#[test]
fn a_failing_version_with_few_requests_is_convicted_on_five_failures() {
    let mut slow = pair(|_| 1.0);
    slow.loads[1].per_second = 0.05;
    let (when, message) = slow.convicted(600.0).unwrap();
    assert!((125.0..200.0).contains(&when), "{when} {message}");
    assert!(message.contains("error rate 100.00 %"), "{message}");
    slow.loads[1].per_second = 0.01;
    assert!(slow.convicted(300.0).is_none(), "two failed requests prove nothing");
}

#[test]
fn when_both_versions_fail_the_environment_is_told_and_nobody_convicted() {
    let mut both = pair(|s| if s < 300.0 { 0.3 } else { 0.0 });
    both.loads[0].errors = |s| if s < 300.0 { 0.25 } else { 0.0 };
    let (evidence, seen) = both.watch(5.0, 200.0);
    assert!(seen.iter().all(|(_, v)| !matches!(v, Verdict::Bad { .. })));
    let (_, Verdict::EnvironmentDegraded { message }) = seen.last().unwrap() else { panic!("{:?}", seen.last()) };
    assert!(message.starts_with("both versions fail: error rate 30.00 % > 5 % at 20 %, stable 25.00 %"), "{message}");
    assert!(evidence.degraded_since.is_some_and(|d| d < at(60.0)));
    let (evidence, seen) = both.watch(5.0, 500.0);
    assert!(seen.iter().all(|(_, v)| !matches!(v, Verdict::Bad { .. })));
    assert_eq!(evidence.degraded_since, None, "both have recovered");

    let letter = both.checked(|c| c.strict = true).convicted(300.0).unwrap();
    assert!(letter.1.contains("for 2 m"), "strict: {letter:?}");
}

#[test]
fn a_candidate_that_stays_bad_after_a_shared_outage_is_convicted_on_its_own_time() {
    let mut both = pair(|_| 0.3);
    both.loads[0].errors = |s| if s < 100.0 { 0.3 } else { 0.001 };
    let (when, _) = both.convicted(600.0).unwrap();
    assert!((220.0..330.0).contains(&when), "{when}");
}

#[test]
fn one_bad_pod_of_several_is_named_and_the_version_is_not_convicted() {
    let loads = vec![
        load("shop-5d6f8-aaaaa", Side::Stable, 40.0, never),
        load("shop-r1-bbbbb", Side::Candidate, 10.0, never),
        load("shop-r1-ccccc", Side::Candidate, 10.0, |_| 0.6),
        load("shop-r1-ddddd", Side::Candidate, 10.0, |_| 0.01),
    ];
    let one = world(loads);
    let (evidence, seen) = one.watch(5.0, 300.0);
    assert!(seen.iter().all(|(_, v)| !matches!(v, Verdict::Bad { .. })));
    assert!(is_outlier(&seen.last().unwrap().1, "shop-r1-ccccc"), "{:?}", seen.last());
    let begun = seen.iter().find(|(_, v)| is_outlier(v, "shop-r1-ccccc")).unwrap().0;
    assert_eq!(evidence.outlier_since, Some(at(begun)), "since when, so that it does not hold for ever");
    assert!(one.clone().checked(|c| c.strict = true).convicted(300.0).is_some());
    let mut two = one;
    two.loads[1].errors = |_| 0.5;
    assert!(two.convicted(300.0).is_some());
}

#[test]
fn the_percentile_is_a_share_of_slow_requests() {
    let mut slow = pair(never);
    slow.loads[1].slow = |_| 0.03;
    let (when, message) = slow.convicted(900.0).unwrap();
    assert!((305.0..330.0).contains(&when), "{when}");
    assert!(message.starts_with("P99 > 2 s for 5 m at 20 %: 3.00 % of the requests"), "{message}");
    slow.loads[1].slow = |_| 0.009;
    assert!(slow.convicted(900.0).is_none());
    slow.loads[1].slow = |_| 0.03;
    slow.loads[0].slow = |_| 0.03;
    assert!(matches!(slow.last(500.0), Verdict::EnvironmentDegraded { .. }));
}

#[test]
fn a_restarted_process_loses_no_failures_and_invents_none() {
    let mut restarted = pair(|_| 0.2);
    restarted.loads[1].restart = Some(100.0);
    assert!(restarted.convicted(300.0).is_some());
    let mut good = pair(never);
    good.loads[0].restart = Some(60.0);
    good.loads[1].restart = Some(60.0);
    let (evidence, seen) = good.watch(5.0, 120.0);
    assert!(matches!(seen.last().unwrap().1, Verdict::Healthy { .. }));
    assert_eq!((evidence.failed, evidence.failed_total), (0, 0));
}

#[test]
fn the_failures_of_a_pod_that_is_gone_still_count() {
    let mut gone = pair(never);
    let mut dead = load("shop-r1-zzzzz", Side::Candidate, 10.0, |_| 0.5);
    dead.scraped_until = 90.0;
    gone.loads.push(dead);
    let (before, _) = gone.watch(5.0, 90.0);
    let feed = gone.feed(95.0);
    gone.loads.pop();
    let (after, verdict) = gone.look_at(&feed, 95.0, &before);
    assert!(after.failed_total >= before.failed_total && before.failed_total > 200, "{before:?} {after:?}");
    assert!(matches!(verdict, Verdict::Watching { .. }), "its errors are still in the window: {verdict:?}");
}

#[test]
fn the_timers_survive_a_restart_of_the_operator_but_not_a_gap_in_the_samples() {
    let bad = pair(|_| 0.2);
    let (evidence, _) = bad.watch(5.0, 100.0);
    let (_, late) = bad.look(165.0, &evidence); // nobody looked for a minute, the samples are there
    assert!(matches!(late, Verdict::Bad { .. }), "{late:?}");

    let Feed::Data(mut samples) = bad.feed(165.0) else { panic!() };
    for pod in &mut samples.pods {
        pod.points.retain(|p| p.at <= at(100.0) || p.at >= at(150.0));
    }
    let (after, verdict) = bad.look_at(&Feed::Data(samples), 165.0, &evidence);
    assert!(matches!(verdict, Verdict::Watching { .. }), "{verdict:?}");
    assert!(after.errors_since >= Some(at(150.0)), "{after:?}");
}

#[test]
fn the_answer_does_not_depend_on_how_often_it_is_asked() {
    let bad = pair(|s| if s < 70.0 { 0.0 } else { 0.2 });
    let (often, _) = bad.watch(1.0, 180.0);
    let (seldom, _) = bad.watch(60.0, 180.0);
    assert_eq!(often.errors_since, seldom.errors_since);
    assert_eq!(
        (often.requests, often.failed, often.failed_total),
        (seldom.requests, seldom.failed, seldom.failed_total)
    );
}

#[test]
fn a_new_step_counts_from_its_own_first_sample() {
    let world = pair(|_| 0.02);
    let (mut evidence, _) = world.watch(5.0, 100.0);
    assert!(evidence.requests > 500);
    evidence.watermark = Some(at(-10.0)); // the step's start lies after all that was judged
    let (next, _) = world.look(20.0, &evidence);
    assert!(next.requests < 200, "{next:?}");
    assert!(next.failed_total >= evidence.failed_total);
}

#[test]
fn missing_data_is_said_with_its_reason() {
    let why = |verdict: Verdict| match verdict {
        Verdict::NoData { why } => why,
        other => panic!("{other:?}"),
    };
    let mut stopped = pair(never);
    for load in &mut stopped.loads {
        load.scraped_until = 60.0;
    }
    assert!(why(stopped.last(120.0)).starts_with("Stale: "));
    let mut blind = pair(never);
    blind.loads[1].scraped_until = -100.0;
    assert!(why(blind.last(60.0)).starts_with("NotScraped: no sample of the ready pod shop-r1-bbbbb"));
    let mut idle = pair(never);
    idle.loads[1].per_second = 0.0;
    assert!(why(idle.last(120.0)).starts_with("NoTraffic: "));
    let told = Feed::NoData { why: "Timeout: no answer within 5 s".into() };
    let (evidence, verdict) = pair(never).look_at(&told, 60.0, &Evidence::default());
    assert_eq!(why(verdict), "Timeout: no answer within 5 s");
    assert_eq!(evidence.no_data_since, Some(at(60.0)));
    let (evidence, _) = pair(never).look_at(&told, 70.0, &evidence);
    assert_eq!(evidence.no_data_since, Some(at(60.0)), "kept");
    let (evidence, _) = pair(never).look(75.0, &evidence);
    assert_eq!(evidence.no_data_since, None, "ended");
}

#[test]
fn a_preview_without_traffic_needs_health_and_smoke_only() {
    let mut preview = pair(never);
    (preview.traffic, preview.weight) = (false, 0);
    preview.loads[1].per_second = 0.0;
    assert!(matches!(preview.last(60.0), Verdict::Healthy { .. }));
    let told = Feed::NoData { why: "down".into() };
    assert!(matches!(preview.look_at(&told, 60.0, &Evidence::default()).1, Verdict::Healthy { .. }));
    preview.smoke_due = true;
    assert!(matches!(preview.last(60.0), Verdict::Watching { .. }));
    preview.smoke = Some(SmokeSeen::Succeeded);
    assert!(matches!(preview.last(60.0), Verdict::Healthy { .. }));
}

#[test]
fn without_a_provider_ready_pods_are_needed_and_enough() {
    let mut plain = pair(never);
    plain.provider = false;
    assert!(matches!(plain.last(10.0), Verdict::Healthy { .. }));
    plain.loads[1].pod.ready = false;
    plain.loads[1].pod.ready_changed_at = Some(plain.loads[1].pod.created_at);
    assert!(matches!(plain.last(10.0), Verdict::Watching { .. }));
}

#[test]
fn a_failed_smoke_test_convicts_at_once() {
    let mut world = pair(never);
    world.smoke = Some(SmokeSeen::Failed("exit code 1: 3 of 20 requests failed".into()));
    let (when, message) = world.convicted(60.0).unwrap();
    assert!(when < 1.0);
    assert_eq!(message, "smoke test failed at 20 %: exit code 1: 3 of 20 requests failed");
}

#[test]
fn pod_failures_convict_at_once_one_of_several_is_an_outlier_and_the_cluster_is_nobodys_fault() {
    let trouble = |world: &mut World, n: usize, t: PodTrouble| world.loads[n].pod.trouble = Some(t);
    let crash = || PodTrouble::Crash("container app exited with code 1 (Error)".into());
    let mut one = pair(never);
    trouble(&mut one, 1, crash());
    let (_, verdict) = one.look(1.0, &Evidence::default());
    assert_eq!(verdict.message(), "pod shop-r1-bbbbb crashes: container app exited with code 1 (Error) (1 of 1 pod)");
    assert!(matches!(verdict, Verdict::Bad { .. }));

    let mut several = pair(never);
    several.loads.push(load("shop-r1-ccccc", Side::Candidate, 10.0, never));
    trouble(&mut several, 2, PodTrouble::Image("container app: not found".into()));
    assert!(is_outlier(&several.look(1.0, &Evidence::default()).1, "shop-r1-ccccc"));
    trouble(&mut several, 1, crash());
    assert!(matches!(several.look(1.0, &Evidence::default()).1, Verdict::Bad { .. }));

    for innocent in [PodTrouble::Unschedulable("0/3 nodes".into()), PodTrouble::Evicted("node lost".into())] {
        let mut world = pair(never);
        trouble(&mut world, 1, innocent);
        world.loads[1].pod.ready = false;
        world.loads[1].pod.ready_changed_at = Some(at(1.0));
        assert!(world.convicted(300.0).is_none());
    }
}

fn http(mut world: World) -> World {
    world.checks.health.http = Some(HttpCheck { path: "/healthz".into(), port: "http".into() });
    world
}

#[test]
fn three_failed_health_checks_in_a_row_convict() {
    let mut world = http(pair(never));
    world.probes = vec![probe("shop-5d6f8-aaaaa", 0, 20), probe("shop-r1-bbbbb", 2, 5)];
    assert!(matches!(world.last(60.0), Verdict::Watching { .. }), "twice is not enough");
    world.probes[1].failures = 3;
    let (_, message) = world.convicted(60.0).unwrap();
    assert_eq!(
        message,
        "pod shop-r1-bbbbb: health check failed 3 times in a row (GET /healthz: 503) at 20 % (1 of 1 pod)"
    );
    world.probes[0].failures = 3;
    assert!(matches!(world.last(60.0), Verdict::EnvironmentDegraded { .. }));
    assert!(world.checked(|c| c.strict = true).convicted(60.0).is_some());
}

#[test]
fn after_a_shared_outage_the_candidates_health_gets_time_to_follow() {
    let mut world = http(pair(never));
    world.probes = vec![probe("shop-5d6f8-aaaaa", 3, 20), probe("shop-r1-bbbbb", 3, 5)];
    let (evidence, _) = world.watch(5.0, 60.0);
    world.probes[0].failures = 0;
    let (evidence, verdict) = world.look(65.0, &evidence);
    assert!(matches!(verdict, Verdict::EnvironmentDegraded { .. }), "{verdict:?}");
    let (_, verdict) = world.look(100.0, &evidence);
    assert!(matches!(verdict, Verdict::Bad { .. }), "{verdict:?}");
}

#[test]
fn one_unhealthy_pod_of_several_is_an_outlier() {
    let mut world = pair(never);
    world.loads.push(load("shop-r1-ccccc", Side::Candidate, 10.0, never));
    world.loads[2].pod.ready = false;
    world.loads[2].pod.ready_changed_at = Some(at(40.0));
    assert!(matches!(world.look(60.0, &Evidence::default()).1, Verdict::Watching { .. }), "20 s are not 3 × 10 s");
    assert!(is_outlier(&world.look(71.0, &Evidence::default()).1, "shop-r1-ccccc"));
    world.loads[1].pod.ready = false;
    world.loads[1].pod.ready_changed_at = Some(at(40.0));
    let (_, verdict) = world.look(71.0, &Evidence::default());
    assert_eq!(verdict.message(), "pod shop-r1-bbbbb: not ready for 31 s at 20 % (2 of 2 pods)");
}

#[test]
fn a_pod_that_has_not_started_yet_is_not_unhealthy() {
    let mut world = pair(never);
    let mut young: Load = load("shop-r1-ccccc", Side::Candidate, 0.0, never);
    young.pod.created_at = at(10.0);
    young.pod.started_at = Some(at(11.0));
    young.pod.ready = false;
    young.pod.ready_changed_at = Some(at(11.0));
    let mut late = young.clone();
    late.pod.name = "shop-r1-ddddd".into();
    late.pod.started_at = Some(at(55.0)); // a node was made for it first
    late.pod.ready_changed_at = Some(at(55.0));
    world.loads.extend([young, late]);
    world.probes = vec![probe("shop-r1-ccccc", 9, 0)];
    let seen = world.watch(5.0, 200.0).1;
    assert!(seen.iter().all(|(_, v)| matches!(v, Verdict::Watching { .. } | Verdict::Healthy { .. })), "{seen:?}");
}

#[test]
fn a_check_that_never_worked_names_its_field() {
    let mut world = http(pair(never));
    world.probes = vec![probe("shop-5d6f8-aaaaa", 3, 0), probe("shop-r1-bbbbb", 3, 0)];
    let Verdict::ConfigError { message } = world.last(60.0) else { panic!("{:?}", world.last(60.0)) };
    assert!(message.starts_with("spec.checks.health.http: GET /healthz on port http has never succeeded"), "{message}");
}

#[test]
fn a_short_limit_looks_back_two_scrapes() {
    let quick = pair(|_| 0.2).checked(|c| {
        c.error_rate.hold = Span(Duration::from_secs(10));
        c.warm_up = Span::default();
    });
    let (when, message) = quick.convicted(60.0).unwrap();
    assert!(when <= 30.0, "{when}");
    assert!(message.contains("for 10 s at 20 %"), "{message}");
}

impl World {
    fn checked(mut self, edit: impl FnOnce(&mut crate::api::checks::Checks)) -> Self {
        edit(&mut self.checks);
        self
    }
}
