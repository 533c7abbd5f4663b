//! The orders of people: ReleaseActions that name this Release, oldest first; and whether who gave them is proven.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::{Api, Client, ResourceExt, api::ListParams, core::DeserializeGuard};

use super::seen::Order;
use crate::{
    api::{ReleaseAction, units::At},
    error::{Error, Result},
};

/// The policy (and its binding) by which the API server proves `spec.by`.
const POLICY: &str = "haldane-releaseaction";

/// All orders to the Release of this name. One that cannot be read stops no other.
pub async fn look(client: &Client, namespace: &str, release: &str, proven: bool) -> Result<Vec<Order>> {
    let api: Api<DeserializeGuard<ReleaseAction>> = Api::namespaced(client.clone(), namespace);
    let found = api.list(&ListParams::default()).await.map_err(|e| Error::from_kube("listing ReleaseActions", e))?;
    let actions = found.items.into_iter().filter_map(|guarded| guarded.0.ok());
    let ours = actions.filter(|action| action.spec.release == release);
    let mut orders: Vec<Order> = ours.map(|action| order(action, proven)).collect();
    orders.sort_by(|a, b| (a.created_at, &a.uid).cmp(&(b.created_at, &b.uid)));
    Ok(orders)
}

/// One order as it is stored.
pub fn order(action: ReleaseAction, proven: bool) -> Order {
    Order {
        uid: action.uid().unwrap_or_default(),
        created_at: At::new(action.metadata.creation_timestamp.as_ref().map(|t| t.0).unwrap_or_default()),
        release_uid: action.spec.release_uid,
        revision: action.spec.revision,
        kind: action.spec.r#type,
        to: action.spec.to.unwrap_or_default(),
        step: action.spec.step,
        until: action.spec.until,
        by: action.spec.by,
        reason: action.spec.reason,
        proven,
    }
}

/// Whether the policy stands and is bound. What cannot be read does not prove anything.
pub async fn proven(client: &Client) -> bool {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let (policy, binding) = tokio::join!(policies.get_opt(POLICY), bindings.get_opt(POLICY));
    matches!((policy, binding), (Ok(Some(_)), Ok(Some(_))))
}
