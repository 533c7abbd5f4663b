//! A Release is deleted: it ends in bounded time and leaves nothing behind.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, api::DeleteParams};

use super::{QUICK, STAYS, Shop, WATCHED, Wish};
use crate::harness::{eventually, own_plane, pods};

/// A drain, a confirmation, pods that go; on a busy machine.
pub const BOUND: Duration = Duration::from_secs(90);

/// A Release in the State of this name, and the image that serves when it has gone home.
pub async fn enter(phase: &str) -> (Shop, &'static str) {
    let shop = Shop::open().await;
    let mut image = "shop:1";
    match phase {
        "Waiting" => shop.wish(Wish { paused: true, ..QUICK }).await,
        "Preparing" => {
            shop.agent.hold(pods::of_image("shop:2"));
            shop.wish(QUICK).await;
        }
        "Stepping" => shop.wish(STAYS).await,
        "Observing" => shop.wish(WATCHED).await,
        "Promoting" => {
            // The old pods take their time: both versions run when the Release is deleted.
            shop.agent.linger(pods::of_image("shop:1"));
            shop.wish(QUICK).await;
            image = "shop:2";
        }
        _ => {
            shop.wish(STAYS).await;
            shop.in_step().await;
            shop.agent.crash(pods::of_image("shop:2"));
        }
    }
    shop.phase("shop", phase).await;
    if phase == "Promoting" {
        eventually("the old pods go", BOUND, async || shop.pods_of("shop:1").await.is_empty().then_some(())).await;
    }
    (shop, image)
}

/// Deletes the Release in the State of this name and looks at what is left.
async fn leave(phase: &str) {
    let (shop, image) = Box::pin(enter(phase)).await;
    shop.delete("shop").await;
    shop.agent.finish();
    shop.gone("shop", BOUND).await;
    shop.at_home(phase, image).await;
}

impl Shop {
    /// Returns when the user's objects are as he wrote them, with this image, and nothing of ours is left.
    pub async fn at_home(&self, phase: &str, image: &str) {
        eventually(&format!("{}, left in {phase}: only pods of {image}", self.ns), BOUND, async || {
            let (of_image, all) = (self.pods_of(image).await, self.pods().await);
            if of_image.len() == 2 && all.len() == 2 { Ok(()) } else { Err(all) }
        })
        .await;
        self.assert_home(image).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_may_be_deleted_in_every_state() {
    join_all(["Waiting", "Preparing", "Stepping", "Observing", "Promoting", "Draining", "RolledBack"].map(leave)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_may_be_deleted_in_the_middle_of_a_step() {
    let shop = Shop::open().await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    let namespaces: Api<Namespace> = Api::all(shop.plane.client());
    namespaces.delete(&shop.ns, &DeleteParams::default()).await.expect("deleting is allowed");
    eventually("the namespace is gone", BOUND, async || {
        let left = namespaces.get_opt(&shop.ns).await.expect("an answer");
        left.map_or(Ok(()), |n| Err(n.status))
    })
    .await;
}

/// `kubectl delete crd`: it takes every Release with it, and each goes home first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_definition_of_releases_may_be_deleted_in_the_middle_of_a_step() {
    let plane = own_plane().await;
    let config = plane.operator_config();
    let shop = Shop::open_to(plane, config).await;
    shop.wish(STAYS).await;
    shop.in_step().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(shop.plane.client());
    definitions.delete("releases.haldane.dev", &DeleteParams::default()).await.expect("deleting is allowed");
    eventually("the definition is gone", BOUND, async || {
        let left = definitions.get_opt("releases.haldane.dev").await.expect("an answer");
        left.map_or(Ok(()), |d| Err(format!("{:?}", d.status)))
    })
    .await;
    shop.at_home("Stepping", "shop:1").await;
}
