//! Pods that cannot run or are not well: judged by the API server's word, also when no metric can be read.

use super::{
    config::Config,
    roster::{Pod, Roster},
    sample::Arm,
};

/// Seconds for which more than half of the pods must be unwell.
const UNWELL_FOR: f64 = 30.0;
/// Restarts of one pod since the release began that convict.
const RESTARTS: u32 = 2;
/// What a container waits for that it will not get.
const HOPELESS: [&str; 6] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
];

/// How the candidate's pods are.
#[derive(Clone, Debug, PartialEq)]
pub enum Health {
    Well,
    /// Not for long enough.
    Unwell(String),
    Bad(String),
    Outlier {
        pod: String,
        sentence: String,
    },
    Shared(String),
}

/// Why a pod cannot do its work.
fn broken(pod: &Pod) -> Option<String> {
    if let Some(why) = pod.waiting.as_deref().filter(|why| HOPELESS.contains(why)) {
        return Some(format!("waits with {why}"));
    }
    if pod.terminated.as_deref() == Some("OOMKilled") {
        return Some("was killed for its memory (OOMKilled)".into());
    }
    let restarts = pod.restarts.saturating_sub(pod.restarts_before);
    (restarts >= RESTARTS).then(|| format!("restarted {restarts} times"))
}

fn unwell(pod: &Pod, config: &Config) -> Option<String> {
    if !pod.ready {
        return Some("is not ready".into());
    }
    (pod.failed_probes >= config.health_failures)
        .then(|| format!("failed {} health checks in a row", pod.failed_probes))
}

/// `unwell_since` is kept from tick to tick.
pub fn check(roster: &Roster, config: &Config, weight: f64, now: f64, unwell_since: &mut Option<f64>) -> Health {
    let ours: Vec<(&String, &Pod)> = roster.alive(Arm::Canary).collect();
    let many = |n: usize| if n == 1 { "1 pod".to_owned() } else { format!("{n} pods") };
    let theirs = |bad: &dyn Fn(&Pod) -> bool| {
        let all = roster.alive(Arm::Stable).count();
        let bad = roster.alive(Arm::Stable).filter(|(_, p)| bad(p)).count();
        (bad > 0 && 2 * bad >= all && !config.strict).then(|| format!("stable {bad} of {}", many(all)))
    };

    let mut hold = None;
    let dead: Vec<(&String, String)> = ours.iter().filter_map(|(name, p)| Some((*name, broken(p)?))).collect();
    if let Some((name, words)) = dead.first() {
        let sentence = format!("pod {name} {words} ({} of {})", dead.len(), many(ours.len()));
        if let Some(stable) = theirs(&|p| broken(p).is_some()) {
            return Health::Shared(format!("both versions break: {sentence}; {stable}"));
        }
        if dead.len() > 1 || ours.len() == 1 || config.strict {
            return Health::Bad(sentence);
        }
        hold = Some(Health::Outlier { pod: (*name).clone(), sentence });
    }

    // A pod that has never been ready is still starting, unless the candidate should serve and has no other.
    let started = ours.iter().any(|(_, p)| p.ready_since.is_some());
    let judged: Vec<&(&String, &Pod)> =
        ours.iter().filter(|(_, p)| p.ready_since.is_some() || weight > 0.0 && !started).collect();
    let ill: Vec<(&String, String)> = judged.iter().filter_map(|(name, p)| Some((*name, unwell(p, config)?))).collect();
    if 2 * ill.len() <= judged.len() {
        *unwell_since = None;
        return hold.unwrap_or(match ill.first() {
            Some((name, words)) => Health::Unwell(format!("pod {name} {words}")),
            None => Health::Well,
        });
    }
    let since = *unwell_since.get_or_insert(now);
    let Some((name, words)) = ill.first() else { return Health::Well };
    let sentence = format!("pod {name} {words} ({} of {})", ill.len(), many(ours.len()));
    if let Some(stable) = theirs(&|p| unwell(p, config).is_some()) {
        *unwell_since = None;
        return Health::Shared(format!("both versions are unwell: {sentence}; {stable}"));
    }
    if now - since >= UNWELL_FOR {
        return Health::Bad(format!("{sentence} for {:.0} s", now - since));
    }
    hold.unwrap_or(Health::Unwell(sentence))
}
