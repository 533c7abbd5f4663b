//! The status of a Release: written from the State, bounded, and only when it says something new.

use std::{borrow::Cow, time::Duration};

use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, PostParams},
};

use super::conditions::conditions;
use crate::{
    api::{
        Release, ReleaseStatus, State,
        notice::{EVENT_CHANNEL, Reason},
        state::Version,
        status::{Ended, Evidence, FORMAT_VERSION, Memory},
        units::At,
    },
    error::{Error, Result},
};

/// The name under which the API server knows our fields.
pub const FIELD_MANAGER: &str = "haldane";

/// Sentences longer than this are cut, bytes.
pub const LONGEST_MESSAGE: usize = 1024;
/// Numbers and sentences that move all the time are stored at most this often.
pub const SOFT_PAUSE: Duration = Duration::from_mins(1);

const MOST_NOTICES: usize = 32;
const MOST_ENDED: usize = 10;
const MOST_REJECTED: usize = 10;
const MOST_HANDLED: usize = 20;

/// All that a status is written from.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    /// The generation that was decided on.
    pub generation: i64,
    pub now: At,
    /// `None` as long as there is no Deployment to learn from.
    pub state: Option<&'a State>,
    pub memory: &'a Memory,
    /// `spec.version`.
    pub version: Option<&'a str>,
    /// `spec.paused`.
    pub spec_paused: bool,
    /// The verdict's name.
    pub verdict: Option<&'a str>,
    /// The candidate's share of the traffic in percent, as confirmed.
    pub weight: u32,
    /// The sentence that tells where it stands.
    pub message: &'a str,
    /// Why the spec cannot be carried out.
    pub accepted: Result<(), (Reason, String)>,
    /// Why nothing goes on, beside what the State says.
    pub stalled: Option<(Reason, String)>,
    /// What somebody else has changed.
    pub drifted: Option<String>,
    /// `None` while nothing has to be measured.
    pub metrics_available: Option<Result<(), String>>,
    /// A gate, a pause or missing knowledge holds it.
    pub gated: bool,
    /// At rest, but the next pass will start something: what was asked for is not there yet.
    pub pending: bool,
}

/// The status to store. `before` gives the conditions their times.
pub fn status(shown: &Shown, before: Option<&ReleaseStatus>) -> ReleaseStatus {
    let state = shown.state;
    let candidate = state.and_then(State::candidate);
    let at_rest = matches!(state, None | Some(State::Idle { .. } | State::RolledBack { .. }));
    let taken_back = match state {
        Some(State::RolledBack { candidate, .. }) => Some(candidate),
        _ => None,
    };
    // A held Deployment's version has no name in the spec: after a rollback it is the one that was taken back.
    let version = candidate.map(|c| c.version.label()).or(shown.version);
    let version = version.or(taken_back.or(state.map(State::stable)).map(Version::label));
    ReleaseStatus {
        format_version: FORMAT_VERSION,
        observed_generation: shown.generation,
        state: state.cloned(),
        memory: bounded(shown.memory.clone()),
        phase: phase(shown).to_owned(),
        step: state.and_then(step),
        weight: (!at_rest).then_some(shown.weight),
        version: version.map(str::to_owned),
        stable_revision: state.map(|s| s.stable().revision.0.clone()),
        candidate_revision: candidate.map(|c| &c.version).or(taken_back).map(|v| v.revision.0.clone()),
        verdict: shown.verdict.map(str::to_owned),
        message: cut(shown.message),
        conditions: conditions(shown, before.map_or(&[], |b| &b.conditions)),
    }
}

/// The State's name, but at rest what the last release of this very generation came to.
fn phase(shown: &Shown) -> &'static str {
    let result = shown.memory.result.as_ref().filter(|r| r.generation == shown.generation);
    match (shown.state, result.map(|r| r.outcome)) {
        (Some(State::Idle { .. }), Some(Ended::Succeeded)) => "Succeeded",
        (Some(State::Idle { .. }), Some(Ended::RolledBack)) => "RolledBack",
        (Some(state), _) => state.name(),
        (None, _) => "Stalled",
    }
}

fn step(state: &State) -> Option<String> {
    let steps = state.candidate()?.plan.steps.len();
    match state {
        State::Stepping { step, .. } | State::Preparing { resume: Some(step), .. } => {
            Some(format!("{}/{steps}", (*step as usize + 1).min(steps)))
        }
        State::Preparing { .. } => Some(format!("0/{steps}")),
        State::Observing { .. } | State::Promoting { .. } => Some(format!("{steps}/{steps}")),
        _ => None,
    }
}

/// Nothing in a status grows without end; what is newest stays.
fn bounded(mut memory: Memory) -> Memory {
    fn newest<T>(list: &mut Vec<T>, most: usize) {
        list.drain(..list.len().saturating_sub(most));
    }
    newest(&mut memory.rejected, MOST_REJECTED);
    newest(&mut memory.handled_actions, MOST_HANDLED);
    newest(&mut memory.history, MOST_ENDED);
    while memory.outbox.len() > MOST_NOTICES {
        // The quietest goes first, of those the oldest.
        let quietest = memory.outbox.iter().enumerate().min_by_key(|(i, n)| (n.reason.severity(), *i)).map(|(i, _)| i);
        memory.outbox.remove(quietest.unwrap_or(0));
    }
    for text in memory
        .rejected
        .iter_mut()
        .map(|r| &mut r.message)
        .chain(memory.outbox.iter_mut().map(|n| &mut n.message))
        .chain(memory.history.iter_mut().map(|h| &mut h.message))
        .chain(memory.result.iter_mut().map(|r| &mut r.message))
    {
        if text.len() > LONGEST_MESSAGE {
            *text = cut(text);
        }
    }
    memory
}

/// At most `LONGEST_MESSAGE` bytes, cut between characters.
pub fn cut(text: &str) -> String {
    shorten(text, LONGEST_MESSAGE).into_owned()
}

/// At most `most` bytes, cut between characters, with a mark where it was cut.
pub fn shorten(text: &str, most: usize) -> Cow<'_, str> {
    const MARK: &str = "…";
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let mut end = most.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}{MARK}", &text[..end]))
}

/// How far two statuses are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing is to be written.
    None,
    /// Counts and sentences have moved: worth a write once in `SOFT_PAUSE`.
    Soft,
    /// A fact has changed: written at once.
    Hard,
}

/// Compares what is stored with what should be.
pub fn change(before: Option<&ReleaseStatus>, after: &ReleaseStatus) -> Change {
    let Some(before) = before else { return Change::Hard };
    if before == after {
        return Change::None;
    }
    let (before, after) = (without_events(before), without_events(after));
    if before == after {
        Change::None
    } else if facts(&before) == facts(&after) {
        Change::Soft
    } else {
        Change::Hard
    }
}

/// The status without the Events that are to be created: a second one of the same number does no harm, so that one was
/// created is stored with the next write and is worth none of its own.
fn without_events(status: &ReleaseStatus) -> ReleaseStatus {
    let mut status = status.clone();
    for notice in &mut status.memory.outbox {
        notice.pending.retain(|channel| channel != EVENT_CHANNEL);
    }
    status.memory.outbox.retain(|notice| !notice.pending.is_empty());
    status
}

/// The status without what moves all the time.
fn facts(status: &ReleaseStatus) -> ReleaseStatus {
    let mut facts = status.clone();
    facts.message.clear();
    for condition in &mut facts.conditions {
        condition.message.clear();
    }
    // Counts and the watermark can be read again from the provider; since when a limit is broken cannot be lost.
    facts.memory.evidence = facts.memory.evidence.map(|e| Evidence {
        watermark: None,
        healthy_at: None,
        requests: 0,
        failed: 0,
        failed_total: 0,
        ratio: None,
        log: Vec::new(),
        engine: None,
        ..e
    });
    facts
}

/// Whether the stored status was written by a newer binary. It is left alone: we would drop what we do not know.
pub fn too_new(status: Option<&ReleaseStatus>) -> Option<u32> {
    status.map(|s| s.format_version).filter(|v| *v > FORMAT_VERSION)
}

/// Stores the status if the Release is still the one that was read; else `Error::Stale`: look again.
pub async fn remember(client: &Client, release: &Release, status: &ReleaseStatus) -> Result<Release> {
    let name = release.name_any();
    let api: Api<Release> = Api::namespaced(client.clone(), &release.namespace().unwrap_or_default());
    // A replacement: nobody else writes the status. Of the rest the API server reads nothing.
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        namespace: release.namespace(),
        uid: release.uid(),
        resource_version: release.resource_version(),
        ..ObjectMeta::default()
    };
    let next = Release { metadata, spec: release.spec.clone(), status: Some(status.clone()) };
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    api.replace_status(&name, &params, &next)
        .await
        .map_err(|e| Error::from_kube(format!("writing the status of Release {name}"), e))
}

#[cfg(test)]
mod tests;
