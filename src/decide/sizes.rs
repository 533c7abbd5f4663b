//! Arithmetic of pods and shares. Whole numbers, rounded towards safety, saturating.

use crate::api::plan::Step;

/// Pods the candidate must have for a step.
///
/// `routed`: a route divides the traffic, so a share of it needs the same share of the wanted pods. Else the number of
/// pods is the share: `w` of the traffic means `w/(100-w)` of the stable pods, and never more than those.
pub fn pods_for(step: &Step, wanted: u32, routed: bool) -> u32 {
    let for_weight = match step.weight {
        None | Some(0) => 0,
        Some(w) if w >= 100 => wanted,
        Some(w) if routed => carrying(w, wanted),
        Some(w) => scaled(w, wanted, 100 - w),
    };
    for_weight.max(step.pods.unwrap_or(0)).max(1).min(wanted)
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
mod tests {
    use super::*;

    fn step(pods: Option<u32>, weight: Option<u32>) -> Step {
        Step { pods, weight, ..Step::default() }
    }

    #[test]
    fn routed_sizes_carry_their_share() {
        for (pods, weight, wanted, expected) in [
            (Some(1), None, 3, 1),
            (None, Some(30), 3, 1),
            (None, Some(34), 3, 2),
            (None, Some(100), 3, 3),
            (Some(2), Some(1), 10, 2),
            (Some(50), Some(1), 10, 10),
            (None, Some(0), 10, 1),
            (None, Some(1), u32::MAX, 42_949_673),
        ] {
            assert_eq!(pods_for(&step(pods, weight), wanted, true), expected, "{pods:?} {weight:?} of {wanted}");
        }
    }

    #[test]
    fn replicas_make_their_share_by_number() {
        for (weight, wanted, expected) in [(25, 3, 1), (50, 3, 3), (30, 3, 2), (90, 3, 3), (1, 100, 2), (100, 3, 3)] {
            assert_eq!(pods_for(&step(None, Some(weight)), wanted, false), expected, "{weight} % of {wanted}");
        }
    }

    #[test]
    fn a_step_of_pods_has_the_share_they_make() {
        assert_eq!(share_of(&step(Some(1), None), 3), 25);
        assert_eq!(share_of(&step(Some(1), None), 2), 34);
        assert_eq!(share_of(&step(Some(1), Some(5)), 3), 5);
        assert_eq!(share_of(&step(Some(1), None), 0), 100);
    }
}
