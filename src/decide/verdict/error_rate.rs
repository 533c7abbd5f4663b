//! "More than 5 % of the requests failed for 2 minutes."

use crate::api::status::Evidence;

use super::{
    Finding, Trial,
    breach::{self, Breach, Limit},
    counters::Table,
    sentence::{of, percent},
};

pub(super) fn check(trial: &Trial<'_>, table: &Table, next: &mut Evidence) -> Finding {
    let rule = &trial.checks.error_rate;
    let limit = Limit {
        max: rule.max.ratio(),
        hold: rule.hold.0,
        part: |tally| (tally.requests, tally.errors),
        min_requests: trial.checks.min_requests,
        strict: trial.checks.strict,
    };
    let (since, breach) = breach::follow(table, &limit, next.errors_since, next.watermark);
    next.errors_since = since;
    let (max, weight) = (rule.max, trial.weight);
    match breach {
        Breach::Unknown | Breach::Inside(_) => Finding::Fine,
        Breach::Stopped => {
            Finding::Hold(format!("error rate was above {max} at {weight} % when the candidate's requests stopped"))
        }
        Breach::Over(both) => Finding::Hold(format!(
            "error rate {} > {max} at {weight} %, stable {}; convicted if it stays so for {}",
            percent(both.candidate),
            percent(both.stable),
            rule.hold
        )),
        Breach::Shared(both) => Finding::Shared(format!(
            "both versions fail: error rate {} > {max} at {weight} %, stable {}",
            percent(both.candidate),
            percent(both.stable)
        )),
        Breach::Outlier { pod, share, rest } => Finding::Outlier {
            message: format!(
                "error rate {} > {max} for {} at {weight} % on pod {pod} alone, the other pods {}",
                percent(share),
                rule.hold,
                percent(rest)
            ),
            pod,
        },
        Breach::Convicted(both) => Finding::Bad(format!(
            "error rate {} > {max} for {} at {weight} %, stable {} (candidate {} requests failed, stable {})",
            percent(both.candidate),
            rule.hold,
            percent(both.stable),
            of(both.candidate),
            of(both.stable)
        )),
    }
}
