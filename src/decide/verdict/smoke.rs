//! The smoke test: one that failed convicts. One that is due is waited for in `data`.

use crate::observe::seen::SmokeSeen;

use super::{Finding, Trial};

pub(super) fn check(trial: &Trial<'_>) -> Finding {
    match trial.smoke {
        Some(SmokeSeen::Failed(words)) => Finding::Bad(format!("smoke test failed at {} %: {words}", trial.weight)),
        Some(SmokeSeen::Running { .. }) if trial.smoke_due => Finding::Hold("the smoke test is running".into()),
        None if trial.smoke_due => Finding::Hold("the smoke test has not started yet".into()),
        Some(SmokeSeen::Succeeded | SmokeSeen::Running { .. }) | None => Finding::Fine,
    }
}
