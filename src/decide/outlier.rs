//! One bad pod of several: it is replaced, once. Where a second one is bad, it is the version.

use super::{Facts, Next, leg::Leg, rollback, verdict::Verdict};
use crate::api::{state::CauseKind, status::Memory};

/// The leg with its first bad pod noted for replacement, if the verdict is about one.
pub(crate) fn noted(leg: &Leg, verdict: &Verdict) -> Leg {
    let mut leg = leg.clone();
    if let Verdict::PodOutlier { pod, .. } = verdict {
        leg.candidate.replaced.get_or_insert_with(|| pod.clone());
    }
    leg
}

/// The way back, if another pod than the one that was replaced is bad.
pub(crate) fn second(leg: &Leg, verdict: &Verdict, facts: &Facts<'_>, memory: &mut Memory) -> Option<Next> {
    let (Verdict::PodOutlier { pod, message }, Some(first)) = (verdict, &leg.candidate.replaced) else { return None };
    if pod == first {
        return None;
    }
    let message = format!("{message}; pod {first} was bad before it and has been replaced");
    Some(rollback::begin(leg.stable.clone(), leg.candidate.clone(), CauseKind::Bad, message, facts, memory))
}
