//! World → `Seen`. Reads only, and the only place with a clock.

pub mod autoscaler;
pub mod circumstances;
pub mod clock;
pub mod holding;
pub mod neighbours;
pub mod orders;
pub mod pods;
pub mod preflight;
pub mod probe;
pub mod prometheus;
pub mod raw;
pub mod redact;
pub mod rollback_step;
pub mod route;
pub mod seen;
pub mod services;
pub mod smoke;
pub mod template;
pub mod traffic;
pub mod workload;
pub mod world;
