//! Fixed rules, for comparison, as they are usually written: an alert, a success-rate check and a cumulative check. They
//! see the canary's scrapes as Prometheus would answer: the growth between the samples in the window, none before a
//! series' first sample, and no series of failed (or good) requests before there was one.

use std::collections::{HashMap, VecDeque};

use haldane::decide::verdict::evidence::Provider;

use crate::play::Scrape;

/// Their names, in the order of `Rules::convicted`.
pub const NAMES: [&str; 3] = ["alert", "success", "cumulative"];

/// What they are.
pub const ABOUT: [&str; 3] = [
    "more than 5 % failed in [2m], asked every 15 s, for 1 m",
    "less than 95 % succeeded in [1m], asked every 60 s: the fourth failure, or five answers without data in a row",
    "less than 99 % succeeded in [1m], or no answer, every 60 s: five in all, then at the next",
];

#[derive(Default)]
pub struct Rules {
    series: HashMap<usize, VecDeque<Scrape>>,
    breaching_since: Option<f64>,
    failures: u32,
    errors: u32,
    strikes: u32,
    /// When each would have rolled back.
    pub convicted: [Option<f64>; 3],
}

/// What a query over a window gives.
struct Answer {
    total: f64,
    bad: f64,
    good_series: bool,
}

impl Rules {
    pub fn tick(&mut self, at: f64, scrapes: &[Scrape], provider: Provider) {
        for scrape in scrapes {
            let kept = self.series.entry(scrape.pod).or_default();
            kept.push_back(*scrape);
            while kept.front().is_some_and(|old| old.at < scrape.at - 300.0) {
                kept.pop_front();
            }
        }
        let due = |every: f64| at > 0.0 && at % every == 0.0;
        let up = provider == Provider::Ok;
        if due(15.0) {
            self.alert(at, up);
        }
        if due(60.0) {
            let answer = if up { self.answer(at, 60.0) } else { None };
            self.success(at, answer.as_ref());
            self.cumulative(at, answer.as_ref());
        }
    }

    fn alert(&mut self, at: f64, up: bool) {
        let answer = if up { self.answer(at, 120.0) } else { None };
        if answer.is_some_and(|a| a.total > 0.0 && a.bad / a.total > 0.05) {
            let since = *self.breaching_since.get_or_insert(at);
            if at - since >= 60.0 {
                self.convicted[0].get_or_insert(at);
            }
        } else {
            self.breaching_since = None;
        }
    }

    /// Without a good request there is no series to divide, and the answer is empty: an error, not a failure.
    fn success(&mut self, at: f64, answer: Option<&Answer>) {
        match answer {
            Some(a) if a.good_series => {
                self.errors = 0;
                self.failures += u32::from(a.total.max(a.bad) <= 0.0 || 1.0 - a.bad / a.total < 0.95);
            }
            _ => self.errors += 1,
        }
        if self.failures > 3 || self.errors > 4 {
            self.convicted[1].get_or_insert(at);
        }
    }

    fn cumulative(&mut self, at: f64, answer: Option<&Answer>) {
        if self.strikes >= 5 {
            self.convicted[2].get_or_insert(at);
        }
        let fine = answer.is_some_and(|a| a.good_series && a.total > 0.0 && 1.0 - a.bad / a.total >= 0.99);
        self.strikes += u32::from(!fine);
    }

    /// None: no sample at all.
    fn answer(&self, at: f64, window: f64) -> Option<Answer> {
        let mut answer = Answer { total: 0.0, bad: 0.0, good_series: false };
        let mut pairs = 0;
        for kept in self.series.values() {
            let inside: Vec<_> = kept.iter().filter(|s| s.at > at - window).collect();
            for pair in inside.windows(2) {
                pairs += 1;
                let (old, new) = (pair[0], pair[1]);
                let reset = new.total < old.total;
                answer.total += if reset { new.total } else { new.total - old.total };
                if reset {
                    answer.bad += new.bad;
                } else if old.bad > 0.0 {
                    answer.bad += new.bad - old.bad;
                }
                answer.good_series |= new.total > new.bad;
            }
        }
        (pairs > 0).then_some(answer)
    }
}
