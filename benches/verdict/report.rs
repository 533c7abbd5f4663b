//! The figures of a world: a line for people, an object for machines, and whether what was to be reached was reached.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    rules::NAMES,
    run::{Tally, quantile},
    worlds::{Goal, World},
};

pub const NULL_HEAD: &str = "good worlds              rolled back       limit           paused for both / one pod / no data   median advance   \
                             fixed rules roll back: alert, success, cumulative";
pub const FAULT_HEAD: &str = "bad worlds               median / p95      limit           missed   fixed rules, median / p95: alert, success, \
                              cumulative";

/// Whether everything that was to be reached in this world was. None: nothing was.
pub fn reached(world: &World, tally: &Tally) -> Option<bool> {
    let sound = tally.panics == 0 && tally.not_finite == 0;
    match world.goal {
        Goal::Spared(at_most) => Some(sound && tally.detected.len() as f64 <= at_most * tally.releases as f64),
        Goal::Convicted { within: Some((median, p95)), .. } => {
            let under = |share, limit| time(tally, share).is_some_and(|t| t <= limit);
            Some(sound && under(0.5, median) && under(0.95, p95))
        }
        Goal::Convicted { within: None, .. } => None,
    }
}

fn time(tally: &Tally, share: f64) -> Option<f64> {
    quantile(&tally.detected, tally.releases, share)
}

pub fn line(world: &World, tally: &Tally) -> String {
    let mark = match reached(world, tally) {
        Some(true) => "ok",
        Some(false) => "MISSED",
        None => "",
    };
    let share = |count: u64| percent(count as f64 / tally.releases.max(1) as f64);
    let mut line = match world.goal {
        Goal::Spared(at_most) => {
            let rules: Vec<_> = tally.rules.iter().map(|times| share(times.len() as u64)).collect();
            let advance = seconds(quantile(&tally.advanced, tally.releases, 0.5));
            format!(
                "{:<24} {:<8} {:>8} ≤ {:<6} {mark:<6} {:>8} / {} / {}   {:>14}   {}",
                world.name,
                share(tally.detected.len() as u64),
                tally.detected.len(),
                percent(at_most),
                share(tally.degraded),
                share(tally.outlier),
                share(tally.no_data),
                advance,
                rules.join(", "),
            )
        }
        Goal::Convicted { within, .. } => {
            let pair = |times: &[f64]| {
                let at = |share| seconds(quantile(times, tally.releases, share));
                format!("{} / {}", at(0.5), at(0.95))
            };
            let limit = within.map_or_else(String::new, |(median, p95)| format!("≤ {median:.0} / {p95:.0}"));
            let missed = tally.releases - tally.detected.len() as u64 - tally.early;
            let rules: Vec<_> = tally.rules.iter().map(|times| pair(times)).collect();
            let mut line = format!(
                "{:<24} {:<17} {limit:<13} {mark:<6} {:>4}   {}",
                world.name,
                pair(&tally.detected),
                missed,
                rules.join(", ")
            );
            if tally.early > 0 {
                let _ = write!(line, "   BEFORE THE FAULT: {}", tally.early);
            }
            if !tally.advanced.is_empty() {
                let _ = write!(line, "   let through first: {}", share(tally.advanced.len() as u64));
            }
            line
        }
    };
    if let (Some(p95), Some(most)) = (quantile(&tally.held_on, tally.held_on.len() as u64, 0.95), tally.held_on.last())
    {
        let _ = write!(line, "   paused after recovery p95 {p95:.0}, at most {most:.0} s");
    }
    if !tally.reasons.is_empty() {
        let reasons: Vec<_> = tally.reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let _ = write!(line, "   [{}]", reasons.join(", "));
    }
    if tally.panics > 0 || tally.not_finite > 0 {
        let _ = write!(line, "   PANICS {}, NOT FINITE {}", tally.panics, tally.not_finite);
    }
    if !tally.wrong.is_empty() {
        let seeds: Vec<_> = tally.wrong.iter().take(5).map(ToString::to_string).collect();
        let _ = write!(line, "   seeds {}", seeds.join(" "));
    }
    line
}

pub fn json(world: &World, tally: &Tally) -> Value {
    let rules: serde_json::Map<_, _> = NAMES
        .iter()
        .zip(&tally.rules)
        .zip(tally.rules_early)
        .map(|((name, times), early)| {
            let at = |share| quantile(times, tally.releases, share);
            ((*name).to_owned(), json!({"convicted": times.len(), "early": early, "median": at(0.5), "p95": at(0.95)}))
        })
        .collect();
    json!({
        "world": world.name,
        "releases": tally.releases,
        "convicted": tally.detected.len(),
        "early": tally.early,
        "median": time(tally, 0.5),
        "p95": time(tally, 0.95),
        "limit": match world.goal {
            Goal::Spared(at_most) => json!({"share": at_most}),
            Goal::Convicted { within: Some((median, p95)), .. } => json!({"median": median, "p95": p95}),
            Goal::Convicted { within: None, .. } => Value::Null,
        },
        "reached": reached(world, tally),
        "reasons": tally.reasons,
        "degraded": tally.degraded,
        "heldOnMax": tally.held_on.last(),
        "outlier": tally.outlier,
        "noData": tally.no_data,
        "advanced": tally.advanced.len(),
        "advancedMedian": quantile(&tally.advanced, tally.releases, 0.5),
        "rules": rules,
        "panics": tally.panics,
        "notFinite": tally.not_finite,
        "stateBytes": tally.state_bytes,
        "wrongSeeds": tally.wrong.iter().take(20).collect::<Vec<_>>(),
    })
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent == 100.0 {
        format!("{percent:.0} %")
    } else if percent < 10.0 {
        format!("{percent:.2} %")
    } else {
        format!("{percent:.0} %")
    }
}

fn seconds(time: Option<f64>) -> String {
    time.map_or_else(|| "never".to_owned(), |t| format!("{t:.0}"))
}
