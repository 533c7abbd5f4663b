//! Names we write into the cluster: labels, annotations, and what they mean.

/// What our labels and annotations begin with.
pub const PREFIX: &str = "haldane.dev/";

/// Kubernetes' own label that tells the ReplicaSets of a Deployment apart; our pins are values of it in a selector.
pub const HASH: &str = "pod-template-hash";

/// Label of everything of ours: the Release's name, cut to 63 characters. As an annotation: the exact name.
pub const RELEASE: &str = "haldane.dev/release";

/// Annotation of everything of ours: the Release's UID, so that a namesake never takes it for its own.
pub const RELEASE_UID: &str = "haldane.dev/release-uid";

/// Annotation of the candidate's ReplicaSet: `<revision>` or `<revision>-<n>`.
pub const ATTEMPT: &str = "haldane.dev/attempt";

/// Annotation of the candidate's ReplicaSet while requests may reach it; others cannot delete it then.
pub const CARRIES_TRAFFIC: &str = "haldane.dev/carries-traffic";

/// Label of the Deployment from `TakeTemplate` to `FinishHandOver`: the candidate's id.
pub const HANDOVER: &str = "haldane.dev/handover";

/// Annotation of the Deployment during the hand-over: the user's `spec.strategy` as JSON.
pub const STRATEGY: &str = "haldane.dev/strategy";

/// Label of a Deployment that we paused: the Release's UID. Without it the pause is the user's own.
pub const PAUSED_BY: &str = "haldane.dev/paused-by";

/// Label of a Deployment that is held between releases: the Release's name, cut to 63 characters.
pub const HELD: &str = "haldane.dev/held";

/// Annotation of a Release that is deleted, `true`: its user waits no longer, the finalizer goes and all else stays as it is.
pub const ABANDON: &str = "haldane.dev/abandon";

/// Annotation of the operator's Lease: the operator is to bring every Release home. The time changes as long as somebody
/// still wants it; a mark that stands still for `RETIRING_FOR` seconds counts no more.
pub const RETIRING: &str = "haldane.dev/retiring";

/// Annotation beside it: for how many seconds it counts without being renewed.
pub const RETIRING_FOR: &str = "haldane.dev/retiring-for";

/// Annotation of the operator's Lease: whose it is, the UID of the operator's service account. Helm makes a new one with each
/// install, which is not concerned by what the former one was asked.
pub const INSTALLATION: &str = "haldane.dev/installation";

/// Label of our Jobs: which smoke test it is.
pub const SMOKE: &str = "haldane.dev/smoke";

/// Label of the Jobs of a rollback plan: the step's name.
pub const ROLLBACK_STEP: &str = "haldane.dev/rollback-step";

/// Who writes, as the API server records it.
pub const FIELD_MANAGER: &str = "haldane";

/// Whether the Release of this name created an object. The name decides, not its UID: a Release that was deleted and
/// created again must be able to clean up.
pub fn created_by(object: &impl kube::ResourceExt, release: &str) -> bool {
    object.annotations().get(RELEASE).is_some_and(|name| name == release)
}

/// A value as a label may hold it: at most 63 characters, ending in a letter or digit.
pub fn label_value(name: &str) -> &str {
    let cut = name.char_indices().nth(63).map_or(name, |(at, _)| &name[..at]);
    cut.trim_end_matches(|c: char| !c.is_ascii_alphanumeric())
}

/// The name of the candidate's ReplicaSet.
pub fn candidate_set(deployment: &str, id: &str) -> String {
    format!("{deployment}-r{id}")
}

/// The name of the `ControllerRevision` that keeps the stable template of a held Deployment.
pub fn kept_template(release: &str) -> String {
    let cut = release.char_indices().nth(200).map_or(release, |(at, _)| &release[..at]);
    format!("{cut}-haldane-stable")
}

/// The value of `pod-template-hash` of the candidate's pods.
pub fn candidate_hash(id: &str) -> String {
    format!("h{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_to_valid_label_values() {
        assert_eq!(label_value("checkout"), "checkout");
        assert_eq!(label_value(&"a".repeat(80)).len(), 63);
        assert_eq!(label_value(&format!("{}.b", "a".repeat(62))), "a".repeat(62));
    }
}
