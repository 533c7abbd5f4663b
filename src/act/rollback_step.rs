//! The Jobs of a rollback plan. That of a step is never deleted by us: it may be the only one who knows what it did.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    fresh::refused,
    job::{self, Asked},
    scope::Scope,
};
use crate::{
    api::{
        names,
        rollback::{EnvVar, JobStep, RedisStep, RollbackStep},
        state::{Attempt, Candidate},
    },
    error::Result,
    observe::rollback_step::{job_name, trial_name},
};

/// How long the Job and its log stay.
const A_WEEK: u64 = 7 * 24 * 3600;
/// Seconds a trial may take, its image pulled.
const TRIAL: u64 = 60;
/// Seconds after which it is tried again, if it failed.
const TRIAL_KEPT: u64 = 60;
/// What only the administrators can mend.
const NO_IMAGE: &str = "the operator does not know its own image; set HALDANE_IMAGE in its Deployment";

/// Creates the Job, unless it has been created.
pub async fn start(scope: &Scope<'_>, attempt: &Attempt) -> Result<()> {
    let candidate = scope.candidate("starting a rollback step")?;
    let what = || format!("starting step {} of the rollback plan", attempt.step);
    let Some(step) = candidate.rollback.steps.iter().find(|s| s.name == attempt.step) else {
        return Err(refused(what(), "the plan holds no step of this name"));
    };
    let container = match (&step.job, &step.redis, scope.image) {
        (Some(job), _, _) => of_job(scope, candidate, job),
        (None, Some(redis), Some(image)) => of_redis(redis, image, redis.dry_run),
        (None, Some(_), None) => {
            return Err(refused(what(), NO_IMAGE));
        }
        (None, None, _) => return Err(refused(what(), "it names neither job nor redis")),
    };
    let asked = Asked {
        name: &job_name(scope.release, scope.release_uid, attempt),
        field: "spec.rollback.steps[].job",
        labels: BTreeMap::from([(names::ROLLBACK_STEP, step.name.as_str())]),
        containers: vec![container],
        deadline: deadline(step),
        kept: Some(A_WEEK),
        // With the Release a script would be ended half-way.
        owned: false,
    };
    job::start(scope, candidate, &asked).await
}

/// Starts one pod that has the Secrets of all steps and looks for the keys of their Redis; it changes nothing.
pub async fn try_plan(scope: &Scope<'_>) -> Result<()> {
    let candidate = scope.candidate("trying the rollback plan")?;
    let Some(image) = scope.image else {
        return Err(refused("trying the rollback plan", NO_IMAGE));
    };
    let steps = candidate.rollback.steps.iter().filter(|step| step.needs_trial());
    let containers = steps.map(|step| {
        let mut container = match (&step.redis, &step.job) {
            (Some(redis), _) => of_redis(redis, image, true),
            (None, Some(job)) => of_environment(job, image),
            (None, None) => json!({}),
        };
        container["name"] = json!(step.name);
        container
    });
    let asked = Asked {
        name: &trial_name(scope.release, scope.release_uid, candidate),
        field: "spec.rollback.steps",
        labels: BTreeMap::from([(names::ROLLBACK_STEP, "trial")]),
        containers: containers.collect(),
        deadline: TRIAL,
        kept: Some(TRIAL_KEPT),
        owned: true,
    };
    job::start(scope, candidate, &asked).await
}

/// What does nothing, with the Secrets of a step in its environment: it starts only if they are there.
fn of_environment(job: &JobStep, image: &str) -> Value {
    let secrets: Vec<_> = job.env.iter().filter(|var| var.secret.is_some()).map(variable).collect();
    json!({
        "image": image,
        "args": ["--version"],
        "env": secrets,
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
    })
}

fn deadline(step: &RollbackStep) -> u64 {
    step.timeout.0.as_secs()
}

fn of_job(scope: &Scope<'_>, candidate: &Candidate, job: &JobStep) -> Value {
    let mut env = vec![
        json!({"name": "HALDANE_RELEASE", "value": scope.release}),
        json!({"name": "HALDANE_REVISION", "value": candidate.version.revision.0}),
        json!({"name": "HALDANE_VERSION", "value": candidate.version.label()}),
        json!({"name": "HALDANE_STABLE_VERSION", "value": scope.stable.label()}),
    ];
    env.extend(job.env.iter().map(variable));
    let mut container =
        json!({"name": "step", "image": job.image, "command": job.command, "args": job.args, "env": env});
    if let Some(resources) = &job.resources {
        container["resources"] = json!(resources);
    }
    container
}

fn variable(var: &EnvVar) -> Value {
    match &var.secret {
        Some(key) => json!({"name": var.name, "valueFrom": {"secretKeyRef": {"name": key.name, "key": key.key}}}),
        None => json!({"name": var.name, "value": var.value}),
    }
}

fn of_redis(redis: &RedisStep, image: &str, dry_run: bool) -> Value {
    let mut args = vec!["unlink-keys".to_owned()];
    args.extend(redis.keys.iter().map(|pattern| format!("--pattern={pattern}")));
    if dry_run {
        args.push("--dry-run".into());
    }
    let key = |name: &str, key: &str, optional: bool| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": redis.secret_name, "key": key, "optional": optional}}});
    json!({
        "name": "step",
        "image": image,
        "args": args,
        "env": [key("HALDANE_REDIS_URL", "url", false), key("HALDANE_REDIS_CA", "ca.crt", true)],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
    })
}
