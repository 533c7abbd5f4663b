//! The outbox: notices leave in the order they arose, at least once, and never hold up a pass.
//!
//! A notice lies in the Release's status until its channels have confirmed it. After each stored status the pass hands
//! the outbox over; one lane per Release and channel sends; what was delivered is read by the next pass.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    api::notice::{EVENT_CHANNEL, Notice},
    observe::clock,
    tell::metrics::Metrics,
};

/// After this long a notice is given up.
pub const GIVE_UP: Duration = Duration::from_hours(24);
/// API servers keep Events for an hour. An older one is not created, lest a restart of the operator tell old news again.
const EVENTS_LAST: Duration = Duration::from_hours(1);
/// The first pause after a failure; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, also when the receiver asks for more.
pub const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The Release a notice speaks of, as it stood when the notice was handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// `status.phase`.
    pub state: String,
    /// `status.version`.
    pub version: Option<String>,
}

/// One notice for one channel.
#[derive(Clone, Debug)]
pub struct Letter {
    pub subject: Subject,
    pub notice: Notice,
    /// `event`, or a Notifier's name.
    pub channel: String,
}

/// What came of sending it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Delivered,
    /// It may work later: why not now, and when the receiver wants to be asked again.
    Later {
        why: String,
        after: Option<Duration>,
    },
    /// It will never work; the sentence says why.
    Never(String),
}

/// A way out. Must end by itself in time.
pub trait Sender: Send + Sync + 'static {
    fn send<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Sent>;
}

/// Called with namespace and name when a pass has something new to read.
pub type Kick = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// The shared handle. Cheap to clone.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

struct Shared {
    sender: Box<dyn Sender>,
    kick: Kick,
    metrics: Metrics,
    desk: Mutex<Desk>,
    tasks: TaskTracker,
}

#[derive(Default)]
struct Desk {
    /// By UID and channel; a lane exists while its task runs.
    lanes: HashMap<(String, String), VecDeque<Letter>>,
    /// By UID: what was delivered or given up and still lies in the stored outbox.
    done: HashMap<String, BTreeSet<(u64, String)>>,
    /// By UID and channel: why its last attempt failed.
    problems: HashMap<String, HashMap<String, String>>,
    /// Ends all lanes of this term of leadership.
    term: CancellationToken,
}

impl Outbox {
    pub fn new(sender: impl Sender, kick: Kick, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            sender: Box::new(sender),
            kick,
            metrics,
            desk: Mutex::default(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Takes over what the stored status holds. Never waits; notices already on their way are not sent twice.
    pub fn hand_over(&self, subject: &Subject, stored: &[Notice]) {
        let mut desk = self.0.desk();
        let pending =
            |seq: u64, channel: &str| stored.iter().any(|n| n.seq == seq && n.pending.iter().any(|p| p == channel));
        if let Some(done) = desk.done.get_mut(&subject.uid) {
            done.retain(|(seq, channel)| pending(*seq, channel));
            if done.is_empty() {
                desk.done.remove(&subject.uid);
            }
        }
        let mut notices: Vec<&Notice> = stored.iter().collect();
        notices.sort_by_key(|n| n.seq);
        for notice in notices {
            for channel in &notice.pending {
                let mark = (notice.seq, channel.clone());
                if desk.done.get(&subject.uid).is_some_and(|done| done.contains(&mark)) {
                    continue;
                }
                let letter = Letter { subject: subject.clone(), notice: notice.clone(), channel: channel.clone() };
                let key = (subject.uid.clone(), channel.clone());
                if let Some(lane) = desk.lanes.get_mut(&key) {
                    if lane.back().is_none_or(|last| last.notice.seq < notice.seq) {
                        lane.push_back(letter);
                    }
                } else {
                    desk.lanes.insert(key.clone(), VecDeque::from([letter]));
                    let (shared, term) = (self.0.clone(), desk.term.clone());
                    self.0.tasks.spawn(async move { term.run_until_cancelled(shared.run(key)).await });
                }
            }
        }
    }

    /// What was delivered or given up since the last stored status: `Seen.delivered`.
    pub fn delivered(&self, uid: &str) -> Vec<(u64, String)> {
        self.0.desk().done.get(uid).map(|done| done.iter().cloned().collect()).unwrap_or_default()
    }

    /// Why notices of this Release do not get out: one sentence per channel.
    pub fn problems(&self, uid: &str) -> Vec<String> {
        let desk = self.0.desk();
        let mut problems: Vec<String> = desk.problems.get(uid).into_iter().flat_map(|p| p.values().cloned()).collect();
        problems.sort();
        problems
    }

    /// The Release is gone. What is still on its way is sent, nothing is kept.
    pub fn forget(&self, uid: &str) {
        let mut desk = self.0.desk();
        desk.done.remove(uid);
        desk.problems.remove(uid);
    }

    /// Leadership is lost: the next leader sends what the statuses hold.
    pub fn stop(&self) {
        let mut desk = self.0.desk();
        desk.term.cancel();
        *desk = Desk::default();
    }
}

impl Shared {
    /// A lane that panicked has left nothing half done: each change of the desk is one statement.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, key: (String, String)) {
        let mut pause = FIRST_PAUSE;
        loop {
            let letter = {
                let mut desk = self.desk();
                if let Some(letter) = desk.lanes.get(&key).and_then(VecDeque::front) {
                    letter.clone()
                } else {
                    desk.lanes.remove(&key);
                    return;
                }
            };
            let age = clock::now().since(letter.notice.at);
            let old = age >= GIVE_UP;
            let expired = letter.channel == EVENT_CHANNEL && age >= EVENTS_LAST;
            let sent = if expired { Sent::Delivered } else { self.sender.send(&letter).await };
            let outcome = match sent {
                Sent::Delivered => None,
                Sent::Never(why) => Some(why),
                Sent::Later { why, .. } if old => Some(why),
                Sent::Later { why, after } => {
                    self.failed(&letter, &why);
                    sleep(after.unwrap_or(pause).clamp(FIRST_PAUSE, LONGEST_PAUSE)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            pause = FIRST_PAUSE;
            self.ended(&key, &letter, outcome.as_deref());
        }
    }

    fn failed(&self, letter: &Letter, why: &str) {
        self.metrics.notice(&letter.channel, "failed");
        let mut desk = self.desk();
        let problems = desk.problems.entry(letter.subject.uid.clone()).or_default();
        let told = problems.insert(letter.channel.clone(), why.to_owned());
        drop(desk);
        if told.as_deref() != Some(why) {
            let Subject { namespace, name, .. } = &letter.subject;
            warn!(
                namespace,
                release = name,
                channel = letter.channel,
                seq = letter.notice.seq,
                "notice not delivered: {why}"
            );
            (self.kick)(namespace, name);
        }
    }

    fn ended(&self, key: &(String, String), letter: &Letter, given_up: Option<&str>) {
        let Subject { namespace, name, uid, .. } = &letter.subject;
        let (seq, channel) = (letter.notice.seq, &letter.channel);
        match given_up {
            None => {
                self.metrics.notice(channel, "delivered");
                info!(namespace, release = name, channel, seq, reason = %letter.notice.reason, "notice delivered");
            }
            Some(why) => {
                self.metrics.notice(channel, "given_up");
                warn!(namespace, release = name, channel, seq, "notice given up: {why}");
            }
        }
        let mut desk = self.desk();
        desk.done.entry(uid.clone()).or_default().insert((seq, channel.clone()));
        if let Some(lane) = desk.lanes.get_mut(key) {
            lane.pop_front_if(|first| first.notice.seq == seq);
        }
        if let Some(problems) = desk.problems.get_mut(uid) {
            problems.remove(channel);
            if problems.is_empty() {
                desk.problems.remove(uid);
            }
        }
        drop(desk);
        if channel != EVENT_CHANNEL {
            (self.kick)(namespace, name); // that an Event was created is stored with the next write
        }
    }
}

#[cfg(test)]
mod tests;
