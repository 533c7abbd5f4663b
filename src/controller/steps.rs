//! The steps of a pass that concern the Release itself: read it as it is now, remember, tell.

use kube::{Api, ResourceExt};
use tracing::warn;

use super::context::Context;
use crate::{
    api::Release,
    error::{Error, Result},
    tell::{
        outbox::Subject,
        status::{self, Change, SOFT_PAUSE, Shown, change, status, too_new},
    },
};

/// The Release as the API server has it now; `None` when it is gone, is another one of the same name, or is kept by a
/// newer version of the operator. The watch may be behind, above all behind our own last write.
pub async fn present(ctx: &Context, watched: &Release) -> Result<Option<Release>> {
    let name = watched.name_any();
    let api: Api<Release> = Api::namespaced(ctx.client.clone(), &watched.namespace().unwrap_or_default());
    let found = api.get_opt(&name).await.map_err(|e| Error::from_kube(format!("reading Release {name}"), e))?;
    let Some(release) = found.filter(|found| found.metadata.uid == watched.metadata.uid) else { return Ok(None) };
    if let Some(version) = too_new(release.status.as_ref()) {
        ctx.metrics.status_too_new();
        warn!(version, "a newer version of the operator wrote this status; it is left alone");
        return Ok(None);
    }
    Ok(Some(release))
}

/// Stores what was decided if it says something new: facts at once, counts and sentences once a minute. Gives the
/// Release as it is stored now. After this failed twice, `Notes::unrecorded` permits to take a bad version's traffic
/// away all the same.
pub async fn remember(ctx: &Context, release: &Release, shown: &Shown<'_>) -> Result<Release> {
    let before = release.status.as_ref();
    let after = status(shown, before);
    let uid = release.uid().unwrap_or_default();
    let due = match change(before, &after) {
        Change::None => false,
        Change::Soft => ctx.notes.since_stored(&uid).is_none_or(|since| since >= SOFT_PAUSE),
        Change::Hard => true,
    };
    if !due {
        return Ok(release.clone());
    }
    let outcome = status::remember(&ctx.client, release, &after).await;
    match &outcome {
        Ok(_) => ctx.notes.stored(&uid),
        Err(Error::Stale(_)) => {}
        Err(_) => ctx.notes.not_stored(&uid),
    }
    outcome
}

/// Hands the stored outbox over and counts the Release under its phase and verdict. Never waits, never fails.
pub fn tell(ctx: &Context, stored: &Release) {
    let Some(status) = &stored.status else { return };
    let subject = Subject {
        namespace: stored.namespace().unwrap_or_default(),
        name: stored.name_any(),
        uid: stored.uid().unwrap_or_default(),
        state: status.phase.clone(),
        version: status.version.clone(),
    };
    ctx.metrics.phase(&subject.uid, Some(&status.phase));
    ctx.metrics.verdict(&subject.uid, status.verdict.as_deref());
    ctx.outbox.hand_over(&subject, &status.memory.outbox);
}
