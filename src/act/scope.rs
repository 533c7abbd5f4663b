//! What every write needs to know: whose release it is, and which objects it is about.

use kube::Client;

use crate::{
    api::state::{Candidate, PinnedTraffic, Version},
    observe::seen::Hold,
};

/// The release a write belongs to. The client refuses writes without leadership and ends every call in time.
#[derive(Clone)]
pub struct Scope<'a> {
    pub client: Client,
    pub namespace: &'a str,
    /// The Release's name and UID.
    pub release: &'a str,
    pub release_uid: &'a str,
    /// The Deployment's name and UID; a namesake with another UID is never written to.
    pub target: &'a str,
    pub target_uid: &'a str,
    /// What keeps the Deployment from rolling out what its template says.
    pub hold: Hold,
    /// The operator's own image, where it is known: what a Redis step runs.
    pub image: Option<&'a str>,
    pub stable: &'a Version,
    pub candidate: Option<&'a Candidate>,
    /// Services, routes and header: as pinned, or as the Release names them where nothing is.
    pub traffic: &'a PinnedTraffic,
}
