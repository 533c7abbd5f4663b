//! The smoke test: one Job per candidate and moment.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Preconditions, PropagationPolicy},
};
use serde_json::json;

use super::{
    job::{self, Asked},
    scope::Scope,
};
use crate::{
    api::{
        checks::{Smoke, SmokePoint},
        names,
    },
    error::{Error, Result},
    observe::smoke::{job_name, moment},
};

/// Starts the Job, unless it has been started.
pub async fn start_smoke(scope: &Scope<'_>, point: SmokePoint, smoke: &Smoke) -> Result<()> {
    let candidate = scope.candidate("starting the smoke test")?;
    let container = json!({
        "name": "smoke",
        "image": smoke.image,
        "command": smoke.command,
        "args": smoke.args,
        "env": [
            {"name": "HALDANE_RELEASE", "value": scope.release},
            {"name": "HALDANE_REVISION", "value": candidate.version.revision.0},
            {"name": "HALDANE_VERSION", "value": candidate.version.label()},
        ],
    });
    let asked = Asked {
        name: &job_name(scope.release, &candidate.id, point),
        field: "spec.checks.smoke",
        labels: BTreeMap::from([(names::SMOKE, moment(point))]),
        containers: vec![container],
        deadline: smoke.timeout.0.as_secs(),
        kept: None,
        owned: true,
    };
    job::start(scope, candidate, &asked).await
}

/// Deletes the Job and its pod.
pub async fn delete_smoke(scope: &Scope<'_>, point: SmokePoint) -> Result<()> {
    let candidate = scope.candidate("deleting the smoke test")?;
    let name = job_name(scope.release, &candidate.id, point);
    let what = format!("deleting Job {name}");
    let jobs: Api<Job> = Api::namespaced(scope.client.clone(), scope.namespace);
    let Some(job) = jobs.get_opt(&name).await.map_err(|e| Error::from_kube(&what, e))? else { return Ok(()) };
    if !job::of_us(scope, &job) || job.metadata.deletion_timestamp.is_some() {
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
