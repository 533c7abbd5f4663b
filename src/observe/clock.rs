//! The clocks: the only place that reads them.

use std::time::Instant;

use crate::api::units::At;

/// The wall clock, to the millisecond.
#[expect(clippy::disallowed_methods, reason = "this is the place where the clock is read")]
pub fn now() -> At {
    At::new(jiff::Timestamp::now())
}

/// A clock that never jumps, for waits and deadlines.
#[expect(clippy::disallowed_methods, reason = "this is the place where the clock is read")]
pub fn monotonic() -> Instant {
    Instant::now()
}
