//! Looking once more before a write: the Deployment and the candidate's ReplicaSet as they are now, or a refusal.

use kube::{
    ResourceExt,
    api::{DynamicObject, ListParams},
};

use super::scope::Scope;
use crate::{
    api::{names, state::Candidate},
    error::{Error, Result},
    observe::raw,
};

/// The write must wait; nothing was written.
pub fn not_yet(what: impl Into<String>, why: impl Into<String>) -> Error {
    Error::NotYet { what: what.into(), why: why.into() }
}

/// The write must not happen at all.
pub fn refused(what: impl Into<String>, why: impl Into<String>) -> Error {
    Error::Refused { what: what.into(), why: why.into() }
}

impl Scope<'_> {
    /// The Deployment this release is about, never a namesake.
    pub(super) async fn deployment(&self) -> Result<DynamicObject> {
        let what = format!("reading Deployment {}", self.target);
        let found = raw::deployments(&self.client, self.namespace).get(self.target).await;
        let found = found.map_err(|e| Error::from_kube(&what, e))?;
        if found.uid().as_deref() != Some(self.target_uid) {
            return Err(Error::Stale(format!("Deployment {} (it was deleted and created anew)", self.target)));
        }
        Ok(found)
    }

    pub(super) fn candidate(&self, what: &str) -> Result<&Candidate> {
        self.candidate.ok_or_else(|| refused(what, "this release has no candidate"))
    }

    /// The candidate's ReplicaSet, if it is there and ours. `id`: of the attempt; without one, any left over, but none
    /// that the Deployment owns: with a mark of ours still on it, it is an ordinary ReplicaSet of the user all the same.
    pub(super) async fn set(&self, id: Option<&str>) -> Result<Option<DynamicObject>> {
        let sets = raw::replica_sets(&self.client, self.namespace);
        if let Some(id) = id {
            let name = names::candidate_set(self.target, id);
            let found =
                sets.get_opt(&name).await.map_err(|e| Error::from_kube(format!("reading ReplicaSet {name}"), e))?;
            return Ok(found.filter(|set| self.owns(set)));
        }
        let ours = ListParams::default().labels(&format!("{}={}", names::RELEASE, names::label_value(self.release)));
        let found = sets.list(&ours).await.map_err(|e| Error::from_kube("listing the candidate's ReplicaSets", e))?;
        let left_over = |set: &DynamicObject| self.owns(set) && raw::controller(set) != Some(self.target_uid);
        let found = found.items.into_iter().filter(left_over);
        Ok(found.max_by_key(|set| (raw::size(set), set.name_any())))
    }

    /// The candidate's ReplicaSet, which must be there.
    pub(super) async fn present_set(&self, candidate: &Candidate, what: &str) -> Result<DynamicObject> {
        let found = self.set(Some(&candidate.id)).await?;
        found.ok_or_else(|| not_yet(what, "the candidate's ReplicaSet does not exist"))
    }

    /// Names are unique, so a former Release of this name is gone and what it left is ours.
    fn owns(&self, set: &DynamicObject) -> bool {
        set.annotations().get(names::RELEASE).is_some_and(|name| name == self.release)
    }

    /// The ReplicaSets that the Deployment owns, the adopted candidate included.
    pub(super) async fn owned_sets(&self, deployment: &DynamicObject) -> Result<Vec<DynamicObject>> {
        let Some(selector) = raw::selector(deployment) else { return Ok(Vec::new()) };
        let params = ListParams::default().labels_from(&selector);
        let sets = raw::replica_sets(&self.client, self.namespace);
        let found = sets.list(&params).await.map_err(|e| Error::from_kube("listing ReplicaSets", e))?;
        Ok(found.items.into_iter().filter(|set| raw::controller(set) == Some(self.target_uid)).collect())
    }
}
