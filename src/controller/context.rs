//! What all passes share.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::Client;
use tokio::sync::watch;

use super::{active::Active, backoff::Backoff};
use crate::{
    api::units::At,
    observe::{clock, seen::Order},
    tell::{metrics::Metrics, outbox::Outbox},
};

/// Failed writes of a status after which a bad version loses its traffic without a record.
const WRITES_BEFORE_UNRECORDED: u32 = 2;

/// Names a Release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

/// Everything a pass needs beside its Release. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// For reads and writes: every call ends in time, writes need leadership.
    pub client: Client,
    /// Where MetricProviders and Notifiers count.
    pub operator_namespace: String,
    /// The name of this process.
    pub identity: String,
    /// The operator's own image, where it is known: Redis steps run it.
    pub image: Option<Arc<str>>,
    pub metrics: Metrics,
    pub outbox: Outbox,
    pub kicks: Kicks,
    pub notes: Arc<Notes>,
    pub active: Active,
    pub backoff: Arc<Backoff>,
    pub leading: watch::Receiver<bool>,
    /// The operator is being uninstalled: since when this process knows.
    pub retiring: watch::Receiver<Option<At>>,
}

impl Context {
    /// A Release is gone: nothing of it is kept.
    pub fn forget(&self, key: &Key, uid: &str) {
        self.metrics.phase(uid, None);
        self.metrics.verdict(uid, None);
        self.outbox.forget(uid);
        self.notes.forget(uid);
        self.backoff.succeeded(uid);
        self.active.set(key, None);
    }
}

/// Asks for a pass, from anywhere, without waiting.
#[derive(Clone, Default)]
pub struct Kicks(Arc<Lines>);

#[derive(Default)]
struct Lines {
    passes: Mutex<Vec<UnboundedSender<Key>>>,
    news: Mutex<Vec<UnboundedSender<News>>>,
    counts: Counts,
}

/// Something that may convict or free a version at once, without another look at the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub key: Key,
    /// An order as it was stored; `None`: samples or health checks.
    pub order: Option<Order>,
}

/// How often each Release was kicked. Those that share a slot are only looked at once too often, and the size is fixed
/// whatever names people write.
struct Counts(Box<[AtomicU64]>);

const SLOTS: usize = 1024;

impl Default for Counts {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Counts {
    fn of(&self, key: &Key) -> &AtomicU64 {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let slot = usize::try_from(hasher.finish() % SLOTS as u64).unwrap_or(0);
        &self.0[slot]
    }
}

impl Kicks {
    /// All kicks from now on. A pass that is already waiting absorbs further ones.
    pub fn listen(&self) -> UnboundedReceiver<Key> {
        listen(&self.0.passes)
    }

    /// All news from now on.
    pub fn listen_to_news(&self) -> UnboundedReceiver<News> {
        listen(&self.0.news)
    }

    /// Something around the Release has changed: what was seen of it before is not to be relied on.
    pub fn kick(&self, namespace: &str, name: &str) {
        let key = Key { namespace: namespace.to_owned(), name: name.to_owned() };
        self.0.counts.of(&key).fetch_add(1, Ordering::AcqRel);
        tell(&self.0.passes, &key);
    }

    /// Something is known that stands in no object of the cluster, or an order. Whoever listens asks for a pass if it
    /// takes one.
    pub fn news(&self, namespace: &str, name: &str, order: Option<Order>) {
        let key = Key { namespace: namespace.to_owned(), name: name.to_owned() };
        tell(&self.0.news, &News { key, order });
    }

    /// Changes with each kick.
    pub fn count(&self, key: &Key) -> u64 {
        self.0.counts.of(key).load(Ordering::Acquire)
    }
}

fn listen<T>(line: &Mutex<Vec<UnboundedSender<T>>>) -> UnboundedReceiver<T> {
    let (sender, receiver) = unbounded();
    line.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    receiver
}

fn tell<T: Clone>(line: &Mutex<Vec<UnboundedSender<T>>>, what: &T) {
    let mut listeners = line.lock().unwrap_or_else(PoisonError::into_inner);
    listeners.retain(|listener| listener.unbounded_send(what.clone()).is_ok());
}

/// What this process knows of a Release and no other needs: it may be lost with the process.
#[derive(Debug, Default)]
pub struct Notes(Mutex<HashMap<String, Note>>);

#[derive(Clone, Debug, Default)]
struct Note {
    failed_writes: u32,
    stored_at: Option<Instant>,
    route_written_at: Option<At>,
    invalid: Option<String>,
}

impl Notes {
    /// The status was stored.
    pub fn stored(&self, uid: &str) {
        self.with(uid, |note| {
            note.failed_writes = 0;
            note.stored_at = Some(clock::monotonic());
        });
    }

    /// The status could not be stored, and not because somebody else had changed the Release.
    pub fn not_stored(&self, uid: &str) {
        self.with(uid, |note| note.failed_writes = note.failed_writes.saturating_add(1));
    }

    /// Whether a bad version may lose its traffic without a record. Lowering needs none, and waiting for one costs
    /// requests.
    pub fn unrecorded(&self, uid: &str) -> bool {
        self.with(uid, |note| note.failed_writes >= WRITES_BEFORE_UNRECORDED)
    }

    /// How long ago this process stored the status.
    pub fn since_stored(&self, uid: &str) -> Option<Duration> {
        let now = clock::monotonic();
        self.with(uid, |note| note.stored_at.map(|at| now.saturating_duration_since(at)))
    }

    /// The moment a rollback's route or pin was written: `Seen.route_written_at`. The first one stays.
    pub fn route_written(&self, uid: &str, at: At) {
        self.with(uid, |note| note.route_written_at = note.route_written_at.or(Some(at)));
    }

    pub fn route_written_at(&self, uid: &str) -> Option<At> {
        self.with(uid, |note| note.route_written_at)
    }

    /// The rollback is over; the next one has its own moment.
    pub fn rollback_over(&self, uid: &str) {
        self.with(uid, |note| note.route_written_at = None);
    }

    /// Whether it is news that the object cannot be read for this reason.
    pub fn invalid(&self, uid: &str, why: &str) -> bool {
        self.with(uid, |note| note.invalid.replace(why.to_owned()).as_deref() != Some(why))
    }

    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    fn with<T>(&self, uid: &str, f: impl FnOnce(&mut Note) -> T) -> T {
        f(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(uid.to_owned()).or_default())
    }
}
