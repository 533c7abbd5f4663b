//! What stands around a workload and bears on a release of it: autoscalers, budgets, claims, other Deployments.

use std::{collections::BTreeSet, fmt::Debug};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::PersistentVolumeClaim, policy::v1::PodDisruptionBudget},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DynamicObject, ListParams},
    core::Selector,
};
use serde::de::DeserializeOwned;

use super::{
    autoscaler, neighbours, preflight, raw,
    seen::Autoscaler,
    template,
    traffic::{PATIENCE, in_time},
    workload::Ask,
};
use crate::{
    api::state::{Revision, State},
    error::{Error, Result},
};

/// What stands around the workload and bears on a release.
#[derive(Default)]
pub struct Circumstances {
    pub neighbours: neighbours::Neighbours,
    /// Why the candidate's ReplicaSet gets no pods.
    pub shortage: Option<String>,
    pub autoscaler: Option<Autoscaler>,
    /// What speaks against it, one sentence each.
    pub autoscaler_warnings: Vec<String>,
    pub budgets: Vec<String>,
    pub single_node_claims: BTreeSet<String>,
    /// What could not be read, one sentence each.
    pub unread: Vec<String>,
    /// What our `ControllerRevision` keeps.
    pub kept: Option<Revision>,
    /// What a release under way could not read this time, one sentence each.
    pub failed: Vec<String>,
}

/// Budgets and claims bear on the start of a release only; `active` ones do without.
pub async fn look(
    client: &Client,
    namespace: &str,
    deployment: &DynamicObject,
    ask: &Ask<'_>,
) -> Result<Circumstances> {
    let active = ask.state.is_some_and(State::active);
    let current = raw::pod_template(deployment);
    let wants_claims = !active && !preflight::claims(current).is_empty();
    let mut found = Circumstances::default();
    let (autoscalers, budgets, claims, neighbours, kept) = tokio::join!(
        in_time(PATIENCE, "listing autoscalers", permitted::<HorizontalPodAutoscaler>(client, namespace, true)),
        permitted::<PodDisruptionBudget>(client, namespace, !active),
        permitted::<PersistentVolumeClaim>(client, namespace, wants_claims),
        async {
            if active {
                Ok(neighbours::Neighbours::default())
            } else {
                neighbours::look(client, namespace, deployment).await
            }
        },
        async {
            if active || !ask.images.is_empty() { Ok(None) } else { raw::kept(client, namespace, ask.release).await }
        },
    );
    found.kept = kept?.as_ref().map(template::revision);
    found.neighbours = neighbours?;
    let autoscalers = match autoscalers {
        Err(error) if active => {
            found.failed.push(error.to_string());
            Some(Vec::new())
        }
        other => other?,
    };
    let (budgets, claims) = (budgets?, claims?);
    let name = deployment.name_any();
    let mut unread = |what: &str| {
        found.unread.push(format!("{what} cannot be read: the operator's role does not allow it"));
    };
    let autoscalers = autoscalers.unwrap_or_else(|| (unread("HorizontalPodAutoscalers"), Vec::new()).1);
    let budgets = budgets.unwrap_or_else(|| (unread("PodDisruptionBudgets"), Vec::new()).1);
    let claims = claims.unwrap_or_else(|| (unread("PersistentVolumeClaims"), Vec::new()).1);

    for hpa in autoscalers.iter().filter(|hpa| autoscaler::scales(hpa, &name)) {
        found.autoscaler = Some(autoscaler::told(hpa));
        found.autoscaler_warnings.extend(autoscaler::warning(hpa));
    }
    let labels = template::labels(current);
    found.budgets = budgets
        .into_iter()
        .filter(|budget| {
            let Some(spec) = &budget.spec else { return false };
            let selector = spec.selector.clone().and_then(|s| Selector::try_from(s).ok());
            spec.min_available.is_some() && selector.is_some_and(|s| raw::matches(&s, &labels))
        })
        .map(|budget| budget.name_any())
        .collect();
    found.single_node_claims = claims
        .into_iter()
        .filter(|claim| {
            let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
            !modes.is_empty() && modes.iter().all(|mode| mode.starts_with("ReadWriteOnce"))
        })
        .map(|claim| claim.name_any())
        .collect();
    Ok(found)
}

/// Lists a kind that a small role may not be allowed to see; `None` if so.
async fn permitted<K>(client: &Client, namespace: &str, wanted: bool) -> Result<Option<Vec<K>>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    if !wanted {
        return Ok(Some(Vec::new()));
    }
    match Api::<K>::namespaced(client.clone(), namespace).list(&ListParams::default()).await {
        Ok(list) => Ok(Some(list.items)),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(None),
        Err(e) => Err(Error::from_kube(format!("listing {}", K::plural(&())), e)),
    }
}
