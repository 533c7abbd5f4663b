//! Every effect of every story × every fault: the end is that of the undisturbed run, and nothing that always holds was
//! broken on the way.
//!
//! CI tries a sample that a seed chooses; `HALDANE_LONG=1` tries all. `HALDANE_FIRE_SEED` repeats a sample,
//! `HALDANE_FIRE_ONLY="Promotion; patch services shop +pod-template-hash #1; die-after"` a single point.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{StreamExt, stream};

use crate::{
    audit::Ledger,
    ending::{Ending, differences, ending},
    fault::{Fault, Point},
    harness::within,
    stage::{Stage, Theatre},
    stories::Tale,
};

/// Stories side by side. More are not faster on two cores.
const SIDE_BY_SIDE: usize = 20;
/// Points that CI tries.
const SAMPLE: usize = 24;
/// How long the last controllers may take to follow.
const FOLLOW: Duration = Duration::from_mins(1);

/// One telling of a story.
struct Told {
    points: Vec<Point>,
    fired: Vec<(Point, Fault)>,
    ending: Ending,
    revisions: u64,
}

/// Tells it once, with these faults; compares the end with the reference.
async fn tell(
    theatre: &Arc<Theatre>,
    tale: Tale,
    plan: Vec<(Point, Fault)>,
    reference: Option<&Ending>,
) -> Result<Told, String> {
    let stage = Stage::open(theatre).await?;
    let (ns, auditor) = (stage.ns.clone(), &theatre.auditor);
    tale.prelude(&stage).await?;
    stage.line.count(plan);
    tale.play(&stage).await?;
    // The operator is done; the controllers follow.
    let mut last = None;
    let followed = within(FOLLOW, async || {
        let now = auditor.peek(&ns, |ledger| ending(ledger, &ns)).unwrap_or_default();
        let done = match reference {
            Some(reference) => differences(reference, &now),
            None if last.as_ref() == Some(&now) => Vec::new(),
            None => vec!["the first of two looks that agree".to_owned()],
        };
        if done.is_empty() {
            return Ok(());
        }
        last = Some(now);
        if reference.is_none() {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        Err(done)
    })
    .await;
    let ledger = auditor.close(&ns, stage.revision().await);
    let mut wrong: Vec<String> = ledger.breaches.iter().take(5).map(ToString::to_string).collect();
    wrong.extend(untold(&ledger, &theatre.sink.got(&ns)));
    wrong.extend(followed.err().map(|last| format!("the end differs: {last}")));
    if !wrong.is_empty() {
        return Err(format!("{ns}: {}", wrong.join("\n    ")));
    }
    let (points, fired) = (stage.line.points(), stage.line.fired());
    Ok(Told { points, fired, ending: ending(&ledger, &ns), revisions: ledger.revisions })
}

/// 19 for receivers: each notice came at least once, and each first came after the one before it.
fn untold(ledger: &Ledger, got: &[(String, String)]) -> Option<String> {
    let told = ledger.world().get("releases", "shop")?["status"]["notices"].as_u64()?;
    let seq = |(id, _): &(String, String)| id.rsplit('-').next().and_then(|n| n.parse::<u64>().ok());
    let mut first: Vec<u64> = Vec::new();
    for seq in got.iter().filter_map(seq) {
        if !first.contains(&seq) {
            first.push(seq);
        }
    }
    let all: Vec<u64> = (1..=told).collect();
    (first != all).then(|| format!("invariant 19: of {told} notices the receiver got {first:?} in this order"))
}

/// One thing to try.
#[derive(Clone, Debug)]
struct Try {
    tale: Tale,
    point: Point,
    fault: Fault,
}

impl Try {
    fn text(&self) -> String {
        format!("{:?}; {}; {}", self.tale, self.point, self.fault.name())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_at_any_effect_changes_nothing_in_the_end() {
    let theatre = Theatre::open().await;
    let told = stream::iter(Tale::ALL).map(async |tale| (tale, tell(&theatre, tale, Vec::new(), None).await));
    let told: Vec<_> = told.buffer_unordered(SIDE_BY_SIDE).collect().await;
    let mut references = BTreeMap::new();
    let mut all = Vec::new();
    for (tale, told) in told {
        let told = told.unwrap_or_else(|why| panic!("{tale:?}, undisturbed: {why}"));
        println!("fire: {tale:?} has {} effects in {} revisions", told.points.len(), told.revisions);
        for point in &told.points {
            all.extend(Fault::ALL.map(|fault| Try { tale, point: point.clone(), fault }));
        }
        references.insert(tale, told.ending);
    }
    all.sort_by_key(Try::text);
    let known = all.len();
    let chosen = choose(all);
    let outcomes = stream::iter(chosen).map(async |one| {
        let plan = vec![(one.point.clone(), one.fault)];
        let told = tell(&theatre, one.tale, plan, references.get(&one.tale)).await;
        (one, told)
    });
    let mut outcomes = outcomes.buffer_unordered(SIDE_BY_SIDE);
    let (mut tried, mut missed, mut revisions, mut broken) = (0, Vec::new(), 0, Vec::new());
    while let Some((one, told)) = outcomes.next().await {
        match told {
            Ok(told) => {
                revisions += told.revisions;
                if told.fired.is_empty() {
                    missed.push(one.text());
                } else {
                    tried += 1;
                }
            }
            Err(why) => {
                println!("fire: broken: {}\n    {why}", one.text());
                broken.push(one.text());
            }
        }
    }
    for one in &missed {
        println!("fire: not met: {one}");
    }
    println!(
        "fire: crash_points={} broken={} not_met={} of={known} revisions={revisions}",
        tried + broken.len(),
        broken.len(),
        missed.len()
    );
    assert!(broken.is_empty(), "{} of {} broken:\n{}", broken.len(), tried + broken.len(), broken.join("\n"));
    assert!(missed.len() * 10 <= tried + 10, "{} points were not met: {missed:?}", missed.len());
}

/// All of them, or a sample, or the one that is asked for.
fn choose(mut all: Vec<Try>) -> Vec<Try> {
    if let Ok(only) = std::env::var("HALDANE_FIRE_ONLY") {
        all.retain(|one| one.text().contains(&only));
        assert!(!all.is_empty(), "no point is called {only}");
        return all;
    }
    let long = std::env::var("HALDANE_LONG").is_ok_and(|v| v == "1");
    let seed = std::env::var("HALDANE_FIRE_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_secs()));
    println!("fire: seed {seed} (HALDANE_FIRE_SEED={seed} repeats the sample)");
    shuffle(&mut all, seed);
    if !long {
        all.truncate(SAMPLE);
    }
    all
}

/// Fisher and Yates, with a small generator.
fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for i in (1..list.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        list.swap(i, usize::try_from(state % (i as u64 + 1)).unwrap_or(0));
    }
}
