//! Whether enough is known: what is missing, how much was counted, and what a healthy step needs.

use std::time::Duration;

use crate::{
    api::status::Evidence,
    observe::seen::{Feed, Side},
};

use super::{
    Trial, Verdict,
    counters::{SLACK, Table},
    sentence::count,
};

/// Adds what was counted since the last judgement. A step's own counts begin anew when it starts after the watermark.
pub(super) fn count_up(table: &Table, next: &mut Evidence) {
    next.failed_total += table.failed_after(next.watermark);
    let from = match next.watermark {
        Some(judged) if judged >= table.start => judged,
        _ => {
            (next.requests, next.failed) = (0, 0);
            table.start
        }
    };
    let (requests, failed) = table.counted(from);
    next.requests += requests;
    next.failed += failed;
    next.watermark = next.watermark.max(Some(table.watermark));
}

/// Why nothing can be known of the requests, if so.
pub(super) fn gap(trial: &Trial<'_>, table: Option<&Table>) -> Option<String> {
    if !trial.traffic {
        return None;
    }
    match trial.feed {
        Feed::Unset => return None,
        Feed::NoData { why } => return Some(why.clone()),
        Feed::Data(_) => {}
    }
    let ready: Vec<_> = trial.alive(Side::Candidate).filter(|p| p.ready).collect();
    let Some(table) = table else {
        return Some("NotScraped: no usable sample of any pod".into());
    };
    let age = trial.now.since(table.watermark);
    if age > table.interval * 3 + SLACK {
        return Some(format!("Stale: the last samples are {} s old", age.as_secs()));
    }
    let patience = table.interval * 2 + SLACK;
    for pod in ready {
        let known = pod.ready_changed_at.unwrap_or(pod.created_at).max(trial.since);
        let seen = table.last_scrape(&pod.name);
        let quiet = trial.now.since(seen.map_or(known, |at| at.max(known)));
        if quiet > patience {
            return Some(format!("NotScraped: no sample of the ready pod {} for {} s", pod.name, quiet.as_secs()));
        }
    }
    let look_back = patience.max(Duration::from_mins(1));
    let from = trial.now.minus(look_back);
    if from < table.start || table.side(Side::Candidate, from, table.watermark).requests > 0.5 {
        return None;
    }
    let stable = table.side(Side::Stable, from, table.watermark).requests;
    Some(format!(
        "NoTraffic: no request has reached the candidate at {} % for {} s, the stable version had {stable:.0}",
        trial.weight,
        look_back.as_secs()
    ))
}

/// The verdict when nothing speaks against the candidate. `lacking`: what its evidence still needs.
pub(super) fn enough(
    trial: &Trial<'_>,
    table: Option<&Table>,
    lacking: Option<(u64, String)>,
    next: &Evidence,
) -> Verdict {
    let watching = |requests_needed, summary| Verdict::Watching { requests_needed, summary };
    let pods = trial.alive(Side::Candidate).filter(|p| p.ready).count();
    if pods == 0 {
        return watching(0, "the candidate has no ready pod yet".into());
    }
    let pods = count(pods, "ready pod");
    let table = match (trial.feed, table) {
        (Feed::Unset, _) => {
            return Verdict::Healthy { summary: format!("{pods}; no metric provider, requests are not judged") };
        }
        (Feed::Data(_), Some(table)) if trial.traffic => table,
        _ if !trial.traffic => return Verdict::Healthy { summary: format!("{pods}; no traffic at 0 %") },
        _ => return Verdict::NoData { why: "no usable sample".into() },
    };
    let fewest = u64::from(trial.checks.min_requests).saturating_sub(next.requests);
    let unproven = lacking.as_ref().map_or(0, |(requests, _)| *requests);
    if table.watermark <= table.start {
        let summary = format!("waiting for the first samples of this step at {} %", trial.weight);
        return watching(fewest.max(unproven), summary);
    }
    if fewest > unproven {
        let (seen, of) = (next.requests, trial.checks.min_requests);
        return watching(fewest, format!("{seen} of {of} requests seen at {} %, {fewest} more needed", trial.weight));
    }
    if let Some((_, summary)) = lacking {
        return watching(unproven, summary);
    }
    let stable = table.side(Side::Stable, table.start, table.watermark);
    Verdict::Healthy { summary: summary(trial, table, next, stable.requests, stable.errors) }
}

#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
fn summary(trial: &Trial<'_>, table: &Table, next: &Evidence, stable_requests: f64, stable_errors: f64) -> String {
    let rate = 100.0 * next.failed as f64 / next.requests.max(1) as f64;
    let stable = if stable_requests > 0.5 {
        format!("{:.2} %", 100.0 * (stable_errors / stable_requests).min(1.0))
    } else {
        "had no requests".into()
    };
    let latency = if table.slow_bound.is_some() { "" } else { "; latency is not measured" };
    format!("error rate {rate:.2} % of {} requests at {} %, stable {stable}{latency}", next.requests, trial.weight)
}
