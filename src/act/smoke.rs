//! The smoke test: one Job per candidate and moment. It runs under the restricted pod security standard, without a
//! token, and with nothing of the operator's.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions, PropagationPolicy},
};
use serde_json::json;

use super::{
    fresh::{not_yet, refused},
    scope::Scope,
};
use crate::{
    api::{
        Release,
        checks::{Smoke, SmokePoint},
        names,
        state::Candidate,
    },
    error::{Error, Result},
    observe::smoke::{job_name, moment},
};

/// Starts the Job, unless it has been started.
pub async fn start_smoke(scope: &Scope<'_>, point: SmokePoint, smoke: &Smoke) -> Result<()> {
    let candidate = scope.candidate("starting the smoke test")?;
    let name = job_name(scope.release, &candidate.id, point);
    let what = format!("starting Job {name}");
    let jobs: Api<Job> = Api::namespaced(scope.client.clone(), scope.namespace);
    let job = job(scope, candidate, point, smoke, &name)
        .map_err(|e| refused(&what, format!("spec.checks.smoke makes no valid Job: {e}")))?;
    let params = PostParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PostParams::default() };
    match jobs.create(&params, &job).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let found = jobs.get_opt(&name).await.map_err(|e| Error::from_kube(&what, e))?;
            match found {
                None => Err(Error::Stale(format!("Job {name}"))),
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

/// Deletes the Job and its pod.
pub async fn delete_smoke(scope: &Scope<'_>, point: SmokePoint) -> Result<()> {
    let candidate = scope.candidate("deleting the smoke test")?;
    let name = job_name(scope.release, &candidate.id, point);
    let what = format!("deleting Job {name}");
    let jobs: Api<Job> = Api::namespaced(scope.client.clone(), scope.namespace);
    let Some(job) = jobs.get_opt(&name).await.map_err(|e| Error::from_kube(&what, e))? else { return Ok(()) };
    if !of_us(scope, &job) || job.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: job.uid(), resource_version: None }),
        ..DeleteParams::default()
    };
    match jobs.delete(&name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(e) => Err(Error::from_kube(what, e)),
    }
}

fn of_us(scope: &Scope<'_>, job: &Job) -> bool {
    job.annotations().get(names::RELEASE_UID).is_some_and(|uid| uid == scope.release_uid)
}

/// Only these fields, whatever a Release says: a smoke test is no way to run something with more rights.
fn job(
    scope: &Scope<'_>,
    candidate: &Candidate,
    point: SmokePoint,
    smoke: &Smoke,
    name: &str,
) -> Result<Job, serde_json::Error> {
    let labels = BTreeMap::from([(names::RELEASE, names::label_value(scope.release)), (names::SMOKE, moment(point))]);
    let annotations = BTreeMap::from([
        (names::RELEASE, scope.release),
        (names::RELEASE_UID, scope.release_uid),
        (names::ATTEMPT, &candidate.id),
    ]);
    serde_json::from_value(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": scope.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": Release::api_version(&()),
                "kind": Release::kind(&()),
                "name": scope.release,
                "uid": scope.release_uid,
                "controller": true,
            }],
        },
        "spec": {
            "backoffLimit": 0,
            // At least a second: 0 would fail it before it starts.
            "activeDeadlineSeconds": smoke.timeout.0.as_secs().max(1),
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [{
                        "name": "smoke",
                        "image": smoke.image,
                        "command": smoke.command,
                        "args": smoke.args,
                        "env": [
                            {"name": "HALDANE_RELEASE", "value": scope.release},
                            {"name": "HALDANE_REVISION", "value": candidate.version.revision.0},
                            {"name": "HALDANE_VERSION", "value": candidate.version.label()},
                        ],
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "privileged": false,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }],
                },
            },
        },
    }))
}
