//! Holding a Deployment between releases: it stays paused, so that a change of its template waits for us, and its stable
//! template is kept where deleting a ReplicaSet does not reach it.
//!
//! A paused Deployment starts no ReplicaSet and un-paused it rolls out whatever its template says. So whenever it must start
//! pods of the stable version by itself, that template goes back in first.

use kube::{
    Api, ResourceExt,
    api::{DynamicObject, PostParams, PropagationPolicy},
};
use serde_json::{Value, json};

use super::{
    fresh::{not_yet, refused},
    patch::{Edit, delete_params},
    promote::stable_template,
    scope::Scope,
    workload::no_pins,
};
use crate::{
    api::{Release, names},
    error::{Error, Result},
    observe::{raw, seen::Hold, template},
};

/// The mark that the Deployment is held, and `spec.paused = true` where no policy pauses it in time. A pause of the user is
/// taken over: without images the Release says that the Deployment is held.
pub async fn hold(scope: &Scope<'_>) -> Result<()> {
    let what = format!("holding Deployment {}", scope.target);
    let deployment = scope.deployment().await?;
    if !raw::observed(&deployment) {
        return Err(not_yet(what, "its controller has not seen it as it is now"));
    }
    let (paused, always) = (raw::paused(&deployment), scope.hold == Hold::Always);
    let stable = template::revision(raw::pod_template(&deployment)) == scope.stable.revision;
    if !paused && !stable {
        return Err(Error::Stale(format!("the template of Deployment {}", scope.target)));
    }
    let mut edit = Edit::of(&deployment);
    edit.labels(&deployment, &[(names::HELD, Some(names::label_value(scope.release)))]);
    if always && !paused {
        edit.add(&["spec", "paused"], true);
    }
    if always || paused && !stable {
        edit.labels(&deployment, &[(names::PAUSED_BY, Some(scope.release_uid))]);
    }
    edit.send(&raw::deployments(&scope.client, scope.namespace), &deployment, &what).await.map(drop)
}

/// The Deployment is its user's alone again: un-paused, without a mark of ours, and with the stable template if what it asks
/// for was never released. `rolling`: it rolls that out already, and goes on with it.
pub async fn let_go(scope: &Scope<'_>, rolling: bool) -> Result<()> {
    let what = format!("letting Deployment {} go", scope.target);
    let deployment = scope.deployment().await?;
    if let Some(id) = deployment.labels().get(names::HANDOVER) {
        return Err(refused(what, format!("the hand-over of {id} has begun and is not finished")));
    }
    let mut edit = Edit::of(&deployment);
    if raw::paused(&deployment) && deployment.labels().contains_key(names::PAUSED_BY) {
        if !rolling && template::revision(raw::pod_template(&deployment)) != scope.stable.revision {
            edit.replace(&["spec", "template"], stable_template(scope, &deployment, &what).await?);
        }
        no_pins(scope, &deployment, &what).await?;
        edit.remove(&["spec", "paused"]);
    }
    edit.labels(&deployment, &[(names::PAUSED_BY, None), (names::HELD, None)]);
    edit.send(&raw::deployments(&scope.client, scope.namespace), &deployment, &what).await.map(drop)
}

/// The stable template into a `ControllerRevision` that goes with the Release.
pub async fn keep_template(scope: &Scope<'_>) -> Result<()> {
    let name = names::kept_template(scope.release);
    let what = format!("keeping the stable template in ControllerRevision {name}");
    let deployment = scope.deployment().await?;
    let stable = stable_template(scope, &deployment, &what).await?;
    let revisions = raw::controller_revisions(&scope.client, scope.namespace);
    if let Some(old) = revisions.get_opt(&name).await.map_err(|e| Error::from_kube(&what, e))? {
        if old.annotations().get(names::RELEASE).map(String::as_str) != Some(scope.release) {
            return Err(refused(what, "one of this name exists and does not belong to this Release; delete it"));
        }
        if old.data.get("data") == Some(&stable) {
            return Ok(());
        }
        // What it holds cannot be changed; the ReplicaSet has the template meanwhile.
        remove(&revisions, &old, &what).await?;
    }
    let params = PostParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PostParams::default() };
    match revisions.create(&params, &kept(scope, &name, &stable, &what)?).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Err(Error::Stale(what)),
        other => other.map(drop).map_err(|e| Error::from_kube(what, e)),
    }
}

/// What was kept goes, if it is this Release's.
pub async fn forget_template(scope: &Scope<'_>) -> Result<()> {
    let name = names::kept_template(scope.release);
    let what = format!("deleting ControllerRevision {name}");
    let revisions = raw::controller_revisions(&scope.client, scope.namespace);
    let found = revisions.get_opt(&name).await.map_err(|e| Error::from_kube(&what, e))?;
    let ours = |o: &DynamicObject| o.annotations().get(names::RELEASE).map(String::as_str) == Some(scope.release);
    match found.filter(ours) {
        Some(kept) => remove(&revisions, &kept, &what).await,
        None => Ok(()),
    }
}

async fn remove(revisions: &Api<DynamicObject>, object: &DynamicObject, what: &str) -> Result<()> {
    match revisions.delete(&object.name_any(), &delete_params(object, PropagationPolicy::Background)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop).map_err(|e| Error::from_kube(what, e)),
    }
}

fn kept(scope: &Scope<'_>, name: &str, stable: &Value, what: &str) -> Result<DynamicObject> {
    let api = kube::api::ApiResource::erase::<Release>(&());
    serde_json::from_value(json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "namespace": scope.namespace,
            "labels": {names::RELEASE: names::label_value(scope.release)},
            "annotations": {names::RELEASE: scope.release, names::RELEASE_UID: scope.release_uid},
            "ownerReferences": [{
                "apiVersion": api.api_version, "kind": api.kind, "name": scope.release, "uid": scope.release_uid,
            }],
        },
        "revision": 1,
        "data": stable,
    }))
    .map_err(|e| refused(what, format!("the stable template cannot be copied: {e}")))
}

/// The stable template into the Deployment, and with `unpause` the pause off in the same write: no other template is ever
/// rolled out by it.
pub async fn restore_stable(scope: &Scope<'_>, unpause: bool) -> Result<()> {
    let what = format!("restoring the stable template of Deployment {}", scope.target);
    let deployment = scope.deployment().await?;
    if let Some(id) = deployment.labels().get(names::HANDOVER) {
        return Err(refused(what, format!("the hand-over of {id} has begun and is not finished")));
    }
    if !deployment.labels().contains_key(names::PAUSED_BY) {
        return Err(Error::Stale(format!("the pause of Deployment {}", scope.target)));
    }
    let stable = stable_template(scope, &deployment, &what).await?;
    let mut edit = Edit::of(&deployment);
    if template::revision(raw::pod_template(&deployment)) != scope.stable.revision {
        edit.replace(&["spec", "template"], stable);
    }
    if unpause {
        no_pins(scope, &deployment, &what).await?;
        if raw::paused(&deployment) {
            edit.remove(&["spec", "paused"]);
        }
        edit.labels(&deployment, &[(names::PAUSED_BY, None)]);
    }
    edit.send(&raw::deployments(&scope.client, scope.namespace), &deployment, &what).await.map(drop)
}
