//! The operator is uninstalled: what Helm's Job does, on a real API server. Every Release goes home and stays, and the next
//! installation goes on with it.

use std::time::Duration;

use futures::future::join_all;
use haldane::{
    api::{Release, names, release::FINALIZER, state::State},
    cli::retire::{Left, Outcome, Retire},
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    HELD, LONG, STAYS, Shop, Wish,
    leave::{BOUND, enter},
    operator,
};
use crate::harness::{SOON, eventually};

const OPERATOR: &str = "haldane-system";

impl Shop {
    /// As Helm's Job does it: the command's own function, with the operator's account. With what it printed.
    async fn retire(&self, limit: Duration) -> (Outcome, Vec<String>) {
        let wish = Retire {
            client: self.plane.operator_client(),
            namespace: OPERATOR.into(),
            lease: self.ns.clone(),
            watched: vec![self.ns.clone()],
            timeout: limit,
        };
        let (mut said, stop) = (Vec::new(), CancellationToken::new());
        let outcome = Box::pin(wish.carry_out(&stop, |line| said.push(line.to_owned()))).await;
        (outcome.expect("the API server answers"), said)
    }

    /// The operator ends.
    fn uninstall(&mut self) {
        drop(self.operator.take());
    }

    /// The chart is installed again: another service account, another operator.
    fn install(&mut self) {
        let again = [format!("--installation={}-again", self.ns)];
        let (address, operator) = operator(self.config.clone(), &self.ns, 1, &again);
        (self.address, self.operator) = (address, Some(operator));
    }

    async fn release(&self) -> Release {
        self.api::<Release>().get("shop").await.expect("the Release stays")
    }

    async fn lease(&self) -> Lease {
        let leases: Api<Lease> = Api::namespaced(self.plane.client(), OPERATOR);
        leases.get(&self.ns).await.expect("the lease")
    }

    async fn holder(&self) -> Option<String> {
        self.lease().await.spec?.holder_identity
    }

    async fn is_marked(&self) -> bool {
        self.lease().await.annotations().contains_key(names::RETIRING)
    }

    async fn annotate(&self, key: &str, value: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {key: value}}}));
        self.api::<Release>().patch("shop", &PatchParams::default(), &patch).await.expect("patched");
    }
}

/// Uninstalls with a Release in the State of this name.
async fn retire(phase: &str) {
    let (shop, image) = Box::pin(enter(phase)).await;
    let pods_may_end = async {
        sleep(Duration::from_secs(4)).await;
        shop.agent.finish();
    };
    let ((outcome, said), ()) = tokio::join!(Box::pin(shop.retire(BOUND)), pods_may_end);
    assert_eq!(outcome, Outcome::Home, "{phase}: {said:?}");
    shop.at_home(phase, image).await;
    // The operator runs for a while: it must not begin anew.
    let writes = shop.writes().len();
    sleep(Duration::from_secs(5)).await;
    assert!(shop.release().await.finalizers().is_empty(), "{phase}");
    let after: Vec<_> = shop.writes().split_off(writes);
    assert!(after.is_empty(), "{phase}: {after:?}");
    shop.assert_home(image).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_may_be_uninstalled_in_every_state_of_a_release() {
    join_all(["Waiting", "Preparing", "Stepping", "Observing", "Promoting", "Draining", "RolledBack"].map(retire))
        .await;
}

fn outcome_left(outcome: &Outcome) -> &Left {
    match outcome {
        Outcome::Late(left) | Outcome::NoLeader(left) | Outcome::Stopped(left) => left.first().expect("one is left"),
        Outcome::Home => panic!("nothing is left"),
    }
}

/// Uninstalls while the Deployment is held.
async fn give_back(phase: &str) {
    let steps = if phase == "Stepping" { STAYS.steps } else { HELD.steps };
    let mut shop = Box::pin(Shop::hold(Wish { steps, ..HELD })).await;
    let old = shop.pods().await;
    match phase {
        "RolledBack" => shop.refuse("shop:2").await,
        "Stepping" => {
            shop.set_image("shop:2").await;
            shop.in_step().await;
        }
        _ => {}
    }
    let (outcome, said) = shop.retire(BOUND).await;
    assert_eq!(outcome, Outcome::Home, "{phase}: {said:?}");
    assert!(said.iter().any(|line| line.ends_with("/shop: home")), "{said:?}");
    shop.only("shop:1", 2).await;
    assert_eq!(shop.pods().await, old, "{phase}: the same pods");
    shop.assert_home("shop:1").await;
    shop.uninstall();

    shop.install();
    eventually(&format!("{}: it is held again", shop.ns), SOON, async || shop.paused().await.then_some(())).await;
    assert!(!shop.is_marked().await, "the next installation takes the mark off");
    assert_eq!(shop.pods().await, old, "{phase}: still the same pods");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_deployment_is_given_back_and_held_by_the_next_installation() {
    join_all(["Idle", "Stepping", "RolledBack"].map(give_back)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_is_one_that_the_api_server_pauses() {
    let mut shop = Box::pin(Shop::hold_at_change()).await;
    let old = shop.pods().await;
    shop.refuse("shop:2").await;
    assert!(shop.paused_by_anybody().await, "what was refused waits");
    let (outcome, said) = shop.retire(BOUND).await;
    assert_eq!(outcome, Outcome::Home, "{said:?}");
    shop.only("shop:1", 2).await;
    assert_eq!(shop.pods().await, old, "the same pods");
    shop.assert_home("shop:1").await;
    shop.uninstall();

    shop.install();
    eventually("it is held again", SOON, async || shop.marked_held().await.then_some(())).await;
    assert!(!shop.paused_by_anybody().await, "and not paused");
    assert_eq!(shop.pods().await, old, "still the same pods");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_installation_goes_on() {
    let (mut shop, _) = Box::pin(enter("Stepping")).await;
    shop.in_step().await;
    let (outcome, said) = shop.retire(BOUND).await;
    assert_eq!(outcome, Outcome::Home, "{said:?}");
    let status = shop.phase("shop", "RolledBack").await;
    assert_eq!(status.message, "Haldane was uninstalled while 2 was on its way");
    assert!(status.memory.rejected.is_empty());
    assert!(shop.is_marked().await, "so that the old operator does not begin anew");
    shop.uninstall();
    shop.install();
    shop.in_step().await;
    assert!(!shop.is_marked().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_operator_of_the_same_installation_goes_on_retiring() {
    let (mut shop, _) = Box::pin(enter("Stepping")).await;
    shop.in_step().await;
    let (outcome, said) = shop.retire(BOUND).await;
    assert_eq!(outcome, Outcome::Home, "{said:?}");
    shop.uninstall();
    let (address, again) = operator(shop.config.clone(), &shop.ns, 2, &[]);
    (shop.address, shop.operator) = (address, Some(again));
    eventually("it leads", SOON, async || shop.holder().await.filter(|holder| holder.ends_with("-2"))).await;
    sleep(Duration::from_secs(5)).await;
    shop.assert_home("shop:1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uninstall_that_comes_to_nothing_leaves_the_operator_at_work() {
    let (shop, _) = Box::pin(enter("Stepping")).await;
    shop.in_step().await;
    let (outcome, said) = shop.retire(Duration::from_secs(1)).await;
    let Outcome::Late(left) = &outcome else { panic!("{outcome:?}: {said:?}") };
    assert_eq!((left[0].name.as_str(), left[0].finalizer), ("shop", Some(0)));
    assert!(!shop.is_marked().await);
    // Taken back or not: it is on its way again.
    eventually("it goes on", LONG, async || match shop.status("shop").await.and_then(|s| s.state) {
        Some(State::Stepping { settled: Some(_), .. }) => Ok(()),
        other => Err(other),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_operator_it_is_said_at_once() {
    let (mut shop, _) = Box::pin(enter("Stepping")).await;
    shop.in_step().await;
    shop.uninstall();
    eventually("the lease is given back", SOON, async || {
        shop.holder().await.is_none_or(|holder| holder.is_empty()).then_some(())
    })
    .await;
    let (outcome, said) =
        timeout(Duration::from_mins(1), shop.retire(LONG)).await.expect("long before its time is over");
    assert!(matches!(&outcome, Outcome::NoLeader(left) if left.len() == 1), "{outcome:?}: {said:?}");

    // The last resort; then there is nothing to bring home.
    let command = outcome_left(&outcome).last_resort().expect("it has our finalizer");
    let place = "/metadata/finalizers/0";
    assert!(
        command.contains(&format!("kubectl patch release shop -n {} ", shop.ns)) && command.contains(place),
        "{command}"
    );
    let patch = command.split('\'').nth(1).expect("a patch in quotes");
    shop.plane.kubectl(&shop.ns, &["patch", "release", "shop", "--type=json", "-p", patch]).await;
    assert!(!shop.release().await.finalizers().contains(&FINALIZER.to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_release_goes_at_once_and_says_what_it_leaves() {
    let (shop, _) = Box::pin(enter("Stepping")).await;
    shop.in_step().await;
    shop.annotate(names::ABANDON, "true").await;
    sleep(Duration::from_secs(2)).await;
    assert!(shop.in_step().await.message.len() > 1, "it counts only when the Release is deleted");
    let route = shop.routes().get("shop").await.expect("the route").data["spec"].clone();
    shop.delete("shop").await;
    shop.gone("shop", Duration::from_secs(5)).await;
    let said = shop.told("shop", "Abandoned").await;
    for name in ["HTTPRoute shop", "Service ", "Deployment shop", "ReplicaSet shop-r"] {
        assert!(said.contains(name), "{name}: {said}");
    }
    let left = shop.routes().get("shop").await.expect("the route").data["spec"].clone();
    assert_eq!(left, route, "nothing was put back");
}
