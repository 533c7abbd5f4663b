//! The autoscaler of the small Kubernetes: the real one's formula, on metrics that are a few seconds old.

use haldane::observe::seen::Autoscaler;

use super::world::World;

/// Seconds between two looks.
const EVERY: u64 = 10;
const MAX: u32 = 8;

/// What it knows and what it has to do with.
#[derive(Clone, Copy, Debug)]
pub struct Scaler {
    /// The load of all users, in thousandths of a full pod.
    pub load: u32,
    /// What it measured last: the average over the ready pods of both versions.
    average: Option<u32>,
}

impl Scaler {
    pub const fn new(load: u32) -> Self {
        Self { load, average: None }
    }

    pub const fn told(self) -> Autoscaler {
        Autoscaler { max: MAX, load: self.average }
    }
}

impl World {
    /// Wants `average × ready pods`, but nothing new while the average is within a tenth of the target.
    pub fn autoscale(&mut self) {
        let due = (self.now.epoch() as u64).is_multiple_of(EVERY);
        let ready = self.ready_pods();
        let Some(scaler) = self.scaler.as_mut().filter(|_| due && ready > 0) else { return };
        let average = scaler.load / ready;
        scaler.average = Some(average);
        if !(900..=1100).contains(&average) {
            self.wanted = (average * ready).div_ceil(1000).clamp(1, MAX);
        }
    }

    /// Pods that the load needs by the average that was told last.
    pub fn needed(&self) -> u32 {
        let average = self.scaler.and_then(|s| s.average).unwrap_or(0);
        (average * self.ready_pods()).div_ceil(1000).min(MAX).max(self.wanted)
    }

    fn ready_pods(&self) -> u32 {
        u32::try_from(self.pods.iter().filter(|p| p.ready && p.ending.is_none()).count()).unwrap()
    }
}
