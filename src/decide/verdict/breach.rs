//! A share of the requests above its limit, without a break, for as long as the limit says.
//!
//! Error rate and latency are the same question: which share failed, which share was slower than the bound. The answer
//! is followed scrape by scrape, so that the same samples give the same answer however often, and how late, it is asked.

use std::time::Duration;

use crate::{api::units::At, observe::seen::Side};

use super::counters::{Table, Tally};

/// Fewer bad requests than this prove nothing, whatever share they are.
const MIN_BAD: f64 = 3.0;
/// So many bad ones convict also where the requests are too few for `minRequests`.
const ENOUGH_BAD: f64 = 5.0;

/// One limit.
pub(super) struct Limit {
    /// The share that is still allowed, between 0 and 1.
    pub max: f64,
    /// How long it must be exceeded.
    pub hold: Duration,
    /// All and bad ones of a tally.
    pub part: fn(&Tally) -> (f64, f64),
    pub min_requests: u32,
    /// Neither the stable version nor a single pod excuses the candidate.
    pub strict: bool,
}

/// Bad ones of all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Share {
    pub all: f64,
    pub bad: f64,
}

impl Share {
    /// `None` without requests: no share is neither a good nor a bad one.
    pub fn ratio(self) -> Option<f64> {
        (self.all > 1e-6).then(|| (self.bad / self.all).clamp(0.0, 1.0))
    }

    /// It had enough requests to show that it is inside the limit: one bad one at least would be expected at the limit.
    fn keeps(self, max: f64) -> bool {
        self.all * max >= 1.0 && !self.above(max)
    }

    fn above(self, max: f64) -> bool {
        self.ratio().is_some_and(|r| r > max)
    }
}

/// Both sides over the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Both {
    pub candidate: Share,
    pub stable: Share,
}

/// Where the candidate stands with a limit.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Breach {
    /// No requests in the window.
    Unknown,
    /// The same, and it was above the limit in the last ones there were.
    Stopped,
    Inside(Both),
    /// Above it, but not for long or not often enough.
    Over(Both),
    /// The stable version is above it too.
    Shared(Both),
    /// Above it because of one pod; the share is that pod's.
    Outlier {
        pod: String,
        share: Share,
        rest: Share,
    },
    Convicted(Both),
}

/// The time one evaluation looks back: at least two scrapes, at most a minute.
fn window(limit: &Limit, interval: Duration) -> Duration {
    (interval * 2).max((limit.hold / 2).min(Duration::from_mins(1)))
}

/// Follows a limit from `judged` (the last moment judged before) to the watermark. Returns since when it has been
/// exceeded without a break, and where it stands.
pub(super) fn follow(table: &Table, limit: &Limit, since: Option<At>, judged: Option<At>) -> (Option<At>, Breach) {
    let window = window(limit, table.interval);
    let both = |from: At, to: At| {
        let share = |side| {
            let (all, bad) = (limit.part)(&table.side(side, from, to));
            Share { all, bad }
        };
        Both { candidate: share(Side::Candidate), stable: share(Side::Stable) }
    };

    let (mut since, mut last) = (since, judged);
    for moment in table.moments(judged) {
        if last.is_some_and(|last| moment.since(last) > table.interval * 5) {
            since = None; // what happened in the gap is not known
        }
        last = Some(moment);
        let seen = both(moment.minus(window), moment);
        match seen.candidate.ratio() {
            None => {}
            Some(ratio) if ratio > limit.max && !excused(limit, &seen) => since = since.or(Some(moment)),
            Some(_) => since = None,
        }
        // What came after does not take a conviction back: who looks late finds what he would have found in time.
        let stands = standing(table, limit, since, moment, &both);
        if matches!(stands, Breach::Convicted(_)) {
            return (since, stands);
        }
    }
    (since, standing(table, limit, since, table.watermark, &both))
}

/// The stable version suffers in the same way.
fn excused(limit: &Limit, both: &Both) -> bool {
    !limit.strict && both.stable.bad >= MIN_BAD && both.stable.above(limit.max)
}

/// Where it stands at one moment.
fn standing(table: &Table, limit: &Limit, since: Option<At>, to: At, both: &dyn Fn(At, At) -> Both) -> Breach {
    let window = window(limit, table.interval);
    let seen = both(to.minus(window), to);
    match (seen.candidate.ratio(), since) {
        (None, None) => Breach::Unknown,
        (None, Some(_)) => Breach::Stopped,
        (Some(ratio), _) if ratio <= limit.max => Breach::Inside(seen),
        (Some(_), _) if excused(limit, &seen) => Breach::Shared(seen),
        (Some(_), None) => Breach::Over(seen),
        (Some(_), Some(begun)) => {
            let from = begun.min(to.minus(window));
            let whole = Some(both(from, to)).filter(|w| w.candidate.above(limit.max)).unwrap_or(seen);
            let enough = whole.candidate.bad >= MIN_BAD
                && (whole.candidate.all >= f64::from(limit.min_requests) || whole.candidate.bad >= ENOUGH_BAD);
            // The window may still hold a burst that is over by now: the last two scrapes must not contradict it.
            let lately = both(to.minus(table.interval * 2), to).candidate;
            if to.since(begun) < limit.hold || !enough || lately.keeps(limit.max) {
                Breach::Over(whole)
            } else if excused(limit, &whole) {
                Breach::Shared(whole)
            } else {
                outlier(table, limit, from, to).unwrap_or(Breach::Convicted(whole))
            }
        }
    }
}

/// The one pod without which the others keep the limit, where they had enough requests to show that they do.
fn outlier(table: &Table, limit: &Limit, from: At, to: At) -> Option<Breach> {
    if limit.strict {
        return None;
    }
    let pods: Vec<(&str, Share)> = table
        .by_pod(from, to)
        .map(|(pod, tally)| (pod, (limit.part)(&tally)))
        .map(|(pod, (all, bad))| (pod, Share { all, bad }))
        .collect();
    let excess = |share: &Share| share.bad - limit.max * share.all;
    let (worst, share) = pods.iter().max_by(|a, b| excess(&a.1).total_cmp(&excess(&b.1)))?;
    let mut rest = Share::default();
    for (_, other) in pods.iter().filter(|(pod, _)| pod != worst) {
        rest.all += other.all;
        rest.bad += other.bad;
    }
    rest.keeps(limit.max).then(|| Breach::Outlier { pod: (*worst).to_owned(), share: *share, rest })
}
