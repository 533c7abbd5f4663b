//! Where the traffic goes. Each function does one effect: it looks once more, and writes only the difference.
//!
//! - `pins`: our key in the selectors of the user's Services.
//! - `canary`: the Service beside each of them that selects the candidate alone.
//! - `destination_rules`: what Istio is told of the user's Services, said of their canaries too.
//! - `routes`: the candidate's share in the user's routes. What a share looks like in a kind of route is pure
//!   (`api::routes`, one file per kind); how it is written is the same for all.
//!
//! Every patch tests the fields it was computed from, and not the resourceVersion: gateways write the status of routes
//! at any moment, and a rollback must not lose a race against them. A test that fails is `Error::Stale`: nothing was
//! written, look again.

pub mod canary;
pub mod destination_rules;
pub mod pins;
pub mod routes;

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use serde::Serialize;
use serde_json::Value;

use super::scope::Scope;
use crate::error::{Error, Result};

fn services(scope: &Scope<'_>) -> Api<Service> {
    Api::namespaced(scope.client.clone(), scope.namespace)
}

/// A Service as it is now; `None` if there is none.
async fn service(scope: &Scope<'_>, name: &str) -> Result<Option<Service>> {
    let found = services(scope).get_opt(name).await;
    found.map_err(|e| Error::from_kube(format!("reading Service {name}"), e))
}

/// A part of an object as JSON, for a test or a write.
fn json(part: &impl Serialize, doing: &str) -> Result<Value> {
    let failed = |e| Error::Api { what: doing.to_owned(), source: Box::new(kube::Error::SerdeError(e)) };
    serde_json::to_value(part).map_err(failed)
}
