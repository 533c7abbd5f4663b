//! The alternatives that are tried at once, because nobody knows how bad a bad version is.

/// Points of a grid.
pub const POINTS: usize = 12;

/// How many times the tolerated rate.
pub const RATIOS: [f64; POINTS] = [1.3, 1.7, 2.3, 3.2, 4.6, 7.0, 11.0, 18.0, 32.0, 60.0, 120.0, 250.0];

/// How many times the odds of the limit.
pub const ODDS: [f64; POINTS] = [1.3, 1.7, 2.3, 3.2, 4.6, 7.0, 11.0, 18.0, 32.0, 60.0, 120.0, 400.0];

/// The odds of the limit to prove that a rate lies below it.
pub const SAFE_ODDS: [f64; 6] = [0.75, 0.5, 0.3, 0.15, 0.05, 0.0];

/// Latency bounds are many: each has a coarser grid.
pub const COARSE: [f64; 5] = [1.5, 2.5, 5.5, 15.0, 60.0];

/// Pods are compared with each other on a coarser grid still.
pub const ROUGH: [f64; 4] = [1.7, 4.0, 12.0, 60.0];
