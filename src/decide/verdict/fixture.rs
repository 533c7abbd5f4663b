//! A small world for tests: pods that serve at a steady rate, scraped at their own moments.

use std::time::Duration;

use crate::{
    api::{checks::Checks, status::Evidence, units::At},
    observe::seen::{Feed, Pod, PodSamples, Point, Probe, Samples, Scrapes, Side, SmokeSeen},
};

use super::{Trial, Verdict, judge};

pub const INTERVAL: u32 = 5;

/// Seconds after the step was settled.
pub fn at(seconds: f64) -> At {
    At::from_epoch(1_767_225_600.0 + seconds).unwrap()
}

/// What one pod does, from `from` to `to` (seconds after the step was settled).
#[derive(Clone)]
pub struct Load {
    pub pod: Pod,
    pub per_second: f64,
    /// The share of failed and slow requests at a moment.
    pub errors: fn(f64) -> f64,
    pub slow: fn(f64) -> f64,
    /// No request reaches it after this.
    pub served_until: f64,
    /// Scrapes stop here.
    pub scraped_until: f64,
    /// The process starts anew here, and counts from 0.
    pub restart: Option<f64>,
    /// What it had counted when the step was settled.
    pub before: f64,
}

pub const fn never(_: f64) -> f64 {
    0.0
}

pub fn load(name: &str, side: Side, per_second: f64, errors: fn(f64) -> f64) -> Load {
    let created = if side == Side::Candidate { -60.0 } else { -86_400.0 };
    Load {
        pod: Pod {
            name: name.into(),
            side,
            ready: true,
            terminating: false,
            created_at: at(created),
            started_at: Some(at(created)),
            ready_changed_at: Some(at(created + 10.0)),
            restarts: 0,
            trouble: None,
        },
        per_second,
        errors,
        slow: never,
        served_until: f64::MAX,
        scraped_until: f64::MAX,
        restart: None,
        before: if side == Side::Candidate { 0.0 } else { 1e6 },
    }
}

impl Load {
    /// Counters at a moment, by summing up second by second.
    fn point(&self, seconds: f64) -> Point {
        let (mut requests, mut errors, mut slow) = (self.before, self.before * 0.003, self.before * 0.001);
        let mut second = 0.0;
        while second < seconds {
            if self.restart.is_some_and(|r| second <= r && r < second + 1.0) {
                (requests, errors, slow) = (0.0, 0.0, 0.0);
            }
            let part = (seconds.min(self.served_until) - second).clamp(0.0, 1.0) * self.per_second;
            requests += part;
            errors += part * (self.errors)(second);
            slow += part * (self.slow)(second);
            second += 1.0;
        }
        let whole = |count: f64| (count + 1e-6).floor();
        let (requests, errors, slow) = (whole(requests), whole(errors), whole(slow));
        Point { at: at(seconds), requests, errors, timed: requests, slow }
    }
}

#[derive(Clone)]
pub struct World {
    pub checks: Checks,
    pub loads: Vec<Load>,
    pub probes: Vec<Probe>,
    pub smoke: Option<SmokeSeen>,
    pub smoke_due: bool,
    pub weight: u32,
    /// Since when the routes stand as they should, at a second.
    pub stands: fn(f64) -> Option<f64>,
    pub traffic: bool,
    pub provider: bool,
}

pub fn world(loads: Vec<Load>) -> World {
    World {
        checks: Checks::default(),
        loads,
        probes: vec![],
        smoke: None,
        smoke_due: false,
        weight: 20,
        stands: |_| Some(-600.0),
        traffic: true,
        provider: true,
    }
}

/// One stable pod at 40 requests per second with 0.4 % errors, and one candidate pod at 10.
pub fn pair(errors: fn(f64) -> f64) -> World {
    world(vec![
        load("shop-5d6f8-aaaaa", Side::Stable, 40.0, |_| 0.004),
        load("shop-r1-bbbbb", Side::Candidate, 10.0, errors),
    ])
}

impl World {
    pub fn feed(&self, now: f64) -> Feed {
        if !self.provider {
            return Feed::Unset;
        }
        let interval = f64::from(INTERVAL);
        let mut pods = Vec::new();
        for (n, load) in (0_u32..).zip(&self.loads) {
            let born = load.pod.created_at.max(at(-30.0)).epoch() - at(0.0).epoch();
            let mut moment = born + 1.3 * f64::from(n % 3) + 1.0;
            let mut points = Vec::new();
            while moment <= now.min(load.scraped_until) {
                points.push(load.point(moment));
                moment += interval;
            }
            pods.push(PodSamples { pod: load.pod.name.clone(), points });
        }
        Feed::Data(Samples {
            pods,
            scrape_interval: Duration::from_secs(INTERVAL.into()),
            slow_bound: Some(2.0),
            scrapes: Scrapes::default(),
        })
    }

    pub fn pods(&self) -> Vec<Pod> {
        self.loads.iter().map(|l| l.pod.clone()).collect()
    }

    /// One look at the world.
    pub fn look(&self, now: f64, evidence: &Evidence) -> (Evidence, Verdict) {
        self.look_at(&self.feed(now), now, evidence)
    }

    pub fn look_at(&self, feed: &Feed, now: f64, evidence: &Evidence) -> (Evidence, Verdict) {
        self.tried(feed, now, |trial| judge(trial, evidence))
    }

    /// What becomes of a trial at a moment.
    pub fn tried<T>(&self, feed: &Feed, now: f64, what: impl FnOnce(&Trial<'_>) -> T) -> T {
        let pods = self.pods();
        let trial = Trial {
            checks: &self.checks,
            now: at(now),
            since: at(0.0),
            pods: &pods,
            feed,
            probes: &self.probes,
            smoke: self.smoke.as_ref(),
            smoke_due: self.smoke_due,
            weight: self.weight,
            traffic: self.traffic,
            arrived: true,
            routed: true,
            stands: (self.stands)(now).map(at),
            horizon: Duration::from_mins(10),
        };
        what(&trial)
    }

    /// Looks every `every` seconds until `end`; returns each verdict with its second.
    pub fn watch(&self, every: f64, end: f64) -> (Evidence, Vec<(f64, Verdict)>) {
        let (mut evidence, mut seen, mut now) = (Evidence::default(), vec![], 0.0);
        while now <= end {
            let (next, verdict) = self.look(now, &evidence);
            evidence = next;
            seen.push((now, verdict));
            now += every;
        }
        (evidence, seen)
    }

    /// When it is first convicted, and in which words.
    pub fn convicted(&self, end: f64) -> Option<(f64, String)> {
        self.watch(5.0, end).1.into_iter().find_map(|(now, verdict)| match verdict {
            Verdict::Bad { message } => Some((now, message)),
            _ => None,
        })
    }

    pub fn last(&self, end: f64) -> Verdict {
        self.watch(5.0, end).1.pop().unwrap().1
    }
}

pub fn probe(pod: &str, failures: u32, successes: u32) -> Probe {
    Probe { pod: pod.into(), failures, successes, last: "GET /healthz: 503".into() }
}
