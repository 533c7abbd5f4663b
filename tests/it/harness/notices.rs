//! What is left to tell. That an Event was created is stored with the next status write only, so the outbox of a Release
//! at rest may still name it.

use haldane::api::{ReleaseStatus, notice::EVENT_CHANNEL};
use k8s_openapi::api::events::v1::Event;
use kube::{Api, ResourceExt, api::ListParams};

/// Nothing but Events is left.
pub fn only_events_left(status: &ReleaseStatus) -> bool {
    status.memory.outbox.iter().all(|notice| notice.pending.iter().all(|channel| channel == EVENT_CHANNEL))
}

/// Whether the Event of the last notice is there, if there was one; they are created in order.
pub async fn last_event_is_there(events: &Api<Event>, release: &str, status: &ReleaseStatus) -> bool {
    if status.memory.notices == 0 {
        return true;
    }
    let (begin, end) = (format!("{release}."), format!(".{}", status.memory.notices));
    let Ok(all) = events.list(&ListParams::default()).await else { return false };
    all.items.iter().map(ResourceExt::name_any).any(|name| name.starts_with(&begin) && name.ends_with(&end))
}
