//! The Jobs of rollback plans, and what they say.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerStatus, Pod},
};
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::{
    redact::redact,
    seen::{JobSeen, SmokeSeen, StepJob},
    smoke,
    template::digest,
};
use crate::{
    api::{names, report::Attempt, state::Candidate},
    error::{Error, Result},
};

/// The longest name whose pods still carry it as a label.
const LONGEST: usize = 63;
/// What is kept of a container's last words.
const LAST_WORDS: usize = 600;
/// What a container waits for that does not come by itself.
const STUCK: [&str; 5] =
    ["CreateContainerConfigError", "CreateContainerError", "ImagePullBackOff", "ErrImagePull", "InvalidImageName"];

/// `<release>-rollback-<step>-<mark>-<attempt>`; the mark tells the rollbacks of a Release apart.
pub fn job_name(release: &str, release_uid: &str, attempt: &Attempt) -> String {
    let mark = digest(&format!("{release_uid} {:?}", attempt.decided_at), 8);
    cut(release, &format!("-rollback-{}-{mark}-{}", attempt.step, attempt.number))
}

/// `<release>-rollback-trial-<mark>`: another plan, or another candidate, is another trial.
pub fn trial_name(release: &str, release_uid: &str, candidate: &Candidate) -> String {
    let plan = serde_json::to_string(&candidate.rollback).unwrap_or_default();
    let mark = digest(&format!("{release_uid} {} {plan}", candidate.id), 8);
    cut(release, &format!("-rollback-trial-{mark}"))
}

fn cut(release: &str, end: &str) -> String {
    let room = LONGEST.saturating_sub(end.len());
    let cut: String = release.chars().map(|c| if c == '.' { '-' } else { c }).take(room).collect();
    format!("{}{end}", cut.trim_end_matches('-'))
}

/// The Job of this attempt.
pub async fn look(client: &Client, namespace: &str, release_uid: &str, name: &str) -> Result<StepJob> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let job = jobs.get_opt(name).await.map_err(|e| Error::from_kube(format!("reading Job {name}"), e))?;
    let ours = |job: &Job| job.annotations().get(names::RELEASE_UID).is_some_and(|uid| uid == release_uid);
    let Some(job) = job.filter(ours) else { return Ok(StepJob::Absent) };
    let stands = smoke::seen(&job);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={name}"));
    let pods = pods.list(&of_job).await.map_err(|e| Error::from_kube(format!("listing the pods of Job {name}"), e))?;
    let said = pods.items.iter().find_map(last_words);
    let stuck = pods.items.iter().find_map(cannot_start);
    Ok(StepJob::There(match stands {
        SmokeSeen::Running { since } => JobSeen::Running { since, stuck },
        SmokeSeen::Failed(why) => JobSeen::Failed(said.map_or(why.clone(), |said| format!("{why}: {said}"))),
        SmokeSeen::Succeeded => JobSeen::Succeeded { said },
    }))
}

/// Why a container of the pod is not started: an image or a Secret that is not there.
fn cannot_start(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let waiting = |c: &ContainerStatus| {
        let waiting = c.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| STUCK.contains(reason))?;
        let message = redact(waiting.message.as_deref().unwrap_or_default());
        Some(format!("container {}: {reason}: {message}", c.name).trim_end_matches([':', ' ']).to_owned())
    };
    statuses.iter().find_map(waiting)
}

/// The termination message of the pod's container: what it wrote there, or the end of its log if it failed.
fn last_words(pod: &Pod) -> Option<String> {
    let ended =
        pod.status.as_ref()?.container_statuses.as_ref()?.iter().find_map(|c| c.state.as_ref()?.terminated.as_ref())?;
    let message = ended.message.as_deref().unwrap_or_default();
    let words = redact(message);
    let words = words.trim();
    let from = words.char_indices().rev().nth(LAST_WORDS - 1).map_or(0, |(at, _)| at);
    (!words.is_empty()).then(|| words[from..].to_owned())
}
