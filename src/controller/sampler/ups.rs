//! Whether a pod's scrapes were answered.

use std::time::Duration;

use crate::{api::units::At, observe::seen::Probe};

/// One pod's scrapes, answered or not.
#[derive(Debug)]
pub struct Ups {
    at: At,
    failures: u32,
    successes: u32,
}

impl Ups {
    /// Before the first scrape that is known.
    pub fn before(at: At, interval: Duration) -> Self {
        Self { at: at.minus(interval), failures: 0, successes: 0 }
    }

    /// Counts a scrape, if it is newer than the last.
    pub fn take(&mut self, up: bool, at: At) {
        if at <= self.at {
            return;
        }
        self.at = at;
        if up {
            self.successes = self.successes.saturating_add(1);
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// As a health check of this pod.
    pub fn probe(&self, pod: &str) -> Probe {
        let last = if self.failures > 0 { "it cannot be scraped (up is 0)" } else { "" };
        Probe { pod: pod.to_owned(), failures: self.failures, successes: self.successes, last: last.into() }
    }
}
