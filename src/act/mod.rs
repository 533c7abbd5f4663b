//! Goal → world. `steps` is pure and says what to write in which order; the rest writes it.

pub mod effect;
pub mod scope;
