//! World → `Seen`. Reads only, and the only place with a clock.

pub mod clock;
pub mod seen;
