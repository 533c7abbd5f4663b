//! What the cluster says of the same names, with the rights of whoever asks. Values are compared here and go no further.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams},
};
use serde_json::Value;

use super::{
    contents,
    manifests::{Kind, Manifest},
};
use crate::{
    api::Release,
    cli::client::{Reach, within},
    observe::raw,
};

/// What stands in the cluster under the name of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    Absent,
    /// Its keys whose values differ; none: it is the same.
    Differs(Vec<String>),
}

/// By kind, namespace and name; what could not be read is not in it.
pub type Known = BTreeMap<(Kind, String, String), Live>;

/// The Releases of a namespace; or, as a sentence, that they may not be listed.
pub async fn releases(reach: &Reach, namespace: &str) -> anyhow::Result<Result<Vec<Release>, String>> {
    let api: Api<Release> = Api::namespaced(reach.client.clone(), namespace);
    let what = format!("listing the Releases of namespace {namespace}");
    let list = within(&what, permitted(api.list(&ListParams::default()))).await?;
    Ok(list.map(|list| list.items).map_err(|why| format!("{what}: {why}; only Releases of the files count")))
}

/// The Deployment as it stands in the cluster, if it does and may be read.
pub async fn deployment(reach: &Reach, namespace: &str, name: &str) -> anyhow::Result<Option<Value>> {
    let what = format!("reading Deployment {name} of namespace {namespace}");
    let found = within(&what, permitted(raw::deployments(&reach.client, namespace).get_opt(name))).await?;
    Ok(found.ok().flatten().map(serde_json::to_value).transpose()?)
}

/// Compares a manifest with what stands in the cluster. The error of the inner result: it may not be read.
pub async fn compare(reach: &Reach, manifest: &Manifest) -> anyhow::Result<Result<Live, String>> {
    let Manifest { kind, namespace, name, object, .. } = manifest;
    let resource = match kind {
        Kind::Secret => ApiResource::erase::<Secret>(&()),
        _ => ApiResource::erase::<ConfigMap>(&()),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(reach.client.clone(), namespace, &resource);
    let what = format!("reading {kind} {name} of namespace {namespace}");
    let found = within(&what, permitted(api.get_opt(name))).await?;
    Ok(found.map(|found| match found {
        None => Live::Absent,
        Some(live) => Live::Differs(contents::changed(*kind, object, &live.data)),
    }))
}

/// What a person has no right to, and what the cluster does not know, is an answer and no failure.
async fn permitted<T>(call: impl Future<Output = kube::Result<T>>) -> kube::Result<Result<T, String>> {
    match call.await {
        Ok(answer) => Ok(Ok(answer)),
        Err(kube::Error::Api(status)) if status.is_forbidden() || status.is_not_found() => Ok(Err(status.message)),
        Err(other) => Err(other),
    }
}
