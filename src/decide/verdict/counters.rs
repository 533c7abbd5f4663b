//! Raw counters → what happened between two moments, per pod and per side.
//!
//! Scrapes of different pods fall at different moments. Every sum here is taken at moments that all pods have reached, with
//! the counters interpolated in between, so that an outage shared by both versions does not look like a difference.

use std::{collections::BTreeMap, ops::AddAssign, time::Duration};

use crate::{
    api::units::At,
    observe::seen::{Feed, Pod, PodSamples, Point, Side},
};

use super::Trial;

/// The sampler asks every few seconds: a scrape may be this old before we could have heard of the next one.
pub(super) const SLACK: Duration = Duration::from_secs(5);

/// Requests between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub requests: f64,
    pub errors: f64,
    pub timed: f64,
    pub slow: f64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.timed += other.timed;
        self.slow += other.slow;
    }
}

/// One pod's counters without resets: they only grow.
struct Curve {
    pod: String,
    side: Side,
    /// Its pod runs and is expected to be scraped.
    alive: bool,
    /// When it was first scraped.
    first_scrape: At,
    /// From here on its requests count.
    counts_from: At,
    points: Vec<Point>,
}

/// All pods' counters, and the moment up to which they can be compared.
pub(super) struct Table {
    curves: Vec<Curve>,
    pub interval: Duration,
    /// The step's first moment that counts.
    pub start: At,
    /// The moment that all scraped pods have reached.
    pub watermark: At,
    pub slow_bound: Option<f64>,
}

impl Table {
    /// `None` when there is no usable sample at all.
    pub fn new(trial: &Trial<'_>) -> Option<Self> {
        let Feed::Data(samples) = trial.feed else { return None };
        let interval = samples.scrape_interval.max(Duration::from_secs(1));
        let start = trial.since.plus(interval * trial.checks.settle_scrapes);
        let sides = Sides::new(trial.pods);
        let curves: Vec<Curve> =
            samples.pods.iter().filter_map(|pod| Curve::new(pod, sides.of(&pod.pod)?, trial, start)).collect();
        let stale = trial.now.minus(interval * 3 + SLACK);
        let newest = curves.iter().filter_map(Curve::last).max()?;
        let watermark = curves.iter().filter(|c| c.alive).filter_map(Curve::last).filter(|at| *at >= stale).min();
        Some(Self { curves, interval, start, watermark: watermark.unwrap_or(newest), slow_bound: samples.slow_bound })
    }

    /// What a side did after `from` and until `to`, as far as it counts.
    pub fn side(&self, side: Side, from: At, to: At) -> Tally {
        let mut sum = Tally::default();
        for curve in self.curves.iter().filter(|c| c.side == side) {
            sum += curve.between(from.max(curve.counts_from), to);
        }
        sum
    }

    /// The same for each pod of the candidate.
    pub fn by_pod(&self, from: At, to: At) -> impl Iterator<Item = (&str, Tally)> {
        let ours = self.curves.iter().filter(|c| c.side == Side::Candidate);
        ours.map(move |c| (c.pod.as_str(), c.between(from.max(c.counts_from), to)))
    }

    /// Whole requests of the candidate after `from` (and the step's start) until the watermark: all and failed. A pod joins
    /// with its first scrape, and then with all it has served; the parts of a time add up to the whole.
    pub fn counted(&self, from: At) -> (u64, u64) {
        let (mut before, mut after) = (Tally::default(), Tally::default());
        for curve in self.scraped() {
            let lower = if curve.first_scrape > from { curve.counts_from } else { from.max(curve.counts_from) };
            before += curve.at(lower);
            after += curve.at(lower.max(self.watermark));
        }
        let grown = |part: fn(&Tally) -> f64| whole(part(&after)).saturating_sub(whole(part(&before)));
        (grown(|t| t.requests), grown(|t| t.errors))
    }

    /// Failed requests of the candidate after `from`, also those of a pod's first moments and before the step's start.
    pub fn failed_after(&self, from: Option<At>) -> u64 {
        let (mut before, mut after) = (0.0, 0.0);
        for curve in self.scraped() {
            let known = from.filter(|at| curve.first_scrape <= *at);
            before += known.map_or_else(|| curve.origin(), |at| curve.at(at).errors);
            after += curve.at(self.watermark).errors;
        }
        whole(after).saturating_sub(whole(before))
    }

    fn scraped(&self) -> impl Iterator<Item = &Curve> {
        self.curves.iter().filter(|c| c.side == Side::Candidate && c.first_scrape <= self.watermark)
    }

    /// The scrapes of the candidate after `from` (and the step's start), up to the watermark: the moments to judge at.
    /// With many pods, at most two per interval. Which they are depends on the samples alone, not on when they are asked for.
    pub fn moments(&self, from: Option<At>) -> Vec<At> {
        let from = from.map_or(self.start, |at| at.max(self.start));
        let ours = self.curves.iter().filter(|c| c.side == Side::Candidate);
        let mut all: Vec<At> = ours.flat_map(|c| &c.points).map(|p| p.at).collect();
        all.sort_unstable();
        let half = self.interval.as_secs_f64() / 2.0;
        all.dedup_by_key(|at| whole(at.epoch() / half));
        all.retain(|at| *at > from && *at <= self.watermark);
        all
    }

    /// When a pod was last scraped.
    pub fn last_scrape(&self, pod: &str) -> Option<At> {
        self.curves.iter().find(|c| c.pod == pod).and_then(Curve::last)
    }
}

impl Curve {
    fn new(samples: &PodSamples, side: Side, trial: &Trial<'_>, start: At) -> Option<Self> {
        let mut raw: Vec<Point> = samples.points.iter().copied().filter(usable).collect();
        raw.sort_by_key(|p| p.at);
        raw.dedup_by_key(|p| p.at);
        let first = *raw.first()?;
        let known = trial.pods.iter().find(|p| p.name == samples.pod);
        let mut points = Vec::with_capacity(raw.len() + 1);
        // A pod that was born under our eyes started counting from 0. An older one did not.
        let born = known.filter(|p| side == Side::Candidate || p.created_at >= trial.since).map(|p| p.created_at);
        if let Some(at) = born.filter(|at| *at < first.at) {
            points.push(Point { at, requests: 0.0, errors: 0.0, timed: 0.0, slow: 0.0 });
        }
        points.push(first);
        let mut sum = first;
        for pair in raw.windows(2) {
            let (last, next) = (pair[0], pair[1]);
            sum = Point {
                at: next.at,
                requests: sum.requests + grown(last.requests, next.requests),
                errors: sum.errors + grown(last.errors, next.errors),
                timed: sum.timed + grown(last.timed, next.timed),
                slow: sum.slow + grown(last.slow, next.slow),
            };
            points.push(sum);
        }
        let warm = known.filter(|_| side == Side::Candidate).map_or(start, |p| trial.warm_until(p));
        Some(Self {
            pod: samples.pod.clone(),
            side,
            alive: known.is_some_and(|p| !p.terminating),
            first_scrape: first.at,
            counts_from: start.max(warm),
            points,
        })
    }

    fn last(&self) -> Option<At> {
        self.points.last().map(|p| p.at)
    }

    /// The failed requests before anything is known of it.
    fn origin(&self) -> f64 {
        self.points.first().map_or(0.0, |p| p.errors)
    }

    fn between(&self, from: At, to: At) -> Tally {
        if from >= to {
            return Tally::default();
        }
        let (a, b) = (self.at(from), self.at(to));
        Tally {
            requests: b.requests - a.requests,
            errors: b.errors - a.errors,
            timed: b.timed - a.timed,
            slow: b.slow - a.slow,
        }
    }

    /// The counters at a moment, on the straight line between two scrapes.
    fn at(&self, moment: At) -> Tally {
        let after = self.points.partition_point(|p| p.at <= moment);
        let (Some(a), b) = (self.points.get(after.saturating_sub(1)), self.points.get(after)) else {
            return Tally::default();
        };
        let share = match b {
            Some(b) if after > 0 => moment.since(a.at).as_secs_f64() / b.at.since(a.at).as_secs_f64(),
            _ => 0.0,
        };
        let b = b.unwrap_or(a);
        let on_line = |from: f64, to: f64| from + share * (to - from);
        Tally {
            requests: on_line(a.requests, b.requests),
            errors: on_line(a.errors, b.errors),
            timed: on_line(a.timed, b.timed),
            slow: on_line(a.slow, b.slow),
        }
    }
}

/// A counter's growth; a smaller value means that its process started anew.
fn grown(last: f64, next: f64) -> f64 {
    if next < last { next } else { next - last }
}

fn usable(point: &Point) -> bool {
    [point.requests, point.errors, point.timed, point.slow].iter().all(|v| v.is_finite() && *v >= 0.0)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "finite and not negative; `as` saturates")]
pub(super) fn whole(count: f64) -> u64 {
    // Interpolation leaves 2.9999999: what is a whole request but for that must count as one.
    (count + 1e-6).floor() as u64
}

/// Which side a pod is on. A pod that is gone is known by the name it shares with its brothers: the generated five
/// characters at the end differ.
pub(super) struct Sides<'a> {
    names: BTreeMap<&'a str, Side>,
    stems: BTreeMap<&'a str, Option<Side>>,
}

impl<'a> Sides<'a> {
    pub fn new(pods: &'a [Pod]) -> Self {
        let mut stems = BTreeMap::new();
        for pod in pods {
            let side = stems.entry(stem(&pod.name)).or_insert(Some(pod.side));
            *side = side.filter(|s| *s == pod.side);
        }
        Self { names: pods.iter().map(|p| (p.name.as_str(), p.side)).collect(), stems }
    }

    pub fn of(&self, pod: &str) -> Option<Side> {
        self.names.get(pod).copied().or_else(|| self.stems.get(stem(pod)).copied().flatten())
    }
}

fn stem(pod: &str) -> &str {
    pod.len().checked_sub(5).and_then(|end| pod.get(..end)).filter(|s| s.ends_with('-') || s.len() == 58).unwrap_or(pod)
}
