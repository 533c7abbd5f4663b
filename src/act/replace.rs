//! Replacing one bad pod of the candidate: it is deleted, and its ReplicaSet starts another.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Preconditions},
};

use super::{fresh::refused, scope::Scope};
use crate::{
    api::names,
    error::{Error, Result},
};

/// Deletes the pod, if it is one of the candidate's. One that is gone or going is replaced already.
pub async fn replace_pod(scope: &Scope<'_>, pod: &str) -> Result<()> {
    let what = format!("replacing pod {pod}");
    let candidate = scope.candidate(&what)?;
    let pods: Api<Pod> = Api::namespaced(scope.client.clone(), scope.namespace);
    let Some(found) = pods.get_opt(pod).await.map_err(|e| Error::from_kube(&what, e))? else { return Ok(()) };
    if found.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let set = names::candidate_set(scope.target, &candidate.id);
    let of_it = |owner: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
        owner.kind == "ReplicaSet" && owner.name == set && owner.controller == Some(true)
    };
    if found.owner_references().iter().find(of_it).is_none() {
        return Err(refused(what, format!("it does not belong to ReplicaSet {set}")));
    }
    // The UID alone: its status changes all the time, and another pod never gets this one's.
    let only = Preconditions { uid: found.uid(), resource_version: None };
    match pods.delete(pod, &DeleteParams { preconditions: Some(only), ..DeleteParams::default() }).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(e) => Err(Error::from_kube(what, e)),
    }
}
