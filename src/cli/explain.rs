//! `kubectl haldane explain`: what a Release waits for, since when, what comes next and when, and the one command that
//! would unblock it. From its status alone.

use std::process::ExitCode;

use kube::ResourceExt;

use super::{
    client::Cluster,
    render::{clean, clock, since, until},
};
use crate::{
    api::{
        Release, ReleaseStatus, State,
        state::{Candidate, CauseKind, Gate, Part, Report, StepOutcome},
        units::At,
    },
    observe::clock,
};

#[derive(clap::Args)]
pub struct Args {
    /// The Release
    name: String,
    #[command(flatten)]
    cluster: Cluster,
}

pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let release = args.cluster.connect().await?.release(&args.name).await?;
    print!("{}", Explanation::of(&release, clock::now(), &args.cluster.namespace_flag()));
    Ok(ExitCode::SUCCESS)
}

/// The answer, line by line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Where it stands and since when.
    pub stands: String,
    /// What it waits for.
    pub waits_for: Vec<String>,
    /// What happens next, and when.
    pub next: String,
    /// The command that changes it, and what it does.
    pub command: Option<String>,
}

impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.stands)?;
        for (n, reason) in self.waits_for.iter().enumerate() {
            writeln!(f, "{} {reason}", if n == 0 { "  waits for:" } else { "            " })?;
        }
        writeln!(f, "  next:      {}", self.next)?;
        if let Some(command) = &self.command {
            writeln!(f, "  command:   {command}")?;
        }
        Ok(())
    }
}

/// What is known while explaining.
struct Case<'a> {
    name: String,
    flag: &'a str,
    now: At,
    release: &'a Release,
    status: &'a ReleaseStatus,
}

impl Explanation {
    /// `flag` is the namespace flag to repeat in commands.
    pub fn of(release: &Release, now: At, flag: &str) -> Self {
        let name = release.name_any();
        let unseen = || Self {
            stands: format!("Release {name} has not been seen by the operator yet."),
            waits_for: vec!["the operator".into()],
            next: "it reads the Release as soon as it runs".into(),
            command: Some("kubectl get pods -n haldane-system   # is the operator running?".into()),
        };
        let Some(status) = &release.status else { return unseen() };
        let Some(state) = &status.state else {
            let mut unseen = unseen();
            if !status.message.is_empty() {
                unseen.stands = format!("Release {name}: {}", clean(&status.message));
                unseen.waits_for = vec!["what the sentence above names".into()];
                unseen.next = "it goes on by itself once that is in order".into();
                unseen.command = None;
            }
            return unseen;
        };
        let case = Case { name, flag, now, release, status };
        let mut answer = case.explain(state);
        for kind in ["Accepted", "Drifted", "Stalled"] {
            let wrong = if kind == "Accepted" { "False" } else { "True" };
            let trouble = status.conditions.iter().find(|c| c.type_ == kind && c.status == wrong);
            // What the State says itself need not be said twice.
            let known = |c: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
                kind == "Stalled" && (c.reason == state.name() || c.message == status.message)
            };
            if let Some(condition) = trouble.filter(|c| !known(c)) {
                let sentence = format!("{}: {}", condition.reason, clean(&condition.message));
                if !answer.waits_for.contains(&sentence) {
                    answer.waits_for.insert(0, sentence);
                }
            }
        }
        answer
    }
}

impl Case<'_> {
    fn command(&self, verb: &str, what: &str) -> String {
        format!("kubectl haldane {verb} {}{}   # {what}", self.name, self.flag)
    }

    fn stands(&self, what: &str, from: At) -> String {
        format!("Release {} {what}, {}.", self.name, since(from, self.now))
    }

    fn explain(&self, state: &State) -> Explanation {
        let message = clean(&self.status.message);
        match state {
            State::Idle { stable } => self.idle(stable.label()),
            State::Waiting { candidate, since, closed, .. } => self.waiting(candidate, *since, closed),
            State::Preparing { candidate, since, resume, .. } => {
                let then = resume.map_or_else(|| "step 1".to_owned(), |step| format!("step {} again", step + 1));
                self.paused_or(Explanation {
                    stands: self
                        .stands(&format!("starts pods of {}; they get no traffic yet", label(candidate)), *since),
                    waits_for: vec![message],
                    next: format!(
                        "{then} when they are ready and measured; withdrawn if not ready {}",
                        until(since.plus(candidate.plan.deadline.0), self.now)
                    ),
                    command: Some(self.command("rollback", "give it up now")),
                })
            }
            State::Stepping { candidate, step, since, settled, .. } => {
                self.stepping(candidate, *step, *since, *settled)
            }
            State::Observing { candidate, since, settled, .. } => {
                let hold = candidate.plan.watch.hold;
                let next = settled.map_or_else(
                    || format!("it is watched for {hold} from when that has happened, then promoted"),
                    |at| format!("promoted {}, if nothing is found", until(at.plus(hold.0), self.now)),
                );
                self.paused_or(Explanation {
                    stands: self.stands(
                        &format!("watches {} with all traffic; the old pods are still warm", label(candidate)),
                        *since,
                    ),
                    waits_for: vec![if settled.is_some() { message } else { "all traffic to have arrived".into() }],
                    next,
                    command: Some(self.command("rollback", "give the traffic back now")),
                })
            }
            State::Promoting { candidate, since, part, .. } => {
                let (waits, next, command) = match part {
                    Part::TakeOver => (
                        "the Deployment to take over the new pods",
                        "the old pods go, the route and the Services are given back",
                        Some(self.command("rollback", "the last moment to take it back")),
                    ),
                    Part::GiveBack => {
                        ("the old pods to go, and the route and Services to be given back", "Succeeded", None)
                    }
                };
                Explanation {
                    stands: self.stands(&format!("hands {} over to the Deployment", label(candidate)), *since),
                    waits_for: vec![waits.into(), message],
                    next: next.into(),
                    command,
                }
            }
            State::Draining { since, cause, .. } => Explanation {
                stands: self.stands("gives the traffic back", *since),
                waits_for: vec![
                    "the gateway and the request counters to show that nothing reaches the candidate".into(),
                ],
                next: if cause.kind.rejects() {
                    "the candidate's pods go, and the recovery of the stable version is verified".into()
                } else {
                    "the candidate's pods go".into()
                },
                command: None,
            },
            State::Reverting { since, report, .. } => self.reverting(*since, report, message),
            State::RolledBack { stable, candidate, cause, report } => {
                let at = report.recovered_at.or(report.confirmed_at).unwrap_or(report.decided_at);
                Explanation {
                    stands: self.stands(&format!("rolled {} back; {} serves", candidate.label(), stable.label()), at),
                    waits_for: vec![format!("another version, because of: {}", clean(&cause.message))],
                    next: if cause.kind == CauseKind::Superseded {
                        "the newer version is released".into()
                    } else {
                        format!("nothing by itself: {} is not tried again", candidate.label())
                    },
                    command: (cause.kind != CauseKind::Superseded)
                        .then(|| self.command("retry", "try the same version again")),
                }
            }
            State::RollbackFailed { candidate, problem, report, .. } => Explanation {
                stands: self.stands(
                    &format!("gave the traffic back from {}, but could not finish the rollback", label(candidate)),
                    report.decided_at,
                ),
                waits_for: vec![clean(problem)],
                next: "nothing by itself: a person has to look".into(),
                command: Some(self.command(
                    "rollback",
                    if report.steps.iter().all(|s| s.outcome == StepOutcome::Succeeded) {
                        "verify again"
                    } else {
                        "try what was not done of the rollback plan, then verify again"
                    },
                )),
            },
        }
    }

    fn reverting(&self, since: At, report: &Report, message: String) -> Explanation {
        let under_way = report
            .steps
            .iter()
            .find(|s| !matches!(s.outcome, StepOutcome::Succeeded | StepOutcome::Failed | StepOutcome::Skipped));
        let Some(step) = under_way else {
            return Explanation {
                stands: self.stands("verifies that the stable version has recovered", since),
                waits_for: vec![message],
                next: "RolledBack".into(),
                command: None,
            };
        };
        let asks = step.outcome == StepOutcome::Unconfirmed;
        Explanation {
            stands: self.stands("carries out its rollback plan; the traffic is back", since),
            waits_for: vec![message],
            next: format!("after step {}: the steps behind it, then the recovery of the stable version", step.name),
            command: asks.then(|| {
                format!("kubectl haldane confirm {} {}{}   # say yes to this step", self.name, step.name, self.flag)
            }),
        }
    }

    fn idle(&self, serves: &str) -> Explanation {
        let result = self.status.memory.result.as_ref();
        let stands = match result {
            Some(result) => format!(
                "Release {} is at rest: {serves} serves. The last release ended {}: {}.",
                self.name,
                clock(result.at, self.now),
                clean(&result.message).trim_end_matches('.')
            ),
            None => format!("Release {} is at rest: {serves} serves.", self.name),
        };
        let paused = self.pause();
        Explanation {
            stands,
            next: paused.as_ref().map_or_else(
                || {
                    let spec = &self.release.spec;
                    if spec.held() {
                        format!("a change of the template of Deployment {} starts a release", spec.target_ref.name)
                    } else {
                        "another image in spec.images starts a release".into()
                    }
                },
                |(why, ..)| format!("nothing while it is paused ({why})"),
            ),
            command: paused.map(|(_, command)| command),
            waits_for: vec![],
        }
    }

    fn waiting(&self, candidate: &Candidate, from: At, closed: &[Gate]) -> Explanation {
        let paused = closed.iter().any(|g| g.name == "Paused");
        let mut gates: Vec<String> = closed.iter().map(|g| format!("{}: {}", g.name, clean(&g.message))).collect();
        if gates.is_empty() {
            gates.push(clean(&self.status.message));
        }
        Explanation {
            stands: self.stands(&format!("has not begun to release {}; nothing is touched", label(candidate)), from),
            waits_for: gates,
            next: "its pods are started when all of that is in order; there is no deadline".into(),
            command: self
                .pause()
                .filter(|_| paused || closed.is_empty())
                .map(|(_, command)| command)
                .or_else(|| Some(self.command("rollback", "refuse this version"))),
        }
    }

    fn stepping(&self, candidate: &Candidate, step: u32, from: At, settled: Option<At>) -> Explanation {
        let (number, all) = (step + 1, candidate.plan.steps.len());
        let plan = candidate.step(step);
        let after = if candidate.is_last(step) { "the watch".to_owned() } else { format!("step {}", number + 1) };
        let weight = self.status.weight.map(|w| format!(" at {w} %")).unwrap_or_default();
        let mut waits_for = vec![clean(&self.status.message)];
        let next = if let Some(at) = settled {
            let end = at.plus(plan.hold.0);
            if self.now < end {
                waits_for.insert(0, format!("the step's {} to be over", plan.hold));
            }
            format!("{after} {}, if the verdict is Healthy then", until(end, self.now))
        } else {
            waits_for.insert(0, "the step's pods to be ready and its traffic to have arrived".into());
            format!("{} of watching, then {after}", plan.hold)
        };
        self.paused_or(Explanation {
            stands: self.stands(&format!("is in step {number} of {all} with {}{weight}", label(candidate)), from),
            waits_for,
            next,
            command: Some(self.command("promote", &format!("go on to {after} now"))),
        })
    }

    /// Who paused it, and how to go on.
    fn pause(&self) -> Option<(String, String)> {
        if let Some(paused) = &self.status.memory.paused {
            let end = paused.until.map(|at| format!(", ends {}", until(at, self.now))).unwrap_or_default();
            let why = format!("by {}, {}{end}", clean(&paused.by), since(paused.since, self.now));
            return Some((why, self.command("resume", "go on")));
        }
        self.release.spec.paused.then(|| {
            let patch = r#"'{"spec":{"paused":false}}'"#;
            let command = format!("kubectl patch release {}{} --type merge -p {patch}", self.name, self.flag);
            ("spec.paused is true".to_owned(), command)
        })
    }

    fn paused_or(&self, answer: Explanation) -> Explanation {
        let Some((why, command)) = self.pause() else { return answer };
        let mut waits_for = vec![format!("the pause to end ({why}); a bad version is still rolled back")];
        waits_for.extend(answer.waits_for);
        Explanation { waits_for, next: format!("after the pause: {}", answer.next), command: Some(command), ..answer }
    }
}

fn label(candidate: &Candidate) -> &str {
    candidate.version.label()
}
