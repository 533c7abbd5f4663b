//! The statistical engine: convicts as soon as the evidence allows, at any traffic, however often it is asked.
//!
//! Pure: samples, settings and state in; a verdict and the next state out. Each test is an e-process: a number that is
//! 1 on average while the candidate is as good as it must be, whenever one looks. Reaching 1/alpha convicts.

mod block;
mod by_block;
mod certify;
mod conclude;
mod config;
mod curve;
mod data;
mod degraded;
mod dispersion;
mod engine;
mod errors;
mod factor;
mod families;
mod grid;
mod health;
mod interval;
mod latency;
mod literal;
mod output;
mod packed;
mod process;
mod roster;
mod sample;
mod sentence;
mod series;
mod share;
mod spread;
mod state;

pub use by_block::{ByBlock, Test};
pub use config::{Config, Metric};
pub use curve::follow;
pub use engine::Engine;
pub use factor::Counts;
pub use output::{Finding, Output};
pub use sample::{Arm, PodSample, Provider, Sample};
pub use state::State;

#[cfg(test)]
mod convictions;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod own_series;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod semantics;
