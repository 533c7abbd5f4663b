//! Under the real autoscaler: what it wants while two versions share the load, and how the candidate follows.

use haldane::{
    act::workload,
    api::state::State,
    decide::sizes::{AVERAGED_AFTER, Need},
    observe::{clock, seen::Side},
};
use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler};

use crate::{
    harness::{self, SOON, eventually, load::Load},
    release::{QUICK, Shop, Wish},
    workload::{Stage, soon},
};

/// Each pod is meant to use 100m, half of what it requests. The autoscaler's own patience is switched off.
const SHOP: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: app, image: 'shop:1', resources: {requests: {cpu: 200m}}}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: auto}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
  minReplicas: 1
  maxReplicas: 9
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
  behavior: {scaleDown: {stabilizationWindowSeconds: 0}}
";

impl Stage {
    /// Returns when the autoscaler has measured this (in thousandths of its target) and wants so many pods.
    async fn wants(&self, load: u32, wanted: u32) {
        eventually("the autoscaler has looked", SOON, async || {
            let seen = self.seen().await;
            let told = seen.autoscaler.and_then(|a| a.load);
            if (told, seen.wanted) == (Some(load), wanted) { Ok(()) } else { Err((told, seen.wanted)) }
        })
        .await;
    }

    /// What the load needs, all pods being in the average by now.
    async fn need(&self) -> Need {
        let view = self.view().await;
        Need::of(view.target.found().expect("the Deployment"), clock::now().plus(AVERAGED_AFTER), &view.pods)
    }
}

#[tokio::test]
async fn a_load_that_idle_pods_hide_is_seen_and_then_the_autoscaler_sees_it_too() {
    let stage = Stage::on(harness::plane().await, SHOP).await;
    let load = Load::start(&stage.plane, &stage.ns, 200).await;
    stage.wants(1000, 2).await;
    stage.prepare(2).await;
    stage.wants(500, 2).await; // half of the pods idle, and it does not scale down for that
    assert_eq!(stage.need().await, Need { wanted: 2, least: 2, most: 2 });

    load.set(400);
    stage.wants(1000, 2).await; // with a route at 100 % each candidate pod uses twice its target, and it wants no more
    assert_eq!(stage.need().await, Need { wanted: 2, least: 4, most: 4 });
    let before = stage.pods(Side::Candidate).await;
    soon("scaled", async || workload::scale_candidate(&stage.scope(), 4).await).await;
    stage.available(4).await;
    stage.wants(500, 4).await; // it has followed: four of eight
    assert_eq!(stage.need().await, Need { wanted: 4, least: 4, most: 4 });
    let after = stage.pods(Side::Candidate).await;
    assert!(before.iter().all(|(name, uid)| after.get(name) == Some(uid)), "{before:?} {after:?}");
    assert_eq!(stage.pods(Side::Stable).await.len(), 4);
}

/// The metrics of an external system: here one number in a CRD of the API's own group.
const QUEUE: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: queue.external.metrics.k8s.io
  annotations: {api-approved.kubernetes.io: unapproved}
spec:
  group: external.metrics.k8s.io
  scope: Namespaced
  names: {plural: queue, singular: queue, kind: ExternalMetricValue, listKind: ExternalMetricValueList}
  versions:
  - name: v1beta1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

#[tokio::test]
async fn a_value_is_multiplied_by_the_pods_of_both_versions() {
    let value = SHOP.replace(
        "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}",
        "{type: External, external: {metric: {name: queue}, target: {type: Value, value: '100'}}}",
    );
    let stage = Stage::on(harness::plane().await, &value).await;
    stage.plane.apply_yaml(&stage.ns, QUEUE).await;
    let sample = "{apiVersion: external.metrics.k8s.io/v1beta1, kind: ExternalMetricValue, metadata: {name: queue}, \
                  metricName: queue, timestamp: '2026-01-01T00:00:00Z', value: '95'}";
    eventually("served", SOON, async || {
        stage.plane.create_yaml(&stage.plane.client(), &stage.ns, sample).await.map(drop)
    })
    .await;
    stage.prepare(2).await;
    let fewer = "{apiVersion: external.metrics.k8s.io/v1beta1, kind: ExternalMetricValue, metadata: {name: queue}, \
                 metricName: queue, timestamp: '2026-01-01T00:00:00Z', value: '80'}";
    stage.plane.apply_yaml(&stage.ns, fewer).await;
    eventually("it wants more although the queue is shorter than it should be", SOON, async || {
        let wanted = stage.seen().await.wanted;
        if wanted >= 4 { Ok(()) } else { Err(wanted) }
    })
    .await;
    let told = stage.view_with(None).await.target.found().expect("the Deployment").warnings.join("\n");
    assert!(told.contains("HorizontalPodAutoscaler auto has a target of type Value"), "{told}");
}

/// For a `Shop`, whose pods request nothing.
const AUTO: &str = "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: auto}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
  minReplicas: 2
  maxReplicas: 9
  metrics: [{type: Resource, resource: {name: cpu, target: {type: AverageValue, averageValue: 100m}}}]
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_ends_with_as_many_pods_as_the_load_needs() {
    let shop = Shop::open().await;
    shop.plane.apply_yaml(&shop.ns, AUTO).await;
    let load = Load::start(&shop.plane, &shop.ns, 200).await;
    shop.wish(Wish { watch: "10s", ..QUICK }).await;
    shop.until("shop", "all traffic on 2", |status| {
        matches!(status.state, Some(State::Observing { settled: Some(_), .. }))
    })
    .await;
    let first = shop.pods_of("shop:2").await;
    load.set(400);
    let waits = "the load needs up to 4 pods and the autoscaler of Deployment shop wants 2; the hand-over waits until it \
                 wants more; if it does not, raise its minReplicas";
    shop.until("shop", "it waits for the autoscaler", |status| status.message == waits).await;
    shop.until("shop", "Promoting", |status| matches!(status.state, Some(State::Promoting { .. }))).await;
    let proven = shop.pods_of("shop:2").await;
    shop.phase("shop", "Succeeded").await;

    assert_eq!(proven.len(), 4, "{proven:?}");
    assert!(first.iter().all(|(name, uid)| proven.get(name) == Some(uid)), "{first:?} {proven:?}");
    let deployment: Deployment = shop.api::<Deployment>().get("shop").await.expect("the Deployment");
    let autoscaler: HorizontalPodAutoscaler = shop.api().get("auto").await.expect("the autoscaler");
    let wanted = (deployment.spec.as_ref().and_then(|s| s.replicas), autoscaler.status);
    assert_eq!(shop.pods().await, proven, "the same pods, and no others; wanted {wanted:?}");
    assert_eq!(deployment.spec.and_then(|s| s.replicas), Some(4), "as the autoscaler wrote it");
    let scaled = shop.writes().into_iter().filter(|w| w.resource.starts_with("deployments"));
    let scaled: Vec<_> = scaled.filter(|w| w.body.to_string().contains("/spec/replicas")).collect();
    assert!(scaled.is_empty(), "its size is the autoscaler's: {scaled:?}");
    assert!(shop.ours().await.is_empty());
    shop.recorder.assert_honest("shop");
}
