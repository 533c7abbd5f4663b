//! The leader's clock jumps an hour forward or back in the middle of a step: the step lasts as long as it should, and
//! nobody else comes to lead. The jump is made by libfaketime under the real binary, which also slows nothing down.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use haldane::{api::State, observe::clock::monotonic};

use crate::{
    harness::{SOON, eventually},
    processes::{Process, audited},
    stage::{QUICK, Stage, Theatre, Wish},
};

/// How long the step lasts, and what the looks of this test may take off it.
const STEP: Wish = Wish { first: "10s", ..QUICK };
const AT_LEAST: Duration = Duration::from_secs(8);
const AT_MOST: Duration = Duration::from_secs(30);

/// A file that says how far the clock is off, and the words before a command that make it obey.
fn clock(dir: &Path) -> (PathBuf, Vec<String>) {
    let library = ["x86_64", "aarch64"]
        .map(|machine| PathBuf::from(format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1")))
        .into_iter()
        .find(|path| path.exists())
        .expect("libfaketime: tools/packages.sh installs it");
    let file = dir.join("clock");
    fs::write(&file, "+0").expect("the clock");
    let words = vec![
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        "DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
    (file, words)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_an_hour_ends_no_step_early_and_makes_no_second_leader() {
    let theatre = Theatre::open().await;
    let plane = &theatre.plane;
    let dir = plane.kubeconfig();
    let (file, words) = clock(dir.parent().expect("a folder"));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let shops = [Stage::alone(&theatre).await.expect("a stage"), Stage::alone(&theatre).await.expect("a stage")];
    let namespaces = shops.each_ref().map(|shop| shop.ns.clone());
    let leader = Process::start(plane, "leader", "clocks", &namespaces, &words).await;
    eventually("it leads", SOON, async || audited(plane).iter().any(|w| w.resource == "leases").then_some(())).await;
    let standby = Process::start(plane, "standby", "clocks", &namespaces, &[]).await;

    for (shop, jump) in shops.iter().zip(["+3600", "-3600"]) {
        shop.wish(STEP).await;
        shop.in_step().await.expect("a step");
        let begun = monotonic();
        fs::write(&file, jump).expect("the clock");
        let on = |state: &Option<State>| !matches!(state, Some(State::Stepping { step: 0, .. }));
        shop.until("past its first step", |s| on(&s.state)).await.expect("it goes on");
        let took = begun.elapsed();
        println!("fire: a step of 10 s with a jump of {jump} s lasted {} ms", took.as_millis());
        assert!(took > AT_LEAST && took < AT_MOST, "{took:?}");
        shop.rests("Succeeded", "2").await.expect("it arrives");
        fs::write(&file, "+0").expect("the clock");
        let ledger = theatre.auditor.close(&shop.ns, shop.revision().await);
        assert!(ledger.breaches.is_empty(), "{:?}", ledger.breaches);
    }
    let other: Vec<_> =
        audited(plane).into_iter().filter(|w| w.credential == standby.credential && w.code < 300).collect();
    assert!(other.is_empty(), "the standby wrote: {other:?}");
    drop(leader);
}
