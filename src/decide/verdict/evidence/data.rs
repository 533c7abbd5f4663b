//! Whether anything can be known at all. No data is neither good nor bad.

use super::{
    engine::Engine,
    roster::Pod,
    sample::{Arm, Provider, Sample},
    state::Reason,
};

/// Scrapes that a ready pod may miss.
const STALE: f64 = 3.0;
/// Scrapes after which a ready pod should have been found.
const UNSCRAPED: f64 = 2.0;
/// Seconds without any request that are silence.
const SILENCE: f64 = 60.0;

/// Why nothing can be known.
pub fn gap(engine: &Engine, sample: &Sample) -> Option<(Reason, String)> {
    if sample.provider == Provider::Down {
        return Some((Reason::ProviderDown, "the metric provider does not answer; pod health alone is judged".into()));
    }
    let (roster, state) = (&engine.roster, &engine.state);
    let patience = STALE * roster.interval;
    let fresh = |p: &Pod| p.curve.last_scrape().is_some_and(|at| sample.t - at <= patience);
    for (arm, who) in [(Arm::Canary, "candidate"), (Arm::Stable, "stable version")] {
        if sample.weight <= 0.0 && arm == Arm::Canary {
            continue;
        }
        let expected = || {
            let long = |p: &Pod| p.ready_since.is_some_and(|since| sample.t - since > UNSCRAPED * roster.interval);
            roster.alive(arm).filter(move |(_, p)| p.ready && (p.curve.last_scrape().is_some() || long(p)))
        };
        let (all, reporting) = (expected().count(), expected().filter(|(_, p)| fresh(p)).count());
        if all == 0 || 2 * reporting >= all && reporting > 0 {
            continue;
        }
        let newest = expected().filter_map(|(_, p)| p.curve.last_scrape()).fold(f64::NEG_INFINITY, f64::max);
        if newest.is_finite() {
            return Some((
                Reason::Stale,
                format!(
                    "{} of {all} pods of the {who} have no sample of the last {patience:.0} s; the newest is {:.0} s old",
                    all - reporting,
                    sample.t - newest
                ),
            ));
        }
        if arm == Arm::Canary || roster.alive(Arm::Stable).any(|(_, p)| p.ready) {
            return Some((
                Reason::NotScraped,
                format!("the {who} is ready, but the provider has no sample of its {all} pods"),
            ));
        }
    }
    let serving = |arm: Arm| roster.alive(arm).any(|(_, p)| p.ready);
    let watermark = state.watermark?;
    if sample.weight > 0.0 && serving(Arm::Canary) {
        let silence = SILENCE.max(2.0 * roster.interval);
        let since = state.weights.iter().rev().find(|w| w.first).map_or(watermark, |w| w.at);
        let last = state.traffic.map_or(since, |t| t.max(since));
        if watermark - last >= silence {
            return Some((
                Reason::NoTraffic,
                format!("neither version has had a request for {:.0} s", watermark - last),
            ));
        }
    }
    None
}

/// A check that can never work as it is written.
pub fn config_error(engine: &Engine) -> Option<String> {
    let (roster, state, config) = (&engine.roster, &engine.state, &engine.config);
    let stable = || roster.alive(Arm::Stable).filter(|(_, p)| p.ready);
    let read = stable().any(|(_, p)| p.curve.last_scrape().is_some());
    let long = state.began.is_some_and(|began| state.now - began > STALE * roster.interval);
    if !read || !long || state.series.known.is_empty() {
        return None;
    }
    let missing = config.metrics.iter().zip(&state.series.known).find(|(_, known)| !**known)?;
    Some(format!(
        "spec.checks.metrics[{}]: its query returns nothing for the stable pods; correct it or remove it",
        missing.0.name
    ))
}
