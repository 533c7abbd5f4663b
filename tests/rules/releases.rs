//! Whole releases, told one by one.

use std::time::Duration;

use haldane::{
    act::{effect::Effect, steps::steps},
    api::{
        action::{ActionType, PromoteTo},
        notice::Reason,
        release::RouteRef,
        state::{CauseKind, Proof, Report, State},
        status::Ended,
    },
    decide::decide,
    observe::seen::{Hold, Seen},
};

use crate::{
    operator::Run,
    world::{Gateways, World},
};

/// Drives a run until `done`, at most `limit` seconds.
pub fn until(run: &mut Run, limit: u32, done: impl Fn(&Run) -> bool) {
    for _ in 0..limit {
        if done(run) {
            return;
        }
        run.second().unwrap();
    }
    panic!("not reached within {limit} s: {}; {:?}", message(run), run.state());
}

fn message(run: &Run) -> String {
    decide(&run.world.spec, &run.past(), &run.seen()).display.message
}

pub fn idle_on(version: &'static str) -> impl Fn(&Run) -> bool {
    move |run| matches!(run.state(), Some(State::Idle { stable }) if stable.revision.0 == version)
}

#[test]
fn a_good_version_replaces_the_old_one_with_its_own_pods() {
    for routed in [true, false] {
        let mut run = Run::new(routed, 3, None);
        run.seconds(3).unwrap();
        run.ask("B");
        until(&mut run, 60, |r| matches!(r.state(), Some(State::Observing { settled: Some(_), .. })));
        let mut pods: Vec<_> = run.world.pods.iter().filter(|p| p.rev == "B").map(|p| p.name.clone()).collect();
        until(&mut run, 60, idle_on("B"));
        let mut after: Vec<_> = run.world.pods.iter().filter(|p| p.ending.is_none()).map(|p| p.name.clone()).collect();
        pods.sort();
        after.sort();
        assert_eq!(pods, after, "each pod was started once");
        assert_eq!(run.world.past.memory.result.as_ref().map(|r| r.outcome), Some(Ended::Succeeded));
    }
}

#[test]
fn a_bad_version_loses_its_traffic_in_the_pass_that_convicts_it() {
    let mut run = Run::new(true, 3, None);
    run.seconds(3).unwrap();
    run.world.bad = vec!["B".into()];
    run.ask("B");
    until(&mut run, 90, |r| matches!(r.state(), Some(State::Draining { .. })));
    assert_eq!(run.world.routes[0].split.map(|s| (s.weight, s.header)), Some((0, false)));
    until(&mut run, 90, |r| matches!(r.state(), Some(State::RolledBack { .. })));
    let Some(State::RolledBack { report, cause, .. }) = run.state() else { unreachable!() };
    assert!(cause.message.starts_with("canary ") && cause.message.contains("odds against chance"), "{}", cause.message);
    assert!(report.written_at.is_some() && report.confirmed_at.is_some() && report.proven_at.is_some(), "{report:?}");
    assert!(report.recovered_at.is_some() && report.requests_failed.is_some_and(|n| n > 0), "{report:?}");
    let notices = run.world.past.memory.notices;
    run.seconds(300).unwrap();
    assert!(matches!(run.state(), Some(State::RolledBack { .. })), "it is not tried again");
    assert_eq!(run.world.past.memory.notices, notices, "and nothing more is told");
}

#[test]
fn one_bad_pod_of_several_is_replaced_and_a_second_one_is_the_version() {
    for lemons in [1, 2] {
        let mut run = Run::new(true, 4, None);
        run.seconds(3).unwrap();
        run.ask("B");
        until(&mut run, 60, |r| matches!(r.state(), Some(State::Stepping { step: 0, settled: Some(_), .. })));
        run.world.lemons = lemons;
        if lemons == 1 {
            until(&mut run, 300, idle_on("B"));
            assert_eq!(run.world.started["B"], 5, "four, and one in the place of the bad one");
            assert!(run.world.pods.iter().all(|p| !p.lemon));
        } else {
            until(&mut run, 300, |r| matches!(r.state(), Some(State::RolledBack { .. })));
            let Some(State::RolledBack { cause, .. }) = run.state() else { unreachable!() };
            assert!(cause.message.ends_with("was bad before it and has been replaced"), "{}", cause.message);
        }
    }
}

#[test]
fn there_and_back_again() {
    let mut run = Run::new(true, 2, None);
    run.seconds(3).unwrap();
    for version in ["B", "A", "B"] {
        run.ask(version);
        until(&mut run, 200, |r| matches!(r.state(), Some(State::Idle { stable }) if stable.revision.0 == version));
    }
}

#[test]
fn an_undo_after_success_brings_the_previous_version_back_at_once() {
    let mut run = Run::new(true, 2, None);
    run.seconds(3).unwrap();
    run.ask("B");
    until(&mut run, 200, idle_on("B"));
    run.order(ActionType::Rollback, PromoteTo::NextStep);
    until(&mut run, 60, idle_on("A"));
    run.seconds(20).unwrap();
    let notices = run.world.past.memory.notices;
    run.seconds(120).unwrap();
    assert_eq!(run.world.past.memory.notices, notices, "an order is read once");
    run.order(ActionType::Rollback, PromoteTo::NextStep);
    run.seconds(60).unwrap();
    assert!(idle_on("A")(&run), "before A there was B, which is rejected: there is no way back to it");
    assert!(idle_on("A")(&run), "B stays rejected though the Release still names it");
    assert_eq!(run.world.past.memory.result.as_ref().map(|r| r.outcome), Some(Ended::RolledBack));
}

#[test]
fn no_data_gives_up_without_conviction() {
    let mut run = Run::new(true, 2, None);
    run.seconds(3).unwrap();
    run.ask("B");
    until(&mut run, 60, |r| matches!(r.state(), Some(State::Stepping { settled: Some(_), .. })));
    run.world.no_data = true;
    until(
        &mut run,
        200,
        |r| matches!(r.state(), Some(State::RolledBack { cause, .. }) if cause.kind == CauseKind::Inconclusive),
    );
    assert!(run.world.past.memory.rejected.is_empty());
    run.world.no_data = false;
    run.seconds(100).unwrap();
    assert!(matches!(run.state(), Some(State::RolledBack { .. })), "it needs a Retry");
    run.order(ActionType::Retry, PromoteTo::NextStep);
    until(&mut run, 200, idle_on("B"));
}

#[test]
fn a_pause_stops_time_but_not_safety() {
    let mut run = Run::new(true, 2, None);
    run.seconds(3).unwrap();
    run.ask("B");
    until(&mut run, 60, |r| matches!(r.state(), Some(State::Stepping { settled: Some(_), .. })));
    run.order(ActionType::Pause, PromoteTo::NextStep);
    run.seconds(120).unwrap();
    assert!(matches!(run.state(), Some(State::Stepping { step: 0, .. })));
    run.world.bad = vec!["B".into()];
    until(&mut run, 60, |r| matches!(r.state(), Some(State::Draining { .. })));
}

#[test]
fn no_share_rises_before_what_is_said_of_the_service_is_said_of_its_canary() {
    let mut run = Run::new(true, 3, None);
    run.seconds(3).unwrap();
    run.ask("B");
    until(&mut run, 60, |r| matches!(r.state(), Some(State::Stepping { settled: Some(_), .. })));
    // Somebody has taken our share out of the routes; it would come back at once.
    let mut seen = run.seen();
    seen.routes.iter_mut().for_each(|r| r.split = None);
    let planned = |seen: &Seen| {
        let decision = decide(&run.world.spec, &run.past(), seen);
        let stable = decision.state.as_ref().map(|s| s.stable().revision.clone()).unwrap_or_default();
        steps(&decision.goal, &stable, seen)
    };
    let gives = |plan: &[Effect]| plan.iter().any(|e| matches!(e, Effect::Route { weight: 1.., .. }));
    let creates = |plan: &[Effect]| plan.iter().any(|e| matches!(e, Effect::CreateCanaryService { .. }));
    let plan = planned(&seen);
    assert!(gives(&plan) && !creates(&plan), "{plan:?}");
    seen.services.iter_mut().for_each(|s| s.rules_copied = false);
    let plan = planned(&seen);
    assert!(!gives(&plan) && creates(&plan), "{plan:?}");
    // The way down waits for nothing.
    let mut high = run.seen();
    high.services.iter_mut().for_each(|s| s.rules_copied = false);
    high.routes.iter_mut().filter_map(|r| r.split.as_mut()).for_each(|s| s.weight = 99);
    let plan = planned(&high);
    assert!(plan.iter().any(|e| matches!(e, Effect::Route { .. })), "{plan:?}");
}

#[test]
fn the_same_world_twice_gives_nothing_to_do() {
    let mut run = Run::new(true, 3, None);
    run.seconds(3).unwrap();
    run.ask("B");
    for _ in 0..120 {
        run.world.tick();
        for _ in 0..6 {
            run.pass().unwrap();
        }
        let seen = run.world.seen();
        let again = decide(&run.world.spec, &run.world.past, &seen);
        if again.state == run.world.past.state {
            let stable = again.state.as_ref().map(|s| s.stable().revision.clone()).unwrap_or_default();
            assert_eq!(steps(&again.goal, &stable, &seen), [], "in {:?}", again.state);
        }
        run.world.lost = 0.0;
    }
}

#[test]
fn time_is_never_zero_while_something_is_on_its_way() {
    let mut run = Run::new(true, 3, None);
    run.ask("B");
    for _ in 0..100 {
        run.second().unwrap();
        let decision = decide(&run.world.spec, &run.world.past, &run.world.seen());
        if decision.state == run.world.past.state {
            assert!(
                decision.wake.is_none_or(|w| w > Duration::ZERO),
                "a pass that changes nothing must not run in circles"
            );
        }
    }
}

#[test]
fn an_abort_is_obeyed_in_every_state() {
    let places: [fn(&Run) -> bool; 5] = [
        |r| matches!(r.state(), Some(State::Preparing { .. })) && r.world.candidate().is_some(),
        |r| matches!(r.state(), Some(State::Stepping { step: 0, settled: None, .. })),
        |r| matches!(r.state(), Some(State::Stepping { step: 1, settled: Some(_), .. })),
        |r| matches!(r.state(), Some(State::Observing { .. })),
        |r| matches!(r.state(), Some(State::Promoting { .. })),
    ];
    for (n, place) in places.into_iter().enumerate() {
        for blind in [false, true] {
            let mut run = Run::new(true, 3, None);
            run.seconds(3).unwrap();
            run.ask("B");
            until(&mut run, 120, place);
            run.world.no_data = blind;
            run.order(ActionType::Rollback, PromoteTo::NextStep);
            run.seconds(2).unwrap();
            assert_eq!(run.world.written_weight(), 0, "place {n}: {:?}", run.state());
            until(&mut run, 400, |r| matches!(r.state(), Some(State::RolledBack { .. })));
            assert_eq!(run.world.template, "A");
        }
    }
}

#[test]
fn of_two_releases_for_one_workload_the_second_writes_nothing() {
    let mut run = Run::new(true, 3, None);
    run.seconds(3).unwrap();
    run.world.rival = Some("Release first works on Deployment app already".into());
    run.ask("B");
    run.seconds(60).unwrap();
    let world = &run.world;
    assert!(!world.paused && !world.finalizer && world.sets.len() == 1 && !world.pinned(), "{:?}", run.state());
    assert!(run.told.values().any(|(reason, _)| *reason == Reason::Conflict), "{:?}", run.told);
    run.world.rival = None;
    until(&mut run, 200, idle_on("B"));
}

#[test]
fn pods_that_never_become_ready_end_it_at_the_deadline() {
    for routed in [true, false] {
        let mut run = Run::new(routed, 3, None);
        run.seconds(3).unwrap();
        run.world.unready = true;
        run.ask("B");
        until(
            &mut run,
            150,
            |r| matches!(r.state(), Some(State::RolledBack { cause, .. }) if cause.kind == CauseKind::NotReady),
        );
    }
}

#[test]
fn failed_health_checks_and_smoke_tests_take_the_traffic_away() {
    for spoil in [|w: &mut World| w.sick = vec!["B".into()], |w: &mut World| w.broken = vec!["B".into()]] {
        let mut run = Run::with(2, 2, 3, None);
        run.seconds(3).unwrap();
        spoil(&mut run.world);
        run.ask("B");
        until(&mut run, 60, |r| matches!(r.state(), Some(State::Draining { .. })));
        assert_eq!(run.world.written_weight(), 0);
        until(
            &mut run,
            200,
            |r| matches!(r.state(), Some(State::RolledBack { cause, .. }) if cause.kind == CauseKind::Bad),
        );
    }
}

#[test]
fn what_grows_with_each_release_is_bounded() {
    let mut run = Run::new(true, 1, None);
    run.seconds(3).unwrap();
    for n in 0..14 {
        let version = format!("V{n}");
        run.world.bad = vec![version.clone()];
        run.ask(&version);
        until(&mut run, 200, |r| {
            let asked = &r.world.spec.images["app"];
            matches!(r.state(), Some(State::RolledBack { candidate, .. }) if candidate.revision.0 == *asked)
        });
        run.world.bad.clear();
        run.seconds(2).unwrap();
    }
    let memory = &run.world.past.memory;
    assert_eq!((memory.history.len(), memory.rejected.len()), (10, 10));
    assert!(memory.outbox.len() <= 32 && memory.handled_actions.len() <= 20);
}

#[test]
fn traffic_is_not_taken_to_a_side_without_ready_pods() {
    let mut run = Run::new(true, 3, None);
    run.seconds(3).unwrap();
    run.ask("B");
    until(&mut run, 60, |r| matches!(r.state(), Some(State::Stepping { step: 1, settled: Some(_), .. })));
    run.world.pods.retain(|p| p.rev == "B");
    run.world.stirred();
    run.order(ActionType::Rollback, PromoteTo::NextStep);
    run.pass().unwrap();
    assert!(matches!(run.state(), Some(State::Draining { .. })), "{:?}", run.state());
    assert!(run.world.written_weight() > 0, "no pod of A is ready");
    run.seconds(5).unwrap();
    assert_eq!(run.world.written_weight(), 0, "now there are some");
    until(&mut run, 100, |r| matches!(r.state(), Some(State::RolledBack { .. })));
}

#[test]
fn the_number_of_pods_may_change_in_any_second_of_the_hand_over() {
    for (routed, after, wanted) in (0..8).flat_map(|after| [(true, after, 5), (true, after, 2), (false, after, 5)]) {
        let mut run = Run::new(routed, 3, None);
        run.seconds(3).unwrap();
        run.ask("B");
        until(&mut run, 90, |r| matches!(r.state(), Some(State::Promoting { .. })));
        run.seconds(after).unwrap();
        run.world.wanted = wanted;
        until(&mut run, 90, idle_on("B"));
        run.seconds(10).unwrap();
        let pods = run.world.pods.iter().filter(|p| p.rev == "B" && p.ending.is_none()).count();
        assert_eq!(pods, wanted as usize, "{after} s after its begin, routed: {routed}");
    }
}

#[test]
fn a_version_is_not_judged_while_its_deployment_is_scaled_to_0() {
    // Whoever scales a side to 0 that a route sends to loses its requests, so with a route only at 100 %.
    let stays = |routed: bool, r: &Run| match r.state() {
        Some(State::Stepping { step: 0, settled: Some(_), .. }) => !routed,
        Some(State::Observing { settled: Some(_), .. }) => routed,
        _ => false,
    };
    for routed in [false, true] {
        let mut run = Run::new(routed, 3, None);
        run.seconds(3).unwrap();
        run.ask("B");
        until(&mut run, 90, |r| stays(routed, r));
        run.world.wanted = 0;
        run.seconds(100).unwrap();
        assert!(stays(routed, &run), "routed: {routed}: {:?}", run.state());
        run.world.wanted = 3;
        until(&mut run, 120, idle_on("B"));
    }
}

#[test]
fn a_rollback_ends_though_its_deployment_is_scaled_to_0() {
    let mut run = Run::new(true, 3, None);
    run.seconds(3).unwrap();
    run.ask("B");
    until(&mut run, 90, |r| matches!(r.state(), Some(State::Stepping { step: 0, settled: Some(_), .. })));
    run.world.bad = vec!["B".into()];
    until(&mut run, 90, |r| matches!(r.state(), Some(State::Reverting { .. })));
    run.world.wanted = 0;
    run.seconds(310).unwrap();
    assert!(matches!(run.state(), Some(State::RolledBack { .. })), "{:?}", run.state());
}

#[test]
fn a_gateway_that_does_not_follow_a_rollback_is_led_to_the_stable_pods() {
    let mut run = rollback_while(Gateways::Silent);
    run.seconds(20).unwrap();
    assert!(run.world.live_weight() > 0, "it still sends to the canary");
    let served = |run: &Run| run.world.pods.iter().filter(|p| p.rev == "B").map(|p| p.requests).sum::<f64>();
    let before = served(&run);
    run.seconds(100).unwrap();
    assert!((served(&run) - before).abs() < 0.5, "and nothing of it reaches the bad version");
    assert!(matches!(run.state(), Some(State::Draining { .. })), "which its word is waited for");
    assert!(run.told.values().any(|(reason, _)| *reason == Reason::Stuck));
    assert!(run.world.lost < 0.5, "{} requests were lost", run.world.lost);
    run.world.gateways = Gateways::Follow;
    until(&mut run, 120, |r| matches!(r.state(), Some(State::RolledBack { .. })));
    until(&mut run, 30, |r| r.world.services.iter().all(|s| s.canary.is_none()) && r.rests());
}

fn rollback_while(gateways: Gateways) -> Run {
    let mut run = Run::new(true, 4, None);
    if gateways != Gateways::Silent {
        let istio = RouteRef {
            group: "networking.istio.io".into(),
            kind: "VirtualService".into(),
            ..run.world.spec.traffic.routes[0].clone()
        };
        run.world.spec.traffic.routes = vec![istio];
    }
    run.seconds(3).unwrap();
    run.ask("B");
    until(&mut run, 90, |r| matches!(r.state(), Some(State::Stepping { step: 1, settled: Some(_), .. })));
    run.world.gateways = gateways;
    run.world.bad = vec!["B".into()];
    until(&mut run, 90, |r| matches!(r.state(), Some(State::Draining { .. })));
    run
}

/// Istio says nothing at all, and a gateway may say what is not so: counters know it.
#[test]
fn a_gateway_that_confirms_weight_0_and_goes_on_sending_is_led_to_the_stable_pods() {
    let mut run = rollback_while(Gateways::Lie);
    until(&mut run, 30, |r| message(r).contains("each of its pods still answers about"));
    until(&mut run, 20, |r| message(r).contains("the canary Services are turned to the stable pods"));
    until(&mut run, 60, |r| r.told.values().any(|(reason, _)| *reason == Reason::Stuck));
    // Counters of the candidate say nothing any more. The gateway has time to come to itself.
    run.seconds(120).unwrap();
    assert!(matches!(run.state(), Some(State::Draining { .. })), "{:?}", run.state());
    run.world.gateways = Gateways::Follow;
    until(&mut run, 240, |r| {
        matches!(r.state(), Some(State::RolledBack { report: Report { proof: Proof::Counters, .. }, .. }))
    });
    assert!(run.world.lost < 0.5, "{} requests were lost", run.world.lost);
}

#[test]
fn where_even_that_does_not_help_the_pods_stay_for_five_minutes_and_people_are_told() {
    let mut run = rollback_while(Gateways::Blind);
    let begun = run.world.now;
    until(&mut run, 70, |r| r.told.values().any(|(reason, _)| *reason == Reason::Stuck));
    // Then they go all the same, as the last means, and the checks say what that costs.
    let broken = loop {
        match run.second() {
            Ok(()) => assert!(run.world.now.since(begun) < Duration::from_secs(400), "{:?}", run.state()),
            Err(broken) => break broken,
        }
    };
    assert!(run.world.now.since(begun) > Duration::from_mins(5), "{broken}");
    assert!(broken.contains("deleted while 50 % still reach them"), "{broken}");
    assert!(run.world.lost < 0.5, "{} requests were lost", run.world.lost);
}

/// Then it rolls out what its template says, and nobody can wait for the old version any more.
#[test]
fn who_un_pauses_a_held_deployment_in_a_rollback_has_released_its_template() {
    let reverting = |run: &Run| matches!(run.state(), Some(State::Reverting { .. }));
    let failed = |run: &Run| matches!(run.state(), Some(State::RollbackFailed { .. }));
    for (ill, then) in [(false, &reverting as &dyn Fn(&Run) -> bool), (true, &failed)] {
        let mut run = Run::with(1, 1, 4, None).held(Hold::Always);
        run.world.spec.rollback.steps.clear();
        until(&mut run, 30, |r| idle_on("A")(r) && r.rests());
        run.world.bad = vec!["B".into()];
        run.ask("B");
        until(&mut run, 200, reverting);
        if ill {
            run.world.bad.push("A".into());
        }
        until(&mut run, 400, |r| then(r) && !r.world.pinned());
        run.world.resume();
        until(&mut run, 60, |r| idle_on("B")(r) && r.rests());
        assert!(!run.world.paused || run.world.marked_held);
        let told: Vec<_> = run.told.values().map(|(reason, _)| *reason).collect();
        assert!(told.contains(&Reason::ChangedOutsideRelease), "{told:?}");
        assert_eq!(told.contains(&Reason::RollbackFailed), ill, "{told:?}");
    }
}
