//! The steps of a rollback plan: in order, each attempt once, and whatever becomes of them the traffic is back before.

use haldane::api::{
    action::{ActionType, PromoteTo},
    notice::Reason,
    rollback::Confirm,
    state::{Report, State, StepOutcome},
};

use crate::{
    operator::Run,
    releases::{idle_on, until},
};

/// A bad version with its traffic taken back, at the moment at which the plan begins.
fn reverting(prepare: impl FnOnce(&mut Run)) -> Run {
    let mut run = Run::new(true, 3, None);
    prepare(&mut run);
    until(&mut run, 30, idle_on("A"));
    run.world.bad = vec!["B".into()];
    run.ask("B");
    until(&mut run, 120, |r| report(r).is_some_and(|report| !report.steps.is_empty()));
    run
}

fn report(run: &Run) -> Option<&Report> {
    match run.state()? {
        State::Draining { report, .. }
        | State::Reverting { report, .. }
        | State::RolledBack { report, .. }
        | State::RollbackFailed { report, .. } => Some(report),
        _ => None,
    }
}

fn outcomes(run: &Run) -> Vec<(&str, StepOutcome)> {
    report(run).unwrap().steps.iter().map(|s| (s.name.as_str(), s.outcome)).collect()
}

fn jobs(run: &Run) -> Vec<(&str, u32)> {
    run.world.jobs.iter().map(|job| (job.attempt.step.as_str(), job.attempt.number)).collect()
}

fn told(run: &Run, reason: Reason) -> usize {
    run.told.values().filter(|(told, _)| *told == reason).count()
}

fn rolled_back(run: &Run) -> bool {
    matches!(run.state(), Some(State::RolledBack { .. }))
}

fn problem(run: &Run) -> Option<&str> {
    match run.state()? {
        State::RollbackFailed { problem, .. } => Some(problem),
        _ => None,
    }
}

#[test]
fn they_run_one_after_the_other_and_are_tried_again() {
    let mut run = reverting(|_| {});
    until(&mut run, 60, rolled_back);
    assert_eq!(jobs(&run), [("schema", 1), ("schema", 2), ("coupons", 1), ("coupons", 2)]);
    assert_eq!(outcomes(&run), [("schema", StepOutcome::Succeeded), ("coupons", StepOutcome::Succeeded)]);
    assert_eq!((told(&run, Reason::StepFailed), told(&run, Reason::RolledBack)), (2, 1));
    let report = report(&run).unwrap();
    assert!(report.recovered_at > report.steps.last().map(|s| s.at), "the recovery is proven after them");
    assert_eq!(report.steps[1].message.as_deref(), Some("done"));
}

#[test]
fn one_that_fails_for_good_stops_the_others_and_a_second_order_tries_only_what_failed() {
    let mut run = reverting(|run| run.world.failing = 2);
    until(&mut run, 90, |r| problem(r).is_some());
    assert_eq!(problem(&run), Some("step schema failed: exit code 1; not tried: coupons"));
    assert_eq!(jobs(&run), [("schema", 1), ("schema", 2)]);
    assert!(report(&run).unwrap().recovered_at.is_some(), "the old version serves all the same");
    run.seconds(60).unwrap();
    assert_eq!(jobs(&run).len(), 2, "nothing is tried by itself");
    run.world.failing = 0;
    run.order(ActionType::Rollback, PromoteTo::NextStep);
    until(&mut run, 90, rolled_back);
    assert_eq!(jobs(&run), [("schema", 1), ("schema", 2), ("schema", 3), ("coupons", 1)]);
}

#[test]
fn where_the_plan_says_so_those_behind_a_failed_one_run() {
    let mut run = reverting(|run| {
        run.world.spec.rollback.steps.reverse();
        run.world.failing = 2;
    });
    until(&mut run, 90, |r| problem(r).is_some());
    assert_eq!(jobs(&run), [("coupons", 1), ("coupons", 2), ("schema", 1), ("schema", 2)]);
    assert_eq!(problem(&run), Some("step coupons failed: exit code 1; step schema failed: exit code 1"));
}

#[test]
fn a_person_is_asked_and_asked_again() {
    let mut run = reverting(|run| run.world.spec.rollback.steps[0].confirm = Confirm::Required);
    until(&mut run, 30, |r| outcomes(r)[0].1 == StepOutcome::Unconfirmed);
    until(&mut run, 2 * 15 * 60 + 5, |r| told(r, Reason::ConfirmationNeeded) == 3);
    assert_eq!(jobs(&run), []);
    assert!(!run.world.pinned() && run.world.routes.iter().all(|r| r.split.is_none()), "the traffic is back");
    run.order(ActionType::Confirm, PromoteTo::NextStep);
    until(&mut run, 60, rolled_back);
    let steps = &report(&run).unwrap().steps;
    assert_eq!(steps[0].confirmed_by.as_deref(), Some("sam"));
}

#[test]
fn a_deleted_release_waits_for_nobodys_yes() {
    let mut run = reverting(|run| run.world.spec.rollback.steps[0].confirm = Confirm::Required);
    until(&mut run, 30, |r| outcomes(r)[0].1 == StepOutcome::Unconfirmed);
    run.delete();
    until(&mut run, 120, |r| r.world.gone);
    assert_eq!(jobs(&run), []);
    assert_eq!(told(&run, Reason::RollbackFailed), 1, "what was not done is told");
}

#[test]
fn a_job_that_somebody_deleted_is_not_created_again() {
    let mut run = reverting(|run| run.world.failing = 0);
    until(&mut run, 30, |r| report(r).unwrap().steps[0].job_seen);
    run.world.jobs.clear();
    run.world.stirred();
    until(&mut run, 90, |r| problem(r).is_some());
    assert_eq!(
        problem(&run),
        Some("step schema failed: its Job was deleted before its result was read; not tried: coupons")
    );
    assert_eq!(jobs(&run), []);
}

#[test]
fn a_job_that_nobody_ends_is_given_up_and_no_second_one_is_started_beside_it() {
    let mut run = reverting(|_| {});
    until(&mut run, 30, |r| report(r).unwrap().steps[0].job_seen);
    run.world.jobs[0].left = u32::MAX;
    until(&mut run, 7 * 60, |r| problem(r).is_some());
    assert!(
        problem(&run).unwrap().starts_with("step schema failed: its Job did not end within 5 m"),
        "{:?}",
        problem(&run)
    );
    assert_eq!(jobs(&run), [("schema", 1)]);
}
