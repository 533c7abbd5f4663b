//! What is known for one Release: its pods' counters, and what stands in the way of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Interest,
    record::Record,
    ring::{Ring, aligned},
    ups::Ups,
};
use crate::{
    api::units::{At, Span},
    decide::verdict::evidence::follow,
    observe::{
        prometheus::{
            own::Own,
            presets::Family,
            reading::{PodReading, Reading, bound, misfit},
        },
        seen::{Feed, Point, Probe, Samples, Scrape, Scrapes},
    },
};

/// The most pods that are remembered, living and dead. A release that kills more tells no more by the rest.
const MOST_PODS: usize = 500;

/// Between the provider's clock and ours, before samples cannot be matched to steps any more.
const MOST_SKEW: Duration = Duration::from_secs(30);

/// One Release's evidence.
#[derive(Debug)]
pub struct Entry {
    pub interest: Interest,
    pub family: Result<Family, String>,
    pub own: Result<Own, String>,
    pods: BTreeMap<String, Pod>,
    interval: Duration,
    /// The latest answer: the provider's time and when it came.
    answered: Option<(At, Instant)>,
    /// Why the latest attempt brought nothing.
    trouble: Option<String>,
    /// Why the user's own series brought nothing, while the requests are told.
    pub own_trouble: Option<String>,
    /// Its query alone was refused: it is asked alone until that ends.
    pub apart: bool,
    pub refilled: bool,
    /// The bounds of latency that are recorded, in units of `le`, rising.
    followed: Vec<f64>,
}

#[derive(Debug, Default)]
struct Pod {
    ring: Ring,
    record: Record,
    /// The bounds of its histogram, as text; empty: not known.
    bounds: BTreeSet<String>,
    /// The bound its slow requests were counted with.
    le: Option<String>,
    ups: Option<Ups>,
}

impl Entry {
    pub fn new(interest: Interest) -> Self {
        let (family, own) = (Family::of(&interest.source), Own::of(&interest.metrics));
        let pods = interest.pods.iter().map(|pod| (pod.clone(), Pod::default())).collect();
        Self {
            interest,
            family,
            own,
            own_trouble: None,
            pods,
            interval: Duration::ZERO,
            answered: None,
            trouble: None,
            apart: false,
            refilled: false,
            followed: Vec::new(),
        }
    }

    /// Takes the interest's new wording. What was read by other queries or bounds is forgotten.
    pub fn update(&mut self, interest: Interest) -> bool {
        let same = self.interest.provider == interest.provider
            && self.interest.source == interest.source
            && self.interest.metrics == interest.metrics
            && self.interest.latency == interest.latency;
        if !same {
            *self = Self::new(interest);
            return true;
        }
        for pod in &interest.pods {
            self.pods.entry(pod.clone()).or_default();
        }
        while self.pods.len() > MOST_PODS {
            let oldest = self.pods.iter().filter(|(name, _)| !interest.pods.contains(name));
            let Some(name) = oldest.min_by_key(|(_, pod)| pod.ring.newest()).map(|(name, _)| name.clone()) else {
                break;
            };
            self.pods.remove(&name);
        }
        self.interest = interest;
        for pod in self.pods.values_mut() {
            pod.record.forget(self.interest.since);
        }
        false
    }

    pub fn pods(&self) -> impl Iterator<Item = &str> {
        self.pods.keys().map(String::as_str)
    }

    /// Pods whose histogram has not been seen yet.
    pub fn without_bounds(&self) -> impl Iterator<Item = &str> {
        self.pods.iter().filter(|(_, pod)| pod.bounds.is_empty()).map(|(name, _)| name.as_str())
    }

    pub fn learn_bounds(&mut self, reading: &Reading) {
        for (name, pod) in &mut self.pods {
            if let Some(found) = reading.get(&(self.interest.key.0.clone(), name.clone())) {
                pod.bounds.extend(found.le.keys().cloned());
            }
        }
        self.choose_bounds();
    }

    /// What is recorded by other bounds cannot be compared with it.
    fn choose_bounds(&mut self) {
        let known = self.pods.values().flat_map(|pod| &pod.bounds).filter_map(|text| text.parse().ok());
        let followed = follow(known, self.limit());
        if followed != self.followed {
            self.followed = followed;
            for pod in self.pods.values_mut() {
                pod.record = Record::default();
            }
        }
    }

    /// The limit of latency in units of `le`.
    fn limit(&self) -> f64 {
        self.interest.latency.as_secs_f64() * self.family.as_ref().map_or(1.0, Family::per_second)
    }

    /// The bound that slow requests are counted above, in units of `le`: one that every pod can reach.
    fn slow_above(&self) -> Option<f64> {
        let limit = self.limit();
        let bounds = self.pods.values().filter_map(|pod| bound(pod.bounds.iter().map(String::as_str), limit));
        bounds.map(|(value, _)| value).max_by(f64::total_cmp)
    }

    /// The values of `le` that are needed.
    pub fn wanted_bounds(&self) -> BTreeSet<String> {
        let above = self.slow_above();
        let slow = |pod: &Pod| Some(bound(pod.bounds.iter().map(String::as_str), above?)?.1.to_owned());
        let followed = |text: &&String| text.parse().is_ok_and(|b: f64| self.followed.contains(&b));
        let recorded = self.pods.values().flat_map(|pod| &pod.bounds).filter(followed).cloned();
        self.pods.values().filter_map(slow).chain(recorded).collect()
    }

    /// Takes an answer. Returns whether it brought news. `evaluated` is the provider's time, `now` ours.
    pub fn take(&mut self, reading: &Reading, evaluated: At, interval: Duration, now: (At, Instant)) -> bool {
        self.interval = interval;
        let skew = evaluated.since(now.0).max(now.0.since(evaluated));
        if skew > MOST_SKEW {
            let word = if evaluated > now.0 { "ahead of" } else { "behind" };
            return self.fail(format!("the metric provider's clock is {} {word} the operator's", Span(skew)));
        }
        self.count_scrapes(reading);
        let points = match self.points(reading) {
            Ok(points) => points,
            Err(why) => return self.fail(why),
        };
        self.answered = Some((evaluated, now.1));
        let mut news = self.trouble.take().is_some();
        let keep = self.interest.keep;
        for (name, point, le) in points {
            let Some(pod) = self.pods.get_mut(&name) else { continue };
            if pod.le.is_some() && pod.le != le {
                pod.ring.clear(); // counted above another bound: not to be compared
            }
            pod.le = le;
            news |= pod.ring.push(point, keep);
        }
        for (name, scrape) in self.scraped(reading) {
            if let Some(pod) = self.pods.get_mut(&name) {
                pod.record.push(scrape);
            }
        }
        news
    }

    /// What an answer tells of each pod.
    fn scraped(&self, reading: &Reading) -> Vec<(String, Arc<Scrape>)> {
        let mine = |pod: &String| reading.get(&(self.interest.key.0.clone(), pod.clone()));
        let told = self.pods.keys().any(|pod| mine(pod).is_some_and(|found| found.requests.is_some()));
        let of = |pod: &String| Some((pod.clone(), Arc::new(mine(pod)?.scrape(told, &self.followed)?)));
        self.pods.keys().filter_map(of).collect()
    }

    /// Failed and slow requests of all pods between their last two scrapes.
    pub fn newly_bad(&self) -> f64 {
        let grown = |pod: &Pod| match pod.ring.points() {
            [.., before, last] => (last.errors - before.errors).max(0.0) + (last.slow - before.slow).max(0.0),
            _ => 0.0,
        };
        self.pods.values().map(grown).filter(|bad| bad.is_finite()).sum()
    }

    /// Takes what was counted before this process was there. `history` is in the order of time.
    pub fn refill(&mut self, history: &BTreeMap<At, Reading>) {
        let mut earlier: BTreeMap<String, Vec<Point>> = BTreeMap::new();
        let mut records: BTreeMap<String, Vec<Arc<Scrape>>> = BTreeMap::new();
        for reading in history.values() {
            for (name, point, le) in self.points(reading).unwrap_or_default() {
                earlier.entry(name.clone()).or_default().push(point);
                if let Some(pod) = self.pods.get_mut(&name) {
                    pod.le = le;
                }
            }
        }
        for (name, scrape) in history.values().flat_map(|reading| self.scraped(reading)) {
            records.entry(name).or_default().push(scrape);
        }
        for (name, scrapes) in records {
            if let Some(pod) = self.pods.get_mut(&name) {
                pod.record.refill(scrapes);
            }
        }
        for (name, points) in earlier {
            if let Some(pod) = self.pods.get_mut(&name) {
                pod.ring.refill(points, self.interest.keep);
            }
        }
        self.refilled = true;
    }

    /// Remembers why an attempt brought nothing. Returns whether that is news.
    pub fn fail(&mut self, why: String) -> bool {
        let news = self.trouble.as_ref() != Some(&why);
        self.trouble = Some(why);
        news
    }

    fn count_scrapes(&mut self, reading: &Reading) {
        for (name, pod) in &mut self.pods {
            let Some(found) = reading.get(&(self.interest.key.0.clone(), name.clone())) else { continue };
            let (Some(up), Some(at)) = (found.up, found.up_at) else { continue };
            pod.ups.get_or_insert_with(|| Ups::before(at, self.interval)).take(up, at);
        }
    }

    /// The points of one answer with the bound each was counted with.
    fn points(&mut self, reading: &Reading) -> Result<Vec<(String, Point, Option<String>)>, String> {
        let namespace = self.interest.key.0.clone();
        let mine = |pod: &str| reading.get(&(namespace.clone(), pod.to_owned()));
        let custom = matches!(self.family, Ok(Family::Custom(_)));
        if let Some(fault) = self.pods.keys().find_map(|pod| mine(pod)?.fault.clone()) {
            return Err(fault.to_string());
        }
        let found: Vec<&PodReading> = self.pods.keys().filter_map(|pod| mine(pod)).collect();
        if let Some(why) = self.family.as_ref().ok().and_then(|family| misfit(family, mine(""), &found)) {
            return Err(why);
        }
        let told = found.iter().any(|pod| pod.requests.is_some());
        if custom {
            for (name, pod) in &mut self.pods {
                let found = reading.get(&(namespace.clone(), name.clone()));
                pod.bounds.extend(found.iter().flat_map(|f| f.le.keys().cloned()));
            }
            self.choose_bounds();
        }
        let above = self.slow_above();
        let mut points = Vec::new();
        for (name, pod) in &self.pods {
            let Some(found) = reading.get(&(namespace.clone(), name.clone())) else { continue };
            let le = above.and_then(|above| bound(pod.bounds.iter().map(String::as_str), above));
            let le = le.map(|(_, text)| text.to_owned());
            points.extend(point(found, told, le.as_deref()).map(|point| (name.clone(), point, le)));
        }
        Ok(points)
    }

    /// What the verdict is given.
    pub fn feed(&self, now: Instant) -> Feed {
        let Some(provider) = &self.interest.provider else { return Feed::Unset };
        let no_data = |why: String| Feed::NoData { why };
        if let Err(why) = &self.family {
            return no_data(why.clone());
        }
        let Some((evaluated, came)) = self.answered else {
            let unasked = || format!("the metric provider {provider} has not been asked yet");
            return no_data(self.trouble.clone().unwrap_or_else(unasked));
        };
        let Some(newest) = self.pods.values().filter_map(|pod| pod.ring.newest()).max() else {
            return no_data(self.trouble.clone().unwrap_or_else(|| self.nothing_found()));
        };
        let age = evaluated.since(newest) + now.saturating_duration_since(came);
        if age > self.interval * 3 + Duration::from_secs(1) {
            let (age, interval) = (Span(age), Span(self.interval));
            let stale = || format!("the newest sample is {age} old; pods should be scraped every {interval}");
            return no_data(self.trouble.clone().unwrap_or_else(stale));
        }
        let scale = self.family.as_ref().map_or(1.0, Family::per_second);
        Feed::Data(Samples {
            pods: aligned(self.pods.iter().map(|(name, pod)| (name, &pod.ring)), self.interval),
            scrape_interval: self.interval,
            slow_bound: self.slow_above().map(|above| above / scale),
            scrapes: Scrapes {
                bounds: self.recorded_bounds(scale),
                pods: self.pods.iter().map(|(name, pod)| (name.clone(), pod.record.scrapes().to_vec())).collect(),
                own_trouble: self.own.as_ref().err().or(self.own_trouble.as_ref()).cloned(),
            },
        })
    }

    /// In seconds, as text.
    fn recorded_bounds(&self, scale: f64) -> Vec<String> {
        let finite = self.followed.iter().map(|bound| (bound / scale).to_string());
        if self.followed.is_empty() { Vec::new() } else { finite.chain(["+Inf".to_owned()]).collect() }
    }

    fn nothing_found(&self) -> String {
        let requests = self.family.as_ref().map_or("", Family::requests);
        let scraped = self.pods.values().filter(|pod| pod.ups.is_some()).count();
        let all = self.pods.len();
        format!("{requests} has no series for any of the {all} pods; {scraped} of them are scraped")
    }

    /// Failed scrapes in a row, by pod.
    pub fn scrapes(&self) -> Vec<Probe> {
        self.pods.iter().filter_map(|(name, pod)| Some(pod.ups.as_ref()?.probe(name))).collect()
    }
}

/// One pod's point. `told`: some pod of the Release has the counter, so that a scraped pod without it has served none.
fn point(found: &PodReading, told: bool, le: Option<&str>) -> Option<Point> {
    let Some(requests) = found.requests else {
        let scraped = told && found.up == Some(true);
        let at = found.up_at.filter(|_| scraped)?;
        return Some(Point { at, requests: 0.0, errors: 0.0, timed: 0.0, slow: 0.0 });
    };
    let errors = if found.coded { found.server_errors } else { found.errors.unwrap_or(0.0) };
    let count = |le: &str| found.le.get(le).copied();
    let timed = le.and_then(|le| Some((count("+Inf")?, count(le)?)));
    let (timed, fast) = timed.unwrap_or((0.0, 0.0));
    Some(Point { at: found.at?, requests, errors, timed, slow: (timed - fast).max(0.0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::checks::Source;

    #[test]
    fn new_failures_are_those_between_the_last_two_scrapes() {
        let pods = ["stable", "candidate", "new"].map(str::to_owned).to_vec();
        let mut entry = Entry::new(Interest {
            key: ("shop".into(), "checkout".into()),
            provider: Some("prometheus".into()),
            source: Source::default(),
            metrics: Vec::new(),
            latency: Duration::from_secs(2),
            pods,
            keep: Duration::from_mins(1),
            since: None,
        });
        let mut scrape = |pod: &str, second: f64, errors: f64, slow: f64| {
            let at = At::from_epoch(1_767_225_600.0 + second).unwrap();
            let point = Point { at, requests: 100.0 * second, errors, timed: 0.0, slow };
            entry.pods.get_mut(pod).unwrap().ring.push(point, Duration::from_mins(1));
        };
        scrape("stable", 1.0, 5.0, 0.0);
        scrape("stable", 2.0, 5.0, 0.0);
        scrape("candidate", 1.0, 0.0, 1.0);
        scrape("candidate", 2.0, 40.0, 1.0);
        scrape("candidate", 3.0, 43.0, 2.0);
        scrape("new", 3.0, 7.0, f64::NAN);
        assert!((entry.newly_bad() - 4.0).abs() < 1e-9, "{}", entry.newly_bad());
    }
}
