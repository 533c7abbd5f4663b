//! The hand-over: the user's Deployment adopts the proven pods by Kubernetes' own rule, an ownerless ReplicaSet that
//! matches its selector and has its template. In this order:
//!
//! 1. `take_template`: the label `haldane.dev/handover`, strategy Recreate and the candidate's template in one patch.
//!    Recreate because a paused rolling Deployment scales its ReplicaSets in proportion, and would cut serving pods.
//! 2. `offer`: the user's labels on the candidate's ReplicaSet. The Deployment adopts it and ends its old pods.
//! 3. `finish_hand_over`: the user's strategy, un-paused, the label off.
//!
//! Until the old pods go all of it can be taken back: `withdraw`, then `restore_template`.

use std::collections::BTreeMap;

use kube::{ResourceExt, api::DynamicObject};
use serde_json::{Value, json};

use super::{
    fresh::{not_yet, refused},
    patch::Edit,
    scope::Scope,
    workload::no_pins,
};
use crate::{
    api::names,
    error::{Error, Result},
    observe::{raw, seen::Hold, template},
};

/// How many pods the Deployment wanted when the ReplicaSet was last sized; saturated means that the two agree.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";

/// The candidate's template into the Deployment, the user's strategy into an annotation.
pub async fn take_template(scope: &Scope<'_>) -> Result<()> {
    let what = format!("taking the candidate's template into Deployment {}", scope.target);
    let candidate = scope.candidate(&what)?;
    let deployment = scope.deployment().await?;
    let set = scope.present_set(candidate, &what).await?;
    let proven = template::bare(raw::pod_template(&set));
    if begun(&deployment, &candidate.id, &what)? {
        return same(&deployment, &proven, &what);
    }
    ready_for_hand_over(&deployment, &set, &what)?;
    if raw::controller(&set).is_some() {
        return Err(refused(what, "something else owns the candidate's ReplicaSet"));
    }
    let present = template::revision(raw::pod_template(&deployment));
    if present != scope.stable.revision && present != candidate.version.revision {
        return Err(refused(what, format!("its template was changed to revision {present} during the release")));
    }
    no_equal_set(scope, &deployment, &set, &what).await?;

    let strategy = deployment.data.pointer("/spec/strategy").cloned().unwrap_or(Value::Null);
    let mut edit = Edit::of(&deployment);
    edit.labels(&deployment, &[(names::HANDOVER, Some(&candidate.id))])
        .annotations(&deployment, &[(names::STRATEGY, Some(&strategy.to_string()))])
        .add(&["spec", "strategy"], json!({"type": "Recreate"}))
        .replace(&["spec", "template"], proven.clone());
    let taken = edit.send(&raw::deployments(&scope.client, scope.namespace), &deployment, &what).await?;
    same(&taken, &proven, &what)
}

/// Whether this candidate's hand-over has begun; another one's is in the way.
fn begun(deployment: &DynamicObject, attempt: &str, what: &str) -> Result<bool> {
    match deployment.labels().get(names::HANDOVER) {
        None => Ok(false),
        Some(id) if id == attempt && raw::recreate(deployment) && raw::paused(deployment) => Ok(true),
        Some(id) if id == attempt => Err(refused(what, "its strategy or its pause was changed by somebody else")),
        Some(id) => Err(refused(what, format!("the hand-over of another attempt ({id}) is not finished"))),
    }
}

/// The template must be the proven one to the last field: Kubernetes compares all of it.
fn same(deployment: &DynamicObject, proven: &Value, what: &str) -> Result<()> {
    match template::difference(&template::bare(raw::pod_template(deployment)), proven) {
        None => Ok(()),
        Some(field) => Err(refused(what, format!("the Deployment's template differs from the proven one in {field}"))),
    }
}

fn ready_for_hand_over(deployment: &DynamicObject, set: &DynamicObject, what: &str) -> Result<()> {
    if !raw::paused(deployment) || !raw::observed(deployment) {
        return Err(not_yet(what, "the Deployment is not paused yet"));
    }
    if set.metadata.deletion_timestamp.is_some() {
        return Err(not_yet(what, "the candidate's ReplicaSet is being deleted"));
    }
    let (wanted, size) = (raw::size(deployment), raw::size(set));
    let available = raw::count(set, "/status/availableReplicas");
    if size != wanted || available != wanted || !raw::observed(set) {
        return Err(not_yet(
            what,
            format!("the candidate has {available} of {size} pods available, {wanted} are wanted"),
        ));
    }
    Ok(())
}

/// The Deployment takes the oldest ReplicaSet with its template; the candidate's must be the only one.
async fn no_equal_set(
    scope: &Scope<'_>,
    deployment: &DynamicObject,
    candidate: &DynamicObject,
    what: &str,
) -> Result<()> {
    let sets = scope.owned_sets(deployment).await?;
    let proven = raw::pod_template(candidate);
    // The candidate's own may be among them: it is adopted between two reads.
    let mut others = sets.iter().filter(|set| set.uid() != candidate.uid());
    let Some(equal) = others.find(|set| template::equal(raw::pod_template(set), proven)) else { return Ok(()) };
    let name = equal.name_any();
    if raw::size(equal) > 0 || raw::count(equal, "/status/replicas") > 0 {
        return Err(refused(what, format!("its ReplicaSet {name} has the same template and pods of its own")));
    }
    Err(not_yet(what, format!("its old ReplicaSet {name} has the same template and must be deleted first")))
}

/// The user's labels on the candidate's ReplicaSet, so that the Deployment adopts it; if the number of wanted pods has
/// moved since, its size follows.
pub async fn offer(scope: &Scope<'_>, wanted: u32) -> Result<()> {
    let what = format!("offering the candidate's ReplicaSet to Deployment {}", scope.target);
    let candidate = scope.candidate(&what)?;
    let deployment = scope.deployment().await?;
    let set = scope.present_set(candidate, &what).await?;
    if !begun(&deployment, &candidate.id, &what)? {
        return Err(not_yet(what, "the Deployment does not have its template yet"));
    }
    let proven = template::bare(raw::pod_template(&set));
    same(&deployment, &proven, &what)?;
    if raw::size(&deployment) != wanted {
        return Err(Error::Stale(format!("the size of Deployment {}", scope.target)));
    }
    let wanted_text = wanted.to_string();
    let mut edit = Edit::of(&set);
    match raw::controller(&set) {
        None => {
            ready_for_hand_over(&deployment, &set, &what)?;
            no_equal_set(scope, &deployment, &set, &what).await?;
        }
        Some(owner) if owner == scope.target_uid => {
            if raw::size(&set) != wanted {
                edit.replace(&["spec", "replicas"], wanted);
            }
        }
        Some(_) => return Err(refused(what, "something else owns it")),
    }
    let labels = template::labels(raw::pod_template(&set));
    let labels: Vec<_> = labels.iter().map(|(key, value)| (key.as_str(), Some(value.as_str()))).collect();
    edit.labels(&set, &labels).annotations(&set, &[(DESIRED, Some(&wanted_text))]);
    edit.send(&raw::replica_sets(&scope.client, scope.namespace), &set, &what).await.map(drop)
}

/// Those labels off again: the Deployment releases the ReplicaSet with all its pods. The release itself is the
/// controller's work; it is done when the ReplicaSet has no owner.
pub async fn withdraw(scope: &Scope<'_>) -> Result<()> {
    let what = format!("withdrawing the candidate's ReplicaSet from Deployment {}", scope.target);
    let deployment = scope.deployment().await?;
    let Some(set) = scope.set(attempt(scope, &deployment)).await? else { return Ok(()) };
    let theirs: Vec<_> = set.labels().keys().filter(|key| !key.starts_with(names::PREFIX)).cloned().collect();
    let theirs: Vec<_> = theirs.iter().map(|key| (key.as_str(), None)).collect();
    let mut edit = Edit::of(&set);
    edit.labels(&set, &theirs).annotations(&set, &[(DESIRED, None)]);
    edit.send(&raw::replica_sets(&scope.client, scope.namespace), &set, &what).await.map(drop)
}

/// The attempt in question: the candidate's, or the one whose hand-over a lost status left behind.
fn attempt<'a>(scope: &'a Scope<'_>, deployment: &'a DynamicObject) -> Option<&'a str> {
    scope.candidate.map(|c| c.id.as_str()).or_else(|| deployment.labels().get(names::HANDOVER).map(String::as_str))
}

/// The stable template and the user's strategy back, the hand-over label off. The Deployment stays paused. Not while it
/// owns the candidate's ReplicaSet: it would end those pods at once.
pub async fn restore_template(scope: &Scope<'_>) -> Result<()> {
    let what = format!("restoring the stable template of Deployment {}", scope.target);
    let deployment = scope.deployment().await?;
    // Of a held Deployment the template is the user's, and he may have proposed it long before; but for an undo.
    let ours = scope.hold == Hold::No || scope.candidate.is_some_and(|c| c.undo);
    if !deployment.labels().contains_key(names::HANDOVER) {
        let present = template::revision(raw::pod_template(&deployment));
        if !ours || present == scope.stable.revision {
            return Ok(());
        }
        return Err(refused(what, format!("its template, revision {present}, was not written by this release")));
    }
    if let Some(set) = scope.set(attempt(scope, &deployment)).await? {
        let selected = raw::selector(&deployment).is_some_and(|selector| raw::matches(&selector, set.labels()));
        if selected || raw::controller(&set).is_some() {
            return Err(not_yet(what, "it has not released the candidate's ReplicaSet yet"));
        }
    }
    let deployments = raw::deployments(&scope.client, scope.namespace);
    let mut edit = Edit::of(&deployment);
    give_back(&mut edit, &deployment, &what)?;
    if !ours {
        return edit.send(&deployments, &deployment, &what).await.map(drop);
    }
    let stable = stable_template(scope, &deployment, &what).await?;
    edit.replace(&["spec", "template"], stable.clone());
    let restored = edit.send(&deployments, &deployment, &what).await?;
    same(&restored, &stable, &what)
}

/// From the stable ReplicaSet; if somebody has deleted that, the Deployment's template with the stable images, or what we have
/// kept of a held Deployment.
pub(super) async fn stable_template(scope: &Scope<'_>, deployment: &DynamicObject, what: &str) -> Result<Value> {
    let sets = scope.owned_sets(deployment).await?;
    if let Some(found) = sets.iter().map(raw::pod_template).find(|t| template::revision(t) == scope.stable.revision) {
        return Ok(template::bare(found));
    }
    let (guess, _) = template::with_images(raw::pod_template(deployment), &scope.stable.images);
    if template::revision(&guess) == scope.stable.revision {
        return Ok(template::bare(&guess));
    }
    let kept = raw::kept(&scope.client, scope.namespace, scope.release).await?;
    if let Some(kept) = kept.filter(|t| template::revision(t) == scope.stable.revision) {
        return Ok(kept);
    }
    Err(refused(what, format!("no ReplicaSet with the stable revision {} is left", scope.stable.revision)))
}

/// The user's strategy back from the annotation; annotation and hand-over label off.
fn give_back(edit: &mut Edit, deployment: &DynamicObject, what: &str) -> Result<()> {
    let saved = deployment.annotations().get(names::STRATEGY);
    let Some(saved) = saved.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return Err(refused(
            what,
            format!(
                "its annotation {} with the user's strategy is missing or unreadable; set spec.strategy by hand and remove the label {}",
                names::STRATEGY,
                names::HANDOVER
            ),
        ));
    };
    match saved {
        Value::Null => edit.remove(&["spec", "strategy"]),
        saved => edit.add(&["spec", "strategy"], saved),
    };
    edit.annotations(deployment, &[(names::STRATEGY, None)]).labels(deployment, &[(names::HANDOVER, None)]);
    Ok(())
}

/// The end: the old pods are gone, no Service is pinned. One write gives the user his strategy, un-paused, and takes the
/// label off. Around it our marks leave the ReplicaSet, which is an ordinary one of the Deployment from now on. `NotYet`
/// while the Deployment's controller has not seen the end: it copies the Deployment's annotations to the ReplicaSet, and
/// from an older look it would bring ours back.
pub async fn finish_hand_over(scope: &Scope<'_>) -> Result<()> {
    let what = format!("finishing the hand-over to Deployment {}", scope.target);
    let deployment = scope.deployment().await?;
    let id = attempt(scope, &deployment).ok_or_else(|| refused(&what, "no hand-over has begun"))?;
    let sets = scope.owned_sets(&deployment).await?;
    let name = names::candidate_set(scope.target, id);
    let Some(adopted) = sets.iter().find(|set| set.name_any() == name) else {
        return Err(not_yet(what, "the Deployment has not adopted the candidate's ReplicaSet yet"));
    };
    if !deployment.labels().contains_key(names::HANDOVER) {
        if !raw::observed(&deployment) {
            return Err(not_yet(what, UNSEEN));
        }
        // `kubectl rollout undo` copies a ReplicaSet's annotations to the Deployment: none of ours may come back that way.
        return tidy(scope, &name, |_| true).await;
    }
    begun(&deployment, id, &what)?;
    same(&deployment, &template::bare(raw::pod_template(adopted)), &what)?;
    ready_for_hand_over(&deployment, adopted, &what)?;
    if let Some(old) = sets.iter().find(|set| set.name_any() != name && raw::size(set) > 0) {
        return Err(not_yet(what, format!("the old ReplicaSet {} still has {} pods", old.name_any(), raw::size(old))));
    }
    no_pins(scope, &deployment, &what).await?;
    // First, for it would keep the Deployment from clearing its history.
    tidy(scope, &name, |key| key == names::CARRIES_TRAFFIC).await?;

    let mut edit = Edit::of(&deployment);
    give_back(&mut edit, &deployment, &what)?;
    if scope.hold != Hold::Always {
        edit.remove(&["spec", "paused"]).labels(&deployment, &[(names::PAUSED_BY, None)]);
    }
    edit.send(&raw::deployments(&scope.client, scope.namespace), &deployment, &what).await?;
    if scope.candidate.is_none() {
        return tidy(scope, &name, |_| true).await; // its label was all that was known of it: now or never
    }
    Err(not_yet(what, UNSEEN))
}

const UNSEEN: &str = "the Deployment's controller has not seen its end";

/// Takes our marks off the adopted ReplicaSet. The Deployment's controller writes to it at the same time.
async fn tidy(scope: &Scope<'_>, name: &str, which: impl Fn(&str) -> bool) -> Result<()> {
    let what = format!("taking our marks off ReplicaSet {name}");
    let sets = raw::replica_sets(&scope.client, scope.namespace);
    let mut tries = 3;
    loop {
        let set = sets.get(name).await.map_err(|e| Error::from_kube(&what, e))?;
        let ours = |map: &BTreeMap<String, String>| -> Vec<String> {
            map.keys().filter(|key| key.starts_with(names::PREFIX) && which(key)).cloned().collect()
        };
        let (labels, annotations) = (ours(set.labels()), ours(set.annotations()));
        let labels: Vec<_> = labels.iter().map(|key| (key.as_str(), None)).collect();
        let annotations: Vec<_> = annotations.iter().map(|key| (key.as_str(), None)).collect();
        let mut edit = Edit::of(&set);
        edit.labels(&set, &labels).annotations(&set, &annotations);
        tries -= 1;
        match edit.send(&sets, &set, &what).await {
            Err(Error::Stale(_)) if tries > 0 => {}
            result => return result.map(drop),
        }
    }
}
