//! Pausing the user's Deployment, and the candidate's own ReplicaSet: create, size, mark, delete.

use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams, PostParams, PropagationPolicy},
};
use serde_json::{Value, json};

use super::{
    fresh::{not_yet, refused},
    patch::{Edit, delete_params},
    scope::Scope,
};
use crate::{
    api::{names, state::Candidate},
    error::{Error, Result},
    observe::{raw, template},
};

/// `spec.paused = true`, with a label that says by whom. A Deployment that its user has paused is refused.
pub async fn pause(scope: &Scope<'_>) -> Result<()> {
    let what = format!("pausing Deployment {}", scope.target);
    let deployment = scope.deployment().await?;
    if raw::paused(&deployment) {
        if deployment.labels().contains_key(names::PAUSED_BY) {
            return Ok(());
        }
        return Err(refused(what, "its user has paused it; resume it with kubectl rollout resume"));
    }
    let mut edit = Edit::of(&deployment);
    edit.add(&["spec", "paused"], true).labels(&deployment, &[(names::PAUSED_BY, Some(scope.release_uid))]);
    edit.send(&raw::deployments(&scope.client, scope.namespace), &deployment, &what).await.map(drop)
}

/// Takes `spec.paused` off. Not during a hand-over, not while a Service is pinned, and not if that would roll out a
/// template that nobody has released.
pub async fn unpause(scope: &Scope<'_>, any_template: bool) -> Result<()> {
    let what = format!("un-pausing Deployment {}", scope.target);
    let deployment = scope.deployment().await?;
    if let Some(id) = deployment.labels().get(names::HANDOVER) {
        return Err(refused(what, format!("the hand-over of {id} has begun and is not finished")));
    }
    if raw::paused(&deployment) {
        let revision = template::revision(raw::pod_template(&deployment));
        if revision != scope.stable.revision && !any_template {
            return Err(refused(
                what,
                format!(
                    "its template was changed to revision {revision}, and un-pausing would roll that out; stable is {}",
                    scope.stable.revision
                ),
            ));
        }
        no_pins(scope, &deployment, &what).await?;
    }
    let mut edit = Edit::of(&deployment);
    if raw::paused(&deployment) {
        edit.remove(&["spec", "paused"]);
    }
    edit.labels(&deployment, &[(names::PAUSED_BY, None)]);
    edit.send(&raw::deployments(&scope.client, scope.namespace), &deployment, &what).await.map(drop)
}

/// No Service may be pinned to one of our versions while the Deployment rolls.
pub(super) async fn no_pins(scope: &Scope<'_>, deployment: &DynamicObject, what: &str) -> Result<()> {
    let mut hashes: Vec<String> = scope.owned_sets(deployment).await?.iter().map(|s| raw::owned_set(s).hash).collect();
    hashes.extend(scope.candidate.map(|candidate| names::candidate_hash(&candidate.id)));
    let labels = template::labels(raw::pod_template(deployment));
    let services: Api<Service> = Api::namespaced(scope.client.clone(), scope.namespace);
    let services = services.list(&ListParams::default()).await.map_err(|e| Error::from_kube("listing Services", e))?;
    let pinned = services.items.iter().find(|service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| {
            selector.get(names::HASH).is_some_and(|pin| hashes.contains(pin))
                && selector.iter().all(|(key, value)| key == names::HASH || labels.get(key) == Some(value))
        })
    });
    match pinned {
        Some(service) => Err(not_yet(what, format!("Service {} is still pinned to one version", service.name_any()))),
        None => Ok(()),
    }
}

/// The ownerless ReplicaSet with the candidate's template. It carries none of the user's labels, so that no Deployment
/// adopts it before it has proven itself, and nothing by which a GitOps tool would take it for its own.
pub async fn create_candidate(scope: &Scope<'_>) -> Result<()> {
    let candidate = scope.candidate("creating the candidate's ReplicaSet")?;
    let name = names::candidate_set(scope.target, &candidate.id);
    let what = format!("creating ReplicaSet {name}");
    let deployment = scope.deployment().await?;
    if !raw::paused(&deployment) || !raw::observed(&deployment) {
        return Err(not_yet(what, format!("Deployment {} is not paused yet", scope.target)));
    }
    let template = candidate_template(scope, &deployment, candidate).await?;
    let hash = names::candidate_hash(&candidate.id);
    let mut selector = deployment.data.pointer("/spec/selector").cloned().unwrap_or_else(|| json!({}));
    if let Some(selector) = selector.as_object_mut() {
        let labels = selector.entry("matchLabels").or_insert_with(|| json!({}));
        labels[names::HASH] = hash.as_str().into();
    }
    let set: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": scope.namespace,
            "labels": {names::RELEASE: names::label_value(scope.release)},
            "annotations": {
                names::RELEASE: scope.release,
                names::RELEASE_UID: scope.release_uid,
                names::ATTEMPT: candidate.id,
            },
        },
        "spec": {
            "replicas": 0,
            "minReadySeconds": raw::number(&deployment, "/spec/minReadySeconds"),
            "selector": selector,
            "template": template::with_hash(&template, &hash),
        },
    }))
    .map_err(|e| refused(&what, format!("the Deployment's template cannot be copied: {e}")))?;
    let sets = raw::replica_sets(&scope.client, scope.namespace);
    let params = PostParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PostParams::default() };
    match sets.create(&params, &set).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => taken(scope, candidate, &name, &what).await,
        Err(e) => Err(Error::from_kube(what, e)),
    }
}

/// The name is taken: by this very attempt, whose answer was lost, or by something else.
async fn taken(scope: &Scope<'_>, candidate: &Candidate, name: &str, what: &str) -> Result<()> {
    let sets = raw::replica_sets(&scope.client, scope.namespace);
    let Some(found) = sets.get_opt(name).await.map_err(|e| Error::from_kube(what, e))? else {
        return Err(Error::Stale(format!("ReplicaSet {name}")));
    };
    let of_us = found.annotations().get(names::RELEASE_UID).map(String::as_str) == Some(scope.release_uid);
    if !of_us {
        return Err(refused(what, "a ReplicaSet of this name exists and does not belong to this Release; delete it"));
    }
    if found.metadata.deletion_timestamp.is_some() {
        return Err(not_yet(what, "the one of an earlier attempt is still being deleted"));
    }
    if template::revision(raw::pod_template(&found)) != candidate.version.revision {
        return Err(refused(what, "a ReplicaSet of this name exists with another template; delete it"));
    }
    Ok(())
}

/// The Deployment's template as it is now with the candidate's images. If that is not the revision that was accepted,
/// somebody has changed the template meanwhile. An undo goes back to a template that the Deployment still remembers.
async fn candidate_template(scope: &Scope<'_>, deployment: &DynamicObject, candidate: &Candidate) -> Result<Value> {
    let (asked, _) = template::with_images(raw::pod_template(deployment), &candidate.version.images);
    if template::revision(&asked) == candidate.version.revision {
        return Ok(asked);
    }
    if candidate.undo {
        let sets = scope.owned_sets(deployment).await?;
        let remembered =
            sets.iter().map(raw::pod_template).find(|t| template::revision(t) == candidate.version.revision);
        if let Some(remembered) = remembered {
            return Ok(template::bare(remembered));
        }
    }
    Err(Error::Stale(format!("the template of Deployment {}", scope.target)))
}

/// Sets the size of the candidate's ReplicaSet. Adopted by the Deployment, its size is ours only while the hand-over
/// lasts: paused and with two sets of pods, the Deployment itself would leave both as they are.
pub async fn scale_candidate(scope: &Scope<'_>, size: u32) -> Result<()> {
    let candidate = scope.candidate("scaling the candidate's ReplicaSet")?;
    let what = format!("scaling ReplicaSet {} to {size}", names::candidate_set(scope.target, &candidate.id));
    let set = scope.present_set(candidate, &what).await?;
    let adopted = raw::controller(&set).is_some();
    if adopted && scope.deployment().await?.labels().get(names::HANDOVER) != Some(&candidate.id) {
        return Err(refused(what, format!("Deployment {} has adopted it and sets its size", scope.target)));
    }
    if raw::size(&set) == size {
        return Ok(());
    }
    let mut edit = Edit::of(&set);
    edit.replace(&["spec", "replicas"], size);
    if adopted {
        edit.annotations(&set, &[(super::promote::DESIRED, Some(&size.to_string()))]);
    }
    edit.send(&raw::replica_sets(&scope.client, scope.namespace), &set, &what).await.map(drop)
}

/// Says on the ReplicaSet whether requests may reach its pods; while they may, nobody but the operator can delete it.
pub async fn mark_candidate(scope: &Scope<'_>, carries_traffic: bool) -> Result<()> {
    let what = "marking the candidate's ReplicaSet";
    let Some(set) = scope.set(scope.candidate.map(|c| c.id.as_str())).await? else {
        // Nothing to take the mark off; but what is not there cannot be protected.
        return if carries_traffic { Err(not_yet(what, "it does not exist")) } else { Ok(()) };
    };
    let mut edit = Edit::of(&set);
    edit.annotations(&set, &[(names::CARRIES_TRAFFIC, carries_traffic.then_some("true"))]);
    edit.send(&raw::replica_sets(&scope.client, scope.namespace), &set, what).await.map(drop)
}

/// Deletes the candidate's ReplicaSet, or one left over by a lost status, and its pods. It stays visible until its pods
/// are gone. Never one that a Deployment owns.
pub async fn delete_candidate(scope: &Scope<'_>) -> Result<()> {
    let Some(set) = scope.set(scope.candidate.map(|c| c.id.as_str())).await? else { return Ok(()) };
    let what = format!("deleting ReplicaSet {}", set.name_any());
    if raw::controller(&set).is_some() {
        return Err(refused(what, format!("Deployment {} owns it: its pods are the user's", scope.target)));
    }
    if set.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    delete(scope, &set, PropagationPolicy::Foreground, &what).await
}

/// Deletes a ReplicaSet of the Deployment that has the candidate's template and no pods: the Deployment takes the
/// oldest of equal ones, and would end the proven pods in favour of this one.
pub async fn delete_equal_set(scope: &Scope<'_>, name: &str) -> Result<()> {
    let what = format!("deleting ReplicaSet {name}");
    let candidate = scope.candidate(&what)?;
    let sets = raw::replica_sets(&scope.client, scope.namespace);
    let Some(set) = sets.get_opt(name).await.map_err(|e| Error::from_kube(&what, e))? else { return Ok(()) };
    let seen = raw::owned_set(&set);
    if raw::controller(&set) != Some(scope.target_uid) || seen.hash == names::candidate_hash(&candidate.id) {
        return Err(refused(what, format!("it is not an old one of Deployment {}", scope.target)));
    }
    if seen.revision != candidate.version.revision {
        return Err(refused(what, "its template is not the candidate's"));
    }
    if seen.size > 0 || raw::count(&set, "/status/replicas") > 0 {
        return Err(refused(what, "it has pods; they would be taken for the candidate's"));
    }
    delete(scope, &set, PropagationPolicy::Background, &what).await
}

async fn delete(scope: &Scope<'_>, set: &DynamicObject, policy: PropagationPolicy, what: &str) -> Result<()> {
    let sets = raw::replica_sets(&scope.client, scope.namespace);
    match sets.delete(&set.name_any(), &delete_params(set, policy)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(e) => Err(Error::from_kube(what, e)),
    }
}
