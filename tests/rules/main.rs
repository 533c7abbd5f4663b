//! The rules of `decide` and the order of writes, against a world that lags, fails and is interfered with.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::too_many_lines,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may end at once; seconds and counts of a made-up world are small"
)]

mod autoscaler;
mod invariants;
mod mutants;
mod world;

use std::time::Duration;

use haldane::{
    act::{effect::Effect, steps::steps},
    api::{
        action::{ActionType, PromoteTo},
        release::ReleaseSpec,
        state::{CauseKind, Revision, State},
        status::Ended,
    },
    decide::{Decision, Past, decide},
    observe::seen::{Order, Seen},
};
use proptest::prelude::*;
use world::World;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Happening {
    Seconds(u8),
    Ask(usize),
    Spoil(usize),
    Degrade(bool),
    Blind(bool),
    NoStart(bool),
    Unready(bool),
    Order(ActionType, PromoteTo),
    Scale(u32),
    /// From now on autoscaled, with this load.
    Load(u32),
    PauseSpec(bool),
    /// The operator dies after so many writes of its next pass (0: after the status write).
    Crash(u8),
    LoseStatus,
    LosePods(bool),
    EditTemplate,
    EditRoute(u32),
    Unpin,
    Lag(u32),
    Delete,
}

const VERSIONS: [&str; 4] = ["A", "B", "C", "D"];

fn happening() -> impl Strategy<Value = Happening> {
    use ActionType::{Pause, Promote, Resume, Retry, Rollback};
    prop_oneof![
        14 => (1u8..30).prop_map(Happening::Seconds),
        5 => (0usize..4).prop_map(Happening::Ask),
        2 => (1usize..4).prop_map(Happening::Spoil),
        1 => any::<bool>().prop_map(Happening::Degrade),
        1 => any::<bool>().prop_map(Happening::Blind),
        1 => any::<bool>().prop_map(Happening::NoStart),
        1 => any::<bool>().prop_map(Happening::Unready),
        2 => (prop_oneof![Just(Promote), Just(Pause), Just(Resume), Just(Rollback), Just(Retry)], any::<bool>())
            .prop_map(|(kind, full)| Happening::Order(kind, if full { PromoteTo::Full } else { PromoteTo::NextStep })),
        1 => (1u32..6).prop_map(Happening::Scale),
        1 => (0u32..7000).prop_map(Happening::Load),
        1 => any::<bool>().prop_map(Happening::PauseSpec),
        3 => (0u8..4).prop_map(Happening::Crash),
        1 => Just(Happening::LoseStatus),
        1 => any::<bool>().prop_map(Happening::LosePods),
        1 => Just(Happening::EditTemplate),
        1 => (0u32..101).prop_map(Happening::EditRoute),
        1 => Just(Happening::Unpin),
        1 => (0u32..8).prop_map(Happening::Lag),
        1 => Just(Happening::Delete),
    ]
}

/// A fault that is put into the operator on purpose.
pub type Mutant = fn(&World, &Past, &Seen, &mut Decision, &mut Vec<Effect>);

/// One run of the operator over a world.
pub struct Run {
    pub world: World,
    mutant: Option<Mutant>,
    crash: Option<u8>,
    breached: Vec<Revision>,
}

pub fn spec(routed: bool) -> ReleaseSpec {
    let named = if routed { serde_json::json!([{"name": "app"}]) } else { serde_json::json!([]) };
    serde_json::from_value(serde_json::json!({
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"},
        "images": {"app": "A"},
        "traffic": {"routes": named, "canaryHeader": routed.then(|| serde_json::json!({"name": "x-canary", "value": "true"}))},
        "plan": {
            "steps": [{"pods": 1, "for": "8s"}, {"weight": 50, "for": "8s"}, {"weight": 100}],
            "watch": {"for": "8s"},
            "deadline": "60s",
        },
        "checks": {
            "provider": "prometheus",
            "errorRate": {"max": "5%", "for": "6s"},
            "smoke": {"image": "smoke"},
            "minRequests": 10, "warmUp": "0s", "settleScrapes": 0,
            "onNoData": {"after": "40s", "then": "Rollback"},
            "onDegraded": {"after": "40s", "then": "Rollback"},
        },
    }))
    .unwrap()
}

impl Run {
    pub fn new(routed: bool, wanted: u32, mutant: Option<Mutant>) -> Self {
        Self { world: World::new(spec(routed), wanted), mutant, crash: None, breached: Vec::new() }
    }

    pub fn state(&self) -> Option<&State> {
        self.world.past.state.as_ref()
    }

    /// One pass, write by write.
    pub fn pass(&mut self) -> Result<(), String> {
        if self.world.gone {
            return Ok(());
        }
        let seen = self.world.seen();
        let past = self.world.past.clone();
        let mut decision = decide(&self.world.spec, &past, &seen);
        let stable = |d: &Decision| d.state.as_ref().map(|s| s.stable().revision.clone()).unwrap_or_default();
        let mut effects = steps(&decision.goal, &stable(&decision), &seen);
        if let Some(mutant) = self.mutant {
            mutant(&self.world, &past, &seen, &mut decision, &mut effects);
        }
        invariants::decision(&past, &decision, &seen)?;
        invariants::order(&past, &decision, &effects, &seen)?;
        self.latch(&decision);
        self.world.past = Past { state: decision.state.clone(), memory: decision.memory.clone() };
        let crash = self.crash.take();
        for (n, effect) in effects.iter().enumerate() {
            if crash.is_some_and(|after| n >= usize::from(after)) {
                self.world.route_written_at = None;
                break;
            }
            if let Some(state) = &decision.state {
                invariants::write(&self.world, state, effect)?;
                self.raise(state, effect)?;
            }
            self.world.apply(effect);
        }
        Ok(())
    }

    /// Remembers breaches outside of what the operator remembers.
    fn latch(&mut self, decision: &Decision) {
        for rejected in &decision.memory.rejected {
            if rejected.cause == CauseKind::Bad && !self.breached.contains(&rejected.revision) {
                self.breached.push(rejected.revision.clone());
            }
        }
    }

    fn raise(&self, state: &State, effect: &Effect) -> Result<(), String> {
        let rises =
            matches!(effect, Effect::Route { weight, .. } if *weight > self.world.split.map_or(0, |s| s.weight));
        match state.candidate() {
            Some(c) if rises && self.breached.contains(&c.version.revision) => {
                Err(format!("16: the weight of convicted {} rises", c.version.revision))
            }
            _ => Ok(()),
        }
    }

    pub fn second(&mut self) -> Result<(), String> {
        self.world.tick();
        self.pass()?;
        self.pass()?;
        invariants::moment(&self.world, self.state())?;
        self.world.lost = 0.0;
        Ok(())
    }

    pub fn seconds(&mut self, n: u32) -> Result<(), String> {
        (0..n).try_for_each(|_| self.second())
    }

    fn happen(&mut self, happening: &Happening) -> Result<(), String> {
        let world = &mut self.world;
        match happening {
            Happening::Seconds(n) => return self.seconds(u32::from(*n)),
            Happening::Ask(i) => {
                world.spec.images.insert("app".into(), VERSIONS[*i].into());
                world.generation += 1;
            }
            Happening::Spoil(i) => world.bad = vec![VERSIONS[*i].into()],
            Happening::Degrade(on) => world.degraded = *on,
            Happening::Blind(on) => world.no_data = *on,
            Happening::NoStart(on) => (world.no_start, world.calm) = (*on, 0),
            Happening::Unready(on) => (world.unready, world.calm) = (*on, 0),
            Happening::Order(kind, to) => self.order(*kind, *to),
            Happening::Scale(n) => (world.wanted, world.calm) = (*n, 0),
            Happening::Load(n) => world.scaler = Some(autoscaler::Scaler::new(*n)),
            Happening::PauseSpec(on) => {
                world.spec.paused = *on;
                world.generation += 1;
            }
            Happening::Crash(after) => self.crash = Some(*after),
            Happening::LoseStatus => {
                // What only status knew is lost with it: a convicted revision may be tried again.
                world.past = Past::default();
                world.calm = 0;
                self.breached.clear();
            }
            Happening::LosePods(candidate) => {
                let canary = world.candidate().map(|c| c.hash.clone());
                world.pods.retain(|p| (Some(&p.hash) == canary.as_ref()) != *candidate);
                world.calm = 0;
            }
            Happening::EditTemplate if world.handover.is_none() => {
                world.template = format!("X{}", world.generation);
                (world.observed, world.calm) = (false, 0);
            }
            Happening::EditTemplate => {} // the admission policy refuses it during a hand-over
            Happening::EditRoute(weight) => {
                if let Some(split) = &mut world.split {
                    (split.weight, split.uneven, world.calm, world.pending) = (*weight, false, 0, world.lag);
                }
            }
            Happening::Unpin => (world.pin, world.calm) = (None, 0),
            Happening::Lag(n) => world.lag = *n,
            Happening::Delete => {
                world.deleting = true;
                world.gone = !world.finalizer;
            }
        }
        Ok(())
    }

    pub fn order(&mut self, kind: ActionType, to: PromoteTo) {
        let Some(state) = self.world.past.state.clone() else { return };
        let shown = state.candidate().map_or(&state.stable().revision, |c| &c.version.revision);
        let rejected = self.world.past.memory.rejected.last().map(|r| r.revision.clone());
        let revision =
            if kind == ActionType::Retry { rejected.unwrap_or_else(|| shown.clone()) } else { shown.clone() };
        if kind == ActionType::Retry {
            self.breached.retain(|r| *r != revision);
        }
        let n = self.world.orders.len();
        self.world.orders.push(Order {
            uid: format!("order-{n}"),
            created_at: self.world.now,
            release_uid: "release".into(),
            revision: revision.0,
            kind,
            to,
            until: None,
            by: "sam".into(),
            reason: None,
            proven: true,
        });
    }

    /// Faults stop; what is asked for must be reached or refused, and then nothing moves.
    pub fn settle(&mut self) -> Result<(), String> {
        let world = &mut self.world;
        (world.bad, world.lag, world.spec.paused) = (Vec::new(), 1, false);
        (world.degraded, world.no_data, world.no_start, world.unready) = (false, false, false, false);
        if self.world.past.memory.paused.is_some() {
            self.order(ActionType::Resume, PromoteTo::NextStep);
        }
        self.crash = None;
        self.seconds(900)?;
        if self.world.gone {
            return if self.world.seen().is_home() {
                Ok(())
            } else {
                Err("22: something of ours was left behind".into())
            };
        }
        let seen = self.world.seen();
        let decision = decide(&self.world.spec, &self.world.past, &seen);
        let stable = decision.state.as_ref().map(|s| s.stable().revision.clone()).unwrap_or_default();
        let todo = steps(&decision.goal, &stable, &seen);
        let drifted = decision.display.drifted.is_some();
        if !todo.is_empty() || !(seen.is_home() || drifted) {
            return Err(format!("never came to rest: {:?} with {todo:?}", self.state()));
        }
        if Some(&decision.state) != Some(&self.world.past.state) {
            return Err(format!("never came to rest: {:?} → {:?}", self.state(), decision.state));
        }
        let asked = self.world.spec.images["app"].clone();
        let refused = self.world.past.memory.rejected.iter().any(|r| r.revision.0 == asked);
        let given_up = matches!(self.state(), Some(State::RolledBack { .. } | State::RollbackFailed { .. }));
        if self.world.template != asked && !refused && !given_up && !drifted {
            return Err(format!("{asked} is asked for, {} runs, in {:?}", self.world.template, self.state()));
        }
        Ok(())
    }
}

/// Plays a history and says what broke.
fn play(routed: bool, wanted: u32, history: &[Happening], mutant: Option<Mutant>) -> Result<(), String> {
    let mut run = Run::new(routed, wanted, mutant);
    for happening in history {
        run.happen(happening)?;
        run.pass()?;
    }
    run.settle()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_invariants(
        routed in prop_oneof![3 => Just(true), 1 => Just(false)],
        wanted in 1u32..5,
        history in prop::collection::vec(happening(), 1..40),
    ) {
        if let Err(broken) = play(routed, wanted, &history, None) {
            prop_assert!(false, "{broken}");
        }
    }
}

/// Drives a run until `done`, at most `limit` seconds.
fn until(run: &mut Run, limit: u32, done: impl Fn(&Run) -> bool) {
    for _ in 0..limit {
        if done(run) {
            return;
        }
        run.second().unwrap();
    }
    panic!("not reached within {limit} s: {:?}", run.state());
}

fn ask(run: &mut Run, version: &str) {
    run.world.spec.images.insert("app".into(), version.into());
    run.world.generation += 1;
}

fn idle_on(version: &'static str) -> impl Fn(&Run) -> bool {
    move |run| matches!(run.state(), Some(State::Idle { stable }) if stable.revision.0 == version)
}

#[test]
fn a_good_version_replaces_the_old_one_with_its_own_pods() {
    for routed in [true, false] {
        let mut run = Run::new(routed, 3, None);
        run.seconds(3).unwrap();
        ask(&mut run, "B");
        until(&mut run, 60, |r| matches!(r.state(), Some(State::Observing { settled: Some(_), .. })));
        let mut pods: Vec<_> = run.world.pods.iter().filter(|p| p.rev == "B").map(|p| p.name.clone()).collect();
        until(&mut run, 60, idle_on("B"));
        let mut after: Vec<_> = run.world.pods.iter().filter(|p| p.ending.is_none()).map(|p| p.name.clone()).collect();
        pods.sort();
        after.sort();
        assert_eq!(pods, after, "each pod was started once");
        assert_eq!(run.world.past.memory.result.as_ref().map(|r| r.outcome), Some(Ended::Succeeded));
    }
}

#[test]
fn a_bad_version_loses_its_traffic_in_the_pass_that_convicts_it() {
    let mut run = Run::new(true, 3, None);
    run.seconds(3).unwrap();
    run.world.bad = vec!["B".into()];
    ask(&mut run, "B");
    until(&mut run, 90, |r| matches!(r.state(), Some(State::Draining { .. })));
    assert_eq!(run.world.split.map(|s| (s.weight, s.header)), Some((0, false)));
    until(&mut run, 90, |r| matches!(r.state(), Some(State::RolledBack { .. })));
    let Some(State::RolledBack { report, cause, .. }) = run.state() else { unreachable!() };
    assert!(cause.message.contains('%') && cause.message.contains("> 5 %"), "{}", cause.message);
    assert!(report.written_at.is_some() && report.confirmed_at.is_some() && report.proven_at.is_some(), "{report:?}");
    assert!(report.recovered_at.is_some() && report.requests_failed.is_some_and(|n| n > 0), "{report:?}");
    let notices = run.world.past.memory.notices;
    run.seconds(300).unwrap();
    assert!(matches!(run.state(), Some(State::RolledBack { .. })), "it is not tried again");
    assert_eq!(run.world.past.memory.notices, notices, "and nothing more is told");
}

#[test]
fn there_and_back_again() {
    let mut run = Run::new(true, 2, None);
    run.seconds(3).unwrap();
    for version in ["B", "A", "B"] {
        ask(&mut run, version);
        until(&mut run, 200, |r| matches!(r.state(), Some(State::Idle { stable }) if stable.revision.0 == version));
    }
}

#[test]
fn an_undo_after_success_brings_the_previous_version_back_at_once() {
    let mut run = Run::new(true, 2, None);
    run.seconds(3).unwrap();
    ask(&mut run, "B");
    until(&mut run, 200, idle_on("B"));
    run.order(ActionType::Rollback, PromoteTo::NextStep);
    until(&mut run, 60, idle_on("A"));
    run.seconds(120).unwrap();
    assert!(idle_on("A")(&run), "B stays rejected though the Release still names it");
    assert_eq!(run.world.past.memory.result.as_ref().map(|r| r.outcome), Some(Ended::RolledBack));
}

#[test]
fn no_data_gives_up_without_conviction() {
    let mut run = Run::new(true, 2, None);
    run.seconds(3).unwrap();
    ask(&mut run, "B");
    until(&mut run, 60, |r| matches!(r.state(), Some(State::Stepping { settled: Some(_), .. })));
    run.world.no_data = true;
    until(
        &mut run,
        200,
        |r| matches!(r.state(), Some(State::RolledBack { cause, .. }) if cause.kind == CauseKind::Inconclusive),
    );
    assert!(run.world.past.memory.rejected.is_empty());
    run.world.no_data = false;
    run.seconds(100).unwrap();
    assert!(matches!(run.state(), Some(State::RolledBack { .. })), "it needs a Retry");
    run.order(ActionType::Retry, PromoteTo::NextStep);
    until(&mut run, 200, idle_on("B"));
}

#[test]
fn a_pause_stops_time_but_not_safety() {
    let mut run = Run::new(true, 2, None);
    run.seconds(3).unwrap();
    ask(&mut run, "B");
    until(&mut run, 60, |r| matches!(r.state(), Some(State::Stepping { settled: Some(_), .. })));
    run.order(ActionType::Pause, PromoteTo::NextStep);
    run.seconds(120).unwrap();
    assert!(matches!(run.state(), Some(State::Stepping { step: 0, .. })));
    run.world.bad = vec!["B".into()];
    until(&mut run, 60, |r| matches!(r.state(), Some(State::Draining { .. })));
}

#[test]
fn the_same_world_twice_gives_nothing_to_do() {
    let mut run = Run::new(true, 3, None);
    run.seconds(3).unwrap();
    ask(&mut run, "B");
    for _ in 0..120 {
        run.world.tick();
        for _ in 0..6 {
            run.pass().unwrap();
        }
        let seen = run.world.seen();
        let again = decide(&run.world.spec, &run.world.past, &seen);
        if again.state == run.world.past.state {
            let stable = again.state.as_ref().map(|s| s.stable().revision.clone()).unwrap_or_default();
            assert_eq!(steps(&again.goal, &stable, &seen), [], "in {:?}", again.state);
        }
        run.world.lost = 0.0;
    }
}

#[test]
fn time_is_never_zero_while_something_is_on_its_way() {
    let mut run = Run::new(true, 3, None);
    ask(&mut run, "B");
    for _ in 0..100 {
        run.second().unwrap();
        let decision = decide(&run.world.spec, &run.world.past, &run.world.seen());
        if decision.state == run.world.past.state {
            assert!(
                decision.wake.is_none_or(|w| w > Duration::ZERO),
                "a pass that changes nothing must not run in circles"
            );
        }
    }
}
