//! The sampler: asks the metric providers about the pods of all active Releases together, and remembers.
//!
//! Per provider there are two loops at most: one reads the known presets, a few queries for all Releases; the other
//! asks for Releases with queries of their own, each alone, so that a slow one delays no other Release. A loop ends when
//! nobody is interested.

mod entry;
mod record;
mod ring;
mod round;
mod ups;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::sync::Notify;

use self::entry::Entry;
use crate::{
    api::{
        checks::{Metric, Preset, Source},
        units::At,
    },
    observe::{
        clock,
        probe::{Key, News},
        prometheus::Provider,
        seen::{Feed, Probe},
    },
};

/// What the pass of one Release wants to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Interest {
    pub key: Key,
    /// The name of a MetricProvider. None: nothing is asked.
    pub provider: Option<String>,
    pub source: Source,
    /// The user's own series beside the requests.
    pub metrics: Vec<Metric>,
    /// Requests that took longer are slow.
    pub latency: Duration,
    /// Pods of both versions, by name. Those named before are remembered until `forget`.
    pub pods: Vec<String>,
    /// How far back every scrape is kept: the longest `for` of the thresholds and a minute. Older ones are thinned.
    pub keep: Duration,
    /// Up to when samples have been judged. None: the release begins, and what its stable pods did before is of use.
    pub since: Option<At>,
}

/// Where providers are found by name. Errors: a sentence for the Release's status.
pub trait ProviderBook: Send + Sync + 'static {
    fn find<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<Provider>, String>>;
}

/// A handle to the sampler; clones share it.
#[derive(Clone)]
pub struct Sampler(Arc<Shared>);

struct Shared {
    book: Arc<dyn ProviderBook>,
    news: News,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<Key, Entry>,
    /// The loops that run, each with what wakes it early.
    loops: HashMap<(String, Lane), Arc<Notify>>,
}

/// The two loops of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lane {
    Presets,
    Custom,
}

impl Lane {
    fn of(interest: &Interest) -> Self {
        let own = interest.source.preset == Preset::Custom || !interest.metrics.is_empty();
        if own { Self::Custom } else { Self::Presets }
    }
}

impl Sampler {
    /// `news` is called whenever there is something new to judge.
    pub fn new(book: Arc<dyn ProviderBook>, news: News) -> Self {
        Self(Arc::new(Shared { book, news, table: Mutex::default() }))
    }

    /// Begins or changes what is sampled for a Release. Cheap; called by every pass of an active one. Needs a runtime.
    pub fn watch(&self, interest: Interest) {
        let provider = interest.provider.clone();
        let lane = Lane::of(&interest);
        let mut table = self.0.table();
        let fresh = if let Some(entry) = table.entries.get_mut(&interest.key) {
            entry.update(interest)
        } else {
            table.entries.insert(interest.key.clone(), Entry::new(interest));
            true
        };
        let Some(provider) = provider.filter(|_| fresh) else { return };
        let id = (provider, lane);
        if let Some(wake) = table.loops.get(&id) {
            wake.notify_one();
        } else {
            let wake = Arc::new(Notify::new());
            table.loops.insert(id.clone(), wake.clone());
            tokio::spawn(sample(self.0.clone(), id.0, lane, wake));
        }
    }

    /// Ends it and drops what was remembered.
    pub fn forget(&self, key: &Key) {
        self.0.table().entries.remove(key);
    }

    /// Ends all of it, as when leadership is lost.
    pub fn clear(&self) {
        self.0.table().entries.clear();
    }

    /// What there is to judge now.
    pub fn feed(&self, key: &Key) -> Feed {
        self.0.table().entries.get(key).map_or(Feed::Unset, |entry| entry.feed(clock::monotonic()))
    }

    /// Failed scrapes in a row (`up`), by pod.
    pub fn scrapes(&self, key: &Key) -> Vec<Probe> {
        self.0.table().entries.get(key).map(Entry::scrapes).unwrap_or_default()
    }
}

impl Shared {
    /// A panic elsewhere leaves whole entries behind, so a poisoned lock is as good as another.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes an entry and tells the pass if that was news.
    fn change(&self, key: &Key, change: impl FnOnce(&mut Entry) -> bool) {
        let news = self.table().entries.get_mut(key).is_some_and(change);
        if news {
            (self.news)(key);
        }
    }

    /// Changes an entry in a way that the pass need not hear of.
    fn quietly(&self, key: &Key, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.table().entries.get_mut(key) {
            change(entry);
        }
    }

    /// The Releases of a loop; none ends it.
    fn members(&self, provider: &str, lane: Lane) -> Option<Vec<Key>> {
        let mut table = self.table();
        let mine = |e: &Entry| e.interest.provider.as_deref() == Some(provider) && Lane::of(&e.interest) == lane;
        let keys: Vec<Key> = table.entries.iter().filter(|(_, e)| mine(e)).map(|(key, _)| key.clone()).collect();
        if keys.is_empty() {
            table.loops.remove(&(provider.to_owned(), lane));
            return None;
        }
        Some(keys)
    }
}

/// One loop: rounds at half the scrape interval, on the beat of the clock, so that all loops wake together.
async fn sample(shared: Arc<Shared>, provider: String, lane: Lane, wake: Arc<Notify>) {
    while let Some(keys) = shared.members(&provider, lane) {
        let tick = match shared.book.find(&provider).await {
            Ok(found) => {
                match lane {
                    Lane::Presets => round::presets(&shared, &found, keys).await,
                    Lane::Custom => round::custom(&shared, &found, keys).await,
                }
                found.scrape_interval / 2
            }
            Err(why) => {
                for key in &keys {
                    shared.change(key, |entry| entry.fail(why.clone()));
                }
                Duration::from_secs(5)
            }
        };
        let tick = tick.max(Duration::from_millis(500));
        let into = Duration::from_secs_f64(clock::now().epoch().rem_euclid(tick.as_secs_f64()));
        tokio::select! {
            () = tokio::time::sleep(tick.saturating_sub(into).max(Duration::from_millis(50))) => {}
            () = wake.notified() => {}
        }
    }
}
