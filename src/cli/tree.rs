//! One Release as a picture for people. Pure: a Release and a clock time in, lines out.

use std::fmt::Write as _;

use kube::ResourceExt;

use super::render::{Style, Tone, clean, clock, since, until};
use crate::api::{
    Release, ReleaseStatus, State,
    plan::Step,
    state::{Cause, Proof, Report, StepOutcome, Version},
    units::At,
};

/// The whole picture.
pub fn tree(release: &Release, now: At, style: Style) -> String {
    let mut lines = Lines { text: String::new(), style };
    let status = release.status.clone().unwrap_or_default();
    lines.head(release, &status);
    if !status.message.is_empty() {
        lines.put("", &clean(&status.message));
    }
    lines.put("target", &format!("Deployment/{}", release.spec.target_ref.name));
    let Some(state) = &status.state else {
        lines.put("", &style.paint(Tone::Dim, "the operator has not decided about it yet"));
        return lines.text;
    };
    lines.versions(state);
    lines.plan(state, now);
    if let Some(weight) = status.weight {
        lines.put("traffic", &format!("{} {weight} % to the candidate", style.bar(weight)));
    }
    if let Some(verdict) = &status.verdict {
        lines.verdict(verdict, &status);
    }
    lines.pauses(release, &status, now);
    for condition in &status.conditions {
        let wrong = matches!(
            (condition.type_.as_str(), condition.status.as_str()),
            ("Accepted" | "MetricsAvailable", "False") | ("Drifted", "True")
        );
        if wrong {
            let text = format!("{}: {}", condition.reason, clean(&condition.message));
            lines.put(&condition.type_.to_lowercase(), &style.paint(Tone::Warn, text));
        }
    }
    let in_history = status.memory.history.iter().rev().find_map(|h| Some((h.report.as_ref()?, h.message.clone())));
    match report(state) {
        Some((report, cause)) => lines.report(report, &cause.message, now),
        None => {
            if let Some((report, message)) = in_history {
                lines.report(report, &message, now);
            }
        }
    }
    lines.text
}

/// The icon and its tone for a phase.
pub fn icon(phase: &str, style: Style) -> String {
    let (symbol, ascii, tone) = match phase {
        "Idle" | "Succeeded" => ("✔", "[ok]", Tone::Good),
        "Waiting" => ("◷", "[..]", Tone::Warn),
        "Draining" | "Reverting" => ("◀", "[<<]", Tone::Warn),
        "RolledBack" => ("✖", "[x]", Tone::Bad),
        "RollbackFailed" => ("‼", "[!!]", Tone::Bad),
        "Preparing" | "Stepping" | "Observing" | "Promoting" => ("▶", "[>>]", Tone::Bold),
        _ => ("·", "[ ]", Tone::Dim),
    };
    style.paint(tone, style.pick(symbol, ascii))
}

fn report(state: &State) -> Option<(&Report, &Cause)> {
    match state {
        State::Draining { report, cause, .. }
        | State::Reverting { report, cause, .. }
        | State::RolledBack { report, cause, .. }
        | State::RollbackFailed { report, cause, .. } => Some((report, cause)),
        _ => None,
    }
}

struct Lines {
    text: String,
    style: Style,
}

impl Lines {
    fn put(&mut self, name: &str, value: &str) {
        let name = self.style.paint(Tone::Dim, format_args!("{name:<9}"));
        let line = format!("  {name} {value}");
        let _ = writeln!(self.text, "{}", line.trim_end());
    }

    fn head(&mut self, release: &Release, status: &ReleaseStatus) {
        let phase = if status.phase.is_empty() { "Unknown" } else { &status.phase };
        let name = self.style.paint(Tone::Bold, release.name_any());
        let step = status.step.as_ref().map(|s| format!(" {s}")).unwrap_or_default();
        let version = status.version.as_ref().map(|v| format!("  {}", clean(v))).unwrap_or_default();
        let namespace = release.namespace().unwrap_or_default();
        let _ =
            writeln!(self.text, "{} {name}  {phase}{step}{version}  (namespace {namespace})", icon(phase, self.style));
    }

    fn versions(&mut self, state: &State) {
        self.put("stable", &version(state.stable()));
        match state {
            State::RolledBack { candidate, cause, .. } => {
                self.put(if cause.kind.rejects() { "rejected" } else { "given up" }, &version(candidate));
            }
            _ => {
                if let Some(candidate) = state.candidate() {
                    self.put("candidate", &version(&candidate.version));
                }
            }
        }
    }

    fn plan(&mut self, state: &State, now: At) {
        let Some(candidate) = state.candidate() else { return };
        if report(state).is_some() {
            return; // it is not walked any more
        }
        // How many steps are behind, which one is under way and since when it has counted.
        let (done, current, settled) = match state {
            State::Stepping { step, settled, .. } => (*step as usize, Some(*step as usize), *settled),
            State::Preparing { resume, .. } => (resume.unwrap_or(0) as usize, None, None),
            State::Observing { settled, .. } => {
                (candidate.plan.steps.len(), Some(candidate.plan.steps.len()), *settled)
            }
            State::Promoting { .. } => (usize::MAX, None, None),
            _ => (0, None, None),
        };
        let watch = candidate.plan.watch.hold;
        let steps = candidate.plan.steps.iter().map(|s| (step(s), s.hold));
        for (n, (words, hold)) in steps.chain([("watch at 100 %".to_owned(), watch)]).enumerate() {
            let (mark, tone) = if current == Some(n) {
                (self.style.pick("▶", ">"), Tone::Bold)
            } else if n < done {
                (self.style.pick("✔", "+"), Tone::Good)
            } else {
                (self.style.pick("○", "."), Tone::Dim)
            };
            let length = if hold.is_zero() { String::new() } else { format!(" for {hold}") };
            let progress = match (current == Some(n), settled) {
                (true, Some(at)) => format!("  ends {}", until(at.plus(hold.0), now)),
                (true, None) => "  its traffic has not arrived yet".to_owned(),
                _ => String::new(),
            };
            let name = if n == 0 { "plan" } else { "" };
            self.put(name, &format!("{} {words}{length}{progress}", self.style.paint(tone, mark)));
        }
    }

    fn verdict(&mut self, verdict: &str, status: &ReleaseStatus) {
        let tone = match verdict {
            "Healthy" => Tone::Good,
            "Bad" => Tone::Bad,
            "Watching" => Tone::Plain,
            _ => Tone::Warn,
        };
        let seen = status.memory.evidence.as_ref().filter(|e| e.requests > 0);
        let seen = seen.map(|e| {
            let ratio = e.ratio.as_ref().map_or_else(String::new, |ratio| match &ratio.at_most {
                Some(most) => format!(", {} to {} times the stable rate", clean(&ratio.at_least), clean(most)),
                None => format!(", at least {} times the stable rate", clean(&ratio.at_least)),
            });
            format!("  {} requests in this step, {} failed{ratio}", e.requests, e.failed)
        });
        self.put("verdict", &format!("{}{}", self.style.paint(tone, clean(verdict)), seen.unwrap_or_default()));
    }

    fn pauses(&mut self, release: &Release, status: &ReleaseStatus, now: At) {
        if let Some(paused) = &status.memory.paused {
            let end = paused.until.map(|at| format!(", ends {}", until(at, now))).unwrap_or_default();
            let text = format!("by {} {}{end}", clean(&paused.by), since(paused.since, now));
            self.put("paused", &self.style.paint(Tone::Warn, text));
        }
        if release.spec.paused {
            self.put("paused", &self.style.paint(Tone::Warn, "by spec.paused"));
        }
    }

    fn report(&mut self, report: &Report, message: &str, now: At) {
        self.put("rollback", &clean(message));
        self.put("", &format!("decided   {}", clock(report.decided_at, now)));
        let steps = [
            ("written", report.written_at, ""),
            ("confirmed", report.confirmed_at, ""),
            ("proven", report.proven_at, proof(report.proof)),
            ("recovered", report.recovered_at, ""),
        ];
        for (name, at, how) in steps {
            match at {
                Some(at) => {
                    let after = at.since(report.decided_at);
                    self.put("", &format!("{name:<9} {:.2} s later{how}", after.as_secs_f64()));
                }
                None if name == "proven" && report.proof == Proof::Unavailable => {
                    self.put("", "proven    no counters could be read; the gateway's word is all there is");
                }
                None => {}
            }
        }
        for step in &report.steps {
            let (mark, tone) = match step.outcome {
                StepOutcome::Succeeded => (self.style.pick("✔", "+"), Tone::Good),
                StepOutcome::Failed => (self.style.pick("✖", "x"), Tone::Bad),
                StepOutcome::Running => (self.style.pick("▶", ">"), Tone::Bold),
                StepOutcome::Unconfirmed => (self.style.pick("◷", "?"), Tone::Warn),
                StepOutcome::Pending | StepOutcome::Skipped => (self.style.pick("○", "."), Tone::Dim),
            };
            let by = step.confirmed_by.as_ref().map(|by| format!(", yes by {by}")).unwrap_or_default();
            let said = step.message.as_ref().map(|said| format!(": {said}")).unwrap_or_default();
            let words = clean(&format!("step {} {:?}{by}{said}", step.name, step.outcome));
            self.put("", &format!("{} {words}", self.style.paint(tone, mark)));
        }
        if let Some(failed) = report.requests_failed {
            self.put("", &format!("{failed} requests were answered with an error by the candidate"));
        }
    }
}

const fn proof(proof: Proof) -> &'static str {
    match proof {
        Proof::Counters => ", its request counters stood still",
        Proof::NoPods => ", it had no pods left",
        Proof::Pending | Proof::Unavailable => "",
    }
}

fn version(version: &Version) -> String {
    let images: Vec<String> = version.images.iter().map(|(name, image)| format!("{name}={image}")).collect();
    let label = version.name.as_ref().map(|n| format!("{n} ")).unwrap_or_default();
    clean(&format!("{label}({})  {}", version.revision, images.join(" ")))
}

/// `1 pod`, `30 %`, `2 pods, 30 %`.
fn step(step: &Step) -> String {
    let pods = step.pods.map(|n| if n == 1 { "1 pod".to_owned() } else { format!("{n} pods") });
    let weight = step.weight.map(|w| format!("{w} %"));
    [pods, weight].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
