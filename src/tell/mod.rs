//! What people and tools are told: the status, Events, notices to other systems, and numbers.

pub mod conditions;
pub mod events;
pub mod metrics;
pub mod notify;
pub mod outbox;
pub mod status;
