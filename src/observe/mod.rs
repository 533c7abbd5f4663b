//! World → `Seen`. Reads only, and the only place with a clock.

pub mod clock;
pub mod pods;
pub mod preflight;
pub mod raw;
pub mod seen;
pub mod smoke;
pub mod template;
pub mod workload;
