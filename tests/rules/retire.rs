//! The operator is uninstalled, and perhaps installed again: every Release goes home and stays what it is.

use haldane::{
    act::{effect::Effect, steps::steps},
    api::{
        action::{ActionType, PromoteTo},
        notice::Reason,
        state::{CauseKind, State},
        status::Ended,
        units::At,
    },
    decide::{decide, goal::Goal},
    observe::seen::{Hold, Leaving, Parting, Target},
};

use crate::{
    operator::Run,
    releases::{idle_on, until},
};

fn stepping(run: &Run) -> bool {
    matches!(run.state(), Some(State::Stepping { settled: Some(_), .. }))
}

fn rolled_back(run: &Run) -> bool {
    matches!(run.state(), Some(State::RolledBack { .. })) && run.rests()
}

fn retired(run: &mut Run) {
    run.retire(true);
    until(run, 200, Run::is_left);
    run.seconds(60).unwrap();
    assert!(run.is_left() && run.process.wake.is_none(), "nothing is begun, and nobody looks for nothing");
}

#[test]
fn a_version_on_its_way_goes_back_unconvicted_and_is_released_again_by_the_next_installation() {
    for routed in [true, false] {
        let mut run = Run::new(routed, 3, None);
        run.seconds(3).unwrap();
        run.ask("B");
        until(&mut run, 60, stepping);
        retired(&mut run);
        let Some(State::RolledBack { cause, .. }) = run.state() else { panic!("{:?}", run.state()) };
        assert_eq!(cause.kind, CauseKind::Superseded);
        assert!(cause.message.starts_with("Haldane was uninstalled while B"), "{}", cause.message);
        assert!(run.told.values().any(|(reason, _)| *reason == Reason::Superseded));
        assert!(run.world.past.memory.rejected.is_empty());
        assert!(!run.world.paused && run.world.template == "A", "the user's own again");
        run.retire(false);
        until(&mut run, 200, idle_on("B"));
    }
}

#[test]
fn nothing_begins_and_what_carries_no_finalizer_is_not_touched() {
    let mut run = Run::new(true, 2, None);
    run.world.spec.paused = true;
    run.seconds(3).unwrap();
    run.ask("B");
    until(&mut run, 20, |r| matches!(r.state(), Some(State::Waiting { .. })));
    run.seconds(15).unwrap();
    run.retire(true);
    let before = run.world.past.clone();
    run.world.spec.paused = false;
    run.world.generation += 1;
    run.seconds(120).unwrap();
    assert_eq!(run.world.past, before, "not even its status");
    assert!(!run.world.finalizer && !run.world.paused);
    run.retire(false);
    until(&mut run, 200, idle_on("B"));
}

#[test]
fn a_refused_version_stays_refused() {
    let mut run = Run::new(true, 2, None);
    run.seconds(3).unwrap();
    run.world.bad = vec!["B".into()];
    run.ask("B");
    until(&mut run, 120, rolled_back);
    let before = run.world.past.memory.rejected.clone();
    retired(&mut run);
    run.retire(false);
    run.seconds(200).unwrap();
    assert!(rolled_back(&run), "{:?}", run.state());
    assert_eq!(run.world.past.memory.rejected, before);
    assert_eq!(run.world.past.memory.result.as_ref().map(|r| r.outcome), Some(Ended::RolledBack));
}

#[test]
fn in_a_rollback_nobody_waits_for_the_stable_version_to_be_well() {
    let retired = |plan: bool| {
        let mut run = Run::new(true, 2, None);
        if !plan {
            run.world.spec.rollback.steps.clear();
        }
        run.seconds(3).unwrap();
        run.world.bad = vec!["B".into()];
        run.ask("B");
        until(&mut run, 120, |r| matches!(r.state(), Some(State::Reverting { .. })));
        run.world.degraded = true; // it does not recover
        run.retire(true);
        until(&mut run, 60, Run::is_left);
        run
    };
    let run = retired(false);
    assert!(matches!(run.state(), Some(State::RolledBack { .. })), "{:?}", run.state());
    // What was not done of a plan is told, and can be ordered when it is installed again.
    let mut run = retired(true);
    assert!(
        matches!(run.state(), Some(State::RollbackFailed { problem, .. }) if problem == "not tried: schema, coupons"),
        "{:?}",
        run.state()
    );
    run.world.degraded = false;
    run.retire(false);
    run.order(ActionType::Rollback, PromoteTo::NextStep);
    until(&mut run, 120, rolled_back);
}

/// A held Deployment at rest, its stable template kept.
fn held(hold: Hold) -> Run {
    let mut run = Run::new(true, 3, None).held(hold);
    until(&mut run, 60, kept);
    run
}

fn kept(run: &Run) -> bool {
    run.world.kept.is_some() && run.rests()
}

#[test]
fn a_held_deployment_is_given_back_and_held_again() {
    for hold in [Hold::Always, Hold::AtChange] {
        let mut run = held(hold);
        let pods: Vec<_> = run.world.pods.iter().map(|p| p.name.clone()).collect();
        retired(&mut run);
        assert!(!run.world.paused && !run.world.by_us && !run.world.marked_held && run.world.kept.is_none());
        run.retire(false);
        until(&mut run, 60, kept);
        let paused = hold == Hold::Always;
        assert_eq!((run.world.paused, run.world.by_us), (paused, paused));
        assert!(run.world.marked_held && run.world.finalizer);
        let now: Vec<_> = run.world.pods.iter().map(|p| p.name.clone()).collect();
        assert_eq!(now, pods, "no pod was started");
    }
}

#[test]
fn of_a_held_deployment_no_refused_template_is_rolled_out() {
    for hold in [Hold::Always, Hold::AtChange] {
        let mut run = held(hold);
        run.world.bad = vec!["B".into()];
        run.ask("B");
        until(&mut run, 200, rolled_back);
        let started = run.world.started.clone();
        retired(&mut run);
        assert_eq!((run.world.template.as_str(), run.world.paused), ("A", false));
        assert_eq!(run.world.started, started, "no pod was started");
        // Whoever writes it again after the next install is told as before.
        run.retire(false);
        until(&mut run, 60, kept);
        run.ask("B");
        run.seconds(60).unwrap();
        assert!(run.world.paused && run.world.started == started, "{:?}", run.state());
    }
}

#[test]
fn traffic_stays_on_the_only_ready_pods_and_it_is_told_why() {
    let mut run = Run::new(true, 2, None);
    run.seconds(3).unwrap();
    run.ask("B");
    until(&mut run, 60, stepping);
    // All stable pods are away, and new ones do not come.
    let stable = run.world.sets.iter().find(|s| s.owned).map(|s| s.hash.clone()).unwrap();
    let lose = |run: &mut Run| {
        run.world.pods.retain(|p| p.hash != stable);
        run.world.stirred();
    };
    lose(&mut run);
    run.retire(true);
    for _ in 0..100 {
        lose(&mut run);
        run.second().unwrap();
        lose(&mut run);
    }
    assert!(run.world.finalizer && run.world.routes[0].split.is_some_and(|s| s.weight > 0), "{:?}", run.state());
    let now = decide(&run.world.spec, &run.past(), &run.seen());
    assert!(
        now.display.message.contains("is ready, so its traffic cannot be taken back yet"),
        "{}",
        now.display.message
    );
    until(&mut run, 120, Run::is_left);
}

#[test]
fn without_its_deployment_it_goes_home_too_and_is_not_looked_at_again() {
    let mut run = Run::new(true, 2, None);
    run.seconds(3).unwrap();
    let (past, mut seen) = (run.past(), run.seen());
    let stable = run.state().unwrap().stable().revision.clone();
    let long_ago = At::from_epoch(1.0).unwrap();
    (seen.target, seen.release.leaving) = (Target::Missing, Some(Leaving::Uninstalled { since: long_ago }));
    seen.release.finalizer = true;
    let decision = decide(&run.world.spec, &past, &seen);
    assert_eq!(steps(&decision.goal, &stable, &seen), [Effect::DropFinalizer]);
    assert!(decision.wake.is_some());
    seen.release.finalizer = false;
    let decision = decide(&run.world.spec, &past, &seen);
    assert_eq!((steps(&decision.goal, &stable, &seen), decision.wake), (Vec::new(), None));
}

#[test]
fn an_abandoned_release_writes_nothing_but_its_finalizer_and_tells_what_may_be_left() {
    let mut run = Run::new(true, 2, None);
    run.seconds(3).unwrap();
    run.ask("B");
    until(&mut run, 60, stepping);
    let (past, mut seen) = (run.past(), run.seen());
    seen.release.leaving = Some(Leaving::Deleted { at: seen.now, how: Parting::Abandoned });
    let decision = decide(&run.world.spec, &past, &seen);
    assert_eq!((&decision.goal, &decision.state), (&Goal::Abandoned, &past.state));
    let stable = run.state().unwrap().stable().revision.clone();
    assert_eq!(steps(&decision.goal, &stable, &seen), [Effect::DropFinalizer]);
    let told = decision.memory.outbox.last().unwrap();
    assert_eq!(told.reason, Reason::Abandoned);
    for name in ["HTTPRoute app", "Service app", "Deployment app", "ReplicaSet app-r"] {
        assert!(told.message.contains(name), "{name}: {}", told.message);
    }
}
