//! Every effect of every story × every fault, and watched events × every lie: the end is that of the undisturbed run, and
//! nothing that always holds was broken on the way.
//!
//! CI tries a sample that a seed chooses; `HALDANE_LONG=1` tries all faults and hundreds of lies. `HALDANE_FIRE_SEED` repeats
//! a sample, `HALDANE_FIRE_SAMPLE` and `HALDANE_FIRE_VIEWS` say how large it is, and
//! `HALDANE_FIRE_PART=2/5` takes the second fifth of everything, and
//! `HALDANE_FIRE_ONLY="Promotion; patch services shop +pod-template-hash #1; die-after"` tries a single point.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{StreamExt, stream};

use crate::{
    audit::Ledger,
    ending::{Ending, differences, ending},
    fault::{Fault, Point, Trouble},
    harness::within,
    processes::audited,
    stage::{Stage, Theatre},
    stories::Tale,
    views::{Event, View},
};

/// Stories side by side. More are not faster on two cores.
const SIDE_BY_SIDE: usize = 24;
/// Points that CI tries.
const SAMPLE: usize = 20;
/// Views that lie: those that CI tries, and those of the long run.
const VIEWS: usize = 6;
const ALL_VIEWS: usize = 300;
/// How long the last controllers may take to follow.
const FOLLOW: Duration = Duration::from_mins(1);

/// One telling of a story.
struct Told {
    points: Vec<Point>,
    events: Vec<Event>,
    /// How much of the plan came to pass.
    fired: usize,
    ending: Ending,
    revisions: u64,
    /// The longest that a side had traffic and no ready pod while the other could hold it, in milliseconds.
    dark: u64,
}

/// Tells it once, with this trouble; compares the end with the reference.
async fn tell(
    theatre: &Arc<Theatre>,
    tale: Tale,
    trouble: &Trouble,
    reference: Option<&Ending>,
) -> Result<Told, String> {
    let stage = Stage::open(theatre).await?;
    let (ns, auditor) = (stage.ns.clone(), &theatre.auditor);
    tale.prelude(&stage).await?;
    stage.line.count(trouble);
    tale.play(&stage).await?;
    // The operator is done; the controllers follow.
    let (mut last, mut looked_at, mut missing) = (None, None, Vec::new());
    let followed = within(FOLLOW, async || {
        let revisions = auditor.peek(&ns, |ledger| ledger.revisions);
        if reference.is_some() && revisions == looked_at {
            return Err(missing.clone());
        }
        looked_at = revisions;
        let now = auditor.peek(&ns, |ledger| ending(ledger, &ns)).unwrap_or_default();
        let done = match reference {
            Some(reference) => differences(reference, &now),
            None if last.as_ref() == Some(&now) => Vec::new(),
            None => vec!["the first of two looks that agree".to_owned()],
        };
        if done.is_empty() {
            return Ok(());
        }
        (last, missing) = (Some(now), done.clone());
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
    let (points, events) = (stage.line.points(), stage.line.views(|seen| seen.events.clone()));
    let (fired, revisions, dark) = (stage.line.fired(), ledger.revisions, ledger.longest_dark());
    Ok(Told { points, events, fired, ending: ending(&ledger, &ns), revisions, dark })
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
    trouble: Trouble,
    text: String,
}

impl Try {
    fn fault(tale: Tale, point: &Point, fault: Fault) -> Self {
        let trouble = Trouble { faults: vec![(point.clone(), fault)], view: None };
        Self { tale, trouble, text: format!("{tale:?}; {point}; {}", fault.name()) }
    }

    fn view(tale: Tale, event: &Event, view: View) -> Self {
        let trouble = Trouble { faults: Vec::new(), view: Some((event.clone(), view)) };
        Self { tale, trouble, text: format!("{tale:?}; {event}; {view:?}") }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_at_any_effect_and_a_view_that_lies_change_nothing_in_the_end() {
    let theatre = Theatre::open().await;
    let undisturbed = Trouble::default();
    let told = stream::iter(Tale::ALL).map(async |tale| (tale, tell(&theatre, tale, &undisturbed, None).await));
    let told: Vec<_> = told.buffer_unordered(SIDE_BY_SIDE).collect().await;
    let mut references = BTreeMap::new();
    let (mut faults, mut views) = (Vec::new(), Vec::new());
    for (tale, told) in told {
        let told = told.unwrap_or_else(|why| panic!("{tale:?}, undisturbed: {why}"));
        let (effects, events) = (told.points.len(), told.events.len());
        println!(
            "fire: {tale:?} has {effects} effects and {events} events in {} revisions; dark for {} ms",
            told.revisions, told.dark
        );
        for point in &told.points {
            faults.extend(Fault::ALL.map(|fault| Try::fault(tale, point, fault)));
        }
        for event in &told.events {
            views.extend(View::ALL.map(|view| Try::view(tale, event, view)));
        }
        references.insert(tale, told.ending);
    }
    let known = (faults.len(), views.len());
    let chosen = choose(faults, views);
    let (crash_points, stale_plans) = chosen.iter().fold((0, 0), |(faults, views), one| match one.trouble.view {
        None => (faults + 1, views),
        Some(_) => (faults, views + 1),
    });
    let total = chosen.len();
    let outcomes = stream::iter(chosen).map(async |one| {
        let told = tell(&theatre, one.tale, &one.trouble, references.get(&one.tale)).await;
        (one, told)
    });
    let mut outcomes = outcomes.buffer_unordered(SIDE_BY_SIDE);
    let (mut tried, mut missed, mut revisions, mut broken) = ((0, 0), Vec::new(), 0, Vec::new());
    let mut dark = (0, String::new());
    while let Some((one, told)) = outcomes.next().await {
        match told {
            Ok(told) if told.fired == 0 => missed.push(one.text),
            told => {
                let tried = if one.trouble.view.is_none() { &mut tried.0 } else { &mut tried.1 };
                *tried += 1;
                match told {
                    Ok(told) => {
                        revisions += told.revisions;
                        dark = dark.max((told.dark, one.text));
                    }
                    Err(why) => {
                        println!("fire: broken: {}\n    {why}", one.text);
                        broken.push(one.text);
                    }
                }
            }
        }
        let done = tried.0 + tried.1 + missed.len();
        if done % 50 == 0 {
            println!("fire: {done} of {total}, {} broken", broken.len());
        }
    }
    for text in &missed {
        println!("fire: not met: {text}");
    }
    println!("fire: longest without a ready pod while the other side could hold it: {} ms ({})", dark.0, dark.1);
    println!(
        "fire: crash_points={} stale_plans={} broken={} not_met={} of={}+{} revisions={revisions}",
        tried.0,
        tried.1,
        broken.len(),
        missed.len(),
        known.0,
        known.1,
    );
    let refused: Vec<String> =
        audited(&theatre.plane).into_iter().filter(|w| matches!(w.code, 400 | 403)).map(|w| w.text).collect();
    assert!(refused.is_empty(), "the operator may not, or wrote nonsense: {refused:?}");
    assert!(broken.is_empty(), "{} of {total} broken:\n{}", broken.len(), broken.join("\n"));
    assert!(missed.len() * 5 <= total, "{} of {crash_points}+{stale_plans} were not met: {missed:?}", missed.len());
    match part() {
        Some((part, parts)) => leave(&format!("fire-{part}-of-{parts}"), tried),
        None if crash_points == known.0 => leave("fire", tried),
        None => {}
    }
}

/// Leaves what a whole run, or a part of one, has tried where the bench finds it and adds it up.
fn leave(name: &str, (crash_points, stale_plans): (usize, usize)) {
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("figures");
    std::fs::create_dir_all(&target).expect("a folder");
    let text = serde_json::json!({"crash_points": crash_points, "stale_plans": stale_plans}).to_string();
    std::fs::write(target.join(format!("{name}.json")), text).expect("a file");
}

/// All faults and many lies, or a sample, or what is asked for.
fn choose(mut faults: Vec<Try>, mut views: Vec<Try>) -> Vec<Try> {
    if let Ok(only) = std::env::var("HALDANE_FIRE_ONLY") {
        faults.append(&mut views);
        faults.retain(|one| one.text.contains(&only));
        assert!(!faults.is_empty(), "nothing to try is called {only}");
        return faults;
    }
    if let Some((part, parts)) = part() {
        // Of the lies a tenth: they are made by rules, of which each has its turn.
        views.retain(|one| (number_of(&one.text) / parts).is_multiple_of(10));
        faults.append(&mut views);
        faults.retain(|one| number_of(&one.text) % parts == part - 1);
        return faults;
    }
    let long = std::env::var("HALDANE_LONG").is_ok_and(|v| v == "1");
    let seed =
        number("HALDANE_FIRE_SEED").unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_secs()));
    println!("fire: seed {seed} (HALDANE_FIRE_SEED={seed} repeats the sample)");
    let size = |name: &str, short: usize, all: usize| {
        number(name).and_then(|n| usize::try_from(n).ok()).unwrap_or(if long { all } else { short })
    };
    for (list, most) in [
        (&mut faults, size("HALDANE_FIRE_SAMPLE", SAMPLE, usize::MAX)),
        (&mut views, size("HALDANE_FIRE_VIEWS", VIEWS, ALL_VIEWS)),
    ] {
        list.sort_by(|a, b| a.text.cmp(&b.text));
        shuffle(list, seed);
        list.truncate(most);
    }
    faults.append(&mut views);
    shuffle(&mut faults, seed);
    faults
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// `HALDANE_FIRE_PART=2/5`
fn part() -> Option<(u64, u64)> {
    let text = std::env::var("HALDANE_FIRE_PART").ok()?;
    let (part, parts) = text.split_once('/')?;
    Some((part.parse().ok()?, parts.parse().ok().filter(|parts| *parts > 0)?))
}

/// FNV-1a: the same of a text in every run, whatever else is known by then.
fn number_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
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
