//! Two operators, as real processes: one is killed, one is frozen and wakes up; the other goes on, and nobody writes who
//! does not lead (invariant 21).

use std::time::{Duration, Instant};

use haldane::observe::clock::monotonic;

use crate::{
    harness::{Plane, SOON, eventually, pods},
    processes::{Audited, Process, audited},
    stage::{STAYS, Stage, Theatre},
};

/// The lease, the pause between two looks at it, and one turn on a busy machine.
const TAKES_OVER: Duration = Duration::from_secs(8);

/// How long the old leader stands still: longer than the lease.
fn freeze() -> Duration {
    let long = std::env::var("HALDANE_LONG").is_ok_and(|v| v == "1");
    Duration::from_secs(if long { 40 } else { 8 })
}

/// Returns when this process leads, with how long that took.
async fn leads(plane: &Plane, process: &Process, since: Instant) -> Duration {
    eventually("it leads", SOON, async || {
        let writes = audited(plane);
        let taken = |w: &&Audited| w.resource == "leases" && w.code < 300 && w.holder.is_some();
        let last = writes.iter().rfind(taken)?;
        (last.credential == process.credential).then(|| monotonic().saturating_duration_since(since))
    })
    .await
}

/// What others wrote and got accepted after the last time that this process took the lease.
fn after_the_takeover(plane: &Plane, process: &Process, other: &Process) -> Vec<String> {
    let writes = audited(plane);
    let lease = |w: &Audited| w.resource == "leases" && w.code < 300;
    let taken = writes.iter().position(|w| lease(w) && w.credential == process.credential).expect("it took the lease");
    let late = writes[taken..].iter().filter(|w| w.credential == other.credential && w.code < 300);
    late.map(|w| w.text.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_followed_and_a_frozen_one_writes_nothing() {
    let theatre = Theatre::open().await;
    let plane = &theatre.plane;
    let stage = Stage::alone(&theatre).await.expect("a stage");
    let frozen = Stage::alone(&theatre).await.expect("a stage");
    let namespaces = [stage.ns.clone(), frozen.ns.clone()];

    let a = Process::start(plane, "a", "two", &namespaces, &[]).await;
    leads(plane, &a, monotonic()).await;
    let b = Process::start(plane, "b", "two", &namespaces, &[]).await;
    stage.wish(STAYS).await;
    stage.in_step().await.expect("a step");

    // Killed in the very moment in which the version goes bad.
    a.signal("KILL");
    let killed = monotonic();
    stage.agent.crash(pods::of_image("shop:2"));
    let took = leads(plane, &b, killed).await;
    println!("fire: the standby leads {} ms after SIGKILL", took.as_millis());
    assert!(took < TAKES_OVER, "{took:?}");
    stage.until("the traffic is back", |s| s.phase == "Draining" && s.weight == Some(0)).await.expect("weight 0");
    println!("fire: weight 0 {} ms after SIGKILL", killed.elapsed().as_millis());
    assert!(after_the_takeover(plane, &b, &a).is_empty());

    // The leader stands still in the middle of a step, and wakes up when another one has long led.
    frozen.wish(STAYS).await;
    frozen.in_step().await.expect("a step");
    let c = Process::start(plane, "c", "two", &namespaces, &[]).await;
    b.signal("STOP");
    let stopped = monotonic();
    frozen.agent.crash(pods::of_image("shop:2"));
    let took = leads(plane, &c, stopped).await;
    println!("fire: the standby leads {} ms after SIGSTOP", took.as_millis());
    assert!(took < TAKES_OVER, "{took:?}");
    tokio::time::sleep(freeze().saturating_sub(stopped.elapsed())).await;
    b.signal("CONT");
    for stage in [&stage, &frozen] {
        stage.rests("RolledBack", "2").await.expect("rolled back");
    }
    let late = after_the_takeover(plane, &c, &b);
    assert!(late.is_empty(), "the old leader wrote: {late:?}");
    println!("fire: writes_after_takeover={}", late.len());

    for stage in [&stage, &frozen] {
        let ledger = theatre.auditor.close(&stage.ns, stage.revision().await);
        assert!(ledger.breaches.is_empty(), "{:?}", ledger.breaches);
    }
}
