//! Whole releases as scripts that can be cut at any point and go on from there, and what each comes to.

use haldane::{
    api::{
        action::{ActionType, PromoteTo},
        state::{Part, State},
        status::Ended,
    },
    observe::seen::Hold,
};

use crate::operator::Run;

/// One line of a script.
#[derive(Clone, Copy)]
pub enum Line {
    /// Waits until this is so.
    Until(fn(&Run) -> bool),
    Do(fn(&mut Run)),
}

pub struct Script {
    pub name: &'static str,
    /// Routes and Services; without a route the number of pods divides the traffic.
    pub routes: usize,
    pub services: usize,
    pub hold: Hold,
    pub lines: Vec<Line>,
}

/// A run and the line it has come to.
#[derive(Clone)]
pub struct Play {
    pub run: Run,
    pub line: usize,
    /// The last line comes so many seconds late.
    pub late: u32,
}

/// At most so many seconds, and for every line.
pub const LIMIT: u32 = 900;

const WANTED: u32 = 3;

impl Script {
    pub fn begin(&self) -> Play {
        Play { run: Run::with(self.routes, self.services, WANTED, None).held(self.hold), line: 0, late: 0 }
    }

    /// One second, after the lines that are due. True when the script is at its end and nothing is left to do.
    pub fn second(&self, play: &mut Play) -> Result<bool, String> {
        while let Some(line) = self.lines.get(play.line) {
            match line {
                Line::Until(done) if !done(&play.run) => break,
                Line::Until(_) => {}
                Line::Do(_) if play.late > 0 && play.line + 1 == self.lines.len() => {
                    play.late -= 1;
                    break;
                }
                Line::Do(this) => this(&mut play.run),
            }
            play.line += 1;
        }
        play.run.second()?;
        let quiet = play.run.process.wake.is_none() && play.run.in_flight.is_empty();
        Ok(play.line == self.lines.len() && (play.run.world.gone || quiet && play.run.rests()))
    }

    /// To the end and a little longer.
    pub fn finish(&self, play: &mut Play) -> Result<(), String> {
        for _ in 0..LIMIT {
            if self.second(play)? {
                return play.run.seconds(3);
            }
        }
        Err(format!("not at rest after {LIMIT} s, at line {}: {:?}", play.line, play.run.state()))
    }
}

impl Script {
    /// To wherever it comes after somebody meddled: lines that wait for what will not happen any more are left out.
    pub fn wherever(&self, play: &mut Play) -> Result<(), String> {
        let mut still = 0;
        for _ in 0..LIMIT {
            let done = self.second(play)?;
            still = if done || play.run.idles() { still + 1 } else { 0 };
            if still > 10 {
                return Ok(());
            }
        }
        Err(format!("not at rest after {LIMIT} s, at line {}: {:?}", play.line, play.run.state()))
    }
}

fn stepping(run: &Run) -> bool {
    matches!(run.state(), Some(State::Stepping { settled: Some(_), .. }))
}

fn taking_over(run: &Run) -> bool {
    let begun =
        matches!(run.state(), Some(State::Promoting { part: Part::TakeOver, .. })) && run.world.handover.is_some();
    begun || matches!(run.state(), Some(State::Promoting { part: Part::GiveBack, .. })) || idle_on_b(run)
}

fn idle_on_b(run: &Run) -> bool {
    matches!(run.state(), Some(State::Idle { stable }) if stable.revision.0 == "B")
}

/// Taking over, or taken back before anybody could look.
fn has_taken_over(run: &Run) -> bool {
    taking_over(run) || draining(run)
}

fn ask_if_held(run: &mut Run) {
    if run.world.held() {
        run.ask("B");
    }
}

fn rolled_back(run: &Run) -> bool {
    matches!(run.state(), Some(State::RolledBack { .. })) && run.rests()
}

fn draining(run: &Run) -> bool {
    use State::{Draining, Reverting, RolledBack};
    matches!(run.state(), Some(Draining { .. } | Reverting { .. } | RolledBack { .. }))
}

/// Every kind of release, by routes and by numbers of pods.
pub fn scripts() -> Vec<Script> {
    use Line::{Do, Until};
    let started = || Until(|run| matches!(run.state(), Some(State::Idle { .. })) && (!run.world.held() || run.rests()));
    let ask = || Do(|run| run.ask("B"));
    let spoilt = || Do(|run| run.world.bad = vec!["B".into()]);
    let rollback = || Do(|run| run.order(ActionType::Rollback, PromoteTo::NextStep));
    let delete = || Do(Run::delete);
    let (retire, install) = (|| Do(|run| run.retire(true)), || Do(|run| run.retire(false)));
    let kinds: Vec<(&str, Vec<Line>)> = vec![
        ("promotion", vec![started(), ask(), Until(idle_on_b)]),
        ("rollback", vec![started(), spoilt(), ask(), Until(draining)]),
        ("ordered rollback", vec![started(), ask(), Until(stepping), rollback(), Until(draining)]),
        ("smoke test fails", vec![started(), Do(|run| run.world.broken = vec!["B".into()]), ask(), Until(draining)]),
        ("superseded", vec![started(), ask(), Until(stepping), Do(|run| run.ask("C"))]),
        ("undo", vec![started(), ask(), Until(idle_on_b), rollback()]),
        ("there and back", vec![started(), ask(), Until(idle_on_b), Do(|run| run.ask("A"))]),
        ("deletion on the way", vec![started(), ask(), Until(stepping), delete()]),
        ("deletion in the hand-over", vec![started(), ask(), Until(has_taken_over), delete()]),
        ("deletion in the rollback", vec![started(), spoilt(), ask(), Until(draining), delete()]),
        ("retired on the way", vec![started(), ask(), Until(stepping), retire()]),
        ("retired in the hand-over", vec![started(), ask(), Until(has_taken_over), retire()]),
        ("retired at rest", vec![started(), retire()]),
        ("retired after a rollback", vec![started(), spoilt(), ask(), Until(rolled_back), retire()]),
        (
            "installed again",
            // Of a held Deployment the template is the old one again, so it is changed once more.
            vec![
                started(),
                ask(),
                Until(stepping),
                retire(),
                Until(Run::is_left),
                install(),
                Do(ask_if_held),
                Until(idle_on_b),
            ],
        ),
        ("hand-over taken back", vec![started(), ask(), Until(taking_over), rollback()]),
    ];
    let modes = [
        (1, 1, Hold::No, "routed"),
        (0, 1, Hold::No, "by replicas"),
        (1, 1, Hold::Always, "held, routed"),
        (0, 1, Hold::AtChange, "held at change"),
    ];
    let scripts = modes.into_iter().flat_map(|(routes, services, hold, mode)| {
        let kinds = kinds.clone();
        kinds.into_iter().map(move |(kind, lines)| Script {
            name: Box::leak(format!("{kind}, {mode}").into_boxed_str()),
            routes,
            services,
            hold,
            lines,
        })
    });
    let wide = |name, routes, services| Script { name, routes, services, hold: Hold::No, lines: kinds[0].1.clone() };
    scripts
        .chain([
            wide("promotion, two routes", 2, 2),
            wide("promotion of a worker", 0, 0),
            Script { lines: kinds[1].1.clone(), ..wide("rollback, two routes", 2, 2) },
        ])
        .collect()
}

/// What a run came to, without times and names that chance gives.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    state: String,
    world: String,
    memory: String,
    /// Pods ever started, by version.
    started: String,
}

pub fn outcome(run: &Run) -> Outcome {
    let world = &run.world;
    let state = world.past.state.as_ref().map(|state| {
        let cause = match state {
            State::RolledBack { cause, candidate, .. } => format!("{:?} {}", cause.kind, candidate.revision),
            _ => String::new(),
        };
        format!("{} {} {cause}", state.name(), state.stable().revision)
    });
    let mut sets: Vec<_> =
        world.sets.iter().map(|s| (&s.rev, s.size, s.owned, s.mark, s.id.is_some() && !s.handed)).collect();
    sets.sort();
    let pods = world.pods.iter().filter(|p| p.ready && p.ending.is_none()).map(|p| &p.rev);
    let mut pods: Vec<_> = pods.collect();
    pods.sort();
    let services: Vec<_> = world.services.iter().map(|s| (&s.pin, &s.canary)).collect();
    let routes: Vec<_> = world.routes.iter().map(|r| r.split).collect();
    let memory = &world.past.memory;
    let rejected: Vec<_> = memory.rejected.iter().map(|r| (&r.revision, r.cause)).collect();
    let history: Vec<_> =
        memory.history.iter().map(|h| (&h.version.revision, &h.replaced.revision, h.outcome)).collect();
    let result = memory.result.as_ref().map(|r| (r.generation, r.outcome));
    let mut told: Vec<_> = run.told.values().map(|(reason, _)| format!("{reason:?}")).collect();
    told.sort();
    Outcome {
        state: format!("{state:?}, gone: {}", world.gone),
        world: format!(
            "{} {:?} {:?} {:?} {sets:?} {pods:?} {services:?} {routes:?} {}",
            world.template, world.paused, world.handover, world.recreate, world.finalizer,
        ),
        memory: format!("{rejected:?} {history:?} {result:?} {:?} {told:?}", memory.handled_actions),
        started: format!("{:?}", world.started),
    }
}

/// Whether the script did what its name says, undisturbed.
pub fn fits(script: &Script, run: &Run) -> bool {
    let kind = script.name.split(',').next().unwrap_or_default();
    let serves = |version: &str| {
        let mut ready = run.world.pods.iter().filter(|p| p.ready && p.ending.is_none());
        ready.all(|p| p.rev == version) && (run.world.template == version || script.hold != Hold::No)
    };
    let ended = run.world.past.memory.result.as_ref().map(|r| r.outcome);
    match kind {
        "rollback" | "ordered rollback" | "smoke test fails" | "hand-over taken back" => {
            matches!(run.state(), Some(State::RolledBack { .. })) && serves("A")
        }
        "superseded" => serves("C") && ended == Some(Ended::Succeeded),
        // Of a held Deployment the template is the old one again, and so is what is asked for.
        "undo" => {
            serves("A") && ended == Some(if script.hold == Hold::No { Ended::RolledBack } else { Ended::Succeeded })
        }
        "there and back" => serves("A") && ended == Some(Ended::Succeeded),
        "deletion on the way" | "deletion in the hand-over" | "deletion in the rollback" => run.world.gone,
        "retired on the way" => run.is_left() && serves("A"),
        "retired in the hand-over" => run.is_left(),
        "retired at rest" | "retired after a rollback" => run.is_left() && serves("A") && run.world.template == "A",
        _ => idle_on_b(run) && ended == Some(Ended::Succeeded),
    }
}
