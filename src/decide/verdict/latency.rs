//! "P99 above 2 s for 5 minutes": more than 1 % of the requests took longer than 2 s. No quantile is estimated.

use crate::api::{status::Evidence, units::Span};

use super::{
    Finding, Trial,
    breach::{self, Breach, Limit},
    counters::Table,
    sentence::{of, percent},
};

pub(super) fn check(trial: &Trial<'_>, table: &Table, next: &mut Evidence) -> Finding {
    let rule = &trial.checks.latency;
    let Some(bound) = table.slow_bound.filter(|b| b.is_finite() && *b > 0.0) else {
        next.slow_since = None;
        return Finding::Fine;
    };
    let limit = Limit {
        max: f64::from(100_u32.saturating_sub(rule.percentile)) / 100.0,
        hold: rule.hold.0,
        part: |tally| (tally.timed, tally.slow),
        min_requests: trial.checks.min_requests,
        strict: trial.checks.strict,
    };
    let (since, breach) = breach::follow(table, &limit, next.slow_since, next.watermark);
    next.slow_since = since;
    let what = limit_in_words(rule.percentile, rule.max, bound);
    let weight = trial.weight;
    match breach {
        Breach::Unknown | Breach::Inside(_) => Finding::Fine,
        Breach::Stopped => {
            Finding::Hold(format!("{what} at {weight} % for too many when the candidate's requests stopped"))
        }
        Breach::Over(both) => Finding::Hold(format!(
            "{what} at {weight} %: {} of the requests took longer, stable {}; convicted if it stays so for {}",
            percent(both.candidate),
            percent(both.stable),
            rule.hold
        )),
        Breach::Shared(both) => Finding::Shared(format!(
            "both versions are slow: {what} at {weight} %: {} of the requests took longer, stable {}",
            percent(both.candidate),
            percent(both.stable)
        )),
        Breach::Outlier { pod, share, rest } => Finding::Outlier {
            message: format!(
                "{what} for {} at {weight} % on pod {pod} alone: {} of its requests took longer, of the other pods' {}",
                rule.hold,
                percent(share),
                percent(rest)
            ),
            pod,
        },
        Breach::Convicted(both) => Finding::Bad(format!(
            "{what} for {} at {weight} %: {} of the requests took longer, stable {} (candidate {}, stable {})",
            rule.hold,
            percent(both.candidate),
            percent(both.stable),
            of(both.candidate),
            of(both.stable)
        )),
    }
}

/// `P99 > 2 s`; where the histogram has no bucket there, the bound that was really counted is named.
fn limit_in_words(percentile: u32, max: Span, bound: f64) -> String {
    if (max.0.as_secs_f64() - bound).abs() < 1e-9 {
        format!("P{percentile} > {max}")
    } else {
        format!("P{percentile} > {bound} s (the histogram's next bound above {max})")
    }
}
