//! How long a Release that failed waits for its next pass.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
    time::Duration,
};

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// Failures in a row, by UID.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// One more failure; how long to wait.
    pub fn failed(&self, uid: &str) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_owned()).or_default();
        *count = count.saturating_add(1);
        pause(uid, *count)
    }

    pub fn succeeded(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// Doubles with each failure. The jitter comes from the UID, so that Releases that failed together do not come back
/// together.
fn pause(uid: &str, failures: u32) -> Duration {
    let full = FIRST.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX)).min(LONGEST);
    let mut hasher = DefaultHasher::new();
    (uid, failures).hash(&mut hasher);
    let percent = u32::try_from(hasher.finish() % 50).unwrap_or(0);
    full * (100 - percent) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_start_anew_after_a_success() {
        let backoff = Backoff::default();
        let first = backoff.failed("a");
        assert!(first <= FIRST && first * 2 > FIRST, "{first:?}");
        for _ in 0..100 {
            assert!(backoff.failed("a") <= LONGEST);
        }
        assert!(backoff.failed("a") * 2 > LONGEST);
        assert!(backoff.failed("b") <= FIRST, "each Release has its own count");
        backoff.succeeded("a");
        assert!(backoff.failed("a") <= FIRST);
    }

    #[test]
    fn releases_that_fail_together_come_back_apart() {
        let pauses: std::collections::BTreeSet<_> = (0..20).map(|n| pause(&format!("uid-{n}"), 9)).collect();
        assert!(pauses.len() > 10, "{pauses:?}");
    }
}
