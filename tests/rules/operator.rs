//! One run of the operator over a small Kubernetes: passes, write by write, with faults at chosen writes. What a pass
//! does around `decide` and `steps` mirrors `src/controller/work.rs`.

use std::{collections::BTreeMap, time::Duration};

use haldane::{
    act::{effect::Effect, steps::steps},
    api::{
        action::{ActionType, PromoteTo},
        notice::{EVENT_CHANNEL, Notice, Reason},
        release::ReleaseSpec,
        state::{CauseKind, Revision, State},
        status::{Evidence, Memory},
        units::At,
    },
    decide::{Decision, Past, decide, goal::Goal},
    observe::seen::{Hold, Order, Seen},
};

use crate::{
    invariants,
    world::{Prepared, Scope, Stop, World},
};

/// A fault that is put into the operator on purpose.
pub type Mutant = fn(&World, &Past, &Seen, &mut Decision, &mut Vec<Effect>);

/// The same heal again within this time is left to whoever undoes it.
const HEAL_PAUSE: Duration = Duration::from_secs(10);
/// How long a deleted Release waits for its last notices.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// Counts alone are stored this often.
const SOFT_PAUSE: Duration = Duration::from_mins(1);
/// How long a call hangs before it is given up, in seconds.
const CALL_LIMIT: u32 = 5;
/// How long the API server is away when it answers 503, and how long a 429 wants to be left alone.
const OUTAGE: u64 = 6;
const RETRY_AFTER: u64 = 3;

/// What goes wrong with one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    DieBefore,
    DieAfter,
    /// It was done, but the answer never came.
    AnswerLost,
    Conflict,
    TooMany,
    Internal,
    Unavailable,
    Timeout,
}

pub const FAULTS: [Fault; 8] = [
    Fault::DieBefore,
    Fault::DieAfter,
    Fault::AnswerLost,
    Fault::Conflict,
    Fault::TooMany,
    Fault::Internal,
    Fault::Unavailable,
    Fault::Timeout,
];

/// What the operator's process knows and no other needs.
#[derive(Clone, Debug, Default)]
pub struct Process {
    pub evidence: Option<(State, Option<Evidence>)>,
    heals: Vec<(Effect, At)>,
    route_written_at: Option<At>,
    /// `Seen.stands` of its last look.
    stood: Option<(u32, At)>,
    failed_writes: u32,
    stored_at: Option<At>,
    delivered: Vec<(u64, String)>,
    /// Handed to their senders, which go on when the Release is gone.
    handed_over: Vec<(u64, String)>,
    failures: u32,
    /// What the watches had told when it last looked.
    looked_at: u64,
    /// When it looks again by itself.
    pub wake: Option<At>,
}

/// What was told: how often each notice was sent, and what it said.
pub type Told = BTreeMap<(u64, String), (Reason, u32)>;

/// When the operator looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waking {
    /// Each change wakes it at once.
    ByWatch,
    /// Nothing but the moments it has chosen itself, so many seconds late.
    ByClock(u64),
    /// As `ByWatch`, but wake-ups are held and come in bursts: a number that chance is made from.
    Chance(u64),
}

/// Somebody else, between two steps of a pass.
pub type Meddler = fn(&mut Run);

#[derive(Clone)]
pub struct Run {
    pub world: World,
    pub process: Process,
    pub waking: Waking,
    pub mutant: Option<Mutant>,
    /// The first write of the next pass that is not done any more, and the operator dies.
    pub crash: Option<u8>,
    /// Faults by the number of the write.
    pub faults: Vec<(usize, Fault)>,
    /// Writes and tellings begun so far.
    pub points: usize,
    /// Done before the write of this number: between reading and deciding (0), before the executor looks once more
    /// (1), or before the request arrives (2).
    pub meddler: Option<(usize, u8, Meddler)>,
    /// Done just before the pass begins that does the write of this number.
    pub before_the_pass_of: Option<(usize, Meddler)>,
    pub meddled: bool,
    /// Requests of a process that was frozen and has been replaced; they arrive all the same.
    pub in_flight: Vec<(At, Prepared)>,
    /// The write of this number is on its way for so long, and its operator is frozen.
    pub freeze: Option<(usize, u64)>,
    pub told: Told,
    pub breached: Vec<Revision>,
    down_until: Option<At>,
    refusing_until: Option<At>,
}

/// How a pass ended before its end.
enum End {
    /// Broken: an invariant.
    Broken(String),
    Failed,
    LookAgain,
    Died,
    Waits,
}

impl From<String> for End {
    fn from(broken: String) -> Self {
        Self::Broken(broken)
    }
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::NotYet(_) => Self::Waits,
            Stop::Stale(_) => Self::LookAgain,
            Stop::Refused(_) => Self::Failed,
        }
    }
}

pub fn spec(routes: usize) -> ReleaseSpec {
    let named: Vec<_> = ["app", "api", "admin"][..routes].iter().map(|n| serde_json::json!({"name": n})).collect();
    let header = (routes > 0).then(|| serde_json::json!({"name": "x-canary", "value": "true"}));
    serde_json::from_value(serde_json::json!({
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"},
        "images": {"app": "A"},
        "traffic": {"routes": named, "canaryHeader": header},
        "plan": {
            "steps": [{"pods": 1, "for": "8s"}, {"weight": 50, "for": "8s"}, {"weight": 100}],
            "watch": {"for": "8s"},
            "deadline": "60s",
        },
        "rollback": {"steps": [
            {"name": "schema", "job": {"image": "schema"}, "retries": 1},
            {"name": "coupons", "redis": {"secretName": "redis", "keys": ["coupon:*"]}, "retries": 1, "onFailure": "Continue"},
        ]},
        "checks": {
            "provider": "prometheus",
            "errorRate": {"max": "5%", "for": "6s"},
            "health": {"failures": 3, "every": "1s"},
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
        Self::with(usize::from(routed), 1, wanted, mutant)
    }

    pub fn with(routes: usize, services: usize, wanted: u32, mutant: Option<Mutant>) -> Self {
        let world = World::new(spec(routes), wanted, services.max(routes));
        Self {
            process: Process { wake: Some(world.now), ..Process::default() },
            world,
            waking: Waking::ByWatch,
            mutant,
            crash: None,
            faults: Vec::new(),
            points: 0,
            meddler: None,
            before_the_pass_of: None,
            meddled: false,
            in_flight: Vec::new(),
            freeze: None,
            told: Told::new(),
            breached: Vec::new(),
            down_until: None,
            refusing_until: None,
        }
    }

    /// A Release without images: the Deployment is held.
    pub fn held(mut self, hold: Hold) -> Self {
        if hold != Hold::No {
            self.world.spec.images.clear();
            self.world.at_change = hold == Hold::AtChange;
        }
        self
    }

    pub fn state(&self) -> Option<&State> {
        self.world.past.state.as_ref()
    }

    /// The world and what this process knows of it.
    pub fn seen(&self) -> Seen {
        let mut seen = self.world.seen();
        seen.route_written_at = self.process.route_written_at;
        seen.stand(self.process.stood);
        seen.delivered.clone_from(&self.process.delivered);
        seen
    }

    /// What is remembered, with evidence that is newer than its stored copy.
    pub fn past(&self) -> Past {
        let mut past = self.world.past.clone();
        if let Some((state, evidence)) = &self.process.evidence
            && past.state.as_ref() == Some(state)
        {
            past.memory.evidence.clone_from(evidence);
        }
        past
    }

    /// One pass; an error is a broken invariant.
    pub fn pass(&mut self) -> Result<(), String> {
        if self.world.gone || self.down_until.is_some_and(|until| self.world.now < until) {
            return Ok(());
        }
        self.down_until = None;
        if let Some((n, meddler)) = self.before_the_pass_of.take() {
            let mut rehearsal = self.clone();
            let _ended = rehearsal.pass_once();
            if rehearsal.points > n {
                meddler(self);
                self.world.stirred();
            } else {
                self.before_the_pass_of = Some((n, meddler));
            }
        }
        match self.pass_once() {
            Ok(wake) => {
                self.process.failures = 0;
                self.process.wake = wake.map(|wake| self.world.now.plus(wake));
                Ok(())
            }
            Err(End::Broken(broken)) => Err(broken),
            Err(End::Waits) => {
                self.process.failures = 0;
                Ok(())
            }
            Err(End::LookAgain) => {
                self.process.wake = Some(self.world.now);
                Ok(())
            }
            Err(End::Failed) => {
                self.process.failures += 1;
                let pause = Duration::from_millis(250).saturating_mul(1 << self.process.failures.min(7));
                self.process.wake = Some(self.world.now.plus(pause));
                Ok(())
            }
            Err(End::Died) => {
                self.process = Process::default();
                self.down_until = Some(self.world.now.plus(Duration::from_secs(2)));
                self.process.wake = self.down_until;
                Ok(())
            }
        }
    }

    fn pass_once(&mut self) -> Result<Option<Duration>, End> {
        self.meddled = false;
        self.process.looked_at = self.world.changes;
        let seen = self.seen();
        self.process.stood = seen.stands;
        let past = self.past();
        let mut decision = decide(&self.world.spec, &past, &seen);
        let stable = |d: &Decision| d.state.as_ref().map(|s| s.stable().revision.clone()).unwrap_or_default();
        let mut effects = steps(&decision.goal, &stable(&decision), &seen);
        if let Some(mutant) = self.mutant {
            mutant(&self.world, &past, &seen, &mut decision, &mut effects);
        }
        invariants::decision(&past, &decision, &seen)?;
        invariants::order(&past, &decision, &effects, &seen)?;
        self.process.wake = decision.wake.map(|wake| self.world.now.plus(wake));
        let (read, generation) = (self.world.version_of_release(), self.world.generation);
        self.meddle(0);
        // Weight 0 goes out beside its record, so either may be the first to arrive.
        let begins = !matches!(past.state, Some(State::Draining { .. }));
        if begins && matches!(decision.goal, Goal::Withdraw { .. }) && self.points.is_multiple_of(2) {
            let (first, rest) = effects.into_iter().partition(|e| matches!(e, Effect::Route { weight: 0, .. }));
            effects = rest;
            let done = self.effects(&first, &decision);
            if matches!(done, Err(End::Died | End::Broken(_))) {
                return done.map(|()| decision.wake);
            }
        }
        if let Err(end) = self.store(&decision, read, generation) {
            if matches!(end, End::Failed)
                && matches!(decision.goal, Goal::Withdraw { .. })
                && self.process.failed_writes >= 2
            {
                effects.retain(|e| matches!(e, Effect::Route { .. }));
                self.effects(&effects, &decision)?;
            }
            return Err(end);
        }
        self.latch(&decision);
        if let Some(state) = &decision.state {
            if self.process.evidence.as_ref().is_none_or(|(before, _)| Goal::of(before) != Goal::of(state)) {
                self.process.heals.clear(); // the same write for another goal is no heal
            }
            self.process.evidence = Some((state.clone(), decision.memory.evidence.clone()));
            if matches!(state, State::Idle { .. } | State::RolledBack { .. } | State::RollbackFailed { .. }) {
                self.process.route_written_at = None;
            }
        }
        let done = self.effects(&effects, &decision);
        if matches!(done, Err(End::Died | End::Broken(_))) {
            return done.map(|()| decision.wake);
        }
        // After the effects: nobody is told before the traffic is where it should be.
        self.tell()?;
        done?;
        Ok(decision.wake)
    }

    /// The status write.
    fn store(&mut self, decision: &Decision, read: u64, generation: i64) -> Result<(), End> {
        let on_its_way = self.state().is_some_and(State::active);
        let left = self.world.deleted_at.is_some() || self.world.retiring.is_some() && !on_its_way;
        if left && !self.world.finalizer {
            return Ok(());
        }
        let due = match change(&self.world.past, decision) {
            Change::None => false,
            Change::Soft => self.process.stored_at.is_none_or(|at| self.world.now.since(at) >= SOFT_PAUSE),
            Change::Hard => true,
        };
        if due {
            let after = Past { state: decision.state.clone(), memory: decision.memory.clone() };
            let stored = self.attempt(|run| {
                run.meddle(2);
                if (run.world.version_of_release(), run.world.generation) != (read, generation) && !run.world.unguarded
                {
                    return Err(End::LookAgain);
                }
                run.world.remember(after);
                Ok(())
            });
            match &stored {
                Ok(()) => {
                    self.process.failed_writes = 0;
                    self.process.stored_at = Some(self.world.now);
                }
                Err(End::Failed) => self.process.failed_writes += 1,
                Err(_) => {}
            }
            stored?;
        }
        Ok(())
    }

    /// Hands the stored notices to their channels, each once per process.
    fn tell(&mut self) -> Result<(), End> {
        for notice in self.world.past.memory.outbox.clone() {
            for channel in notice.pending {
                let key = (notice.seq, channel);
                if self.process.delivered.contains(&key) {
                    continue;
                }
                if !self.process.handed_over.contains(&key) {
                    self.process.handed_over.push(key.clone());
                }
                let sent = self.attempt(|run| {
                    run.told.entry(key.clone()).or_insert((notice.reason, 0)).1 += 1;
                    Ok(())
                });
                match sent {
                    Ok(()) => self.process.delivered.push(key),
                    Err(End::Died) => return Err(End::Died),
                    Err(_) => {} // the sender tries again by itself; no pass fails for it
                }
            }
        }
        Ok(())
    }

    /// What a sender could not deliver it tries again by itself, without a pass.
    fn send_again(&mut self) {
        if self.down_until.is_some() {
            return;
        }
        for key in self.undelivered() {
            if self.world.gone && !self.process.handed_over.contains(&key) {
                continue;
            }
            let Some(notice) = self.world.past.memory.outbox.iter().find(|n| n.seq == key.0) else { continue };
            self.told.entry(key.clone()).or_insert((notice.reason, 0)).1 += 1;
            self.process.delivered.push(key);
        }
    }

    fn undelivered(&self) -> Vec<(u64, String)> {
        let pending = |n: &Notice| n.pending.iter().map(|c| (n.seq, c.clone())).collect::<Vec<_>>();
        let outbox = self.world.past.memory.outbox.iter().flat_map(pending);
        outbox.filter(|key| !self.process.delivered.contains(key)).collect()
    }

    fn effects(&mut self, effects: &[Effect], decision: &Decision) -> Result<(), End> {
        let crash = self.crash.take();
        let urgent = matches!(decision.goal, Goal::Withdraw { .. });
        let scope = Scope {
            stable: decision.state.as_ref().map(|s| s.stable().clone()).unwrap_or_default(),
            candidate: decision.state.as_ref().and_then(State::candidate).cloned(),
        };
        for (n, effect) in effects.iter().enumerate() {
            if crash.is_some_and(|after| n >= usize::from(after)) {
                return Err(End::Died);
            }
            if !urgent && self.undone(effect) {
                return Err(End::Waits); // what comes after it is only safe behind it
            }
            if let Some(state) = decision.state.as_ref().filter(|_| !self.meddled) {
                self.check(state, effect)?;
                self.last_words(&decision.goal, effect)?;
            }
            for part in 0..World::writes(effect) {
                self.one(effect, part, &scope, decision)?;
            }
            self.written(effect, urgent);
        }
        if crash.is_some() {
            return Err(End::Died);
        }
        Ok(())
    }

    /// 19: with a deleted Release goes the memory of what is still to be told. A receiver that is silent holds it for half a
    /// minute.
    fn last_words(&self, goal: &Goal, effect: &Effect) -> Result<(), String> {
        let untold = self.undelivered();
        let early = self.world.deleted_at.is_some_and(|at| self.world.now.since(at) < LAST_WORDS);
        if matches!((goal, effect), (Goal::Gone { .. }, Effect::DropFinalizer)) && early && !untold.is_empty() {
            return Err(format!("19: the Release goes, and {untold:?} are not told yet"));
        }
        Ok(())
    }

    /// One write: look once more, send, and try again where an executor does.
    fn one(&mut self, effect: &Effect, part: usize, scope: &Scope, decision: &Decision) -> Result<(), End> {
        let mut tries = if matches!(effect, Effect::FinishHandOver) && part != 1 { 3 } else { 1 };
        loop {
            self.meddle(1);
            let Some(request) = self.world.prepare(effect, part, scope)? else { return Ok(()) };
            if let Some((n, seconds)) = self.freeze
                && n == self.points
            {
                self.points += 1;
                self.in_flight.push((self.world.now.plus(Duration::from_secs(seconds)), request));
                return Err(End::Died);
            }
            let sent = self.attempt(|run| {
                run.meddle(2);
                if run.meddled && run.world.holds(&request) {
                    run.check_meddled(decision, effect)?;
                }
                Ok(run.world.commit(&request)?)
            });
            tries -= 1;
            match sent {
                Err(End::LookAgain) if tries > 0 => {}
                sent => return sent,
            }
        }
    }

    /// A numbered point: does `write` unless a fault is due here.
    fn attempt(&mut self, write: impl FnOnce(&mut Self) -> Result<(), End>) -> Result<(), End> {
        let n = self.points;
        self.points += 1;
        let fault = self.faults.iter().find(|(at, _)| *at == n).map(|(_, fault)| *fault);
        if self.refusing_until.is_some_and(|until| self.world.now < until) && fault.is_none() {
            return Err(End::Failed);
        }
        let refuse = |run: &mut Self, seconds: u64| {
            run.refusing_until = Some(run.world.now.plus(Duration::from_secs(seconds)));
            Err(End::Failed)
        };
        match fault {
            None => write(self),
            Some(Fault::DieBefore) => Err(End::Died),
            Some(Fault::DieAfter) => write(self).and(Err(End::Died)),
            Some(Fault::Conflict) => Err(End::LookAgain),
            Some(Fault::Internal) => Err(End::Failed),
            Some(Fault::TooMany) => refuse(self, RETRY_AFTER),
            Some(Fault::Unavailable) => refuse(self, OUTAGE),
            Some(Fault::AnswerLost) => {
                write(self)?;
                self.hang()?;
                Err(End::Failed)
            }
            Some(Fault::Timeout) => {
                self.hang()?;
                Err(End::Failed)
            }
        }
    }

    /// The world goes on while a call hangs.
    fn hang(&mut self) -> Result<(), End> {
        for _ in 0..CALL_LIMIT {
            self.world.tick();
            invariants::moment(&self.world, self.state())?;
            self.world.lost = 0.0;
        }
        Ok(())
    }

    fn meddle(&mut self, moment: u8) {
        if let Some((n, when, meddler)) = self.meddler
            && when == moment
            && n == if moment == 2 { self.points - 1 } else { self.points }
        {
            self.meddled = true;
            self.meddler = None;
            meddler(self);
            self.world.stirred();
        }
    }

    fn check(&self, state: &State, effect: &Effect) -> Result<(), String> {
        invariants::write(&self.world, state, effect)?;
        self.latched(state, effect)
    }

    /// No higher weight for what was convicted.
    fn latched(&self, state: &State, effect: &Effect) -> Result<(), String> {
        let rises = matches!(effect, Effect::Route { weight, .. } if *weight > self.world.written_weight());
        match state.candidate() {
            Some(c) if rises && self.breached.contains(&c.version.revision) => {
                Err(format!("16: the weight of convicted {} rises", c.version.revision))
            }
            _ => Ok(()),
        }
    }

    /// A write that its guards let through though somebody meddled: what it relies on must still be so. Weights and pins
    /// rely on pods, which may go at any moment: their guard is that the next pass looks again.
    fn check_meddled(&self, decision: &Decision, effect: &Effect) -> Result<(), String> {
        match &decision.state {
            None => Ok(()),
            Some(state) if matches!(effect, Effect::Route { .. } | Effect::Pin { .. }) => self.latched(state, effect),
            Some(state) => self.check(state, effect),
        }
    }

    /// Remembers breaches outside of what the operator remembers.
    fn latch(&mut self, decision: &Decision) {
        for rejected in &decision.memory.rejected {
            if rejected.cause == CauseKind::Bad && !self.breached.contains(&rejected.revision) {
                self.breached.push(rejected.revision.clone());
            }
        }
    }

    /// Whether this very heal was done a moment ago.
    fn undone(&mut self, effect: &Effect) -> bool {
        let now = self.world.now;
        self.process.heals.retain(|(_, at)| now.since(*at) < HEAL_PAUSE);
        self.process.heals.iter().any(|(done, _)| done == effect)
    }

    fn written(&mut self, effect: &Effect, urgent: bool) {
        let heals = matches!(effect, Effect::Route { .. } | Effect::Pin { .. } | Effect::Unpin { .. } | Effect::Pause);
        if heals {
            self.process.heals.push((effect.clone(), self.world.now));
        }
        if urgent && matches!(effect, Effect::Route { .. } | Effect::Pin { .. }) {
            self.process.route_written_at = self.process.route_written_at.or(Some(self.world.now));
        }
    }

    /// One second of the world and the passes that it wakes.
    pub fn second(&mut self) -> Result<(), String> {
        self.world.tick();
        let now = self.world.now;
        let (landing, flying) = self.in_flight.drain(..).partition(|(at, _)| *at <= now);
        self.in_flight = flying;
        let landing: Vec<(At, Prepared)> = landing;
        for (_, request) in landing {
            let _ = self.world.commit(&request); // refused or not, nobody is there to hear it
        }
        self.passes()?;
        self.send_again();
        invariants::moment(&self.world, self.state())?;
        self.world.lost = 0.0;
        Ok(())
    }

    fn passes(&mut self) -> Result<(), String> {
        let due = |run: &Self, late: u64| {
            run.process.wake.is_some_and(|wake| run.world.now >= wake.plus(Duration::from_secs(late)))
        };
        match self.waking {
            Waking::ByWatch => {
                let news = self.process.looked_at != self.world.changes && self.process.failures == 0;
                if news || due(self, 0) {
                    self.pass()?;
                }
            }
            Waking::ByClock(late) => {
                if !due(self, late) {
                    return Ok(());
                }
                self.pass()?;
            }
            Waking::Chance(seed) => {
                let chance = hash(seed ^ self.world.now.epoch() as u64);
                if !chance.is_multiple_of(5) && !due(self, chance / 5 % 7) {
                    return Ok(());
                }
                for _ in 0..chance % 3 {
                    self.pass()?;
                }
            }
        }
        // A pass that has changed the State is followed by another at once.
        for _ in 0..4 {
            if !due(self, 0) || self.process.failures > 0 {
                break;
            }
            self.pass()?;
        }
        Ok(())
    }

    pub fn seconds(&mut self, n: u32) -> Result<(), String> {
        (0..n).try_for_each(|_| self.second())
    }

    /// On until nothing is left to do, and a while longer; at most so many seconds.
    pub fn until_rest(&mut self, limit: u32) -> Result<(), String> {
        for _ in 0..limit {
            self.second()?;
            if self.process.wake.is_none() && self.rests() {
                return self.seconds(12);
            }
        }
        Ok(())
    }

    /// Nothing is left to do, and nothing is waited for.
    pub fn rests(&self) -> bool {
        self.world.gone || self.decided(|decision| decision.wake.is_none())
    }

    /// The same, or it waits for a person who must resolve what he has changed.
    pub fn idles(&self) -> bool {
        let resolved = |d: &Decision| d.wake.is_none() || d.display.drifted.is_some();
        self.world.gone || !self.state().is_some_and(State::active) && self.decided(resolved)
    }

    fn decided(&self, ends: impl Fn(&Decision) -> bool) -> bool {
        let (past, seen) = (self.past(), self.seen());
        let decision = decide(&self.world.spec, &past, &seen);
        let stable = decision.state.as_ref().map(|s| s.stable().revision.clone()).unwrap_or_default();
        ends(&decision)
            && decision.state == past.state
            && self.undelivered().is_empty()
            && steps(&decision.goal, &stable, &seen).is_empty()
    }

    pub fn ask(&mut self, version: &str) {
        if self.world.held() {
            self.world.edit_template(version);
        } else {
            self.world.spec.images.insert("app".into(), version.into());
            self.world.generation += 1;
        }
        self.world.stamp();
        self.process.wake = Some(self.world.now);
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
            step: (kind == ActionType::Confirm).then(|| "schema".to_owned()),
            until: None,
            by: "sam".into(),
            reason: None,
            proven: true,
        });
        self.process.wake = Some(self.world.now);
    }

    /// The operator is being uninstalled, or it is installed again.
    pub fn retire(&mut self, on: bool) {
        self.world.retiring = on.then_some(self.world.retiring.unwrap_or(self.world.now));
        self.process.wake = Some(self.world.now);
    }

    /// Nothing of ours is left: what an uninstall waits for.
    pub fn is_left(&self) -> bool {
        self.world.gone || !self.world.finalizer && self.seen().is_let_go()
    }

    pub fn delete(&mut self) {
        self.world.deleted_at.get_or_insert(self.world.now);
        self.world.gone = !self.world.finalizer;
        self.world.stamp();
        self.process.wake = Some(self.world.now);
    }
}

/// How far two statuses are apart: as `haldane::tell::status::change`.
enum Change {
    None,
    Soft,
    Hard,
}

fn change(before: &Past, after: &Decision) -> Change {
    let without_events = |memory: &Memory| {
        let mut memory = memory.clone();
        for notice in &mut memory.outbox {
            notice.pending.retain(|channel| channel != EVENT_CHANNEL);
        }
        memory.outbox.retain(|notice| !notice.pending.is_empty());
        memory
    };
    let (memory_before, memory_after) = (without_events(&before.memory), without_events(&after.memory));
    let facts = |memory: &Memory| {
        let mut memory = memory.clone();
        if let Some(e) = &mut memory.evidence {
            (e.watermark, e.healthy_at, e.requests, e.failed, e.failed_total) = (None, None, 0, 0, 0);
        }
        memory
    };
    if before.state != after.state || facts(&memory_before) != facts(&memory_after) {
        Change::Hard
    } else if memory_before == memory_after {
        Change::None
    } else {
        Change::Soft
    }
}

/// A number that looks like chance.
pub fn hash(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
