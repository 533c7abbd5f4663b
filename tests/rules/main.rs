//! The rules of `decide` and the order of writes, against a world that lags, fails and is interfered with.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::too_many_lines,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may end at once; seconds and counts of a made-up world are small"
)]

mod autoscaler;
mod crashes;
mod golden;
mod histories;
mod invariants;
mod mutants;
mod operator;
mod releases;
mod retire;
mod rollback_steps;
mod scripts;
mod stale;
mod world;
