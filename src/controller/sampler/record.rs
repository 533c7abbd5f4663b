//! One pod's scrapes of the last minutes, whole: what the evidence is made of.

use std::{sync::Arc, time::Duration};

use crate::{api::units::At, observe::seen::Scrape};

/// The most scrapes that are kept of one pod.
const MOST: usize = 600;
/// How far before what has been judged they are kept: two of the longest looks of the evidence, and a minute.
pub const BEHIND: Duration = Duration::from_mins(5);
/// How far back where nothing has been judged yet: that failures come together is measured on the stable pods before a
/// release.
pub const BEFORE: Duration = Duration::from_hours(1);

/// Oldest first.
#[derive(Clone, Debug, Default)]
pub struct Record(Vec<Arc<Scrape>>);

impl Record {
    /// Keeps the scrape if it is newer than the last.
    pub fn push(&mut self, scrape: Arc<Scrape>) {
        if self.0.last().is_none_or(|last| scrape.at > last.at) {
            self.0.push(scrape);
        }
        if self.0.len() > MOST {
            self.0.remove(0);
        }
    }

    /// Puts scrapes of before in front.
    pub fn refill(&mut self, earlier: Vec<Arc<Scrape>>) {
        let mut all = Self::default();
        let known = std::mem::take(&mut self.0);
        let oldest = known.first().map(|s| s.at);
        for scrape in earlier.into_iter().filter(|s| oldest.is_none_or(|oldest| s.at < oldest)).chain(known) {
            all.push(scrape);
        }
        *self = all;
    }

    /// Drops what no test looks at any more. One scrape of before is kept: the next one counts from it.
    pub fn forget(&mut self, judged: Option<At>) {
        let Some(from) = judged.map(|at| at.minus(BEHIND)) else { return };
        let dropped = self.0.partition_point(|s| s.at < from).saturating_sub(1);
        self.0.drain(..dropped);
    }

    pub fn scrapes(&self) -> &[Arc<Scrape>] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn at(second: u32) -> At {
        At::from_epoch(1_767_225_600.0 + f64::from(second)).unwrap()
    }

    fn plain(second: u32) -> Arc<Scrape> {
        Arc::new(Scrape {
            at: at(second),
            requests: f64::from(second),
            errors: None,
            within: Vec::new(),
            own: BTreeMap::new(),
        })
    }

    #[test]
    fn it_is_bounded_and_forgets_what_was_judged_long_ago() {
        let mut record = Record::default();
        for second in 0..2_000 {
            record.push(plain(second));
        }
        record.push(plain(5));
        assert_eq!((record.0.len(), record.0.last().map(|s| s.at)), (MOST, Some(at(1_999))));
        record.forget(None);
        assert_eq!(record.0.len(), MOST);
        record.forget(Some(at(1_900)));
        assert_eq!(record.0.first().map(|s| s.at), Some(at(1_599)), "one before the five minutes");
    }

    #[test]
    fn scrapes_of_before_come_first_and_only_once() {
        let mut record = Record(vec![plain(20)]);
        record.refill(vec![plain(0), plain(10), plain(20), plain(30)]);
        assert_eq!(record.0, [plain(0), plain(10), plain(20)]);
    }
}
