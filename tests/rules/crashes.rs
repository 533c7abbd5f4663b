//! The operator dies, or one of its writes goes wrong, at every single point of a release: it must come to the same.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::LazyLock,
};

use haldane::observe::seen::Hold;

use crate::{
    operator::{FAULTS, Fault, hash},
    scripts::{LIMIT, Outcome, Play, Script, fits, outcome, scripts},
};

/// A script with its undisturbed end, and the run before each pass that writes something.
pub struct Reference {
    pub script: Script,
    pub outcome: Outcome,
    /// What it comes to when the last line comes later: in a hand-over it is decided within seconds which version stays.
    alternatives: Vec<Outcome>,
    /// Where the second begins in which each point lies.
    pub before: Vec<Play>,
}

impl Reference {
    pub fn of(script: Script) -> Self {
        let mut play = script.begin();
        let mut before = Vec::new();
        let ends = (0..LIMIT).any(|_| {
            let snapshot = play.clone();
            let done =
                script.second(&mut play).unwrap_or_else(|broken| panic!("{}, undisturbed: {broken}", script.name));
            before.resize(play.run.points, snapshot);
            done
        });
        assert!(ends, "{} does not end: line {}, {:?}", script.name, play.line, play.run.state());
        play.run.seconds(3).unwrap();
        assert!(fits(&script, &play.run), "{} came to {:?}", script.name, outcome(&play.run));
        let races = script.name.contains("hand-over");
        let alternatives = (1..8).filter(|_| races).map(|late| {
            let mut play = Play { late, ..script.begin() };
            script.finish(&mut play).unwrap();
            outcome(&play.run)
        });
        Self { outcome: outcome(&play.run), alternatives: alternatives.collect(), script, before }
    }

    /// Whether this run of the tests tries that point. Held Deployments walk most of the ways that others walk, so a short
    /// run tries one point in eight of theirs, other ones for each script; a long run tries every point of all.
    pub fn tries(&self, point: usize) -> bool {
        let mut name = DefaultHasher::new();
        self.script.name.hash(&mut name);
        long() || self.script.hold == Hold::No || (point as u64).wrapping_add(name.finish()).is_multiple_of(8)
    }

    /// Whether a run that was disturbed came to what it should.
    pub fn accepts(&self, end: &Outcome) -> bool {
        *end == self.outcome || self.alternatives.contains(end)
    }

    /// The run with these faults comes to the same.
    fn with(&self, faults: &[(usize, Fault)]) -> Result<(), String> {
        let first = faults.iter().map(|(n, _)| *n).min().unwrap_or(0);
        let mut play = self.before[first].clone();
        play.run.faults = faults.to_vec();
        let told = |broken| format!("{}, {faults:?}: {broken}", self.script.name);
        self.script.finish(&mut play).map_err(told)?;
        let end = outcome(&play.run);
        if !self.accepts(&end) {
            return Err(told(format!("came to\n  {end:?}\ninstead of\n  {:?}", self.outcome)));
        }
        let most = play.run.told.values().map(|(_, times)| *times).max().unwrap_or(0);
        if most as usize > 1 + faults.len() {
            return Err(told(format!("19: one notice was sent {most} times")));
        }
        Ok(())
    }
}

static REFERENCES: LazyLock<Vec<Reference>> = LazyLock::new(|| scripts().into_iter().map(Reference::of).collect());

pub fn references() -> &'static [Reference] {
    &REFERENCES
}

pub fn long() -> bool {
    std::env::var("HALDANE_LONG").is_ok_and(|value| value == "1")
}

pub fn report(mut broken: Vec<String>) {
    let n = broken.len();
    broken.truncate(5);
    assert!(broken.is_empty(), "{n} broke:\n{}", broken.join("\n"));
}

fn each_point(mode: &str) {
    let (mut broken, mut all) = (Vec::new(), 0_usize);
    for reference in references().iter().filter(|r| r.script.name.contains("routed") == (mode == "routed")) {
        let points = reference.before.len();
        for n in (0..points).filter(|n| reference.tries(*n)) {
            // In short runs the kinds of refusal take turns: they differ only in when it is tried again.
            let (always, turns) = FAULTS.split_at(3);
            let tried = if long() { turns } else { &turns[n % 5..=n % 5] };
            for fault in always.iter().chain(tried) {
                broken.extend(reference.with(&[(n, *fault)]).err());
                all += 1;
            }
        }
        println!("crash points of {}: {points} writes and tellings", reference.script.name);
    }
    println!("crash_points_in_process: {all} ({mode})");
    report(broken);
}

#[test]
fn a_fault_at_any_write_changes_nothing_about_the_end() {
    each_point("routed");
}

#[test]
fn nor_does_one_where_pods_or_several_routes_divide_the_traffic() {
    each_point("else");
}

#[test]
fn two_crashes_anywhere_change_nothing_about_the_end() {
    let references = references();
    let runs = if long() { 40_000 } else { 1_500 };
    let mut broken = Vec::new();
    for seed in 0..runs {
        let chance = |n: u64, of: usize| (hash(seed * 8 + n) % of as u64) as usize;
        let reference = &references[chance(0, references.len())];
        let points = reference.before.len();
        let first = chance(1, points);
        // Half of the second ones come soon, where the first has left things half done.
        let second = first + 1 + chance(2, if chance(3, 2) == 0 { 6 } else { points });
        let faults = [(first, FAULTS[chance(4, FAULTS.len())]), (second, FAULTS[chance(5, FAULTS.len())])];
        broken.extend(reference.with(&faults).err());
    }
    println!("double_crashes_in_process: {runs}");
    report(broken);
}
