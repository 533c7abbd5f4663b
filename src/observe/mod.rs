//! World → `Seen`. Reads only, and the only place with a clock.

pub mod seen;
