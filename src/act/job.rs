//! What all our Jobs have in common: containers under the restricted pod security standard, without a token, and with
//! nothing of the operator's. Whatever a Release says: a Job of ours is no way to run something with more rights.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use kube::{Api, Resource, ResourceExt, api::PostParams};
use serde_json::{Value, json};

use super::{
    fresh::{not_yet, refused},
    scope::Scope,
};
use crate::{
    api::{Release, names, state::Candidate},
    error::{Error, Result},
};

/// A Job as it is asked for.
pub struct Asked<'a> {
    pub name: &'a str,
    /// The field of the Release it comes from, for the sentence when it makes no Job.
    pub field: &'a str,
    pub labels: BTreeMap<&'a str, &'a str>,
    /// Name, image, command, arguments, environment, resources: what a Release may choose.
    pub containers: Vec<Value>,
    /// Seconds until it has failed.
    pub deadline: u64,
    /// Seconds until it goes by itself after its end; `None`: it is deleted by us.
    pub kept: Option<u64>,
    /// It goes with the Release.
    pub owned: bool,
}

/// The Job's manifest.
fn manifest(scope: &Scope<'_>, candidate: &Candidate, asked: &Asked<'_>) -> Result<Job, serde_json::Error> {
    let mut labels = asked.labels.clone();
    labels.insert(names::RELEASE, names::label_value(scope.release));
    let annotations = BTreeMap::from([
        (names::RELEASE, scope.release),
        (names::RELEASE_UID, scope.release_uid),
        (names::ATTEMPT, &candidate.id),
    ]);
    let owner = json!({
        "apiVersion": Release::api_version(&()),
        "kind": Release::kind(&()),
        "name": scope.release,
        "uid": scope.release_uid,
        "controller": true,
    });
    let mut containers = asked.containers.clone();
    for container in &mut containers {
        container["securityContext"] =
            json!({"allowPrivilegeEscalation": false, "privileged": false, "capabilities": {"drop": ["ALL"]}});
        // Of a container that fails, the last lines of its log stand in its pod's status.
        container["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    }
    serde_json::from_value(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": asked.name,
            "namespace": scope.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": asked.owned.then_some(owner).into_iter().collect::<Vec<_>>(),
        },
        "spec": {
            "backoffLimit": 0,
            // At least a second: 0 would fail it before it starts.
            "activeDeadlineSeconds": asked.deadline.max(1),
            "ttlSecondsAfterFinished": asked.kept,
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": containers,
                },
            },
        },
    }))
}

/// Creates the Job, unless it has been created.
pub async fn start(scope: &Scope<'_>, candidate: &Candidate, asked: &Asked<'_>) -> Result<()> {
    let what = format!("starting Job {}", asked.name);
    let jobs: Api<Job> = Api::namespaced(scope.client.clone(), scope.namespace);
    let job = manifest(scope, candidate, asked)
        .map_err(|e| refused(&what, format!("{} makes no valid Job: {e}", asked.field)))?;
    let params = PostParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PostParams::default() };
    match jobs.create(&params, &job).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let found = jobs.get_opt(asked.name).await.map_err(|e| Error::from_kube(&what, e))?;
            match found {
                None => Err(Error::Stale(format!("Job {}", asked.name))),
                Some(job) if !of_us(scope, &job) => {
                    Err(refused(what, "a Job of this name exists and does not belong to this Release; delete it"))
                }
                Some(job) if job.metadata.deletion_timestamp.is_some() => {
                    Err(not_yet(what, "the one of an earlier attempt is still being deleted"))
                }
                Some(_) => Ok(()),
            }
        }
        Err(e) => Err(Error::from_kube(what, e)),
    }
}

/// Whether the Job is this Release's.
pub fn of_us(scope: &Scope<'_>, job: &Job) -> bool {
    job.annotations().get(names::RELEASE_UID).is_some_and(|uid| uid == scope.release_uid)
}
