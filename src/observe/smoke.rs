//! The smoke test's Jobs, and how they stand.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobCondition};
use kube::{Api, Client, ResourceExt};

use super::{seen::SmokeSeen, template::digest};
use crate::{
    api::{checks::SmokePoint, names, units::At},
    error::{Error, Result},
};

/// The longest name whose pods still carry it as a label.
const LONGEST: usize = 63;

/// How a moment is called in names and labels.
pub const fn moment(point: SmokePoint) -> &'static str {
    match point {
        SmokePoint::FirstStep => "first",
        SmokePoint::Full => "full",
    }
}

/// `<release>-smoke-<id>-<first|full>`; a release's name that is too long for that is cut and told apart by a hash.
pub fn job_name(release: &str, id: &str, point: SmokePoint) -> String {
    let end = format!("-smoke-{id}-{}", moment(point));
    let full = format!("{release}{end}");
    if full.len() <= LONGEST && !release.contains('.') {
        return full;
    }
    let mark = digest(release, 8);
    let room = LONGEST.saturating_sub(end.len() + mark.len() + 1);
    let cut: String = release.chars().map(|c| if c == '.' { '-' } else { c }).take(room).collect();
    format!("{cut}-{mark}{end}")
}

/// The Jobs of one candidate that exist, by their moment.
pub async fn look(
    client: &Client,
    namespace: &str,
    release: &str,
    release_uid: &str,
    id: &str,
) -> Result<BTreeMap<SmokePoint, SmokeSeen>> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let one = async |point| {
        let name = job_name(release, id, point);
        let job = jobs.get_opt(&name).await.map_err(|e| Error::from_kube(format!("reading Job {name}"), e))?;
        let ours = |job: &Job| job.annotations().get(names::RELEASE_UID).is_some_and(|uid| uid == release_uid);
        Ok::<_, Error>(job.filter(ours).map(|job| (point, seen(&job))))
    };
    let (first, full) = tokio::try_join!(one(SmokePoint::FirstStep), one(SmokePoint::Full))?;
    Ok(first.into_iter().chain(full).collect())
}

/// How a Job stands.
pub fn seen(job: &Job) -> SmokeSeen {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let has = |kind: &str| conditions.iter().find(|c| c.type_ == kind && c.status == "True");
    if has("Complete").is_some() {
        return SmokeSeen::Succeeded;
    }
    // FailureTarget comes before Failed, which waits for the pod to end.
    if let Some(failed) = has("Failed").or_else(|| has("FailureTarget")) {
        return SmokeSeen::Failed(why(&job.name_any(), failed));
    }
    let since = job.creation_timestamp().map_or(jiff::Timestamp::UNIX_EPOCH, |t| t.0);
    SmokeSeen::Running { since: At::new(since) }
}

fn why(name: &str, failed: &JobCondition) -> String {
    let message = failed.message.as_deref().unwrap_or_default();
    match failed.reason.as_deref().unwrap_or("Failed") {
        "DeadlineExceeded" => format!("Job {name} did not end in time"),
        "BackoffLimitExceeded" => format!("the pod of Job {name} failed; its log says why"),
        reason if message.is_empty() => format!("Job {name}: {reason}"),
        reason => format!("Job {name}: {reason}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn names_fit_and_stay_apart() {
        assert_eq!(job_name("checkout", "0123456789", SmokePoint::FirstStep), "checkout-smoke-0123456789-first");
        let long = |tail: &str| job_name(&format!("{}{tail}", "a".repeat(70)), "0123456789-2", SmokePoint::Full);
        assert!(long("x").len() <= LONGEST && long("x").ends_with("-smoke-0123456789-2-full"));
        assert_ne!(long("x"), long("y"));
        assert_ne!(job_name("a.b", "0", SmokePoint::Full), job_name("a-b", "0", SmokePoint::Full));
        assert!(!job_name("a.b", "0", SmokePoint::Full).contains('.'));
    }

    #[test]
    fn a_job_is_running_until_it_says_otherwise() {
        let job = |conditions: &Value| -> Job {
            serde_json::from_value(json!({
                "metadata": {"name": "j", "creationTimestamp": "2026-01-02T03:04:05Z"},
                "status": {"conditions": conditions}
            }))
            .unwrap()
        };
        assert!(matches!(seen(&job(&json!([]))), SmokeSeen::Running { .. }));
        assert!(matches!(seen(&job(&json!([{"type": "Failed", "status": "False"}]))), SmokeSeen::Running { .. }));
        assert_eq!(seen(&job(&json!([{"type": "Complete", "status": "True"}]))), SmokeSeen::Succeeded);
        let late = json!([{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]);
        assert_eq!(seen(&job(&late)), SmokeSeen::Failed("Job j did not end in time".into()));
        let early = json!([{"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded"}]);
        assert!(matches!(seen(&job(&early)), SmokeSeen::Failed(why) if why.contains("its log")));
    }
}
