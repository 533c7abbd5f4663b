//! Deployments and ReplicaSets as raw JSON, so that fields we do not know survive, and short ways to read them.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::apps::v1::{ControllerRevision, Deployment, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::Selector,
};
use serde_json::Value;

use super::{
    seen::{CandidateSet, OwnedSet, Owner},
    template,
};
use crate::{
    api::{names, units::At},
    error::{Error, Result},
};

/// The Deployments of a namespace.
pub fn deployments(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<Deployment>(&()))
}

/// The ReplicaSets of a namespace.
pub fn replica_sets(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<ReplicaSet>(&()))
}

/// The `ControllerRevision`s of a namespace.
pub fn controller_revisions(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<ControllerRevision>(&()))
}

/// The template that we keep of a held Deployment.
pub async fn kept(client: &Client, namespace: &str, release: &str) -> Result<Option<Value>> {
    let name = names::kept_template(release);
    let found = controller_revisions(client, namespace).get_opt(&name).await;
    let found = found.map_err(|e| Error::from_kube(format!("reading ControllerRevision {name}"), e))?;
    let ours = found.filter(|kept| kept.annotations().get(names::RELEASE).is_some_and(|by| by == release));
    Ok(ours.and_then(|mut kept| kept.data.get_mut("data").map(Value::take)))
}

/// A whole number at a JSON pointer; absent or negative reads as 0.
pub fn number(object: &DynamicObject, pointer: &str) -> u64 {
    object.data.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// A number of pods at a JSON pointer.
pub fn count(object: &DynamicObject, pointer: &str) -> u32 {
    u32::try_from(number(object, pointer)).unwrap_or(u32::MAX)
}

/// `spec.replicas`; the API server defaults an absent one to 1.
pub fn size(object: &DynamicObject) -> u32 {
    object.data.pointer("/spec/replicas").map_or(1, |_| count(object, "/spec/replicas"))
}

/// `spec.template`.
pub fn pod_template(object: &DynamicObject) -> &Value {
    object.data.pointer("/spec/template").unwrap_or(&Value::Null)
}

/// `spec.paused` of a Deployment.
pub fn paused(deployment: &DynamicObject) -> bool {
    deployment.data.pointer("/spec/paused").and_then(Value::as_bool) == Some(true)
}

/// `spec.strategy.type == Recreate` of a Deployment.
pub fn recreate(deployment: &DynamicObject) -> bool {
    deployment.data.pointer("/spec/strategy/type").and_then(Value::as_str) == Some("Recreate")
}

/// The controller has seen the object as it stands.
pub fn observed(object: &DynamicObject) -> bool {
    let generation = object.metadata.generation.unwrap_or(0);
    u64::try_from(generation).is_ok_and(|generation| number(object, "/status/observedGeneration") >= generation)
}

/// `spec.selector`, ready to list and to match with. `None` if it cannot be read: then nothing may be selected by it.
pub fn selector(object: &DynamicObject) -> Option<Selector> {
    let raw: LabelSelector = serde_json::from_value(object.data.pointer("/spec/selector")?.clone()).ok()?;
    Selector::try_from(raw).ok().filter(|selector| !selector.selects_all())
}

/// The UID of the object's controller.
pub fn controller(object: &DynamicObject) -> Option<&str> {
    let owners = object.metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

/// A ReplicaSet of the Deployment.
pub fn owned_set(set: &DynamicObject) -> OwnedSet {
    OwnedSet {
        name: set.name_any(),
        uid: set.uid().unwrap_or_default(),
        hash: template::labels(pod_template(set)).remove(names::HASH).unwrap_or_default(),
        revision: template::revision(pod_template(set)),
        images: template::images(pod_template(set)),
        created_at: set.metadata.creation_timestamp.as_ref().map(|t| At::new(t.0)),
        number: set.annotations().get("deployment.kubernetes.io/revision").and_then(|n| n.parse().ok()).unwrap_or(0),
        size: size(set),
        ready: count(set, "/status/readyReplicas"),
        available: count(set, "/status/availableReplicas"),
    }
}

/// Why its controller cannot create the pods of a ReplicaSet.
pub fn shortage(set: &DynamicObject) -> Option<String> {
    let conditions = set.data.pointer("/status/conditions").and_then(Value::as_array)?;
    let failure = conditions.iter().find(|c| c["type"] == "ReplicaFailure" && c["status"] == "True")?;
    Some(failure["message"].as_str().unwrap_or("its pods cannot be created").to_owned())
}

/// A candidate's ReplicaSet. `deployment`: the name and UID of the target, and its selector.
pub fn candidate_set(
    set: &DynamicObject,
    deployment: &str,
    uid: Option<&str>,
    selects: Option<&Selector>,
) -> CandidateSet {
    let name = set.name_any();
    let by_name = name.strip_prefix(deployment).and_then(|rest| rest.strip_prefix("-r")).unwrap_or_default();
    CandidateSet {
        uid: set.uid().unwrap_or_default(),
        id: set.annotations().get(names::ATTEMPT).map_or(by_name, String::as_str).to_owned(),
        hash: template::labels(pod_template(set)).remove(names::HASH).unwrap_or_default(),
        revision: template::revision(pod_template(set)),
        size: size(set),
        ready: count(set, "/status/readyReplicas"),
        available: count(set, "/status/availableReplicas"),
        deleting: set.metadata.deletion_timestamp.is_some(),
        observed: observed(set),
        offered: selects.is_some_and(|selector| matches(selector, set.labels())),
        owner: match controller(set) {
            None => Owner::Nobody,
            Some(owner) if Some(owner) == uid => Owner::Deployment,
            Some(_) => Owner::Stranger,
        },
        marked: set.labels().keys().chain(set.annotations().keys()).any(|key| key.starts_with(names::PREFIX)),
        carries_traffic: set.annotations().get(names::CARRIES_TRAFFIC).is_some_and(|value| value == "true"),
        name,
    }
}

/// Whether a selector matches labels.
pub fn matches(selector: &Selector, labels: &BTreeMap<String, String>) -> bool {
    kube::core::SelectorExt::matches(selector, labels)
}
