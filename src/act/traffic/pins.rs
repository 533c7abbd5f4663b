//! Pins: our key in the selector of a user's Service, so that it reaches the pods of one side only.
//!
//! By JSON patch and never by server-side apply: a selector is one atomic field, and an apply with our key alone would
//! take the user's away.

use super::{service, services};
use crate::{
    act::{fresh::refused, patch::Edit, scope::Scope},
    api::names,
    error::Result,
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
        return hash.map_or(Ok(()), |_| Err(refused(doing, "it does not exist")));
    };
    let spec = found.spec.clone().unwrap_or_default();
    let selector = spec.selector.unwrap_or_default();
    if selector.get(names::HASH).map(String::as_str) == hash {
        return Ok(());
    }
    let unusable = spec.type_.as_deref() == Some("ExternalName") || selector.keys().all(|key| key == names::HASH);
    if hash.is_some() && unusable {
        return Err(refused(doing, "it has no selector of its own, or is of type ExternalName"));
    }
    let mut edit = Edit::of(&found);
    let path = ["spec", "selector", names::HASH];
    match hash {
        Some(hash) => edit.add(&path, hash),
        None => edit.remove(&path),
    };
    edit.send(&services(scope), &found, &doing).await.map(drop)
}
