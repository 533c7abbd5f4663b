//! The auditor: replays every stored revision of a namespace and says what should have held and did not, by the numbers
//! of docs/invariants.md.
//!
//! It knows nothing of how the operator works. It may rely on what the stories do not: that nobody but the operator edits
//! the user's objects, and that pods live or die as the story says.

mod bounds;
mod memory;
mod traffic;
pub mod world;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use serde_json::Value;

use self::world::World;
use crate::{
    etcd::{self, Change},
    harness::Plane,
};

/// Something that should always hold and did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Of docs/invariants.md.
    pub number: u32,
    pub revision: i64,
    pub sentence: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {} at revision {}: {}", self.number, self.revision, self.sentence)
    }
}

/// One change, and the world with it.
struct Step<'a> {
    change: &'a Change,
    /// The object before.
    old: Option<&'a Value>,
    after: &'a World,
}

/// What has been found in one namespace so far.
#[derive(Default)]
pub struct Ledger {
    world: World,
    notes: Notes,
    pub revisions: u64,
    pub breaches: Vec<Breach>,
    /// Objects made and deleted, by resource.
    pub made: BTreeMap<String, (u32, u32)>,
}

/// What must be known of earlier revisions.
#[derive(Default)]
struct Notes {
    /// Pods that stopped being ready: when, and their labels.
    lost: Vec<(u64, Value)>,
    /// When a candidate's hash last lost its share of a route.
    emptied: BTreeMap<String, u64>,
    /// Hashes of candidates that were given up.
    convicted: BTreeSet<String>,
    /// Routes and Services as the user wrote them, when his Release came.
    written: BTreeMap<(String, String), Value>,
    /// Releases whose rollback is stored while a route still sends to the candidate.
    first_write_due: BTreeSet<String>,
    /// How often a candidate was taken back.
    drained: BTreeMap<String, u32>,
    /// Deployments of which a side gets traffic and has no ready pod: since when.
    dark: BTreeMap<String, u64>,
    /// The longest that was, in milliseconds.
    longest_dark: u64,
    /// How long pods may have been lost before their traffic must have gone elsewhere; milliseconds.
    grace: u64,
}

impl Ledger {
    pub fn take(&mut self, change: &Change) {
        let old = self.world.apply(change);
        self.revisions += 1;
        let made = self.made.entry(change.kind.clone()).or_default();
        match (&old, &change.now) {
            (None, Some(_)) => made.0 += 1,
            (Some(_), None) => made.1 += 1,
            _ => {}
        }
        let step = Step { change, old: old.as_ref(), after: &self.world };
        let mut found = Vec::new();
        {
            let mut breach = |number, sentence: String| {
                found.push(Breach { number, revision: change.revision, sentence });
            };
            traffic::check(&step, &mut self.notes, &mut breach);
            bounds::check(&step, &mut self.notes, &mut breach);
            memory::check(&step, &mut self.notes, &mut breach);
        }
        self.breaches.extend(found);
    }

    /// What must hold when a story is over.
    pub fn close(&mut self) {
        let mut found = Vec::new();
        memory::at_the_end(&self.world, &mut |number, sentence| found.push(Breach { number, revision: 0, sentence }));
        self.breaches.extend(found);
    }

    /// The longest that a side had traffic and no ready pod while the other could hold it, in milliseconds.
    pub const fn longest_dark(&self) -> u64 {
        self.notes.longest_dark
    }

    pub const fn world(&self) -> &World {
        &self.world
    }
}

/// All namespaces of a plane. Cheap to clone.
#[derive(Clone)]
pub struct Auditor(Arc<(Mutex<Books>, Condvar)>);

#[derive(Default)]
struct Books {
    revision: i64,
    ledgers: BTreeMap<String, Ledger>,
}

impl Auditor {
    /// Reads along from revision 1 on. It ends with the process.
    pub fn start(plane: &Plane) -> Self {
        let auditor = Self(Arc::default());
        // etcd's socket lies beside the kubeconfig.
        let (own, socket) = (auditor.clone(), plane.kubeconfig().with_file_name("client:1"));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(etcd::follow(socket, |revision, changes| {
                let mut books = own.books();
                for change in &changes {
                    if change.namespace.starts_with('t') {
                        books.ledgers.entry(change.namespace.clone()).or_default().take(change);
                    }
                }
                books.revision = books.revision.max(revision);
                own.0.1.notify_all();
            }));
        });
        auditor
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.0.lock().expect("no panic inside")
    }

    /// What `look` gives for a namespace as far as it was read.
    pub fn peek<T>(&self, ns: &str, look: impl FnOnce(&Ledger) -> T) -> Option<T> {
        self.books().ledgers.get(ns).map(look)
    }

    /// From now on pods of this namespace may be lost for so long before invariant 4 is broken: nobody can see them.
    pub fn bear(&self, ns: &str, grace: Duration) {
        let millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.books().ledgers.entry(ns.to_owned()).or_default().notes.grace = millis;
    }

    /// What was found in a namespace up to this revision; the ledger is closed. Blocks until that revision was read.
    pub fn close(&self, ns: &str, revision: i64) -> Ledger {
        let mut books = self.books();
        while books.revision < revision {
            let (next, waited) = self.0.1.wait_timeout(books, Duration::from_mins(1)).expect("no panic inside");
            assert!(!waited.timed_out(), "revision {revision} of the store was not read; {} was", next.revision);
            books = next;
        }
        let mut ledger = books.ledgers.remove(ns).unwrap_or_default();
        ledger.close();
        ledger
    }
}
