//! Tables and properties of sizes, with a model of the autoscaler.

use proptest::prelude::*;

use super::*;
use crate::observe::seen::{Autoscaler, Side};

fn step(pods: Option<u32>, weight: Option<u32>) -> Step {
    Step { pods, weight, ..Step::default() }
}

/// Nothing but `spec.replicas` is known.
fn plain(wanted: u32) -> Need {
    Need { wanted, least: wanted, most: wanted }
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
        assert_eq!(pods_for(&step(pods, weight), plain(wanted), true), expected, "{pods:?} {weight:?} of {wanted}");
    }
}

#[test]
fn replicas_make_their_share_by_number() {
    for (weight, wanted, expected) in [(25, 3, 1), (50, 3, 3), (30, 3, 2), (90, 3, 3), (1, 100, 2), (100, 3, 3)] {
        assert_eq!(pods_for(&step(None, Some(weight)), plain(wanted), false), expected, "{weight} % of {wanted}");
    }
}

#[test]
fn what_the_load_needs_beyond_replicas_is_divided_as_the_traffic_is() {
    let need = Need { wanted: 4, least: 8, most: 8 };
    for (pods, weight, routed, expected) in [
        (None, Some(25), true, 2),
        (None, Some(100), true, 8),
        (Some(1), Some(0), true, 1),
        (Some(9), None, true, 4),
        (None, Some(50), false, 4),
        (None, Some(90), false, 4),
        (None, Some(100), false, 8),
    ] {
        assert_eq!(pods_for(&step(pods, weight), need, routed), expected, "{pods:?} {weight:?} {routed}");
    }
}

#[test]
fn a_step_of_pods_has_the_share_they_make() {
    assert_eq!(share_of(&step(Some(1), None), 3), 25);
    assert_eq!(share_of(&step(Some(1), None), 2), 34);
    assert_eq!(share_of(&step(Some(1), Some(5)), 3), 5);
    assert_eq!(share_of(&step(Some(1), None), 0), 100);
}

/// Pods of both sides as an autoscaler sees them. Times in seconds.
#[derive(Clone, Debug)]
struct World {
    now: u64,
    wanted: u32,
    max: u32,
    /// Since when each pod is ready: stable, candidate.
    pods: [Vec<u64>; 2],
    /// What the autoscaler has measured last, in thousandths of its target.
    load: Option<u32>,
}

fn moment(seconds: u64) -> At {
    At::from_epoch(1_700_000_000.0).unwrap().plus(Duration::from_secs(seconds))
}

impl World {
    fn new(wanted: u32, stable: u32, candidate: u32) -> Self {
        let ready = |n: u32| (0..n).map(|_| 0).collect();
        Self { now: 1000, wanted, max: 1000, pods: [ready(stable), ready(candidate)], load: None }
    }

    fn need(&self) -> Need {
        let mut pods = Vec::new();
        for (side, ready) in [Side::Stable, Side::Candidate].into_iter().zip(&self.pods) {
            pods.extend(ready.iter().map(|since| pod(side, *since)));
        }
        let autoscaler = Some(Autoscaler { max: self.max, load: self.load });
        Need::of(&Workload { wanted: self.wanted, autoscaler, ..Workload::default() }, moment(self.now), &pods)
    }

    fn count(&self) -> u32 {
        u32::try_from(self.pods[0].len() + self.pods[1].len()).unwrap()
    }

    /// The metrics follow: `total` is the load of so many thousandths of full pods.
    fn measure(&mut self, total: u32) {
        self.load = Some(total / self.count());
    }

    fn grow(&mut self, side: usize, to: u32) {
        let to = (to as usize).max(self.pods[side].len());
        self.pods[side].resize(to, self.now);
    }

    /// What the real autoscaler does with an average (`GetResourceReplicas`), its tolerance being a tenth.
    fn autoscale(&mut self) {
        let load = self.load.unwrap();
        if !(900..=1100).contains(&load) {
            self.wanted = (load * self.count()).div_ceil(1000).clamp(1, self.max);
        }
    }
}

fn pod(side: Side, since: u64) -> Pod {
    Pod {
        name: String::new(),
        side,
        ready: true,
        terminating: false,
        created_at: moment(since),
        started_at: Some(moment(since)),
        ready_changed_at: Some(moment(since)),
        restarts: 0,
        trouble: None,
    }
}

#[test]
fn a_content_autoscaler_hides_a_load_and_the_need_shows_it() {
    for (wanted, stable, candidate, load, least) in [
        (3, 3, 3, Some(500), 3),  // the ordinary case: half of all pods idle
        (3, 3, 3, Some(1000), 6), // twice the load, and the average is on target: it wants no more
        (3, 3, 3, Some(900), 6),
        (3, 3, 1, Some(1100), 5),
        (3, 3, 0, Some(1000), 3),
        (3, 3, 3, Some(200), 3), // never fewer than wanted
        (3, 3, 3, None, 3),      // nothing is known
    ] {
        let world = World { load, ..World::new(wanted, stable, candidate) };
        assert_eq!(world.need(), Need { wanted, least, most: least }, "{stable}+{candidate} at {load:?}");
    }
}

#[test]
fn no_more_than_the_autoscaler_may_want() {
    let world = World { load: Some(1000), max: 5, ..World::new(3, 3, 3) };
    assert_eq!(world.need().least, 5);
    let world = World { load: Some(1000), max: 2, ..World::new(3, 3, 3) };
    assert_eq!(world.need().least, 3, "but what is wanted is wanted");
}

#[test]
fn pods_that_are_not_in_the_average_yet_raise_nothing() {
    let mut world = World { load: Some(1000), ..World::new(3, 3, 0) };
    world.grow(1, 3);
    assert_eq!(world.need(), Need { wanted: 3, least: 3, most: 6 });
    world.now += AVERAGED_AFTER.as_secs();
    assert_eq!(world.need().least, 6);
}

#[test]
fn the_hand_over_waits_while_the_number_may_be_too_small() {
    let world = World { load: Some(1000), ..World::new(3, 3, 3) };
    let why = world.need().unmet("shop").unwrap();
    assert!(why.starts_with("the load needs up to 6 pods and the autoscaler of Deployment shop wants 3"), "{why}");
    assert_eq!(World { load: Some(500), ..World::new(3, 3, 3) }.need().unmet("shop"), None);
}

proptest! {
    /// However late the metrics are: what is called certain is never more than the load, so nothing creeps upwards.
    #[test]
    fn pods_added_for_a_need_do_not_raise_it(
        wanted in 1u32..20, weight in 1u32..=100, total in 1u32..60_000, lags in prop::collection::vec(any::<bool>(), 1..12),
    ) {
        let mut world = World::new(wanted, wanted, (wanted * weight).div_ceil(100));
        world.measure(total);
        let enough = total.div_ceil(1000).max(wanted);
        for late in lags {
            let need = world.need();
            prop_assert!(need.least <= enough, "{need:?} for {total}");
            prop_assert!(need.least <= need.most && need.wanted == wanted);
            world.grow(1, pods_for(&step(None, Some(weight)), need, true));
            let again = world.need();
            prop_assert_eq!(again.least, need.least, "one pass is enough");
            world.now += if late { 5 } else { 2 * AVERAGED_AFTER.as_secs() };
            if !late {
                world.measure(total);
            }
        }
    }

    /// A jump of the load that the autoscaler cannot see at 100 %: the candidate grows, that brings the average away
    /// from the target, the autoscaler follows, and the hand-over finds both at one number.
    #[test]
    fn the_autoscaler_follows_and_nothing_is_left_over(wanted in 1u32..20, total in 1u32..40_000) {
        let mut world = World::new(wanted, wanted, wanted);
        let enough = total.div_ceil(1000);
        for _ in 0..6 {
            world.measure(total);
            world.autoscale();
            world.grow(0, world.wanted);
            world.grow(1, pods_for(&step(None, Some(100)), world.need(), true));
            world.now += 2 * AVERAGED_AFTER.as_secs();
        }
        world.measure(total);
        prop_assert_eq!(world.need().unmet("shop"), None, "{:?}", world);
        prop_assert!(world.wanted >= total / 1000 && world.wanted <= enough.max(1), "{:?} for {total}", world);
        prop_assert!(world.pods[1].len() >= world.wanted as usize);
    }
}
