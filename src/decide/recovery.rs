//! Proof that the old version serves: that counters stand still, and that the stable side is inside its limits.

use std::time::Duration;

use crate::{
    api::{checks::Checks, units::At},
    observe::seen::{Feed, Pod, PodSamples, PodTrouble, Point, Samples, Seen, Side},
};

/// Whether the stable version has been seen to be well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    Proven,
    /// It is measured and not well.
    Ill {
        why: String,
    },
    /// It cannot be measured.
    Unknown {
        why: String,
    },
}

/// After this long any number of requests is enough to say that they are answered well.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks at the stable side since the traffic came back.
pub fn verify(checks: &Checks, wanted: u32, seen: &Seen, since: At) -> Recovery {
    let ready = seen.ready(Side::Stable);
    if wanted == 0 {
        return Recovery::Unknown { why: "it is scaled to 0".into() };
    }
    if ready < wanted {
        return Recovery::Ill { why: format!("{ready} of {wanted} pods are ready") };
    }
    let samples = match &seen.metrics {
        Feed::Unset => return Recovery::Unknown { why: "no metric provider is named".into() },
        Feed::NoData { why } => return Recovery::Unknown { why: why.clone() },
        Feed::Data(samples) => samples,
    };
    let mut sum = Grown::default();
    for pod in samples.pods.iter().filter(|p| side(seen, &p.pod) == Some(Side::Stable)) {
        sum.add(&grown(pod, since));
    }
    let enough =
        sum.requests >= f64::from(checks.min_requests) || sum.requests > 0.0 && seen.now.since(since) >= PATIENCE;
    if !enough {
        return Recovery::Unknown { why: format!("{:.0} requests were answered since", sum.requests) };
    }
    let errors = sum.errors / sum.requests;
    if errors > checks.error_rate.max.ratio() {
        return Recovery::Ill { why: format!("its error rate is {:.2} % > {}", errors * 100.0, checks.error_rate.max) };
    }
    let tail = f64::from(100 - checks.latency.percentile) / 100.0;
    if sum.timed > 0.0 && samples.slow_bound.is_some() && sum.slow / sum.timed > tail {
        return Recovery::Ill { why: format!("its P{} is above {}", checks.latency.percentile, checks.latency.max) };
    }
    Recovery::Proven
}

/// The candidate's counters stand still: in the last two scrapes, which both lie after `confirmed`, of each of its pods.
/// Gives the moment since when that was known: the second scrape without a new request.
pub fn still(samples: &Samples, seen: &Seen, confirmed: At) -> Option<At> {
    let mut pods = samples.pods.iter().filter(|p| side(seen, &p.pod) == Some(Side::Candidate)).peekable();
    pods.peek()?;
    let running = pods.filter(|p| seen.pods.iter().any(|q| q.name == p.pod && !q.terminating));
    let known = running.map(|pod| {
        let after: Vec<&Point> = pod.points.iter().filter(|p| p.at > confirmed).collect();
        let quiet = after.windows(2).rev().take_while(|pair| pair[1].requests <= pair[0].requests);
        quiet.last().map(|pair| pair[1].at)
    });
    known.collect::<Option<Vec<At>>>().map(|at| at.into_iter().max().unwrap_or(confirmed))
}

/// Requests per second and pod that are no probes: kubelet and ours ask less often.
const PROBES: f64 = 2.0;

/// Weight 0 is confirmed, and the candidate's pods answer on as if nothing had happened: more than probes can be, and at
/// least half of what they did before it was `written`, where that is still known. Gives requests per second and pod
/// between the last two scrapes since `settled`; `None` when they are fewer, or not known of every pod.
pub fn unabated(samples: &Samples, seen: &Seen, written: At, settled: At) -> Option<f64> {
    let running = |name: &str| seen.pods.iter().any(|p| p.name == name && p.side == Side::Candidate && !p.terminating);
    let (mut pods, mut before, mut after) = (0.0, 0.0, 0.0);
    for pod in samples.pods.iter().filter(|p| running(&p.pod)) {
        let then = &pod.points[..pod.points.partition_point(|p| p.at <= written)];
        let since = &pod.points[pod.points.partition_point(|p| p.at <= settled)..];
        pods += 1.0;
        before += rate(&then[then.len().saturating_sub(10)..]).unwrap_or_default();
        after += rate(&since[since.len().saturating_sub(2)..])?;
    }
    (pods > 0.0 && after > PROBES * pods && after * 2.0 >= before).then(|| after / pods)
}

/// Requests per second between the first of these scrapes and the last.
fn rate(points: &[Point]) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    let seconds = last.at.since(first.at).as_secs_f64();
    (seconds > 0.0).then(|| (last.requests - first.requests).max(0.0) / seconds)
}

/// Requests that the candidate's pods have answered with an error since they started.
pub fn failed_in(samples: &Samples, seen: &Seen) -> u64 {
    let failed: f64 = samples
        .pods
        .iter()
        .filter(|p| side(seen, &p.pod) == Some(Side::Candidate))
        .map(|p| grown(p, At::from_epoch(0.0).unwrap_or(seen.now)).errors)
        .sum();
    whole(failed)
}

/// Every ready pod of the candidate has been scraped at least once.
pub fn scraped(seen: &Seen, samples: &Samples) -> bool {
    seen.pods
        .iter()
        .filter(|p| p.side == Side::Candidate && p.ready && !p.terminating)
        .all(|p| samples.pods.iter().any(|s| s.pod == p.name && !s.points.is_empty()))
}

/// Which side a pod of the samples is on: as the pods say, or by its name once it is gone.
fn side(seen: &Seen, pod: &str) -> Option<Side> {
    let known = seen.pods.iter().find(|p| p.name == pod).map(|p| p.side);
    known.or_else(|| {
        let set = seen.candidate.as_ref()?;
        pod.strip_prefix(set.name.as_str()).filter(|rest| rest.starts_with('-')).map(|_| Side::Candidate)
    })
}

/// What counters have grown by.
#[derive(Default)]
struct Grown {
    requests: f64,
    errors: f64,
    timed: f64,
    slow: f64,
}

impl Grown {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.timed += other.timed;
        self.slow += other.slow;
    }
}

/// The growth of one pod's counters after a moment. A counter that fell was reset and counts from zero.
fn grown(pod: &PodSamples, since: At) -> Grown {
    let mut sum = Grown::default();
    let zero = Point { at: since, requests: 0.0, errors: 0.0, timed: 0.0, slow: 0.0 };
    let before = pod.points.iter().rev().find(|p| p.at <= since).copied();
    let mut last = before.unwrap_or_else(|| {
        // Nothing before: a pod that is new since then counts from zero; else from its first point.
        pod.points.first().copied().filter(|_| since.epoch() > 0.0).unwrap_or(zero)
    });
    for point in pod.points.iter().filter(|p| p.at > since) {
        let step = |now: f64, then: f64| if now >= then { now - then } else { now };
        sum.requests += step(point.requests, last.requests);
        sum.errors += step(point.errors, last.errors);
        sum.timed += step(point.timed, last.timed);
        sum.slow += step(point.slow, last.slow);
        last = *point;
    }
    sum
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be finite and not negative")]
fn whole(n: f64) -> u64 {
    if n.is_finite() && n > 0.0 { n.round() as u64 } else { 0 }
}

/// Trouble that is the version's own: it does not start or does not stay up.
pub const fn own_fault(trouble: &PodTrouble) -> bool {
    match trouble {
        PodTrouble::Crash(_) | PodTrouble::Image(_) | PodTrouble::Config(_) => true,
        PodTrouble::Unschedulable(_) | PodTrouble::Evicted(_) => false,
    }
}

/// One pod's trouble as a sentence.
pub fn in_words(pod: &Pod) -> String {
    match &pod.trouble {
        Some(PodTrouble::Crash(why)) => format!("pod {} crashes: {why}", pod.name),
        Some(PodTrouble::Image(why)) => format!("pod {} has no image: {why}", pod.name),
        Some(PodTrouble::Config(why)) => format!("pod {} is configured wrongly: {why}", pod.name),
        Some(PodTrouble::Unschedulable(why)) => format!("pod {} finds no node: {why}", pod.name),
        Some(PodTrouble::Evicted(why)) => format!("pod {} was evicted: {why}", pod.name),
        None => format!("pod {} is well", pod.name),
    }
}
