//! Pins: our key in the selector of a user's Service, so that it reaches the pods of one side only.
//!
//! By JSON patch and never by server-side apply: a selector is one atomic field, and an apply with our key alone would
//! take the user's away.

use json_patch::Patch;

use super::{gone, json, remove, same, send, service, services, set, test};
use crate::{
    act::scope::Scope,
    api::names,
    error::{Error, Result},
};

/// Lets `service` reach only pods with this `pod-template-hash`. A Service without a selector is refused.
pub async fn pin(scope: &Scope<'_>, service: &str, hash: &str) -> Result<()> {
    write(scope, service, Some(hash)).await
}

/// Takes our key out again. A Service that is gone needs nothing.
pub async fn unpin(scope: &Scope<'_>, service: &str) -> Result<()> {
    write(scope, service, None).await
}

async fn write(scope: &Scope<'_>, name: &str, hash: Option<&str>) -> Result<()> {
    let doing = match hash {
        Some(hash) => format!("pinning Service {name} to {hash}"),
        None => format!("unpinning Service {name}"),
    };
    let Some(found) = service(scope, name).await? else {
        return hash.map_or(Ok(()), |_| Err(gone(name, doing)));
    };
    let spec = found.spec.clone().unwrap_or_default();
    let selector = spec.selector.unwrap_or_default();
    let present = selector.get(names::HASH).map(String::as_str);
    if present == hash {
        return Ok(());
    }
    let unusable = spec.type_.as_deref() == Some("ExternalName") || selector.keys().all(|key| key == names::HASH);
    if hash.is_some() && unusable {
        let why = format!("Service {name} has no selector of its own, or is of type ExternalName");
        return Err(Error::Refused { what: doing, why });
    }
    let path = ["spec", "selector", names::HASH];
    let change = hash.map_or_else(|| remove(&path), |hash| set(&path, hash));
    let tested = test(&["spec", "selector"], json(&selector, &doing)?);
    send(&services(scope), name, Patch(vec![same(&found), tested, change]), doing).await
}
