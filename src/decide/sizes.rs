//! Arithmetic of pods and shares. Whole numbers, rounded towards safety, saturating.

use std::time::Duration;

use crate::{
    api::{plan::Step, units::At},
    observe::seen::{Pod, Workload},
};

/// How long a pod must have been ready before it is certainly in the average that an autoscaler tells: one window of the
/// metrics, and one look of the autoscaler at them.
pub const AVERAGED_AFTER: Duration = Duration::from_mins(1);

/// How many pods the load of a workload needs.
///
/// An autoscaler wants `average / target × ready pods of both versions`, which is right whatever their shares are; but not
/// while the average is near its target. Then it leaves the number alone, although that number of pods is far too small
/// for a load that keeps both versions' pods busy on average. So the same product is taken here without that tolerance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// `spec.replicas`.
    pub wanted: u32,
    /// Pods that all of the load needs for certain. Never below `wanted`, nor above what the autoscaler may want. Only
    /// pods that are in the average are counted, so pods that are added for it do not raise it further.
    pub least: u32,
    /// Pods that it may need if the average is already that of every ready pod.
    pub most: u32,
}

impl Need {
    pub fn of(workload: &Workload, now: At, pods: &[Pod]) -> Self {
        let wanted = workload.wanted;
        let Some((load, max)) = workload.autoscaler.as_ref().and_then(|a| Some((a.load?, a.max))) else {
            return Self { wanted, least: wanted, most: wanted };
        };
        let of = |counts: &dyn Fn(&Pod) -> bool| {
            let pods = pods.iter().filter(|p| p.ready && !p.terminating && counts(p)).count();
            let pods = scaled(load, u32::try_from(pods).unwrap_or(u32::MAX), 1000);
            pods.min(max).max(wanted)
        };
        let averaged = |p: &Pod| p.ready_changed_at.is_some_and(|at: At| now.since(at) >= AVERAGED_AFTER);
        Self { wanted, least: of(&averaged), most: of(&|_| true) }
    }

    /// Why the candidate may not be handed over at `spec.replicas`; `None`: that is enough for all of the load.
    pub fn unmet(&self, deployment: &str) -> Option<String> {
        let Self { wanted, most, .. } = self;
        (most > wanted).then(|| {
            format!(
                "the load needs up to {most} pods and the autoscaler of Deployment {deployment} wants {wanted}; the \
                 hand-over waits until it wants more; if it does not, raise its minReplicas"
            )
        })
    }
}

/// Pods the candidate must have for a step.
///
/// `routed`: a route divides the traffic, so a share of it needs the same share of the pods. Else the number of pods is
/// the share: `w` of the traffic means `w/(100-w)` of the stable pods, and never more than those.
pub fn pods_for(step: &Step, need: Need, routed: bool) -> u32 {
    let Need { wanted, least, .. } = need;
    let for_weight = match step.weight {
        None | Some(0) => 0,
        Some(w) if w >= 100 => least,
        Some(w) if routed => carrying(w, least),
        Some(w) => scaled(w, wanted, 100 - w).min(wanted),
    };
    for_weight.max(step.pods.unwrap_or(0).min(wanted)).max(1).min(least)
}

/// The share in percent that a step gives the candidate. A step without `weight` takes what its pods make.
pub fn share_of(step: &Step, wanted: u32) -> u32 {
    step.weight.map_or_else(
        || {
            let pods = step.pods.unwrap_or(1).min(wanted.max(1));
            scaled(100, pods, pods.saturating_add(wanted))
        },
        |w| w.min(100),
    )
}

/// Pods that must be ready before a side may get `weight` percent.
pub fn carrying(weight: u32, wanted: u32) -> u32 {
    scaled(weight, wanted, 100)
}

/// `ceil(a * b / of)` without overflow; 0 when `of` is 0.
fn scaled(a: u32, b: u32, of: u32) -> u32 {
    if of == 0 {
        return 0;
    }
    u32::try_from((u64::from(a) * u64::from(b)).div_ceil(u64::from(of))).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
