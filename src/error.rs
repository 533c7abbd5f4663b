//! What can go wrong with a call to the API server, sorted by what to do about it.

/// One call that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object changed between looking and writing: look again.
    #[error("{0} changed since it was read")]
    Stale(String),
    /// The world is not yet as this write needs it, and nothing was written: look again.
    #[error("{what} has to wait: {why}")]
    NotYet { what: String, why: String },
    /// Admission, RBAC or validation said no; trying the same again is pointless. The API server's own words.
    #[error("{what} was refused: {why}")]
    Refused { what: String, why: String },
    /// The API server did not answer, or with an error of its own: try again later.
    #[error("{what}: {source}")]
    Api { what: String, source: Box<kube::Error> },
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Sorts a client error. `what` says what was being done, for example "patching Deployment checkout".
    pub fn from_kube(what: impl Into<String>, source: kube::Error) -> Self {
        let what = what.into();
        if let kube::Error::Api(status) = &source {
            // What the API server says of a JSON patch that does not fit the object: a `test` failed, a path is gone.
            let test_failed = status.code == 422 && status.message.contains("rejected our request due to an error");
            if status.is_conflict() || test_failed {
                return Self::Stale(what);
            }
            if matches!(status.code, 400 | 403 | 422) {
                return Self::Refused { what, why: status.message.clone() };
            }
        }
        Self::Api { what, source: Box::new(source) }
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(source.as_ref(), kube::Error::Api(s) if s.is_not_found()))
    }
}
