//! The finalizer on the Release: while it stands, deleting the Release waits for us to clean up.

use kube::{
    Api,
    api::{ApiResource, DynamicObject},
};

use super::{patch::Edit, scope::Scope};
use crate::{
    api::{Release, release::FINALIZER},
    error::{Error, Result},
};

pub async fn add_finalizer(scope: &Scope<'_>) -> Result<()> {
    set(scope, true).await
}

pub async fn drop_finalizer(scope: &Scope<'_>) -> Result<()> {
    set(scope, false).await
}

async fn set(scope: &Scope<'_>, wanted: bool) -> Result<()> {
    let what = format!("{} the finalizer of Release {}", if wanted { "adding" } else { "removing" }, scope.release);
    // Untyped: a Release that this binary cannot read must still be let go.
    let kind = ApiResource::erase::<Release>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(scope.client.clone(), scope.namespace, &kind);
    let Some(release) = api.get_opt(scope.release).await.map_err(|e| Error::from_kube(&what, e))? else {
        return if wanted { Err(Error::Stale(format!("Release {}", scope.release))) } else { Ok(()) };
    };
    if release.metadata.uid.as_deref() != Some(scope.release_uid) {
        // Another Release of this name: its finalizer is not this one's business.
        return if wanted { Err(Error::Stale(format!("Release {}", scope.release))) } else { Ok(()) };
    }
    let mut finalizers = release.metadata.finalizers.clone().unwrap_or_default();
    if finalizers.iter().any(|f| f == FINALIZER) == wanted {
        return Ok(());
    }
    finalizers.retain(|f| f != FINALIZER);
    if wanted {
        finalizers.push(FINALIZER.into());
    }
    let mut edit = Edit::of(&release);
    edit.add(&["metadata", "finalizers"], finalizers);
    edit.send(&api, &release, &what).await.map(drop)
}
