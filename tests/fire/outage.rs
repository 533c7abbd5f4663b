//! The API server is away while Releases are in every state: nothing is decided meanwhile, nothing is skipped after, and
//! all go on within half a minute. When the cluster's controllers work again, on which most of them depend, is printed.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use haldane::{api::status::ReleaseStatus, observe::clock::monotonic};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::Pod,
    discovery::v1::{Endpoint, EndpointSlice},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};

use crate::{
    harness::{eventually, pods, shop::SHOP},
    processes::{of_plane, signal},
    stage::{QUICK, STAYS, Stage, Story, Theatre, Wish},
};

/// After the API server is back.
const GOES_ON: Duration = Duration::from_secs(30);
/// What the controllers may take.
const LONGEST: Duration = Duration::from_mins(3);

fn long() -> bool {
    std::env::var("HALDANE_LONG").is_ok_and(|v| v == "1")
}

fn away() -> Vec<Duration> {
    if let Some(seconds) = std::env::var("HALDANE_FIRE_AWAY").ok().and_then(|v| v.parse().ok()) {
        return vec![Duration::from_secs(seconds)];
    }
    if long() { vec![Duration::from_mins(1), Duration::from_mins(10)] } else { vec![Duration::from_secs(12)] }
}

/// The States that last, and a way into each.
const STATES: [&str; 9] =
    ["Idle", "Waiting", "Preparing", "Stepping", "Observing", "Promoting", "Draining", "Reverting", "RolledBack"];
/// It takes five minutes to get there: in the long run only, and before the others.
const LATE: &str = "RollbackFailed";

/// Returns when the controllers do all of their work again: a Deployment in a namespace without an operator gets pods, its
/// Service endpoints, and with its ReplicaSet its pods go.
async fn controllers_work(theatre: &Theatre) {
    let plane = &theatre.plane;
    let ns = plane.namespace().await;
    let _agent = pods::Agent::start(plane, &ns);
    plane.apply_yaml(&ns, SHOP).await;
    let slices: Api<EndpointSlice> = Api::namespaced(plane.client(), &ns);
    eventually("the Service has endpoints", LONGEST, async || {
        let found = slices.list(&ListParams::default()).await.ok()?.items;
        let ready = |e: &Endpoint| e.conditions.as_ref().is_some_and(|c| c.ready == Some(true));
        (found.iter().flat_map(|slice| &slice.endpoints).filter(|e| ready(e)).count() == 2).then_some(())
    })
    .await;
    let deployments: Api<Deployment> = Api::namespaced(plane.client(), &ns);
    deployments.delete("shop", &DeleteParams::background()).await.expect("deleted");
    let pods: Api<Pod> = Api::namespaced(plane.client(), &ns);
    eventually("the pods go", LONGEST, async || {
        pods.list(&ListParams::default()).await.ok()?.items.is_empty().then_some(())
    })
    .await;
}

async fn enter(theatre: &Arc<Theatre>, state: &'static str) -> Story<Stage> {
    let shop = Stage::open(theatre).await?;
    match state {
        "Idle" => shop.wish(Wish { image: "shop:1", ..QUICK }).await,
        "Waiting" => shop.wish(Wish { paused: true, ..QUICK }).await,
        "Preparing" => {
            shop.agent.hold(pods::of_image("shop:2"));
            shop.wish(QUICK).await;
        }
        "Stepping" => shop.wish(STAYS).await,
        "Observing" => shop.wish(Wish { watch: "1h", ..QUICK }).await,
        "Promoting" => {
            shop.agent.linger(pods::of_image("shop:1"));
            shop.wish(QUICK).await;
        }
        _ => {
            shop.wish(STAYS).await;
            shop.in_step().await?;
            match state {
                "Draining" => shop.gateway.go_away(), // nobody confirms weight 0
                "Reverting" => shop.agent.linger(pods::of_image("shop:2")),
                _ => {}
            }
            shop.agent.crash(pods::of_image("shop:2"));
            if state == LATE {
                shop.until("Reverting", |s| is(s, "Reverting")).await?;
                shop.agent.unready(pods::of_image("shop:1"));
            }
        }
    }
    shop.until(state, |s| is(s, state)).await?;
    shop.told(state, |_| true).await?;
    Ok(shop)
}

fn is(status: &ReleaseStatus, state: &str) -> bool {
    status.state.as_ref().is_some_and(|s| s.name() == state)
}

/// What makes it go on, and where it must be soon.
async fn goes_on(shop: &Stage, state: &str) -> Story<()> {
    let next = match state {
        "Idle" | "RolledBack" => {
            shop.wish(Wish { image: "shop:3", ..STAYS }).await;
            "Stepping"
        }
        "Waiting" => {
            shop.wish(STAYS).await;
            "Stepping"
        }
        "Preparing" => {
            shop.agent.ready(pods::every);
            return shop.until("past Preparing", |s| !is(s, "Preparing")).await.map(drop);
        }
        "Promoting" => {
            shop.agent.finish();
            "Idle"
        }
        LATE => {
            shop.agent.ready(pods::every);
            shop.order("Rollback").await;
            "Reverting"
        }
        "Draining" => {
            shop.gateway.come_back();
            "Reverting"
        }
        "Reverting" => {
            shop.agent.finish();
            "RolledBack"
        }
        _ => {
            shop.agent.crash(pods::of_image("shop:2"));
            "Draining"
        }
    };
    shop.until(next, |s| is(s, next)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_states_outlast_an_api_server_that_is_away() {
    for away in away() {
        let theatre = Theatre::open().await;
        let mut stages = Vec::new();
        if long() {
            stages.push((LATE, enter(&theatre, LATE).await));
        }
        stages.extend(join_all(STATES.map(async |state| (state, enter(&theatre, state).await))).await);
        let stages: Vec<_> = stages.into_iter().map(|(state, s)| (state, s.expect("it is entered"))).collect();
        let server = of_plane(&theatre.plane, "kube-apiserver");
        signal(server, "STOP");
        tokio::time::sleep(away).await;
        for (_, shop) in &stages {
            theatre.auditor.bear(&shop.ns, GOES_ON);
        }
        signal(server, "CONT");
        let back = monotonic();
        let controllers = async {
            controllers_work(&theatre).await;
            back.elapsed()
        };
        let went = join_all(stages.iter().map(async |(state, shop)| {
            let left = shop.until("an answer", |_| true).await.unwrap_or_else(|why| panic!("left in {state}: {why}"));
            let still = is(&left, state) || *state == "Promoting";
            assert!(still, "{}, left in {state}, is in {}: {}", shop.ns, left.phase, left.message);
            goes_on(shop, state).await.unwrap_or_else(|why| panic!("{}, left in {state}: {why}", shop.ns));
            (back.elapsed(), *state)
        }));
        let (controllers, mut went) = tokio::join!(controllers, went);
        went.sort_unstable();
        let each: Vec<String> = went.iter().map(|(took, state)| format!("{state} {:.1}", took.as_secs_f64())).collect();
        let longest = went.last().map_or(Duration::ZERO, |(took, _)| *took);
        println!(
            "fire: away_s={} controllers_ms={} resumed_ms={} (seconds: {})",
            away.as_secs(),
            controllers.as_millis(),
            longest.as_millis(),
            each.join(", ")
        );
        assert!(longest < GOES_ON, "the controllers after {controllers:?}: {each:?}");
        for (state, shop) in &stages {
            let ledger = theatre.auditor.close(&shop.ns, shop.revision().await);
            let breaches: Vec<_> = ledger.breaches.iter().filter(|b| b.number != 19).collect();
            assert!(breaches.is_empty(), "{}, left in {state}: {breaches:?}", shop.ns);
        }
    }
}
