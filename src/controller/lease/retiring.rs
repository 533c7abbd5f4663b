//! Whether the operator is asked to retire: the rules, without a clock and without a cluster.
//!
//! Who uninstalls it marks the operator's Lease and renews that mark as long as he waits. The leader reads it with each
//! renewal of its own: the Lease has changed, so it must. Times of other processes are never compared with ours: a mark counts
//! until it has stood still for as long as it says, by the clock of who reads it. So nobody who marks it and dies stops the
//! operator for ever, and a mark of an earlier installation stops the next one not at all.

use std::{collections::BTreeMap, time::Duration};

use crate::api::names::{INSTALLATION, RETIRING, RETIRING_FOR};

/// A mark that does not say how long it counts.
const USUALLY: Duration = Duration::from_mins(1);
/// No mark, however odd, counts longer without being renewed.
const LONGEST: Duration = Duration::from_mins(15);

/// What the Lease says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody asks for it.
    Unasked,
    /// Every Release is to be brought home.
    Asked,
    /// The mark is another installation's, or nobody renews it: it goes with the next write.
    Void,
}

/// What one process makes of the marks that it sees. All times are of its own monotonic clock.
#[derive(Clone, Debug, Default)]
pub struct Retiring {
    /// Ours, if it is known.
    pub installation: Option<String>,
    /// The mark as it stands and since when.
    seen: Option<(String, Duration)>,
}

impl Retiring {
    /// Takes note of the Lease's annotations as they are stored now.
    pub fn step(&mut self, annotations: &BTreeMap<String, String>, now: Duration) -> Standing {
        let Some(mark) = annotations.get(RETIRING) else {
            self.seen = None;
            return Standing::Unasked;
        };
        let whose = annotations.get(INSTALLATION).zip(self.installation.as_ref());
        if whose.is_some_and(|(theirs, ours)| theirs != ours) {
            self.seen = None;
            return Standing::Void;
        }
        let seconds = annotations.get(RETIRING_FOR).and_then(|text| text.parse().ok());
        let lasts = seconds.map_or(USUALLY, Duration::from_secs).min(LONGEST);
        let since = match &self.seen {
            Some((seen, since)) if seen == mark => *since,
            _ => {
                self.seen = Some((mark.clone(), now));
                now
            }
        };
        if now.saturating_sub(since) < lasts { Standing::Asked } else { Standing::Void }
    }

    /// The annotations as the leader writes them.
    pub fn write(&self, standing: Standing, annotations: &mut BTreeMap<String, String>) {
        if standing == Standing::Void {
            annotations.remove(RETIRING);
            annotations.remove(RETIRING_FOR);
        }
        if let Some(ours) = &self.installation {
            annotations.insert(INSTALLATION.into(), ours.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn marked(stamp: &str, lasts: &str, installation: &str) -> BTreeMap<String, String> {
        let pairs = [(RETIRING, stamp), (RETIRING_FOR, lasts), (INSTALLATION, installation)];
        pairs.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn a_mark_counts_as_long_as_it_is_renewed() {
        let mut ours = Retiring { installation: Some("a".into()), ..Retiring::default() };
        assert_eq!(ours.step(&BTreeMap::new(), secs(0)), Standing::Unasked);
        // The stamp is years old by our clock; only standing still counts.
        assert_eq!(ours.step(&marked("2001", "60", "a"), secs(10)), Standing::Asked);
        assert_eq!(ours.step(&marked("2001", "60", "a"), secs(69)), Standing::Asked);
        assert_eq!(ours.step(&marked("2002", "60", "a"), secs(70)), Standing::Asked);
        assert_eq!(ours.step(&marked("2002", "60", "a"), secs(129)), Standing::Asked);
        assert_eq!(ours.step(&marked("2002", "60", "a"), secs(130)), Standing::Void);
        // Asked for again after it was taken off.
        assert_eq!(ours.step(&BTreeMap::new(), secs(131)), Standing::Unasked);
        assert_eq!(ours.step(&marked("2002", "60", "a"), secs(132)), Standing::Asked);
    }

    #[test]
    fn an_odd_mark_counts_but_not_for_ever() {
        let mut unknown = Retiring::default();
        assert_eq!(unknown.step(&marked("", "", "b"), secs(0)), Standing::Unasked);
        assert_eq!(unknown.step(&marked("?", "", "b"), secs(0)), Standing::Asked);
        assert_eq!(unknown.step(&marked("?", "for ever", "b"), secs(59)), Standing::Asked);
        assert_eq!(unknown.step(&marked("?", "for ever", "b"), secs(60)), Standing::Void);
        let endless = u64::MAX.to_string();
        assert_eq!(unknown.step(&marked("!", &endless, "b"), secs(100)), Standing::Asked);
        assert_eq!(unknown.step(&marked("!", &endless, "b"), secs(1000)), Standing::Void);
    }

    #[test]
    fn the_next_installation_is_not_concerned_and_takes_the_mark_off() {
        let mut next = Retiring { installation: Some("b".into()), ..Retiring::default() };
        let mut annotations = marked("2001", "600", "a");
        annotations.insert("somebody.else".into(), "stays".into());
        assert_eq!(next.step(&annotations, secs(0)), Standing::Void);
        next.write(Standing::Void, &mut annotations);
        let left: Vec<_> = annotations.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(left, [(INSTALLATION, "b"), ("somebody.else", "stays")]);
        // A restarted process of the same one goes on with it.
        let mut same = Retiring { installation: Some("a".into()), ..Retiring::default() };
        let mut annotations = marked("2001", "600", "a");
        assert_eq!(same.step(&annotations, secs(0)), Standing::Asked);
        same.write(Standing::Asked, &mut annotations);
        assert_eq!(annotations, marked("2001", "600", "a"));
    }
}
