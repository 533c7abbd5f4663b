//! One round of questions: batches for the presets, single queries for the custom sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{StreamExt, stream};

use super::{
    Key, Shared,
    entry::Entry,
    record::{BEFORE, BEHIND},
};
use crate::{
    api::{checks::Preset, units::At},
    observe::{
        clock,
        prometheus::{
            Fault, Provider,
            answer::Series,
            presets::{Family, Names},
            promql::Scope,
            reading::{Reading, read},
        },
    },
};

/// Pods in one query: its text stays far below what servers accept.
const BATCH_PODS: usize = 200;
/// Preset queries at a time, per provider.
const BATCHES: usize = 4;
/// Custom queries at a time, per provider.
const CUSTOMS: usize = 2;
/// How much earlier those with new failures are judged: about the time from a verdict to the route.
const HEAD_START: Duration = Duration::from_millis(20);
/// The most moments that are asked for after a restart, and how far back.
const REFILL_STEPS: u32 = 500;
const REFILL_MOST: Duration = Duration::from_hours(1);

type Ask<T> = Result<T, Fault>;

/// A round for the presets.
pub(super) async fn presets(shared: &Shared, provider: &Provider, keys: Vec<Key>) {
    let keys = allowed(shared, provider, keys);
    stream::iter(batches(shared, keys)).for_each_concurrent(BATCHES, |batch| halve(shared, provider, batch)).await;
}

/// A round for the custom sources.
pub(super) async fn custom(shared: &Shared, provider: &Provider, keys: Vec<Key>) {
    let keys = allowed(shared, provider, keys);
    let ask = |key: Key| async move {
        if let Err(why) = custom_one(shared, provider, &key).await {
            shared.change(&key, |entry| entry.fail(why));
        }
    };
    stream::iter(keys).for_each_concurrent(CUSTOMS, ask).await;
}

/// Releases in namespaces that may use the provider; the others are told.
fn allowed(shared: &Shared, provider: &Provider, keys: Vec<Key>) -> Vec<Key> {
    let (may, may_not): (Vec<_>, Vec<_>) = keys.into_iter().partition(|(namespace, _)| provider.allows(namespace));
    for key in may_not {
        let why = format!("the metric provider does not allow the namespace {}; see its spec.allowedNamespaces", key.0);
        shared.change(&key, |entry| entry.fail(why));
    }
    may
}

/// Releases of one preset that are asked about together.
struct Batch {
    names: &'static Names,
    keys: Vec<Key>,
}

fn batches(shared: &Shared, keys: Vec<Key>) -> Vec<Batch> {
    let table = shared.table();
    let mut done = Vec::new();
    let mut open: BTreeMap<u8, (Batch, usize)> = BTreeMap::new();
    for key in keys {
        let Some(entry) = table.entries.get(&key) else { continue };
        let Ok(Family::Named(names)) = entry.family else { continue };
        let pods = entry.pods().count();
        if pods == 0 {
            continue;
        }
        if entry.apart {
            done.push(Batch { names, keys: vec![key] });
            continue;
        }
        let slot = match entry.interest.source.preset {
            Preset::Istio => 1,
            Preset::Envoy => 2,
            Preset::App | Preset::Custom => 0,
        };
        let (batch, size) = open.entry(slot).or_insert((Batch { names, keys: Vec::new() }, 0));
        if *size > 0 && *size + pods > BATCH_PODS {
            done.push(Batch { names, keys: std::mem::take(&mut batch.keys) });
            *size = 0;
        }
        batch.keys.push(key);
        *size += pods;
    }
    done.extend(open.into_values().map(|(batch, _)| batch));
    done
}

/// Asks about a batch. One that is refused is asked in halves, until who is to blame stands alone.
async fn halve(shared: &Shared, provider: &Provider, batch: Batch) {
    let mut parts = vec![batch];
    while let Some(Batch { names, mut keys }) = parts.pop() {
        let fault = match together(shared, provider, names, &keys).await {
            Ok(()) => {
                if let [alone] = keys.as_slice() {
                    shared.quietly(alone, |entry| entry.apart = false);
                }
                continue;
            }
            Err(fault) => fault,
        };
        if fault.is_about_the_query() && keys.len() > 1 {
            let rest = keys.split_off(keys.len() / 2);
            parts.push(Batch { names, keys: rest });
            parts.push(Batch { names, keys });
            continue;
        }
        for key in &keys {
            shared.change(key, |entry| {
                entry.apart = fault.is_about_the_query();
                entry.fail(fault.to_string())
            });
        }
    }
}

async fn together(shared: &Shared, provider: &Provider, names: &'static Names, keys: &[Key]) -> Ask<()> {
    let family = Family::Named(names);
    learn_bounds(shared, provider, names, &family, keys).await?;
    let first = |entry: &Entry| !entry.refilled;
    let new: Vec<Key> =
        keys.iter().filter(|key| shared.table().entries.get(*key).is_some_and(first)).cloned().collect();
    for key in &new {
        let Some(query) = preset_query(shared, provider, names, std::slice::from_ref(key)) else { continue };
        refill(shared, provider, key, &family, &query).await?;
    }
    let Some(query) = preset_query(shared, provider, names, keys) else { return Ok(()) };
    let answer = provider.instant(&query, None).await?;
    take(shared, provider, keys, &family, &answer);
    Ok(())
}

/// Asks for the histograms of pods that have not shown theirs yet.
async fn learn_bounds(shared: &Shared, provider: &Provider, names: &Names, family: &Family, keys: &[Key]) -> Ask<()> {
    let unknown = scope(shared, provider, keys, |entry| entry.without_bounds().map(str::to_owned).collect());
    let Some(unknown) = unknown else { return Ok(()) };
    let found = provider.instant(&names.bounds_query(&unknown), None).await?;
    let labels = (provider.namespace_label.as_str(), provider.pod_label.as_str());
    for reading in read(family, &found, labels, "").values() {
        for key in keys {
            shared.quietly(key, |entry| entry.learn_bounds(reading));
        }
    }
    Ok(())
}

fn preset_query(shared: &Shared, provider: &Provider, names: &Names, keys: &[Key]) -> Option<String> {
    let scope = scope(shared, provider, keys, |entry| entry.pods().map(str::to_owned).collect())?;
    let table = shared.table();
    let bounds: BTreeSet<String> =
        keys.iter().filter_map(|key| table.entries.get(key)).flat_map(Entry::wanted_bounds).collect();
    Some(names.query(&scope, bounds.iter().map(String::as_str)))
}

async fn custom_one(shared: &Shared, provider: &Provider, key: &Key) -> Result<(), String> {
    let known = shared.table().entries.get(key).map(|entry| (entry.family.clone(), entry.own.clone()));
    // What cannot be parsed is told by the feed itself.
    let Some((Ok(family), own)) = known else { return Ok(()) };
    let one = std::slice::from_ref(key);
    let Some(scope) = scope(shared, provider, one, |entry| entry.pods().map(str::to_owned).collect()) else {
        return Ok(());
    };
    let said = |fault: Fault| fault.to_string();
    let requests = match &family {
        Family::Custom(queries) => queries.query(&scope, &provider.pod_label)?,
        Family::Named(names) => {
            learn_bounds(shared, provider, names, &family, one).await.map_err(said)?;
            preset_query(shared, provider, names, one).unwrap_or_default()
        }
    };
    let own = own.and_then(|own| own.parts(&scope, &provider.pod_label)).unwrap_or_default();
    if !own.is_empty() {
        // One query, so that all of it is of one moment.
        let all = format!("{requests} or {}", own.join(" or "));
        match ask_one(shared, provider, key, &family, &all).await {
            Err(fault) if fault.is_about_the_query() => {
                let why = format!("spec.checks.metrics: {fault}");
                shared.quietly(key, |entry| entry.own_trouble = Some(why));
            }
            answer => {
                shared.quietly(key, |entry| entry.own_trouble = None);
                return answer.map_err(said);
            }
        }
    }
    ask_one(shared, provider, key, &family, &requests).await.map_err(said)
}

async fn ask_one(shared: &Shared, provider: &Provider, key: &Key, family: &Family, query: &str) -> Ask<()> {
    let first = shared.table().entries.get(key).is_some_and(|entry| !entry.refilled);
    if first {
        refill(shared, provider, key, family, query).await?;
    }
    let answer = provider.instant(query, None).await?;
    take(shared, provider, std::slice::from_ref(key), family, &answer);
    Ok(())
}

/// The namespaces of some Releases and the pods that `pick` names; `None` if it names none.
fn scope(shared: &Shared, provider: &Provider, keys: &[Key], pick: impl Fn(&Entry) -> Vec<String>) -> Option<Scope> {
    let table = shared.table();
    let mut namespaces = BTreeSet::new();
    let mut pods = BTreeSet::new();
    for key in keys {
        let picked = table.entries.get(key).map(&pick).unwrap_or_default();
        if !picked.is_empty() {
            namespaces.insert(key.0.as_str());
            pods.extend(picked);
        }
    }
    let labels = (provider.namespace_label.as_str(), provider.pod_label.as_str());
    (!pods.is_empty()).then(|| Scope::new(labels, namespaces, pods.iter().map(String::as_str)))
}

/// Sorts an answer once for all Releases it is about. Only a custom query, which is about one, may drop the namespace.
fn take(shared: &Shared, provider: &Provider, keys: &[Key], family: &Family, answer: &[Series]) {
    let labels = (provider.namespace_label.as_str(), provider.pod_label.as_str());
    let now = (clock::now(), clock::monotonic());
    let namespace = keys.first().map_or("", |key| key.0.as_str());
    let mut readings = read(family, answer, labels, namespace);
    // An empty answer has no time of its own.
    let (evaluated, reading) = readings.pop_last().unwrap_or((now.0, Reading::new()));
    // Who has new failures does not wait for fifty that are well.
    let (mut well, mut any_bad) = (Vec::new(), false);
    for key in keys {
        let take = |entry: &mut Entry| {
            entry.take(&reading, evaluated, provider.scrape_interval, now).then(|| entry.newly_bad())
        };
        let news = shared.table().entries.get_mut(key).and_then(take);
        match news {
            Some(bad) if bad > 0.0 => {
                any_bad = true;
                (shared.news)(key);
            }
            Some(_) => well.push(key.clone()),
            None => {}
        }
    }
    let news = shared.news.clone();
    let tell = move || well.iter().for_each(|key| news(key));
    if any_bad {
        tokio::spawn(async move {
            tokio::time::sleep(HEAD_START).await;
            tell();
        });
    } else {
        tell();
    }
}

/// Asks for the counters of before this process was there, so that a restart loses no evidence.
async fn refill(shared: &Shared, provider: &Provider, key: &Key, family: &Family, query: &str) -> Ask<()> {
    let end = clock::now();
    let Some(start) = shared.table().entries.get(key).map(|entry| from_when(entry, end)) else { return Ok(()) };
    let step = provider.scrape_interval.max(end.since(start) / REFILL_STEPS).max(Duration::from_secs(1));
    let history = match provider.range(query, start, end, step).await {
        // Too much of the past is no reason to do without the present.
        Err(fault) if fault.is_about_the_query() => Vec::new(),
        answer => answer?,
    };
    let labels = (provider.namespace_label.as_str(), provider.pod_label.as_str());
    let readings = read(family, &history, labels, &key.0);
    shared.quietly(key, |entry| entry.refill(&readings));
    Ok(())
}

fn from_when(entry: &Entry, end: At) -> At {
    let judged = entry.interest.since.map(|at| at.minus(BEHIND));
    judged.unwrap_or_else(|| end.minus(BEFORE)).max(end.minus(REFILL_MOST)).min(end)
}
