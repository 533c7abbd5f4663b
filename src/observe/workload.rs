//! The Deployment, its ReplicaSets and pods, and the candidate's ReplicaSet, read from the API server as they are now.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::IpAddr,
};

use k8s_openapi::api::core::v1::Pod as RawPod;
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams},
    core::Selector,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    circumstances::{self, Circumstances},
    pods,
    preflight::{self, Preflight},
    raw,
    seen::{Asked, CandidateSet, Hold, OwnedSet, Owner, Pod, Target, Workload},
    template,
};
use crate::{
    api::{
        names,
        state::{State, Version},
    },
    error::{Error, Result},
};

/// What is looked for.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// `spec.images` of the Release. Empty: the Deployment is held.
    pub images: &'a BTreeMap<String, String>,
    /// The API server pauses a held Deployment in the request that changes its template.
    pub at_change: bool,
    /// What is remembered; `None` if nothing is.
    pub state: Option<&'a State>,
    /// The version before the present one, where history knows it.
    pub previous: Option<&'a Version>,
    /// The Release's name and UID.
    pub release: &'a str,
    pub release_uid: &'a str,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct View {
    pub target: Target,
    pub candidate: Option<CandidateSet>,
    /// Pods of both sides, by name.
    pub pods: Vec<Pod>,
    /// The labels of the Deployment's template: what Services select.
    pub template_labels: BTreeMap<String, String>,
    /// `spec.selector.matchLabels` of the Deployment.
    pub selector_labels: BTreeMap<String, String>,
    /// The value of `pod-template-hash` of the stable pods: what a pin to them says.
    pub stable_hash: Option<String>,
    /// The value of `pod-template-hash` of the candidate's pods.
    pub candidate_hash: Option<String>,
    /// Where each pod listens, by its name.
    pub addresses: BTreeMap<String, IpAddr>,
    /// The labels of the pods of other Deployments, by their names; empty while a release is on its way.
    pub neighbours: BTreeMap<String, BTreeMap<String, String>>,
    /// Container ports of the template, by name.
    pub ports: BTreeMap<String, u16>,
    /// What a release under way can do without and could not be read, one sentence each.
    pub unread: Vec<String>,
}

/// Looks at the workload. All reads are answered by the API server's own storage, not by a cache.
pub async fn look(client: &Client, namespace: &str, target: &str, ask: &Ask<'_>) -> Result<View> {
    let sets = raw::replica_sets(client, namespace);
    let deployments = raw::deployments(client, namespace);
    let ours = ListParams::default().labels(&format!("{}={}", names::RELEASE, names::label_value(ask.release)));
    let (deployment, ours) = tokio::try_join!(
        async { deployments.get_opt(target).await.map_err(said(format!("reading Deployment {target}"))) },
        async { sets.list(&ours).await.map_err(said("listing the candidate's ReplicaSets")) },
    )?;
    let mut ours: Vec<DynamicObject> = ours.items.into_iter().filter(|set| belongs(set, ask.release)).collect();
    let Some(deployment) = deployment else { return without_target(client, namespace, target, ours).await };

    let selector = raw::selector(&deployment);
    let wanted_id = ask
        .state
        .and_then(State::candidate)
        .map(|candidate| candidate.id.clone())
        .or_else(|| deployment.labels().get(names::HANDOVER).cloned());
    let wanted_name = wanted_id.as_deref().map(|id| names::candidate_set(target, id));
    let pods_api: Api<RawPod> = Api::namespaced(client.clone(), namespace);
    let (owned, named, raw_pods, mut circumstances) = tokio::try_join!(
        Box::pin(list_selected::<DynamicObject>(&sets, selector.as_ref(), "listing ReplicaSets")),
        async {
            match &wanted_name {
                Some(name) if !ours.iter().any(|set| set.name_any() == *name) => {
                    sets.get_opt(name).await.map_err(said(format!("reading ReplicaSet {name}")))
                }
                _ => Ok(None),
            }
        },
        Box::pin(list_selected(&pods_api, selector.as_ref(), "listing pods")),
        Box::pin(circumstances::look(client, namespace, &deployment, ask)),
    )?;
    let uid = deployment.uid().unwrap_or_default();
    // At the very end of a hand-over our marks are off it, and it is the candidate's all the same.
    let handed_over = |set: &DynamicObject| raw::controller(set) == Some(uid.as_str());
    ours.extend(named.filter(|set| belongs(set, ask.release) || handed_over(set)));
    // Adopted by the Deployment and not of a hand-over under way: an ordinary ReplicaSet of the user.
    ours.retain(|set| Some(set.name_any()) == wanted_name || raw::controller(set) != Some(uid.as_str()));
    // The attempt that is remembered; else one left over: our own before a former Release's, the largest first.
    let own = |set: &DynamicObject| set.annotations().get(names::RELEASE_UID).is_some_and(|uid| uid == ask.release_uid);
    ours.sort_by_key(|set| {
        (Some(set.name_any()) != wanted_name, !own(set), std::cmp::Reverse(raw::size(set)), set.name_any())
    });

    circumstances.shortage = ours.first().and_then(raw::shortage);
    let candidate = ours.first().map(|set| raw::candidate_set(set, target, Some(&uid), selector.as_ref()));
    let mut owned: Vec<OwnedSet> =
        owned.iter().filter(|set| raw::controller(set) == Some(uid.as_str())).map(raw::owned_set).collect();
    owned.sort_by(|a, b| b.number.cmp(&a.number).then_with(|| a.name.cmp(&b.name)));

    let candidate_hash =
        candidate.as_ref().map(|c| c.hash.clone()).or_else(|| wanted_id.as_deref().map(names::candidate_hash));
    let hashes: BTreeSet<String> = owned.iter().map(|set| set.hash.clone()).collect();
    Ok(View {
        addresses: addresses(&raw_pods),
        ports: ports(raw::pod_template(&deployment)),
        pods: pods::sides(&raw_pods, candidate_hash.as_deref(), &hashes),
        template_labels: template::labels(raw::pod_template(&deployment)),
        selector_labels: template::string_map(deployment.data.pointer("/spec/selector/matchLabels")),
        stable_hash: stable_hash(&deployment, &owned, candidate_hash.as_deref(), ask.state, ask.images.is_empty()),
        target: Target::Found(Box::new(workload(&deployment, owned, candidate.as_ref(), ask, &circumstances))),
        candidate,
        candidate_hash,
        neighbours: circumstances.neighbours.pods,
        unread: circumstances.failed,
    })
}

/// A ReplicaSet of this Release, or of a former one of its name: that one is gone, and what it left is ours to clear.
fn belongs(set: &DynamicObject, release: &str) -> bool {
    set.annotations().get(names::RELEASE).is_some_and(|name| name == release)
}

/// The Deployment is gone; what is left of the candidate is still to be found.
async fn without_target(client: &Client, namespace: &str, target: &str, ours: Vec<DynamicObject>) -> Result<View> {
    let candidate = ours.iter().max_by_key(|set| raw::size(set)).map(|set| raw::candidate_set(set, target, None, None));
    let pods = match &candidate {
        Some(set) => {
            let pods: Api<RawPod> = Api::namespaced(client.clone(), namespace);
            let selected = ListParams::default().labels(&format!("{}={}", names::HASH, set.hash));
            pods.list(&selected).await.map_err(said("listing pods"))?.items
        }
        None => Vec::new(),
    };
    let candidate_hash = candidate.as_ref().map(|c| c.hash.clone());
    Ok(View {
        target: Target::Missing,
        pods: pods::sides(&pods, candidate_hash.as_deref(), &BTreeSet::new()),
        candidate,
        template_labels: BTreeMap::new(),
        selector_labels: BTreeMap::new(),
        stable_hash: None,
        candidate_hash,
        addresses: addresses(&pods),
        neighbours: BTreeMap::new(),
        ports: BTreeMap::new(),
        unread: Vec::new(),
    })
}

fn addresses(pods: &[RawPod]) -> BTreeMap<String, IpAddr> {
    let listening =
        pods.iter().filter_map(|pod| Some((pod.name_any(), pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?)));
    listening.collect()
}

fn ports(template: &Value) -> BTreeMap<String, u16> {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let ports = containers.flat_map(|c| c.get("ports").and_then(Value::as_array).into_iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.get("containerPort")?.as_u64()?;
            Some((port.get("name")?.as_str()?.to_owned(), u16::try_from(number).ok()?))
        })
        .collect()
}

/// The ReplicaSet that runs the stable version: the largest with its template, else the newest.
fn stable_hash(
    deployment: &DynamicObject,
    owned: &[OwnedSet],
    candidate: Option<&str>,
    state: Option<&State>,
    held: bool,
) -> Option<String> {
    let remembered = state.map(|state| state.stable().revision.clone());
    let others = || owned.iter().filter(|set| Some(set.hash.as_str()) != candidate);
    // During a hand-over, and of a held Deployment, the template may be a candidate's: the stable pods are the others.
    if remembered.is_none() && (deployment.labels().contains_key(names::HANDOVER) || held && raw::paused(deployment)) {
        return others().max_by_key(|set| (set.size, set.number)).map(|set| set.hash.clone());
    }
    let revision = remembered.unwrap_or_else(|| template::revision(raw::pod_template(deployment)));
    owned
        .iter()
        .filter(|set| set.revision == revision)
        .max_by_key(|set| (set.size, set.number))
        .map(|set| set.hash.clone())
}

fn workload(
    deployment: &DynamicObject,
    sets: Vec<OwnedSet>,
    candidate: Option<&CandidateSet>,
    ask: &Ask<'_>,
    around: &Circumstances,
) -> Workload {
    let current = raw::pod_template(deployment);
    let ask_for = |images| {
        let (asked, unknown) = template::with_images(current, images);
        Asked { revision: template::revision(&asked), images: template::images(&asked), unknown }
    };
    let handover = deployment.labels().get(names::HANDOVER).cloned();
    let held = ask.images.is_empty();
    let (paused, recreate) = (raw::paused(deployment), raw::recreate(deployment));
    let ours = deployment.labels().contains_key(names::PAUSED_BY)
        || handover.is_some()
        || ask.state.is_some_and(State::active)
        || candidate.is_some_and(|c| c.owner != Owner::Deployment);
    let name = deployment.name_any();
    let asked = ask_for(ask.images);
    let images: Vec<String> = asked.images.values().cloned().collect();
    let preflight = Preflight {
        name: &name,
        images: &images,
        spec: deployment.data.get("spec").unwrap_or(&Value::Null),
        paused_by_user: paused && !ours && !held,
        recreate: recreate && handover.is_none(),
        single_node_claims: &around.single_node_claims,
        budgets: &around.budgets,
        autoscalers: &around.autoscaler_warnings,
    };
    Workload {
        uid: deployment.uid().unwrap_or_default(),
        hold: match (held, ask.at_change) {
            (false, _) => Hold::No,
            (true, false) => Hold::Always,
            (true, true) => Hold::AtChange,
        },
        marked_held: deployment.labels().contains_key(names::HELD),
        kept: around.kept.clone(),
        observed: raw::observed(deployment),
        paused,
        marked_paused: deployment.labels().contains_key(names::PAUSED_BY),
        deleting: deployment.metadata.deletion_timestamp.is_some(),
        wanted: raw::size(deployment),
        revision: template::revision(current),
        images: template::images(current),
        asked,
        previous: ask
            .previous
            .and_then(|before| if held { remembered(&sets, before) } else { Some(ask_for(&before.images)) }),
        handover,
        recreate,
        settled: if held && paused { settled_in_pause(deployment, &sets) } else { settled(deployment) },
        refusals: preflight.refusals().into_iter().chain(around.neighbours.overlaps.iter().cloned()).collect(),
        warnings: preflight.warnings().into_iter().chain(around.unread.iter().cloned()).collect(),
        pre_stop: preflight::pre_stop(current),
        autoscaler: around.autoscaler,
        shortage: around.shortage.clone(),
        sets,
        name,
    }
}

/// As `kubectl rollout status` judges it.
pub fn settled(deployment: &DynamicObject) -> bool {
    let [wanted, all, updated, available] = [
        raw::size(deployment),
        raw::count(deployment, "/status/replicas"),
        raw::count(deployment, "/status/updatedReplicas"),
        raw::count(deployment, "/status/availableReplicas"),
    ];
    raw::observed(deployment) && updated >= wanted && all <= updated && available >= updated
}

/// All wanted pods are available and of one template, which need not be the one that a paused Deployment asks for.
fn settled_in_pause(deployment: &DynamicObject, sets: &[OwnedSet]) -> bool {
    let wanted = raw::size(deployment);
    let all = raw::count(deployment, "/status/replicas");
    let one = sets.iter().filter(|set| set.size > 0).count() <= 1;
    raw::observed(deployment) && one && all == wanted && raw::count(deployment, "/status/availableReplicas") >= wanted
}

/// A version before the present one, as long as the Deployment remembers it.
fn remembered(sets: &[OwnedSet], before: &Version) -> Option<Asked> {
    let set = sets.iter().find(|set| set.revision == before.revision)?;
    Some(Asked { revision: set.revision.clone(), images: set.images.clone(), unknown: Vec::new() })
}

/// Lists what a selector selects; nothing without one.
async fn list_selected<K>(api: &Api<K>, selector: Option<&Selector>, what: &str) -> Result<Vec<K>>
where
    K: Clone + DeserializeOwned + Debug,
{
    let Some(selector) = selector else { return Ok(Vec::new()) };
    let list = api.list(&ListParams::default().labels_from(selector)).await.map_err(said(what))?;
    Ok(list.items)
}

fn said(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
    let what = what.into();
    move |source| Error::from_kube(what, source)
}
