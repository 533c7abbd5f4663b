//! One pod's raw counters → what it has done since it was first seen: no resets, no lost beginnings.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{packed, sample::PodSample};

/// Latency bounds that are followed.
pub const BOUNDS: usize = 12;
/// Series of the user's own that are followed.
pub const METRICS: usize = 8;
const WIDTH: usize = 3 + BOUNDS + METRICS;

/// Scrapes of a pod that are kept at most.
const KEPT: usize = 128;

/// Counters, or their growth: requests, failed ones, timed ones, slower than each bound, the user's own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row(#[serde(with = "packed")] pub [f64; WIDTH]);

impl Default for Row {
    fn default() -> Self {
        Self([0.0; WIDTH])
    }
}

impl Row {
    pub const fn requests(&self) -> f64 {
        self.0[0]
    }
    pub const fn failed(&self) -> f64 {
        self.0[1]
    }
    pub const fn timed(&self) -> f64 {
        self.0[2]
    }
    /// Slower than the bound of this index.
    pub const fn slow(&self, bound: usize) -> f64 {
        self.0[3 + bound]
    }
    pub const fn metric(&self, index: usize) -> f64 {
        self.0[3 + BOUNDS + index]
    }

    pub fn add(&mut self, other: &Self) {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a += b;
        }
    }

    /// Fades and takes growth in, to the precision in which it is stored.
    pub fn fade(&mut self, by: f64, grown: &Self) {
        for (a, b) in self.0.iter_mut().zip(grown.0) {
            *a = packed::round(*a * by + b);
        }
    }

    /// Growth since `earlier`; never negative.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut out = *self;
        for (a, b) in out.0.iter_mut().zip(earlier.0) {
            *a = (*a - b).max(0.0);
        }
        out
    }
}

/// Which values of a scrape belong where.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Latency bounds in seconds, rising.
    pub bounds: Vec<f64>,
    /// Names of counters among the user's own series, by index.
    pub metrics: Vec<Option<String>>,
}

/// The counters of a sample, or `None` when it was not scraped.
struct Raw {
    row: Row,
    failed_known: bool,
    timed_known: bool,
    /// Which of the user's own series were told.
    own_known: [bool; METRICS],
}

/// Whether a counter can mean it: above this limit it would no longer count single requests.
pub fn usable(value: f64) -> bool {
    (0.0..=9e15).contains(&value)
}

/// `0.5` and `+Inf` as Prometheus writes them.
pub fn bound(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" | "inf" => Some(f64::INFINITY),
        number => number.parse().ok().filter(|b: &f64| !b.is_nan()),
    }
}

/// The latency bounds to follow of those there are: all, or where they are too many those around the limit and an even
/// choice of the others. Rising, without infinity.
pub fn follow(bounds: impl IntoIterator<Item = f64>, limit: f64) -> Vec<f64> {
    let mut all: Vec<f64> = bounds.into_iter().filter(|b| b.is_finite() && *b > 0.0).collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    if all.len() <= BOUNDS {
        return all;
    }
    let above = all.iter().position(|b| *b >= limit * (1.0 - 1e-9)).unwrap_or(all.len() - 1);
    let mut chosen: Vec<usize> = (0..BOUNDS - 1).map(|i| i * (all.len() - 1) / (BOUNDS - 2)).collect();
    chosen.push(above);
    chosen.sort_unstable();
    chosen.dedup();
    chosen.into_iter().filter_map(|i| all.get(i).copied()).collect()
}

impl Layout {
    fn read(&self, pod: &PodSample) -> Option<Raw> {
        let total = pod.total.filter(|v| usable(*v))?;
        let mut row = Row::default();
        row.0[0] = total;
        row.0[1] = pod.bad.filter(|v| usable(*v)).unwrap_or(0.0).min(total);
        let timed_known = self.latency(&pod.le, &mut row);
        let mut own_known = [false; METRICS];
        for (index, (name, known)) in self.metrics.iter().zip(&mut own_known).enumerate() {
            let value = name.as_ref().and_then(|name| pod.metrics.get(name)).copied().filter(|v| usable(*v));
            *known = value.is_some();
            row.0[3 + BOUNDS + index] = value.unwrap_or(0.0);
        }
        Some(Raw { row, failed_known: pod.bad.is_some(), timed_known, own_known })
    }

    /// Where a pod's histogram lacks a bound its next higher one is taken: fewer requests count as slow.
    fn latency(&self, le: &BTreeMap<String, f64>, row: &mut Row) -> bool {
        let mut buckets: Vec<(f64, f64)> =
            le.iter().filter_map(|(b, v)| Some((bound(b)?, *v))).filter(|(_, v)| usable(*v)).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let Some(all) = buckets.last().filter(|(b, _)| b.is_infinite()).map(|(_, v)| *v) else { return false };
        row.0[2] = all;
        for (index, wanted) in self.bounds.iter().enumerate().take(BOUNDS) {
            let within = buckets.iter().find(|(b, _)| *b >= *wanted * (1.0 - 1e-9)).map_or(all, |(_, v)| *v);
            row.0[3 + index] = (all - within).max(0.0);
        }
        true
    }
}

/// What is known of a pod's requests in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Whole,
    /// Its next scrape will tell.
    NotYet,
    /// Its counters of the beginning are lost.
    Not,
}

/// A pod's counters over time.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Growth since the pod was first seen, by scrape time.
    points: VecDeque<(f64, Row)>,
    raw: Option<(Row, u32)>,
    /// The first point is the start of the process and not a scrape.
    origin: bool,
}

impl Curve {
    /// `born`: when its process started, if that was under our eyes; then it counts from 0.
    pub fn new(born: Option<f64>) -> Self {
        Self { points: born.map(|at| (at, Row::default())).into_iter().collect(), raw: None, origin: born.is_some() }
    }

    /// The pod serves nothing yet: it still stands at 0.
    pub fn idle_until(&mut self, now: f64) {
        if self.raw.is_none()
            && let Some(first) = self.points.front_mut()
        {
            first.0 = first.0.max(now);
        }
    }

    /// Takes a scrape in. Returns the time since the last one if it is new.
    pub fn scrape(&mut self, layout: &Layout, pod: &PodSample, now: f64) -> Option<f64> {
        let at = pod.scraped.unwrap_or(now).min(now);
        if !at.is_finite() || self.points.back().is_some_and(|(last, _)| at <= *last) {
            return None;
        }
        let raw = layout.read(pod)?;
        let gap = self.last_scrape().map(|last| at - last);
        let grown = match &self.raw {
            // The first scrape of a pod that is older than the release tells nothing but where it stands.
            None if !self.origin => Row::default(),
            None => raw.row,
            Some((last, restarts)) => grown(last, &raw, pod.restarts > *restarts),
        };
        let mut sum = self.points.back().map_or_else(Row::default, |(_, row)| *row);
        sum.add(&grown);
        self.points.push_back((at, sum));
        if self.points.len() > KEPT {
            self.points.pop_front();
        }
        let mut kept = raw.row;
        if let Some((last, restarts)) = &self.raw
            && pod.restarts <= *restarts
            && kept.requests() >= last.requests()
        {
            if !raw.failed_known {
                kept.0[1] = last.failed();
            }
            if !raw.timed_known {
                kept.0[2..3 + BOUNDS].copy_from_slice(&last.0[2..3 + BOUNDS]);
            }
            for index in (0..METRICS).filter(|index| !raw.own_known[*index]) {
                kept.0[3 + BOUNDS + index] = last.0[3 + BOUNDS + index];
            }
        }
        self.raw = Some((kept, pod.restarts));
        Some(gap.unwrap_or(0.0))
    }

    /// When it was last scraped.
    pub fn last_scrape(&self) -> Option<f64> {
        self.raw.as_ref()?;
        self.points.back().map(|(at, _)| *at)
    }

    /// Up to when its counters are known.
    pub fn last(&self) -> Option<f64> {
        self.points.back().map(|(at, _)| *at)
    }

    /// Forgets everything before its last scrape: what happened in a gap that others have passed is not known.
    pub fn start_over(&mut self) {
        while self.points.len() > 1 {
            self.points.pop_front();
        }
    }

    /// Forgets what lies before `time`, but for the point needed to interpolate.
    pub fn forget(&mut self, time: f64) {
        while self.points.len() > 2 && self.points.get(1).is_some_and(|(at, _)| *at <= time) {
            self.points.pop_front();
        }
    }

    /// What it had done at a moment, on the straight line between two scrapes.
    pub fn at(&self, moment: f64) -> Row {
        let after = self.points.partition_point(|(at, _)| *at <= moment);
        match (after.checked_sub(1).and_then(|i| self.points.get(i)), self.points.get(after)) {
            (None, None) => Row::default(),
            (None, Some((_, row))) | (Some((_, row)), None) => *row,
            (Some((t0, from)), Some((t1, to))) => {
                let share = ((moment - t0) / (t1 - t0)).clamp(0.0, 1.0);
                let mut out = *from;
                for (a, b) in out.0.iter_mut().zip(to.0) {
                    *a += share * (b - *a);
                }
                out
            }
        }
    }

    /// The last scrape by a moment, and what it had surely done by then.
    pub fn surely(&self, moment: f64) -> (f64, Row) {
        let index = self.points.partition_point(|(at, _)| *at <= moment).saturating_sub(1);
        self.points.get(index).copied().unwrap_or((moment, Row::default()))
    }

    /// What it may have done by a moment.
    pub fn possibly(&self, moment: f64) -> Row {
        let index = self.points.partition_point(|(at, _)| *at < moment);
        self.points.get(index).map_or_else(|| self.at(moment), |(_, row)| *row)
    }

    pub fn between(&self, from: f64, to: f64) -> Row {
        self.at(to).since(&self.at(from))
    }

    /// It was seen before and after.
    pub fn covers(&self, from: f64, to: f64) -> bool {
        self.points.front().is_some_and(|(at, _)| *at <= from) && self.points.back().is_some_and(|(at, _)| *at >= to)
    }

    /// Whether everything it did between two moments is known.
    pub fn known(&self, from: f64, to: f64) -> Known {
        let (Some((first, start)), Some((last, _))) = (self.points.front(), self.points.back()) else {
            return Known::NotYet;
        };
        if *first > from && (start.requests() > 0.0 || !self.origin) {
            Known::Not
        } else if *last < to {
            Known::NotYet
        } else {
            Known::Whole
        }
    }

    /// The least and the most requests it can have served between two moments.
    pub fn requests_between(&self, from: f64, to: f64) -> (f64, f64) {
        let value = |index: usize| self.points.get(index).map(|(_, row)| row.requests());
        let first = value(0).unwrap_or(0.0);
        let last = self.points.back().map_or(0.0, |(_, row)| row.requests());
        let (a0, a1) =
            (self.points.partition_point(|(at, _)| *at <= from), self.points.partition_point(|(at, _)| *at < from));
        let (b0, b1) =
            (self.points.partition_point(|(at, _)| *at <= to), self.points.partition_point(|(at, _)| *at < to));
        let before = |n: usize| n.checked_sub(1).and_then(value).unwrap_or(first);
        let after = |n: usize| value(n).unwrap_or(last);
        ((before(b0) - after(a1)).max(0.0), (after(b1) - before(a0)).max(0.0))
    }
}

/// The growth from one scrape to the next. A smaller value, or a restart with one, means that the process began anew: all
/// its counters stood at 0.
fn grown(last: &Row, next: &Raw, restarted: bool) -> Row {
    let mut out = Row::default();
    let anew = next.row.requests() < last.requests() || restarted && (1..WIDTH).any(|i| next.row.0[i] < last.0[i]);
    for (index, growth) in out.0.iter_mut().enumerate() {
        let (old, new) = (last.0[index], next.row.0[index]);
        // A series that is missing for once has not begun anew.
        let missing = index == 1 && !next.failed_known || (2..3 + BOUNDS).contains(&index) && !next.timed_known;
        *growth = if anew || new < old && !missing { new } else { (new - old).max(0.0) };
    }
    out
}
