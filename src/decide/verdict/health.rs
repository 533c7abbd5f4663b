//! Health checks in a row: readiness, `up`, and the HTTP path.

use std::time::Duration;

use crate::{
    api::{checks::Health, units::At},
    observe::seen::{Pod, Probe, Side},
};

use super::{
    Finding, Trial,
    pods::{elsewhere, few},
    sentence::count,
};

/// How one pod stands.
enum Pulse {
    Beats,
    /// It failed, but not often enough.
    Skips(String),
    Stopped(String),
}

/// How long a pod must fail to be convicted.
pub(super) fn patience(health: &Health) -> Duration {
    health.every.0 * health.failures
}

pub(super) fn check(trial: &Trial<'_>) -> Finding {
    if let Some(problem) = never_worked(trial) {
        return Finding::Config(problem);
    }
    let candidates = pulses(trial, Side::Candidate);
    let stopped: Vec<&(&Pod, Pulse)> = candidates.iter().filter(|(_, p)| matches!(p, Pulse::Stopped(_))).collect();
    let Some((pod, Pulse::Stopped(words))) = stopped.first() else {
        return match candidates.iter().find_map(|(pod, p)| if let Pulse::Skips(w) = p { Some((pod, w)) } else { None })
        {
            Some((pod, words)) => Finding::Hold(format!("pod {}: {words}", pod.name)),
            None => Finding::Fine,
        };
    };
    let message = format!(
        "pod {}: {words} at {} % ({} of {})",
        pod.name,
        trial.weight,
        stopped.len(),
        count(candidates.len(), "pod")
    );
    if trial.checks.strict {
        return Finding::Bad(message);
    }
    let stable = pulses(trial, Side::Stable);
    let suffering = stable.iter().filter(|(_, p)| matches!(p, Pulse::Stopped(_))).count();
    if suffering > 0 && suffering * 2 >= stable.len() {
        let (failing, all) = (suffering, count(stable.len(), "pod"));
        return Finding::Shared(format!(
            "both versions fail their health checks: {message}; stable {failing} of {all}"
        ));
    }
    if few(stopped.len(), candidates.len()) {
        Finding::Outlier { pod: pod.name.clone(), message }
    } else {
        Finding::Bad(message)
    }
}

fn pulses<'a>(trial: &'a Trial<'_>, side: Side) -> Vec<(&'a Pod, Pulse)> {
    trial.alive(side).filter(|p| !elsewhere(p)).map(|p| (p, pulse(trial, p))).collect()
}

fn pulse(trial: &Trial<'_>, pod: &Pod) -> Pulse {
    let health = &trial.checks.health;
    if let Some(since) = pod.ready_changed_at.filter(|since| !pod.ready && was_ready(trial, pod, *since)) {
        let length = trial.now.since(since);
        let words = format!("not ready for {} s", length.as_secs());
        return if length >= patience(health) { Pulse::Stopped(words) } else { Pulse::Skips(words) };
    }
    // A pod that has not started yet is waited for by the deadline of its start, not by its health.
    let judged = (pod.ready && trial.now >= trial.warm_until(pod)) || pod.side == Side::Stable;
    let failed = |probe: &&Probe| probe.pod == pod.name && probe.failures > 0 && (judged || probe.successes > 0);
    let worst = trial.probes.iter().filter(failed).filter(|_| meaningful(trial)).max_by_key(|p| p.failures);
    match worst {
        None => Pulse::Beats,
        Some(probe) => {
            let words = format!("health check failed {} times in a row ({})", probe.failures, probe.last);
            if probe.failures >= health.failures { Pulse::Stopped(words) } else { Pulse::Skips(words) }
        }
    }
}

/// Whether a pod that is not ready has been so before: it changed after its start, or after the step's pods were ready.
/// The first "not ready" is written when a node takes the pod on, which may be long after its creation.
fn was_ready(trial: &Trial<'_>, pod: &Pod, changed: At) -> bool {
    pod.started_at.is_some_and(|started| {
        changed > started.plus(trial.checks.warm_up.0) || (started < trial.since && changed > trial.since)
    })
}

/// `up` of the candidate says nothing while the stable version has never been up: then nobody scrapes them.
fn meaningful(trial: &Trial<'_>) -> bool {
    trial.checks.health.http.is_some() || !never_succeeded(trial)
}

fn never_worked(trial: &Trial<'_>) -> Option<String> {
    let http = trial.checks.health.http.as_ref()?;
    if !never_succeeded(trial) {
        return None;
    }
    let last = of_stable(trial).max_by_key(|p| p.failures).map(|p| p.last.as_str()).unwrap_or_default();
    Some(format!(
        "spec.checks.health.http: GET {} on port {} has never succeeded against the stable version ({last}); correct the path or the port",
        http.path, http.port
    ))
}

/// Every ready stable pod was asked often enough, and none ever answered.
fn never_succeeded(trial: &Trial<'_>) -> bool {
    let enough = |probe: &Probe| probe.successes == 0 && probe.failures >= trial.checks.health.failures;
    let mut any = false;
    let all = of_stable(trial).inspect(|_| any = true).all(enough);
    any && all
}

fn of_stable<'a>(trial: &'a Trial<'_>) -> impl Iterator<Item = &'a Probe> {
    let ready = |name: &str| trial.alive(Side::Stable).any(|p| p.ready && p.name == name);
    trial.probes.iter().filter(move |probe| ready(&probe.pod))
}
