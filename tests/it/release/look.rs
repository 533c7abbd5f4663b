//! What is found in the namespace of a `Shop`: pods, Events, the user's objects, marks of ours.

use std::collections::BTreeMap;

use haldane::api::{names, release::FINALIZER};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment, ReplicaSet},
    batch::v1::Job,
    core::v1::{Pod, Service},
    events::v1::Event,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{LONG, Shop};
use crate::harness::{Plane, eventually, gateway, pods};

/// What the user wrote, without what a rollout or a controller changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    deployment: Value,
    template: Value,
    services: BTreeMap<String, Value>,
    route: Value,
}

impl Shop {
    /// Live pods, by name.
    pub async fn pods(&self) -> BTreeMap<String, String> {
        let pods = self.api::<Pod>().list(&ListParams::default()).await.expect("pods").items;
        let live = pods.iter().filter(|p| p.metadata.deletion_timestamp.is_none() && !kept_to_read(&p.metadata));
        live.map(|p| (p.name_any(), p.uid().expect("a UID"))).collect()
    }

    /// Those of one image.
    pub async fn pods_of(&self, image: &str) -> BTreeMap<String, String> {
        let fits = pods::of_image(image);
        let pods = self.api::<Pod>().list(&ListParams::default()).await.expect("pods").items;
        let live = pods.iter().filter(|p| p.metadata.deletion_timestamp.is_none() && fits(p));
        live.map(|p| (p.name_any(), p.uid().expect("a UID"))).collect()
    }

    /// Reasons and messages of the Events of one Release, in their order.
    pub async fn events(&self, name: &str) -> Vec<(String, String)> {
        let mut events = self.api::<Event>().list(&ListParams::default()).await.expect("events").items;
        let of_release = |e: &Event| e.regarding.as_ref().is_some_and(|r| r.kind.as_deref() == Some("Release"));
        events.retain(|e| of_release(e) && e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name));
        let number = |e: &Event| e.name_any().rsplit('.').next().and_then(|n| n.parse::<u64>().ok());
        events.sort_by_key(number);
        events.into_iter().map(|e| (e.reason.unwrap_or_default(), e.note.unwrap_or_default())).collect()
    }

    /// Returns when an Event with this reason has come; gives its sentence.
    pub async fn told(&self, name: &str, reason: &str) -> String {
        eventually(&format!("{}/{name}: the Event {reason}", self.ns), LONG, async || {
            let events = self.events(name).await;
            events.iter().find(|(r, _)| r == reason).map(|(_, note)| note.clone()).ok_or(events)
        })
        .await
    }

    /// The user's objects are as he wrote them, with this image; nothing of ours is left but the Releases.
    pub async fn assert_home(&self, image: &str) {
        let mut wanted = self.before.clone();
        wanted.template["spec"]["containers"][0]["image"] = json!(image);
        let now = written(&self.plane, &self.ns).await;
        assert_eq!(now, wanted, "{}", self.ns);
        let ours = self.ours().await;
        assert!(ours.is_empty(), "{}: {ours:?}", self.ns);
        let pods = self.pods_of(image).await;
        assert_eq!((pods.len(), self.pods().await.len()), (2, 2), "{}: only pods of {image}", self.ns);
    }

    /// Objects that carry a mark of ours.
    pub async fn ours(&self) -> Vec<String> {
        let mut found = self.marked::<Deployment>().await;
        found.extend(self.marked::<ReplicaSet>().await);
        found.extend(self.marked::<ControllerRevision>().await);
        found.extend(self.marked::<Service>().await);
        found.extend(self.marked::<Job>().await);
        found.extend(self.marked::<Pod>().await);
        let routes = self.routes().list(&ListParams::default()).await.expect("routes").items;
        found.extend(routes.iter().filter(|r| has_mark(&r.metadata)).map(|r| format!("HTTPRoute {}", r.name_any())));
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "DestinationRule"));
        let rules: Api<DynamicObject> = Api::namespaced_with(self.plane.client(), &self.ns, &kind);
        let rules = rules.list(&ListParams::default()).await.expect("DestinationRules").items;
        let marked = rules.iter().filter(|r| has_mark(&r.metadata));
        found.extend(marked.map(|r| format!("DestinationRule {}", r.name_any())));
        found
    }

    async fn marked<K>(&self) -> Vec<String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let all = self.api::<K>().list(&ListParams::default()).await.expect("a list").items;
        all.iter().filter(|o| has_mark(o.meta())).map(|o| format!("{} {}", K::kind(&()), o.name_any())).collect()
    }
}

/// The Jobs of a rollback plan and their pods stay for a week, for people to read.
fn kept_to_read(meta: &kube::core::ObjectMeta) -> bool {
    meta.labels.iter().flatten().any(|(key, _)| key == names::ROLLBACK_STEP)
}

fn has_mark(meta: &kube::core::ObjectMeta) -> bool {
    if kept_to_read(meta) {
        return false;
    }
    let marked = |map: &Option<BTreeMap<String, String>>| map.iter().flatten().any(|(k, _)| k.contains("haldane.dev/"));
    marked(&meta.labels) || marked(&meta.annotations) || meta.finalizers.iter().flatten().any(|f| f == FINALIZER)
}

pub async fn written(plane: &Plane, ns: &str) -> Written {
    let deployments: Api<Deployment> = Api::namespaced(plane.client(), ns);
    let services: Api<Service> = Api::namespaced(plane.client(), ns);
    let routes: Api<DynamicObject> = Api::namespaced_with(plane.client(), ns, &gateway::http_route());
    let mut deployment = value(&deployments.get("shop").await.expect("the Deployment"));
    let template = deployment["spec"]["template"].take();
    let annotations = deployment["metadata"]["annotations"].as_object_mut().expect("annotations");
    annotations.remove("deployment.kubernetes.io/revision");
    let services = services.list(&ListParams::default()).await.expect("services").items;
    let own = |o: &Value| json!({"labels": o["metadata"]["labels"], "annotations": o["metadata"]["annotations"], "spec": o["spec"]});
    let route = value(&routes.get("shop").await.expect("the route"));
    Written {
        deployment: own(&deployment),
        template,
        services: services.iter().map(|s| (s.name_any(), own(&value(s)))).collect(),
        route: own(&route),
    }
}

fn value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("JSON")
}
