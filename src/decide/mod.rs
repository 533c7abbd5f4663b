//! `Seen` → decision. Pure: no async, no client, no clock.

pub mod verdict;
