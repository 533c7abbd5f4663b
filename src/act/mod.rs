//! Goal → world. `steps` is pure and says what to write in which order; the rest writes it.

pub mod effect;
pub mod finalizer;
pub mod fresh;
pub mod home;
pub mod patch;
pub mod promote;
pub mod scope;
pub mod smoke;
pub mod steps;
pub mod traffic;
pub mod workload;
