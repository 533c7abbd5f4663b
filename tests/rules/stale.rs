//! Stale views: the world changes between what a pass has read and what it writes, wake-ups are held, dropped or come
//! in bursts, and requests of an operator that is gone arrive late.
//!
//! Passes read everything anew from the API server, so a wake-up carries no content that could be old; what can be old
//! is a decision, a read of an executor, and a request on its way.

use haldane::{
    api::action::{ActionType, PromoteTo},
    decide::Past,
};

use crate::{
    crashes::{Reference, long, references, report},
    operator::{Fault, Meddler, Run, Waking, hash},
    scripts::{Play, outcome},
};

/// What others do, each to an object that our writes rely on.
const MEDDLERS: [(&str, Meddler); 14] = [
    ("scaled up", |run| run.world.wanted = 5),
    ("scaled down", |run| run.world.wanted = 2),
    ("template edited", |run| run.world.edit_template("X")),
    ("un-paused", |run| run.world.resume()),
    ("pins removed", |run| run.world.services.iter_mut().for_each(|s| s.pin = None)),
    ("route edited", |run| {
        for route in &mut run.world.routes {
            if let Some(split) = &mut route.split {
                (split.weight, route.pending) = (70, 1);
            }
        }
    }),
    ("candidate's pods lost", |run| lose(run, true)),
    ("stable pods lost", |run| lose(run, false)),
    ("canary Services deleted", |run| run.world.services.iter_mut().for_each(|s| s.canary = None)),
    ("candidate's set deleted", |run| {
        // While it carries traffic the admission policy refuses it.
        let mine = run.world.sets.iter_mut().find(|s| s.id.is_some() && !s.owned && !s.mark);
        if let Some(set) = mine {
            set.deleting = true;
        }
    }),
    ("another version asked for", |run| run.ask("C")),
    ("rollback ordered", |run| run.order(ActionType::Rollback, PromoteTo::NextStep)),
    ("Release deleted", Run::delete),
    ("status lost", |run| {
        run.world.remember(Past::default());
        run.breached.clear();
    }),
];

fn lose(run: &mut Run, candidate: bool) {
    let canary = run.world.candidate().map(|c| c.hash.clone());
    run.world.pods.retain(|p| (Some(&p.hash) == canary.as_ref()) != candidate);
}

/// One plan: somebody meddles at the write `n`. `when`: after the pass has read (0), after the executor has read (1), or
/// while the request is on its way (2).
struct Plan<'a> {
    reference: &'a Reference,
    n: usize,
    when: u8,
    what: &'static str,
    meddler: Meddler,
}

impl Plan<'_> {
    /// `None`: nothing is read or on its way at this moment.
    fn play(&self) -> Option<Result<(), String>> {
        let told = |broken| {
            format!("{}, {} at write {} ({}): {broken}", self.reference.script.name, self.what, self.n, self.when)
        };
        let mut play = self.reference.before[self.n].clone();
        play.run.meddler = Some((self.n, self.when, self.meddler));
        let ended = self.reference.script.wherever(&mut play);
        if ended.is_ok() && play.run.meddler.is_some() {
            return None;
        }
        Some(ended.and_then(|()| self.compare(&coarse(&play.run))).map_err(told))
    }

    fn compare(&self, end: &String) -> Result<(), String> {
        // The same at this moment, or a moment earlier or later, when nobody could have an old view of it.
        let now = std::iter::once_with(|| self.by_a_new_operator());
        let seconds = (0..3).map(|later| self.fresh(later));
        let passes = (0..4).map(|later| self.before_the_pass_of(self.n + later));
        // Who un-pauses a Deployment in the moment in which it is paused may lose: then it is as if he had not.
        let undone = (self.what == "un-paused").then(|| self.undisturbed());
        let mut others = Vec::new();
        for fresh in now.chain(seconds).chain(passes).chain(undone) {
            let fresh = fresh?;
            if fresh == *end {
                return Ok(());
            }
            others.push(fresh);
        }
        Err(format!("came to\n  {end}\ninstead of\n  {}", others.join("\n  ")))
    }

    fn undisturbed(&self) -> Result<String, String> {
        let mut play = self.reference.before[self.n].clone();
        self.reference.script.wherever(&mut play)?;
        Ok(coarse(&play.run))
    }

    fn fresh(&self, later: usize) -> Result<String, String> {
        let mut play = self.reference.before[self.n].clone();
        for _ in 0..later {
            self.reference.script.second(&mut play)?;
        }
        (self.meddler)(&mut play.run);
        play.run.world.stirred();
        self.reference.script.wherever(&mut play)?;
        Ok(coarse(&play.run))
    }

    /// The same just before the pass that does the write `n` looks at the world.
    fn before_the_pass_of(&self, n: usize) -> Result<String, String> {
        let mut play = self.reference.before[self.n].clone();
        play.run.before_the_pass_of = Some((n, self.meddler));
        self.reference.script.wherever(&mut play)?;
        Ok(coarse(&play.run))
    }

    /// The same at this very moment, between a record and its effect for example.
    fn by_a_new_operator(&self) -> Result<String, String> {
        let mut play = self.without_an_operator()?;
        self.reference.script.wherever(&mut play)?;
        Ok(coarse(&play.run))
    }

    /// The operator dies before the write `n`, and the change comes before the next one looks.
    fn without_an_operator(&self) -> Result<Play, String> {
        let mut play = self.reference.before[self.n].clone();
        play.run.faults = vec![(self.n, Fault::DieBefore)];
        while play.run.points <= self.n {
            self.reference.script.second(&mut play)?;
        }
        (self.meddler)(&mut play.run);
        play.run.world.stirred();
        Ok(play)
    }
}

/// All changes, at all moments of all writes.
fn plans(reference: &Reference) -> impl Iterator<Item = Plan<'_>> {
    (0..reference.before.len()).flat_map(move |n| {
        MEDDLERS
            .into_iter()
            .flat_map(move |(what, meddler)| (0..3).map(move |when| Plan { reference, n, when, what, meddler }))
    })
}

/// Where it came to, without how: what was told and started on the way depends on the moment.
fn coarse(run: &Run) -> String {
    let world = &run.world;
    let known = world.past.state.as_ref().filter(|_| !world.gone);
    let state = known.map(|s| (s.name(), s.stable().revision.clone()));
    let running: Vec<_> = world.pods.iter().filter(|p| p.ready && p.ending.is_none()).map(|p| &p.rev).collect();
    format!(
        "{state:?} {} {:?} {running:?} pinned: {} split: {} {:?}",
        world.template,
        world.paused,
        world.pinned(),
        world.routes.iter().any(|r| r.split.is_some()),
        world.handover,
    )
}

#[test]
fn what_changes_between_reading_and_writing_is_not_overwritten() {
    let all: Vec<_> = references().iter().flat_map(plans).collect();
    let chosen: Box<dyn Iterator<Item = &Plan>> = if long() {
        Box::new(all.iter())
    } else {
        Box::new((0..).map(|seed| &all[(hash(seed) % all.len() as u64) as usize]))
    };
    let (mut broken, mut plans) = (Vec::new(), 0);
    for outcome in chosen.filter_map(Plan::play).take(if long() { usize::MAX } else { 400 }) {
        plans += 1;
        broken.extend(outcome.err());
    }
    println!("stale_plans_in_process: {plans}");
    report(broken);
}

/// Those in which a version comes to its end.
fn promotions() -> impl Iterator<Item = &'static Reference> {
    references().iter().filter(|r| r.script.name.starts_with("promotion"))
}

/// Found by the long run: the operator died before its last mark was off the pods that it had handed over, and their
/// user rolled out another version. It waited for the size of a ReplicaSet that was not its own any more, for ever.
#[test]
fn a_version_rolled_out_before_the_last_mark_is_off_holds_nothing_up() {
    for reference in promotions() {
        let edits =
            plans(reference).filter(|plan| plan.what == "template edited" && plan.when == 0 && reference.tries(plan.n));
        report(edits.filter_map(|plan| plan.by_a_new_operator().err()).collect());
    }
}

/// Found by the long run: what was left of a hand-over whose status was lost was taken for the candidate that should go,
/// and since it is the Deployment's, nothing went.
#[test]
fn what_a_lost_status_left_on_the_pods_is_not_taken_for_a_candidate() {
    for reference in promotions() {
        let given_up_then = |plan: Plan<'_>| {
            let mut play = plan.without_an_operator()?;
            reference.script.wherever(&mut play)?;
            play.run.ask("C");
            play.run.seconds(6)?;
            play.run.ask("B");
            reference.script.wherever(&mut play)
        };
        let lost =
            plans(reference).filter(|plan| plan.what == "status lost" && plan.when == 0 && reference.tries(plan.n));
        report(lost.filter_map(|plan| given_up_then(plan).err()).collect());
    }
}

/// The operator is frozen while a request is on its way; another one takes over, and the request arrives after all.
#[test]
fn a_late_request_of_a_frozen_operator_changes_nothing_about_the_end() {
    let mut broken = Vec::new();
    let (mut plans, mut seed) = (0, 0);
    for reference in references() {
        for n in 0..reference.before.len() {
            seed += 1;
            if !(long() || reference.tries(n) && hash(seed).is_multiple_of(4)) {
                continue;
            }
            let seconds = [1, 4, 12, 40][(hash(seed) / 4 % 4) as usize];
            let mut play = reference.before[n].clone();
            play.run.freeze = Some((n, seconds));
            let told = |broken| format!("{}, write {n} is {seconds} s late: {broken}", reference.script.name);
            let ended = reference.script.finish(&mut play).map_err(told);
            if play.run.world.gone {
                // Nobody is left to take an empty ReplicaSet away; it starts no pod and serves nobody.
                play.run.world.sets.retain(|set| set.owned || set.size > 0);
            }
            let end = outcome(&play.run);
            broken.extend(ended.err());
            if !reference.accepts(&end) {
                broken.push(told(format!("came to\n  {end:?}\ninstead of\n  {:?}", reference.outcome)));
            }
            plans += 1;
        }
    }
    println!("late_requests_in_process: {plans}");
    report(broken);
}

/// Nobody wakes the operator but its own clock, or it is woken in bursts: time alone must bring it to the end.
#[test]
fn dropped_held_and_bundled_wake_ups_change_nothing_about_the_end() {
    let mut broken = Vec::new();
    let mut plans = 0;
    let chances = if long() { 100 } else { 4 };
    for reference in references() {
        let clocks = [0, 1, 3, 10].map(Waking::ByClock);
        let wakings = clocks.into_iter().chain((0..chances).map(Waking::Chance)).enumerate();
        for (_, waking) in wakings.filter(|(n, _)| reference.tries(*n)) {
            let mut play = reference.script.begin();
            play.run.waking = waking;
            let told = |broken| format!("{}, {waking:?}: {broken}", reference.script.name);
            let ended = reference.script.finish(&mut play).map_err(told);
            let end = outcome(&play.run);
            if ended.is_ok() && !reference.accepts(&end) {
                broken.push(told(format!("came to\n  {end:?}\ninstead of\n  {:?}", reference.outcome)));
            }
            broken.extend(ended.err());
            plans += 1;
        }
    }
    println!("wake_up_plans_in_process: {plans}");
    report(broken);
}

/// The guards are what makes this so: without them some of the same plans break something.
#[test]
fn without_resource_versions_and_tests_old_views_do_harm() {
    let harmed = references().iter().any(|reference| {
        (0..reference.before.len()).any(|n| {
            let mut play = reference.before[n].clone();
            play.run.world.unguarded = true;
            play.run.freeze = Some((n, 12));
            reference.script.finish(&mut play).is_err() || !reference.accepts(&outcome(&play.run))
        })
    });
    assert!(harmed, "no guard is needed anywhere: the plans are too tame");
}
