//! Whether the API server itself holds Deployments: by a policy that pauses one in the request that changes its template.

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};

/// The policy and its binding.
const POLICY: &str = "haldane-hold-at-change";
const GROUP: &str = "admissionregistration.k8s.io";
/// Served from Kubernetes 1.36 on; before, where its administrator has switched it on.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// Whether policy and binding stand. `None`: it could not be asked.
pub async fn at_change(client: &Client) -> Option<bool> {
    for version in VERSIONS {
        let there = async |kind: &str, plural: &str| {
            let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, version, kind), plural);
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            match api.get(POLICY).await {
                Ok(_) => Some(true),
                // Without the kind, and without the object; and a small role may not be allowed to look.
                Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Some(false),
                Err(_) => None,
            }
        };
        let (policy, binding) = tokio::join!(
            there("MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
            there("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
        );
        if policy? && binding? {
            return Some(true);
        }
    }
    Some(false)
}
