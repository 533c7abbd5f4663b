//! Where the traffic goes. Each function does one effect: it looks once more, and writes only the difference.
//!
//! - `pins`: our key in the selectors of the user's Services.
//! - `canary`: the Service beside each of them that selects the candidate alone.
//! - `routes`: the candidate's share in the user's routes. What a share looks like in a kind of route is pure
//!   (`api::routes`, one file per kind); how it is written is the same for all.
//!
//! Every patch tests what it was computed from. A test that fails is `Error::Stale`: nothing was written, look again.

pub mod canary;
pub mod pins;
pub mod routes;

use std::fmt::Debug;

use json_patch::{AddOperation, PatchOperation, RemoveOperation, TestOperation};
use jsonptr::PointerBuf;
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::scope::Scope;
use crate::{
    api::names,
    error::{Error, Result},
};

fn services(scope: &Scope<'_>) -> Api<Service> {
    Api::namespaced(scope.client.clone(), scope.namespace)
}

/// A Service as it is now; `None` if there is none.
async fn service(scope: &Scope<'_>, name: &str) -> Result<Option<Service>> {
    let found = services(scope).get_opt(name).await;
    found.map_err(|e| Error::from_kube(format!("reading Service {name}"), e))
}

fn gone(name: &str, doing: String) -> Error {
    Error::Refused { what: doing, why: format!("Service {name} does not exist") }
}

/// The guard of every patch: this object, not a namesake created since.
fn same(object: &impl Resource) -> PatchOperation {
    test(&["metadata", "uid"], object.uid().unwrap_or_default())
}

fn test(path: &[&str], value: impl Into<Value>) -> PatchOperation {
    PatchOperation::Test(TestOperation { path: pointer(path), value: value.into() })
}

fn set(path: &[&str], value: impl Into<Value>) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: pointer(path), value: value.into() })
}

fn remove(path: &[&str]) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path: pointer(path) })
}

fn pointer(path: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().copied())
}

async fn send<K>(api: &Api<K>, name: &str, patch: json_patch::Patch, doing: String) -> Result<()>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = PatchParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PatchParams::default() };
    let sent = api.patch(name, &params, &Patch::<Value>::Json(patch)).await;
    sent.map(drop).map_err(|e| Error::from_kube(doing, e))
}

/// A part of an object as JSON, for a test or a write.
fn json(part: &impl Serialize, doing: &str) -> Result<Value> {
    let failed = |e| Error::Api { what: doing.to_owned(), source: Box::new(kube::Error::SerdeError(e)) };
    serde_json::to_value(part).map_err(failed)
}
