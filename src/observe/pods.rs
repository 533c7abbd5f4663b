//! Pods → `Pod`: which side, ready or not, and what keeps them from working. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod as RawPod, PodCondition};
use kube::ResourceExt;

use super::seen::{Pod, PodTrouble, Side};
use crate::api::{names, units::At};

/// The pods of both sides. `candidate`: the candidate's hash; `owned`: the hashes of the Deployment's own ReplicaSets.
/// Pods with another hash are not of this workload, whatever their labels say.
pub fn sides(pods: &[RawPod], candidate: Option<&str>, owned: &BTreeSet<String>) -> Vec<Pod> {
    let side = |pod: &RawPod| {
        let hash = pod.labels().get(names::HASH)?;
        if candidate == Some(hash.as_str()) {
            Some(Side::Candidate)
        } else {
            owned.contains(hash).then_some(Side::Stable)
        }
    };
    let mut seen: Vec<Pod> = pods.iter().filter_map(|pod| Some(one(pod, side(pod)?))).collect();
    seen.sort_by(|a, b| a.name.cmp(&b.name));
    seen
}

fn one(pod: &RawPod, side: Side) -> Pod {
    let ready = condition(pod, "Ready");
    Pod {
        name: pod.name_any(),
        side,
        ready: ready.is_some_and(|c| c.status == "True"),
        // A pod that has ended for good serves no more than one that is being deleted.
        terminating: pod.metadata.deletion_timestamp.is_some() || matches!(phase(pod), "Failed" | "Succeeded"),
        created_at: pod.creation_timestamp().map_or_else(|| At::new(jiff::Timestamp::UNIX_EPOCH), |t| At::new(t.0)),
        started_at: pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| At::new(t.0)),
        ready_changed_at: ready.and_then(|c| c.last_transition_time.as_ref()).map(|t| At::new(t.0)),
        restarts: statuses(pod).map(|s| u32::try_from(s.restart_count).unwrap_or(0)).sum(),
        trouble: trouble(pod),
    }
}

fn phase(pod: &RawPod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

fn condition<'a>(pod: &'a RawPod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == kind)
}

/// All containers, init containers first.
fn statuses(pod: &RawPod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_deref()).unwrap_or_default();
    let main = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    init.iter().chain(main)
}

fn trouble(pod: &RawPod) -> Option<PodTrouble> {
    evicted(pod).or_else(|| statuses(pod).find_map(container)).or_else(|| unschedulable(pod))
}

fn evicted(pod: &RawPod) -> Option<PodTrouble> {
    let status = pod.status.as_ref()?;
    let disrupted = condition(pod, "DisruptionTarget").filter(|c| c.status == "True");
    let reason = status.reason.as_deref().or_else(|| disrupted?.reason.as_deref())?;
    let known = [
        "Evicted",
        "Preempting",
        "NodeLost",
        "NodeShutdown",
        "Shutdown",
        "NodeAffinity",
        "Terminated",
        "UnexpectedAdmissionError",
    ];
    if disrupted.is_none() && !known.contains(&reason) {
        return None;
    }
    let message = status.message.as_deref().or_else(|| disrupted?.message.as_deref());
    Some(PodTrouble::Evicted(sentence(reason, message)))
}

fn unschedulable(pod: &RawPod) -> Option<PodTrouble> {
    let scheduled = condition(pod, "PodScheduled").filter(|c| c.status == "False")?;
    let reason = scheduled.reason.as_deref().unwrap_or("Unschedulable");
    Some(PodTrouble::Unschedulable(sentence(reason, scheduled.message.as_deref())))
}

fn container(status: &ContainerStatus) -> Option<PodTrouble> {
    let name = &status.name;
    let waiting = status.state.as_ref().and_then(|s| s.waiting.as_ref());
    if let Some(waiting) = waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let said = || format!("container {name}: {}", sentence(reason, waiting.message.as_deref()));
        match reason {
            "ImagePullBackOff"
            | "ErrImagePull"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "RegistryUnavailable"
            | "ImageInspectError"
            | "SignatureValidationFailed" => return Some(PodTrouble::Image(said())),
            "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "PreCreateHookError"
            | "PreStartHookError" => return Some(PodTrouble::Config(said())),
            _ => {}
        }
    }
    let last = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| state.as_ref()?.terminated.clone();
    let ended = last(&status.state).filter(|t| t.exit_code != 0).or_else(|| {
        // An init container that has ended well after a retry has done its work.
        (!status.ready || status.restart_count > 0).then(|| last(&status.last_state))?
    });
    let backing_off = waiting.is_some_and(|w| w.reason.as_deref() == Some("CrashLoopBackOff"));
    if !backing_off && ended.is_none() {
        return None;
    }
    let end = ended.as_ref().map(|ended| {
        let reason = ended.reason.as_deref().filter(|r| *r != "Error" && *r != "Completed");
        let reason = reason.map(|r| format!(" ({r})")).unwrap_or_default();
        let message = ended.message.as_deref().map(str::trim).filter(|m| !m.is_empty());
        let message = message.map(|m| format!(": {}", cut(m))).unwrap_or_default();
        format!(" ended with exit code {}{reason}{message}", ended.exit_code)
    });
    let restarts = match status.restart_count {
        0 => String::new(),
        1 => ", 1 restart".into(),
        n => format!(", {n} restarts"),
    };
    let waits = if backing_off { ", CrashLoopBackOff" } else { "" };
    let text = format!("container {name}{}{restarts}{waits}", end.unwrap_or_default());
    Some(PodTrouble::Crash(text))
}

fn sentence(reason: &str, message: Option<&str>) -> String {
    match message.map(str::trim).filter(|m| !m.is_empty()) {
        Some(message) => format!("{reason}: {}", cut(message)),
        None => reason.to_owned(),
    }
}

/// The first line, at most 200 characters: it ends up in one line of status.
fn cut(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(hash: &str, status: &Value) -> RawPod {
        serde_json::from_value(json!({
            "metadata": {"name": format!("p-{hash}"), "labels": {"pod-template-hash": hash}, "creationTimestamp": "2026-01-02T03:04:05Z"},
            "status": status
        }))
        .unwrap()
    }

    fn troubled(status: &Value) -> Option<PodTrouble> {
        sides(&[pod("c", status)], Some("c"), &BTreeSet::new()).remove(0).trouble
    }

    fn app(state: &Value, more: &Value) -> Value {
        let mut status =
            json!({"name": "app", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"containerStatuses": [status]})
    }

    #[test]
    fn the_hash_tells_the_side_and_foreign_pods_are_left_out() {
        let pods = [pod("c", &json!({})), pod("s", &json!({})), pod("x", &json!({}))];
        let seen = sides(&pods, Some("c"), &BTreeSet::from(["s".to_owned(), "c".to_owned()]));
        let found: Vec<_> = seen.iter().map(|p| (p.name.as_str(), p.side)).collect();
        assert_eq!(found, [("p-c", Side::Candidate), ("p-s", Side::Stable)]);
    }

    #[test]
    fn readiness_and_its_moment_are_read_and_ended_pods_count_as_terminating() {
        let ready = json!({"phase": "Running", "startTime": "2026-01-02T03:04:06Z", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:09Z"}]});
        let seen = sides(&[pod("c", &ready)], Some("c"), &BTreeSet::new()).remove(0);
        assert!(seen.ready && !seen.terminating);
        assert_eq!(seen.ready_changed_at.map(|at| at.to_string()).as_deref(), Some("2026-01-02T03:04:09.000Z"));
        assert_eq!(seen.started_at.map(|at| at.to_string()).as_deref(), Some("2026-01-02T03:04:06.000Z"));
        let failed = sides(&[pod("c", &json!({"phase": "Failed"}))], Some("c"), &BTreeSet::new()).remove(0);
        assert!(failed.terminating);
    }

    #[test]
    fn each_trouble_is_told_apart() {
        let none = json!({});
        let text = |t: Option<PodTrouble>| match t {
            Some(PodTrouble::Crash(t)) => format!("crash {t}"),
            Some(PodTrouble::Image(t)) => format!("image {t}"),
            Some(PodTrouble::Config(t)) => format!("config {t}"),
            Some(PodTrouble::Unschedulable(t)) => format!("unschedulable {t}"),
            Some(PodTrouble::Evicted(t)) => format!("evicted {t}"),
            None => "none".into(),
        };
        let crash = app(
            &json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}),
            &json!({"restartCount": 3, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}),
        );
        assert_eq!(
            text(troubled(&crash)),
            "crash container app ended with exit code 137 (OOMKilled), 3 restarts, CrashLoopBackOff"
        );
        let restarted = app(
            &json!({"running": {}}),
            &json!({"ready": true, "restartCount": 1, "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}),
        );
        assert_eq!(text(troubled(&restarted)), "crash container app ended with exit code 1, 1 restart");
        let ended =
            app(&json!({"terminated": {"exitCode": 2, "reason": "Error", "message": "no database\nmore"}}), &none);
        assert_eq!(text(troubled(&ended)), "crash container app ended with exit code 2: no database");
        let image = app(&json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}}), &none);
        assert_eq!(text(troubled(&image)), "image container app: ErrImagePull: not found");
        let config = app(&json!({"waiting": {"reason": "CreateContainerConfigError"}}), &none);
        assert_eq!(text(troubled(&config)), "config container app: CreateContainerConfigError");
        let full = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]});
        assert_eq!(text(troubled(&full)), "unschedulable Unschedulable: 0/1 nodes");
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"});
        assert_eq!(text(troubled(&evicted)), "evicted Evicted: low on memory");
        let preempted =
            json!({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]});
        assert_eq!(text(troubled(&preempted)), "evicted PreemptionByScheduler");
        for fine in [
            app(&json!({"running": {}}), &json!({"ready": true})),
            app(&json!({"waiting": {"reason": "ContainerCreating"}}), &none),
            json!({"initContainerStatuses": [{"name": "i", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}]}),
        ] {
            assert_eq!(text(troubled(&fine)), "none", "{fine}");
        }
    }
}
