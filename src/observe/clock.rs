//! The clocks: the only place that reads them.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use jiff::Timestamp;

use crate::api::units::At;

/// A moment on both clocks, from which the time goes on evenly.
type Anchor = (Timestamp, Instant);

static ANCHOR: Mutex<Option<Anchor>> = Mutex::new(None);

/// The time, to the millisecond: the machine's, unless it has been told to go on `even`ly.
pub fn now() -> At {
    let anchor = *ANCHOR.lock().unwrap_or_else(PoisonError::into_inner);
    At::new(told(anchor, wall(), monotonic()))
}

fn told(anchor: Option<Anchor>, wall: Timestamp, now: Instant) -> Timestamp {
    let even = anchor.and_then(|(then, at)| then.checked_add(now.saturating_duration_since(at)).ok());
    even.unwrap_or(wall)
}

/// While `on`, `now` goes on as time passes, whatever becomes of the machine's clock: one that is set in the middle of
/// a step must not end it. The price: a machine that slept lags until it is off again.
pub fn even(on: bool) {
    let mut anchor = ANCHOR.lock().unwrap_or_else(PoisonError::into_inner);
    *anchor = if on { anchor.or_else(|| Some((wall(), monotonic()))) } else { None };
}

#[expect(clippy::disallowed_methods, reason = "this is the place where the clock is read")]
fn wall() -> Timestamp {
    Timestamp::now()
}

/// A clock that never jumps, for waits and deadlines.
#[expect(clippy::disallowed_methods, reason = "this is the place where the clock is read")]
pub fn monotonic() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_even_clock_does_not_follow_a_machine_that_is_set() {
        let (wall, at) = (wall(), monotonic());
        let (later, hour) = (at + Duration::from_secs(5), Duration::from_hours(1));
        for set in [wall + hour, wall - hour] {
            assert_eq!(told(None, set, later), set);
            assert_eq!(told(Some((wall, at)), set, later), wall + Duration::from_secs(5));
        }
    }
}
