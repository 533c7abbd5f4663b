//! The machinery around a pass: the client, leadership, watches, and the pass itself.

pub mod active;
pub mod backoff;
pub mod client;
pub mod context;
pub mod first;
pub mod kept;
pub mod lease;
pub mod pass;
pub mod preflights;
pub mod providers;
pub mod run;
pub mod sampler;
pub mod senses;
pub mod show;
pub mod steps;
pub mod watch;
pub mod work;
