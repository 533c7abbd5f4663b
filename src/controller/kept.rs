//! What this process keeps of each Release between passes. Lost with it without harm.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::OwnedMutexGuard;

use super::context::Key;
use crate::{
    act::effect::Effect,
    api::{Release, State, status::Evidence, units::At},
    decide::goal::Goal,
    observe::{clock, seen::Seen, traffic::Raw},
};

/// The same heal again within this time means that somebody undoes it: they get their way until it is over.
const HEAL_PAUSE: Duration = Duration::from_secs(10);
/// An older look is not decided on: a watch may have missed that pods are gone which it shows as ready. A little longer
/// than the pause between two passes of a quiet step, so that there is always one.
const LOOK_LASTS: Duration = Duration::from_secs(10);

/// When a pass began.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    pub at: Instant,
    /// `Kicks::count` at that moment.
    pub kicks: u64,
}

impl Begun {
    /// Whether what was seen since then may be decided on: it is young, and nothing has stirred.
    fn holds(self, now: Instant, kicks: u64) -> bool {
        self.kicks == kicks && now.duration_since(self.at) < LOOK_LASTS
    }
}

/// What a pass saw that had nothing to write.
pub struct Look {
    begun: Begun,
    /// The Release as it is stored.
    pub release: Release,
    pub seen: Seen,
}

/// Kept of one Release.
#[derive(Default)]
pub struct Kept {
    uid: String,
    /// Evidence newer than what is stored, and the State it belongs to.
    evidence: Option<(State, Option<Evidence>)>,
    heals: Vec<(Effect, Instant)>,
    look: Option<Arc<Look>>,
    pub raw: Raw,
    /// `Seen.stands` of the last pass.
    pub stood: Option<(u32, At)>,
    /// How often traffic was withdrawn beside a pass, counted when it begins and when it ends.
    turns: u64,
    writing: Arc<tokio::sync::Mutex<()>>,
}

/// The right to write for a Release beside its passes, and the mark that makes them look again.
pub struct Turn<'a> {
    keep: &'a Keep,
    key: &'a Key,
    uid: &'a str,
    _writing: OwnedMutexGuard<()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.keep.with(self.key, self.uid, |kept| kept.turns += 1);
    }
}

/// Of all of them.
#[derive(Default)]
pub struct Keep(Mutex<HashMap<Key, Kept>>);

impl Keep {
    pub fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Somebody else has led since: what was kept may be older than what is stored.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Another Release of the same name starts with nothing.
    pub fn with<T>(&self, key: &Key, uid: &str, f: impl FnOnce(&mut Kept) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.entry(key.clone()).or_default();
        if kept.uid != uid {
            *kept = Kept { uid: uid.to_owned(), ..Kept::default() };
        }
        f(kept)
    }

    /// Waits until a pass that is writing has ended; one that has only looked will look again.
    pub async fn turn<'a>(&'a self, key: &'a Key, uid: &'a str) -> Turn<'a> {
        let writing = self.writing(key, uid).await;
        self.with(key, uid, |kept| kept.turns += 1);
        Turn { keep: self, key, uid, _writing: writing }
    }

    /// One writer at a time: a pass, or a withdrawal beside it.
    pub async fn writing(&self, key: &Key, uid: &str) -> OwnedMutexGuard<()> {
        let writing = self.with(key, uid, |kept| kept.writing.clone());
        writing.lock_owned().await
    }

    /// Differs from an earlier answer if traffic was withdrawn meanwhile.
    pub fn turns(&self, key: &Key, uid: &str) -> u64 {
        self.with(key, uid, |kept| kept.turns)
    }

    /// The last look, if it still holds.
    pub fn look(&self, key: &Key, kicks: u64) -> Option<Arc<Look>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.get_mut(key)?;
        let now = clock::monotonic();
        kept.look.take_if(|look| !look.begun.holds(now, kicks));
        kept.look.clone()
    }
}

impl Kept {
    /// Evidence of this State that is newer than its stored copy.
    pub fn evidence(&self, state: Option<&State>) -> Option<Option<Evidence>> {
        let (of, evidence) = self.evidence.as_ref()?;
        (state == Some(of)).then(|| evidence.clone())
    }

    pub fn learn(&mut self, state: &State, evidence: Option<Evidence>) {
        if self.evidence.as_ref().is_none_or(|(before, _)| Goal::of(before) != Goal::of(state)) {
            self.heals.clear(); // the same write for another goal is no heal
        }
        self.evidence = Some((state.clone(), evidence));
    }

    /// A pass that had nothing to write has seen this.
    pub fn saw(&mut self, begun: Begun, release: Release, seen: Seen) {
        self.look = Some(Arc::new(Look { begun, release, seen }));
    }

    pub fn blink(&mut self) {
        self.look = None;
    }

    /// Whether this very heal was done a moment ago.
    pub fn undone(&mut self, effect: &Effect) -> bool {
        let now = clock::monotonic();
        self.heals.retain(|(_, at)| now.duration_since(*at) < HEAL_PAUSE);
        self.heals.iter().any(|(done, _)| done == effect)
    }

    pub fn healed(&mut self, effect: &Effect) {
        self.heals.push((effect.clone(), clock::monotonic()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_holds_for_ten_seconds_in_which_nothing_stirs() {
        let begun = Begun { at: clock::monotonic(), kicks: 7 };
        let after = |ms| begun.at + Duration::from_millis(ms);
        assert!(begun.holds(begun.at, 7));
        assert!(begun.holds(after(9_999), 7));
        assert!(!begun.holds(after(10_000), 7), "pods may be gone since");
        assert!(!begun.holds(after(1), 8), "something around the Release has changed");
    }
}
