//! Pods that cannot run: convicted at once, by the pods' own words.

use crate::observe::seen::{Pod, PodTrouble, Side};

use super::{Finding, Trial, sentence::count};

pub(super) fn check(trial: &Trial<'_>) -> Finding {
    let all: Vec<&Pod> = trial.alive(Side::Candidate).filter(|p| !elsewhere(p)).collect();
    let broken: Vec<(&Pod, String)> = all.iter().filter_map(|p| Some((*p, fault(p)?))).collect();
    let Some((pod, words)) = broken.first() else { return Finding::Fine };
    let message = format!("pod {} {words} ({} of {})", pod.name, broken.len(), count(all.len(), "pod"));
    if few(broken.len(), all.len()) && !trial.checks.strict {
        Finding::Outlier { pod: pod.name.clone(), message }
    } else {
        Finding::Bad(message)
    }
}

/// One of several, or less than half: the others speak for the version.
pub(super) const fn few(bad: usize, all: usize) -> bool {
    all > 1 && (bad == 1 || bad * 2 < all)
}

/// The cluster could not run it, or took it away: not the version's fault.
pub(super) const fn elsewhere(pod: &Pod) -> bool {
    matches!(pod.trouble, Some(PodTrouble::Unschedulable(_) | PodTrouble::Evicted(_)))
}

fn fault(pod: &Pod) -> Option<String> {
    match pod.trouble.as_ref()? {
        PodTrouble::Crash(words) => Some(format!("crashes: {words}")),
        PodTrouble::Image(words) => Some(format!("cannot get its image: {words}")),
        PodTrouble::Config(words) => Some(format!("cannot start: {words}")),
        PodTrouble::Unschedulable(_) | PodTrouble::Evicted(_) => None,
    }
}
