//! What a Prometheus tells about pods.
//!
//! `promql` writes queries that no name can break out of, `presets` says which series count requests, `own` which the user
//! compares besides, `client` asks,
//! `preflight` asks about the stable version first, and `answer` accepts an answer only when it is complete. Whatever is
//! not a complete answer is a `Fault`: one sentence, fit for a status, without the provider's own text.

pub mod answer;
pub mod client;
pub mod own;
pub mod preflight;
pub mod presets;
pub mod promql;
pub mod reading;

pub use answer::Fault;
pub use client::Provider;
