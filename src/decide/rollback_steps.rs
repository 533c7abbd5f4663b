//! The steps of the rollback plan: one after the other, each attempt at most once. Pure.
//!
//! An attempt is remembered as running before its Job is created, under a name that no other attempt has. A Job that was seen
//! once and is gone is not created again: nobody knows what it did.

use std::time::Duration;

use super::Facts;
use crate::{
    api::{
        notice::Reason,
        rollback::{Confirm, OnFailure, RollbackPlan, RollbackStep},
        state::{Report, StepOutcome, StepReport},
        units::{At, Span},
    },
    observe::seen::{JobSeen, StepJob},
};

/// How often a person is asked again.
const ASK_AGAIN: Duration = Duration::from_mins(15);
/// A Job ends at its deadline by itself; where its controller does not see to that, it is given up this much later.
const GRACE: Duration = Duration::from_mins(1);

/// Where the steps stand after this pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Course {
    /// None is left to run: since when.
    Ended(Option<At>),
    /// What is waited for.
    Under { way: String },
}

/// All of them, not yet begun.
pub(crate) fn planned(plan: &RollbackPlan, now: At) -> Vec<StepReport> {
    let pending = |step: &RollbackStep| StepReport {
        name: step.name.clone(),
        outcome: StepOutcome::Pending,
        attempt: 0,
        earlier: 0,
        at: now,
        job_seen: false,
        message: None,
        confirmed_by: None,
    };
    plan.steps.iter().map(pending).collect()
}

/// What failed, and what was not tried because of it, is to be tried again.
pub(crate) fn again(steps: &mut [StepReport], now: At) {
    for step in steps.iter_mut().filter(|s| matches!(s.outcome, StepOutcome::Failed | StepOutcome::Skipped)) {
        step.outcome = StepOutcome::Pending;
        step.earlier = step.attempt;
        (step.at, step.message, step.confirmed_by) = (now, None, None);
    }
}

/// Takes the steps as far as they can get in this pass. What is to be told beside it goes to `told`.
pub(crate) fn advance(
    plan: &RollbackPlan,
    report: &mut Report,
    facts: &Facts<'_>,
    told: &mut Vec<(Reason, String)>,
) -> Course {
    let now = facts.seen.now;
    if facts.seen.release.leaving.is_some() {
        return Course::Ended(None); // it goes in bounded time; what was not done is told
    }
    let mut failed: Option<String> = None;
    for step in &mut report.steps {
        let Some(planned) = plan.steps.iter().find(|p| p.name == step.name) else { continue };
        match step.outcome {
            StepOutcome::Succeeded | StepOutcome::Skipped => continue,
            StepOutcome::Failed => {}
            _ if failed.is_some() => {
                let why = failed.as_ref().map(|name| format!("step {name} failed"));
                (step.outcome, step.at, step.message) = (StepOutcome::Skipped, now, why);
                continue;
            }
            StepOutcome::Pending | StepOutcome::Unconfirmed => {
                if !confirmed(planned, step, facts, told) {
                    return Course::Under { way: asks(&step.name, facts) };
                }
                begin(step, now);
                return Course::Under { way: running(step) };
            }
            StepOutcome::Running => {
                look(planned, step, facts, told);
                if step.outcome == StepOutcome::Running {
                    return Course::Under { way: running(step) };
                }
            }
        }
        if step.outcome == StepOutcome::Failed && planned.on_failure == OnFailure::Stop {
            failed = Some(step.name.clone());
        }
    }
    Course::Ended(report.steps.iter().map(|s| s.at).max())
}

/// What was not done, in one sentence; `None`: all was.
pub(crate) fn problem(steps: &[StepReport]) -> Option<String> {
    use StepOutcome::{Pending, Running, Skipped, Unconfirmed};
    let failed = steps.iter().filter(|s| s.outcome == StepOutcome::Failed);
    let mut told: Vec<_> = failed.map(|s| format!("step {} failed: {}", s.name, why(s))).collect();
    for (what, which) in [("still running", &[Running][..]), ("not tried", &[Pending, Unconfirmed, Skipped])] {
        let names: Vec<_> = steps.iter().filter(|s| which.contains(&s.outcome)).map(|s| s.name.as_str()).collect();
        if !names.is_empty() {
            told.push(format!("{what}: {}", names.join(", ")));
        }
    }
    (!told.is_empty()).then(|| told.join("; "))
}

fn why(step: &StepReport) -> &str {
    step.message.as_deref().unwrap_or("its Job did not say why")
}

fn begin(step: &mut StepReport, now: At) {
    step.outcome = StepOutcome::Running;
    step.attempt += 1;
    (step.at, step.job_seen, step.message) = (now, false, None);
}

fn running(step: &StepReport) -> String {
    let again = step.attempt - step.earlier;
    let attempt = if again > 1 { format!(" (attempt {again})") } else { String::new() };
    format!("step {} of the rollback plan is running{attempt}", step.name)
}

/// Whether it may begin. A person who is needed is asked, and again every quarter of an hour.
fn confirmed(
    planned: &RollbackStep,
    step: &mut StepReport,
    facts: &Facts<'_>,
    told: &mut Vec<(Reason, String)>,
) -> bool {
    if planned.confirm == Confirm::Automatic || step.confirmed_by.is_some() {
        return true;
    }
    if let Some((_, by)) = facts.wish.confirmed.iter().find(|(name, _)| *name == step.name) {
        step.confirmed_by = Some(by.clone());
        return true;
    }
    let now = facts.seen.now;
    if step.outcome == StepOutcome::Pending || now.since(step.at) >= ASK_AGAIN {
        (step.outcome, step.at) = (StepOutcome::Unconfirmed, now);
        told.push((Reason::ConfirmationNeeded, asks(&step.name, facts)));
    }
    false
}

fn asks(step: &str, facts: &Facts<'_>) -> String {
    let release = &facts.seen.release;
    format!(
        "step {step} of the rollback plan waits for a person's yes: kubectl haldane confirm {} {step} -n {}",
        release.name, release.namespace
    )
}

/// What the Job of the present attempt says.
fn look(planned: &RollbackStep, step: &mut StepReport, facts: &Facts<'_>, told: &mut Vec<(Reason, String)>) {
    let now = facts.seen.now;
    let late = now.since(step.at) >= planned.timeout.0.saturating_add(GRACE);
    let (why, surely) = match &facts.seen.step_job {
        StepJob::There(JobSeen::Succeeded { said }) => {
            (step.outcome, step.at, step.message) = (StepOutcome::Succeeded, now, said.clone());
            return;
        }
        StepJob::There(JobSeen::Failed(why)) => (why.clone(), true),
        StepJob::There(JobSeen::Running { .. }) if !late => {
            step.job_seen = true;
            return;
        }
        StepJob::There(JobSeen::Running { .. }) => {
            (format!("its Job did not end within {} and was not ended either", planned.timeout), false)
        }
        StepJob::Absent if step.job_seen => ("its Job was deleted before its result was read".to_owned(), false),
        StepJob::Absent if late => (format!("its Job could not be created within {}", Span(now.since(step.at))), false),
        StepJob::Absent | StepJob::Unknown => return,
    };
    // Where it is not certain that the attempt has ended, another one beside it could do harm.
    if surely && step.attempt - step.earlier <= planned.retries {
        let message = format!("step {} failed and is tried again: {why}", step.name);
        begin(step, now);
        told.push((Reason::StepFailed, message));
        return;
    }
    told.push((Reason::StepFailed, format!("step {} of the rollback plan failed: {why}", step.name)));
    (step.outcome, step.at, step.message) = (StepOutcome::Failed, now, Some(why));
}
