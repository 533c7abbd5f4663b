//! The worlds that are simulated, and what must hold in each.

use crate::{faults, nulls, random::Random, scenario::Scenario};

pub struct World {
    pub name: &'static str,
    pub about: &'static str,
    pub goal: Goal,
    /// What one release meets: times and sizes may differ from release to release.
    pub make: fn(&mut Random) -> Scenario,
}

#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// At most this share of releases may be convicted.
    Spared(f64),
    /// Convicted after `onset`, at best within so many seconds: median and 95 of 100.
    Convicted { onset: f64, within: Option<(f64, f64)> },
}

pub const fn null(name: &'static str, about: &'static str, make: fn(&mut Random) -> Scenario) -> World {
    World { name, about, goal: Goal::Spared(0.01), make }
}

/// A fault that is there from the first request on.
pub const fn fault(name: &'static str, about: &'static str, make: fn(&mut Random) -> Scenario) -> World {
    World { name, about, goal: Goal::Convicted { onset: 0.0, within: None }, make }
}

impl World {
    pub const fn at_most(mut self, share: f64) -> Self {
        self.goal = Goal::Spared(share);
        self
    }

    pub const fn within(mut self, median: f64, p95: f64) -> Self {
        self.goal = Goal::Convicted { onset: self.onset(), within: Some((median, p95)) };
        self
    }

    /// The fault begins so many seconds after the first traffic.
    pub const fn after(mut self, onset: f64) -> Self {
        self.goal = Goal::Convicted { onset, within: None };
        self
    }

    const fn onset(&self) -> f64 {
        match self.goal {
            Goal::Spared(_) => 0.0,
            Goal::Convicted { onset, .. } => onset,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self.goal, Goal::Spared(_))
    }

    pub fn scenario(&self, seed: u64) -> (Scenario, Random) {
        let mut random = Random::new(self.name, seed);
        let scenario = (self.make)(&mut random);
        (scenario, random)
    }
}

pub fn all() -> impl Iterator<Item = &'static World> {
    nulls::WORLDS.iter().chain(faults::WORLDS)
}
