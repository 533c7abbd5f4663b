//! Plays users and metrics-server for one namespace: a load on its pods, and what each of them uses.
//!
//! The resource metrics API is served from a CRD of its group, so the real autoscaler reads it as it would metrics-server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::json;
use tokio::task::JoinHandle;

use super::{Plane, SOON, eventually};

const METRICS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: pods.metrics.k8s.io
  annotations: {api-approved.kubernetes.io: unapproved}
spec:
  group: metrics.k8s.io
  scope: Namespaced
  names: {plural: pods, singular: pod, kind: PodMetrics, listKind: PodMetricsList}
  versions:
  - name: v1beta1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// Runs until it is dropped.
///
/// All of the load is on one pod at a time: an average tells nothing else, and a change of it is one write, so that the
/// autoscaler never reads half of one.
pub struct Load {
    total: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Load {
    /// `total`: what all users together ask for, in thousandths of a CPU, of all pods with `app=shop`.
    pub async fn start(plane: &Plane, namespace: &str, total: u32) -> Self {
        plane.apply_yaml(namespace, METRICS).await;
        let metrics = metrics(plane.client(), namespace);
        eventually("pod metrics are served", SOON, async || metrics.list(&ListParams::default()).await.map(drop)).await;
        let total = Arc::new(AtomicU32::new(total));
        let pods = Api::namespaced(plane.client(), namespace);
        let meter = Meter { pods, metrics, total: total.clone(), busy: None };
        Self { total, task: tokio::spawn(meter.run()) }
    }

    pub fn set(&self, total: u32) {
        self.total.store(total, Ordering::Relaxed);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn metrics(client: Client, namespace: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics");
    Api::namespaced_with(client, namespace, &ApiResource::from_gvk_with_plural(&gvk, "pods"))
}

struct Meter {
    pods: Api<Pod>,
    metrics: Api<DynamicObject>,
    total: Arc<AtomicU32>,
    /// The pod with the load.
    busy: Option<String>,
}

impl Meter {
    async fn run(mut self) {
        loop {
            let _later = self.measure().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The busy pod last: when it changes, the load is rather nowhere for a moment than there twice. The autoscaler follows
    /// more load at once, and less only when it has lasted for minutes.
    async fn measure(&mut self) -> kube::Result<()> {
        let total = self.total.load(Ordering::Relaxed);
        let mut pods = self.pods.list(&ListParams::default().labels("app=shop")).await?.items;
        pods.retain(is_ready);
        if !pods.iter().any(|p| Some(p.name_any()) == self.busy) {
            self.busy = pods.first().map(ResourceExt::name_any);
        }
        let known = self.metrics.list(&ListParams::default()).await?.items;
        for gone in known.iter().filter(|m| !pods.iter().any(|p| p.name_any() == m.name_any())) {
            let _already = self.metrics.delete(&gone.name_any(), &DeleteParams::default()).await;
        }
        pods.sort_by_key(|p| Some(p.name_any()) == self.busy);
        let now = haldane::observe::clock::now().timestamp().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        for pod in &pods {
            let uses = if Some(pod.name_any()) == self.busy { total } else { 0 };
            let sample = json!({
                "apiVersion": "metrics.k8s.io/v1beta1",
                "kind": "PodMetrics",
                "metadata": {"name": pod.name_any(), "labels": pod.labels()},
                "timestamp": now,
                "window": "1s",
                "containers": [{"name": "app", "usage": {"cpu": format!("{uses}m"), "memory": "1Mi"}}],
            });
            let params = PatchParams::apply("it").force();
            self.metrics.patch(&pod.name_any(), &params, &Patch::Apply(sample)).await?;
        }
        Ok(())
    }
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none() && conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}
