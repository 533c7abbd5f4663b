//! Before anything has begun: what is missing or in the way is named, nothing is touched, and when it is put right the
//! release goes on by itself.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::DeleteParams;
use serde_json::json;

use super::Trouble;
use crate::{
    harness::pods,
    release::{QUICK, Shop, Wish},
};

/// A Release `shop` of the image `shop:2` that differs from an ordinary one in one thing.
async fn ask(shop: &Shop, target: &str, more: &str) {
    let text = format!(
        "
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {{name: shop}}
spec:
  targetRef: {{apiVersion: apps/v1, kind: Deployment, name: {target}}}
  version: '2'
  images: {{app: 'shop:2'}}
  plan: {{steps: [{{weight: 20, for: 0s}}, {{weight: 100, for: 0s}}], watch: {{for: 0s}}}}
  {more}
"
    );
    shop.plane.apply_yaml(&shop.ns, &text).await;
}

async fn says(shop: &Shop, sentence: &str) {
    shop.until("shop", sentence, |status| status.message == sentence).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_deployment_is_waited_for() {
    let trouble = Trouble::open().await;
    let shop = &trouble.shop;
    ask(shop, "ghost", "").await;
    says(shop, "Deployment ghost does not exist; create it, or delete this Release").await;
    let told = shop.told("shop", "TargetMissing").await;
    assert_eq!(told, "Deployment ghost does not exist; create it, or delete this Release");
    trouble.assert_untouched();
    let ghost = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: ghost}
spec:
  replicas: 1
  selector: {matchLabels: {app: ghost}}
  template: {metadata: {labels: {app: ghost}}, spec: {containers: [{name: app, image: 'shop:2'}]}}
";
    shop.plane.apply_yaml(&shop.ns, ghost).await;
    says(shop, "2 runs").await;
    trouble.assert_harmless(&["Deployment/ghost"]).await;
    trouble.assert_untouched();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_named_and_missing_is_told_by_its_name() {
    let mut trouble = Trouble::open().await;
    let shop = &trouble.shop;
    let away = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: away}
spec: {parentRefs: [{name: front}], rules: [{backendRefs: [{name: beside, port: 80}]}]}
";
    shop.plane.apply_yaml(&shop.ns, away).await;
    for (more, sentence) in [
        (
            "traffic: {services: [none], routes: [{name: shop}]}",
            "Service none does not exist; create it, or correct spec.traffic.services",
        ),
        (
            "traffic: {routes: [{name: none}]}",
            "HTTPRoute none does not exist; create it, or correct spec.traffic.routes",
        ),
        (
            "traffic: {routes: [{name: away}]}",
            "HTTPRoute away sends no traffic to Service shop; name a route that does in spec.traffic.routes, or the Service \
             it sends to in spec.traffic.services",
        ),
        (
            "traffic: {routes: [{name: shop}]}\n  checks: {provider: none}",
            "the MetricProvider none does not exist in the operator's namespace",
        ),
    ] {
        ask(shop, "shop", more).await;
        shop.until("shop", sentence, |status| status.phase == "Waiting" && status.message.contains(sentence)).await;
    }
    trouble.assert_untouched();
    trouble.as_it_is().await;
    let shop = &trouble.shop;
    shop.wish(QUICK).await;
    shop.phase("shop", "Succeeded").await;
    trouble.assert_over("shop:2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workload_that_shares_its_pods_with_another_is_refused() {
    let trouble = Trouble::open().await;
    let shop = &trouble.shop;
    let batch = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: batch}
spec:
  replicas: 1
  selector: {matchLabels: {job: x}}
  template: {metadata: {labels: {app: shop, job: x}}, spec: {containers: [{name: app, image: 'batch:1'}]}}
";
    shop.plane.apply_yaml(&shop.ns, batch).await;
    shop.wish(QUICK).await;
    let sentence = "the selectors of the Deployments shop and batch overlap: one could take over and end the other's pods; \
                    give each a selector of its own; Service shop selects the pods of Deployment batch too, which would get \
                    nothing of its traffic during a release; narrow its selector, or name other Services in \
                    spec.traffic.services";
    shop.until("shop", sentence, |status| status.phase == "Waiting" && status.message == sentence).await;
    trouble.assert_untouched();
    shop.api::<Deployment>().delete("batch", &DeleteParams::default()).await.expect("deleted");
    shop.phase("shop", "Succeeded").await;
    trouble.assert_over("shop:2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_is_rolling_is_waited_for() {
    let trouble = Trouble::open().await;
    let shop = &trouble.shop;
    shop.agent.hold(pods::of_image("shop:1b"));
    let newer = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "shop:1b"}]}}}});
    shop.patch_deployment(newer).await;
    shop.wish(QUICK).await;
    let sentence = "Deployment shop is still rolling or not all of its pods are available";
    shop.until("shop", sentence, |status| status.phase == "Waiting" && status.message == sentence).await;
    trouble.assert_untouched();
    shop.agent.ready(pods::every);
    shop.phase("shop", "Succeeded").await;
    trouble.assert_over("shop:2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_without_a_probe_and_images_without_a_version_are_warned_of() {
    let trouble = Trouble::open().await;
    let shop = &trouble.shop;
    shop.wish(Wish { image: "shop:latest", paused: true, ..QUICK }).await;
    let told = shop.told("shop", "Accepted").await;
    for warning in [
        "container app of Deployment shop has no readinessProbe: it counts as ready as soon as it runs",
        "image shop:latest names no version: what it stands for can change while it runs, and going back to it proves \
         nothing; use a tag of its own or a digest",
    ] {
        assert!(told.contains(warning), "{told}");
    }
    trouble.assert_harmless(&[]).await;
}
