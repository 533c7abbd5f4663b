//! `make bench`: how long a rollback takes from its cause to the route write, and what the operator costs, on a real API
//! server. The operator is the release binary in a process of its own. Pods, gateway and Prometheus are played by this
//! process, which also takes the clocks:
//!
//! - *answer*: the Prometheus has written its deciding answer into the socket (the machine's clock, microseconds);
//! - *order*: the answer to the ReleaseAction's create has arrived here (the same clock);
//! - *route*: the API server has answered the patch that gives the candidate weight 0, by its audit log (the same clock).
//!
//! Progress is shown; the last line is one JSON object. What needs a whole cluster is `make bench-cluster`; what the
//! long tests count is read from the files they leave.

#![expect(clippy::expect_used, clippy::panic, reason = "a driver that cannot go on says why and ends")]
#![expect(clippy::cast_precision_loss, reason = "what is counted here is small")]

/// The API server as the tests have it.
const API_SERVER_FLAGS: &str = "";

/// Bodies of routes only, in which the weight stands: writing the log costs the API server time.
const AUDITED_BODIES: &str = ", resources: [{group: gateway.networking.k8s.io, resources: [httproutes]}]";

mod audit;
mod figures;
mod fleet;
#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/it/harness/mod.rs"]
mod harness;
mod operator;

use std::{path::Path, rc::Rc, time::Duration};

use haldane::api::state::State;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::LocalSet;

use audit::Write;
use figures::{Sample, load, millis, round};
use fleet::{Fleet, LONG_STEP, QUICK_STEPS, Shop};
use harness::{SOON, eventually};
use operator::Operator;

/// How much is measured; each can be set by an environment variable of the same name in capitals after `BENCH_`.
struct Plan {
    alone: usize,
    orders: usize,
    kills: usize,
    releases: usize,
    active: usize,
    crowd: usize,
    quiet: u64,
}

impl Plan {
    fn read() -> Self {
        let number = |name: &str, usual: usize| {
            let set = std::env::var(format!("BENCH_{name}")).ok();
            set.map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("BENCH_{name}={text} is not a number")))
        };
        Self {
            alone: number("ALONE", 30),
            orders: number("ORDERS", 20),
            kills: number("KILLS", 4),
            releases: number("RELEASES", 200),
            active: number("ACTIVE", 50),
            crowd: number("CROWD", 250),
            quiet: number("QUIET", 60) as u64,
        }
    }
}

/// Everything that has been measured.
#[derive(Default)]
struct Figures {
    alone: Sample,
    crowd: Sample,
    orders: Sample,
    restart: Sample,
    standby: Sample,
    writes: Sample,
    events: Sample,
    pods: Option<f64>,
    idle_writes: Option<f64>,
    calls: [Option<f64>; 2],
    rss: [Option<f64>; 2],
    cpu: [Option<f64>; 2],
}

#[tokio::main]
async fn main() {
    let plan = Plan::read();
    let dir = TempDir::with_prefix("haldane-bench-").expect("a folder");
    let mut figures = Figures::default();
    println!("bench: {}; load {}", machine(), load());
    alone(&plan, dir.path(), &mut figures).await;
    Box::pin(LocalSet::new().run_until(crowd(&plan, dir.path(), &mut figures))).await;
    println!("{}", figures.json());
}

/// One Release, and nothing else in the control plane.
async fn alone(plan: &Plan, dir: &Path, figures: &mut Figures) {
    println!("one Release");
    let fleet = Fleet::open(harness::own_plane().await, 1, 3).await;
    let shop = &fleet.shops[0];
    let mut leader = Operator::start(&fleet.plane, dir, "bench-0");
    fleet.until(shop, "at rest", |s| matches!(s, State::Idle { .. })).await;

    figures.pods = Some(pods_of_a_release(&fleet, shop).await);
    println!("  pods started per replica: {:.2}", figures.pods.unwrap_or_default());

    let before = leader.usage().await;
    for number in 0..plan.alone + plan.orders {
        fleet.next(shop, LONG_STEP).await;
        fleet.in_step(shop).await;
        settle(number).await;
        let from = fleet.audit.len();
        if number < plan.alone {
            let sent = fleet.breach(shop).await;
            let took = millis(sent, fleet.withdrawn(shop, from).await.at);
            figures.alone.push(took);
        } else {
            let given = fleet.order_back(shop).await;
            let took = millis(given, fleet.withdrawn(shop, from).await.at);
            figures.orders.push(took);
        }
        fleet.rested(shop).await;
        quiet(&fleet, shop).await;
        count_writes(&fleet, shop, from, figures);
        if number % 10 == 9 {
            figures.alone.show("answer → route, alone", "ms");
        }
    }
    let (cpu, _) = leader.usage().await.since(&before);
    (figures.cpu[0], figures.rss[0]) = (Some(cpu), Some(leader.rss()));
    figures.alone.show("answer → route, alone", "ms");
    figures.orders.show("order → route, alone", "ms");
    figures.writes.show("writes of a rollback, Events apart", "writes");
    figures.events.show("Events of a rollback", "Events");
    println!("  memory {:.1} MiB, {cpu:.1} % of a processor", leader.rss());

    for _ in 0..plan.kills {
        let from = ready_to_break(&fleet, shop).await;
        let sent = fleet.breach(shop).await;
        leader.kill();
        leader = leader.again(&fleet.plane, dir);
        let took = millis(sent, fleet.withdrawn(shop, from).await.at) / 1000.0;
        figures.restart.push(took);
        fleet.rested(shop).await;
    }
    figures.restart.show("leader killed → route, restarted in place", "s");
    let mut standby = Operator::start(&fleet.plane, dir, "bench-1");
    for _ in 0..plan.kills {
        let from = ready_to_break(&fleet, shop).await;
        eventually("the other one stands by", SOON, async || {
            (!standby.metrics().await.is_empty() && !standby.leads().await).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let sent = fleet.breach(shop).await;
        leader.kill();
        let took = millis(sent, fleet.withdrawn(shop, from).await.at) / 1000.0;
        figures.standby.push(took);
        fleet.rested(shop).await;
        let killed = leader.again(&fleet.plane, dir);
        leader = std::mem::replace(&mut standby, killed);
    }
    figures.standby.show("leader killed → route, by the standby", "s");
}

async fn ready_to_break(fleet: &Fleet, shop: &Shop) -> usize {
    fleet.next(shop, LONG_STEP).await;
    fleet.in_step(shop).await;
    settle(0).await;
    fleet.audit.len()
}

/// A step under way for some seconds; never in the same phase of the scrapes.
async fn settle(number: usize) {
    tokio::time::sleep(Duration::from_millis(2500 + (number as u64 * 137) % 1000)).await;
}

/// Two hundred Releases, fifty of them on their way.
async fn crowd(plan: &Plan, dir: &Path, figures: &mut Figures) {
    println!("{} Releases, {} of them on their way", plan.releases, plan.active);
    let fleet = Rc::new(Fleet::open(harness::own_plane().await, plan.releases, 1).await);
    let leader = Operator::start(&fleet.plane, dir, "bench-0");
    for shop in &fleet.shops {
        fleet.until(shop, "at rest", |s| matches!(s, State::Idle { .. })).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;

    let (from, before) = (fleet.audit.len(), leader.usage().await);
    tokio::time::sleep(Duration::from_secs(plan.quiet)).await;
    let after = leader.usage().await;
    let (_, writes) = fleet.audit.since(from, |w| w.resource != "leases");
    let leases = fleet.audit.since(from, |w| w.resource == "leases").1.len();
    let minutes = plan.quiet as f64 / 60.0;
    let (cpu, calls) = after.since(&before);
    figures.idle_writes = Some(writes.len() as f64 / minutes);
    figures.calls[0] = Some((calls - leases as f64 / minutes) / plan.releases as f64);
    println!(
        "  all idle for {} s: {} writes {:?}, {:.2} API calls per Release and minute, {:.1} MiB, {cpu:.1} % of a processor",
        plan.quiet,
        writes.len(),
        writes.iter().take(3).collect::<Vec<&Write>>(),
        figures.calls[0].unwrap_or_default(),
        leader.rss()
    );

    let moving = &fleet.shops[..plan.active];
    for shop in moving {
        fleet.next(shop, LONG_STEP).await;
    }
    for shop in moving {
        fleet.in_step(shop).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (from, before) = (fleet.audit.len(), leader.usage().await);
    tokio::time::sleep(Duration::from_secs(plan.quiet)).await;
    let (cpu, calls) = leader.usage().await.since(&before);
    let leases = fleet.audit.since(from, |w| w.resource == "leases").1.len();
    figures.calls[1] = Some((calls - leases as f64 / minutes) / plan.active as f64);
    (figures.cpu[1], figures.rss[1]) = (Some(cpu), Some(leader.rss()));
    println!(
        "  {} on their way for {} s: {:.1} API calls per Release and minute, {:.1} MiB, {cpu:.1} % of a processor; load {}",
        plan.active,
        plan.quiet,
        figures.calls[1].unwrap_or_default(),
        leader.rss(),
        load()
    );

    let mut active = Sample::default();
    let mut number = 0;
    while figures.crowd.len() < plan.crowd {
        let at = number % plan.active;
        number += 1;
        let shop = &fleet.shops[at];
        fleet.in_step(shop).await;
        settle(number).await; // the last one's way back, and its next version, are not to be measured with this one
        let from = fleet.audit.len();
        let sent = fleet.breach(shop).await;
        let took = millis(sent, fleet.withdrawn(shop, from).await.at);
        figures.crowd.push(took);
        active.push(fleet.active() as f64);
        // Its way back and its next version go on while the others fail.
        let fleet = fleet.clone();
        tokio::task::spawn_local(async move {
            let shop = &fleet.shops[at];
            fleet.rested(shop).await;
            fleet.next(shop, LONG_STEP).await;
        });
        if figures.crowd.len().is_multiple_of(20) {
            figures.crowd.show("answer → route, in the crowd", "ms");
        }
    }
    figures.crowd.show("answer → route, in the crowd", "ms");
    active.show("on their way meanwhile", "Releases");
}

/// Until the operator has written nothing about it for two seconds.
async fn quiet(fleet: &Fleet, shop: &Shop) {
    let mut known = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = fleet.audit.since(0, |w| w.namespace == shop.ns).1.len();
        if now == known {
            return;
        }
        known = now;
    }
}

fn count_writes(fleet: &Fleet, shop: &Shop, from: usize, figures: &mut Figures) {
    let (_, writes) = fleet.audit.since(from, |w| w.namespace == shop.ns);
    let events = writes.iter().filter(|w| w.resource == "events").count();
    if figures.writes.len() == 0 {
        let listed: Vec<String> = writes.iter().map(|w| format!("{} {} {}", w.verb, w.resource, w.code)).collect();
        println!("  a rollback writes: {}", listed.join(", "));
    }
    figures.writes.push((writes.len() - events) as f64);
    figures.events.push(events as f64);
}

/// A good version goes all the way; how many pods it took for each that serves.
async fn pods_of_a_release(fleet: &Fleet, shop: &Shop) -> f64 {
    let pods: Api<Pod> = Api::namespaced(fleet.plane.client(), &shop.ns);
    let image = fleet.next(shop, QUICK_STEPS).await;
    let mut seen = std::collections::BTreeSet::new();
    loop {
        let list = pods.list(&ListParams::default()).await.expect("the pods").items;
        let of = |pod: &&Pod| {
            pod.spec.iter().flat_map(|s| &s.containers).any(|c| c.image.as_deref() == Some(&format!("shop:{image}")))
        };
        seen.extend(list.iter().filter(of).filter_map(ResourceExt::uid));
        let done = fleet.release(shop).and_then(|r| r.status).is_some_and(|s| {
            s.phase == "Succeeded"
                && s.memory.history.last().is_some_and(|h| h.version.name == Some(format!("v{image}")))
        });
        if done {
            return seen.len() as f64 / list.len().max(1) as f64;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let processors = info.lines().filter(|line| line.starts_with("processor")).count();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().find_map(|l| l.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    format!("{processors} × {}, {} GiB", model.unwrap_or("an unknown processor"), kib.unwrap_or(0) >> 20)
}

impl Figures {
    /// The last line. `decide_to_write_ms` is the worse of the two settings.
    fn json(&self) -> Value {
        let worse = |share: f64| match (self.alone.quantile(share), self.crowd.quantile(share)) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        let tested = tested();
        json!({
            "decide_to_write_ms": {"median": round(worse(0.5)), "p99": round(worse(0.99))},
            "order_to_write_ms": {"median": round(self.orders.quantile(0.5)), "p99": round(self.orders.quantile(0.99))},
            "write_to_last_canary_ms": tested.get("write_to_last_canary_ms").unwrap_or(&json!({"median": null, "max": null})),
            "kill_to_write_s": {"restart": round(self.restart.max()), "standby": round(self.standby.max())},
            "pods_started_per_replica": round(self.pods),
            "idle_writes_per_min": round(self.idle_writes),
            "writes_per_rollback": round(self.writes.quantile(0.5)),
            "events_per_rollback": round(self.events.quantile(0.5)),
            "api_calls_per_release_min": {"idle": round(self.calls[0]), "active": round(self.calls[1])},
            "rss_mib": {"1": round(self.rss[0]), "200": round(self.rss[1])},
            "cpu_percent": {"1": round(self.cpu[0]), "200": round(self.cpu[1])},
            "failed_requests": tested["failed_requests"],
            "rollbacks": self.alone.len() + self.orders.len() + self.crowd.len() + self.restart.len() + self.standby.len(),
            "crash_points": tested["crash_points"],
            "stale_plans": tested["stale_plans"],
            "seeded_caught": tested["seeded_caught"],
            "seeded": tested["seeded"],
        })
    }
}

/// What the long tests and the whole cluster gave when they ran last, if they did: `target/figures/*.json`. What was tried
/// in parts counts when all parts are there.
fn tested() -> Value {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let folder = Path::new(&target).join("figures");
    let read = |name: &str| -> Option<serde_json::Map<String, Value>> {
        serde_json::from_str(&std::fs::read_to_string(folder.join(format!("{name}.json"))).ok()?).ok()
    };
    let mut all = serde_json::Map::new();
    all.extend(["seeded", "cluster"].into_iter().filter_map(read).flatten());
    let in_parts = || {
        (2..=64_u64).rev().find_map(|parts| {
            let each: Option<Vec<_>> = (1..=parts).map(|part| read(&format!("fire-{part}-of-{parts}"))).collect();
            let sum = |name: &str| each.iter().flatten().filter_map(|part| part[name].as_u64()).sum::<u64>();
            let counted = ["crash_points", "stale_plans"].map(|name| (name.to_owned(), json!(sum(name))));
            each.is_some().then(|| serde_json::Map::from_iter(counted))
        })
    };
    all.extend(read("fire").or_else(in_parts).into_iter().flatten());
    Value::Object(all)
}
