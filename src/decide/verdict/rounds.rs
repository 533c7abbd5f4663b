//! What was scraped, as the evidence takes it: round after round, each with what was known of the pods then.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    api::checks::Checks,
    observe::seen::{Pod, Scrape, Scrapes, Side},
};

use super::{
    Trial,
    counters::Sides,
    evidence::{Arm, PodSample, Provider, Sample},
    pods::elsewhere,
};

/// A pod and its scrapes. Those of pods that are gone are kept for what they did.
struct Track<'a> {
    name: &'a str,
    side: Side,
    pod: Option<&'a Pod>,
    scrapes: &'a [Arc<Scrape>],
}

/// Samples in the order of their time: one for each round of scrapes, the last as of now. `judged`: up to when they have
/// been judged; `from`: what a test still looks back to. `before`: the share that was set until this step's weight was
/// confirmed.
pub(super) fn rounds<'a>(
    trial: &'a Trial<'_>,
    scrapes: &'a Scrapes,
    (judged, from): (Option<f64>, Option<f64>),
    before: f64,
) -> impl Iterator<Item = Sample> + 'a {
    let tracks = tracks(trial, scrapes);
    let now = trial.now.epoch();
    let mut times = ends(&tracks, now);
    // The newest is judged as of now: what the pods say has changed since.
    if times.last().is_some_and(|last| judged.is_none_or(|judged| *last > judged)) {
        times.pop();
    }
    times.push(now);
    // A round tells of each pod's latest scrape, so the last one before a moment tells all that was known then.
    let known = from.map_or(0, |from| times.partition_point(|t| *t <= from).saturating_sub(1));
    times.into_iter().skip(known).map(move |t| sample(trial, &scrapes.bounds, &tracks, t, before))
}

fn tracks<'a>(trial: &Trial<'a>, scrapes: &'a Scrapes) -> Vec<Track<'a>> {
    let sides = Sides::new(trial.pods);
    let living: BTreeMap<&str, &Pod> =
        trial.pods.iter().filter(|p| !p.terminating && !elsewhere(p)).map(|p| (p.name.as_str(), p)).collect();
    let unread = living.keys().copied().filter(|name| !scrapes.pods.contains_key(*name)).map(|name| (name, &[][..]));
    let read = scrapes.pods.iter().map(|(name, scrapes)| (name.as_str(), scrapes.as_slice()));
    read.chain(unread)
        .filter_map(|(name, scrapes)| {
            let pod = living.get(name).copied();
            Some(Track { name, side: sides.of(name)?, pod, scrapes })
        })
        .collect()
}

/// The moments at which rounds of scrapes were over: before a pod is scraped again.
fn ends(tracks: &[Track<'_>], now: f64) -> Vec<f64> {
    let all = tracks.iter().enumerate().flat_map(|(pod, t)| t.scrapes.iter().map(move |s| (s.at.epoch(), pod)));
    let mut all: Vec<(f64, usize)> = all.filter(|(at, _)| *at <= now).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut ends = Vec::new();
    let mut round: Vec<usize> = Vec::new();
    let mut last = None;
    for (at, pod) in all {
        if round.contains(&pod) {
            ends.extend(last);
            round.clear();
        }
        round.push(pod);
        last = Some(at);
    }
    ends.extend(last);
    ends
}

fn sample(trial: &Trial<'_>, bounds: &[String], tracks: &[Track<'_>], t: f64, before: f64) -> Sample {
    let pods = tracks.iter().filter_map(|track| Some((track.name.to_owned(), as_of(track, trial.checks, bounds, t)?)));
    let here = trial.arrived && t >= trial.since.epoch();
    let weight = if here { f64::from(trial.weight.min(100)) / 100.0 } else { before };
    Sample { t, weight, provider: Provider::Ok, pods: pods.collect() }
}

/// What was known of a pod; `None` where it was not there.
fn as_of(track: &Track<'_>, checks: &Checks, bounds: &[String], t: f64) -> Option<PodSample> {
    let arm = if track.side == Side::Candidate { Arm::Canary } else { Arm::Stable };
    let scrape = track.scrapes.get(track.scrapes.partition_point(|s| s.at.epoch() <= t).wrapping_sub(1));
    let (start, ready, restarts) = match track.pod {
        Some(pod) => {
            let start = pod.started_at.unwrap_or(pod.created_at).epoch();
            if pod.created_at.epoch() > t {
                return None;
            }
            let changed = pod.ready_changed_at.is_some_and(|at| at.epoch() > t);
            (start, pod.ready != changed, pod.restarts)
        }
        None if track.scrapes.last().is_none_or(|last| last.at.epoch() < t) => return None,
        // When it began is not known any more: it counts from its first scrape.
        None => (0.0, true, 0),
    };
    let told = scrape.map(|s| &s.within).into_iter().flatten();
    Some(PodSample {
        arm,
        start,
        ready,
        restarts,
        scraped: scrape.map(|s| s.at.epoch()),
        total: scrape.map(|s| s.requests),
        bad: scrape.and_then(|s| s.errors),
        le: bounds.iter().cloned().zip(told.copied()).collect(),
        metrics: scrape.map(|s| s.named(&checks.metrics)).unwrap_or_default(),
        probe: None,
        waiting: None,
        terminated: None,
    })
}
