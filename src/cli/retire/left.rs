//! A Release that is not home yet, as a person is told of it.

use kube::{ResourceExt, api::DynamicObject};
use serde_json::Value;

use crate::api::release::FINALIZER;

/// A Release that is not home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub namespace: String,
    pub name: String,
    /// `status.phase` and `status.message`.
    pub phase: String,
    pub message: String,
    /// The place of our finalizer in its list; `None`: it has begun and has none yet.
    pub finalizer: Option<usize>,
}

impl Left {
    pub fn of(release: &DynamicObject) -> Option<Self> {
        let status = &release.data["status"];
        let finalizer = release.finalizers().iter().position(|f| f == FINALIZER);
        // What has only just begun has no finalizer yet. On the way back nothing of ours is left without one.
        let begun = ["preparing", "stepping", "observing", "promoting"];
        let begun = begun.iter().any(|state| !status["state"][state].is_null());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (finalizer.is_some() || begun).then(|| Self {
            namespace: release.namespace().unwrap_or_default(),
            name: release.name_any(),
            phase: text(&status["phase"]),
            message: text(&status["message"]),
            finalizer,
        })
    }

    /// The command that drops our finalizer and no other.
    pub fn last_resort(&self) -> Option<String> {
        let Self { namespace, name, finalizer, .. } = self;
        let path = format!("/metadata/finalizers/{}", (*finalizer)?);
        Some(format!(
            "kubectl patch release {name} -n {namespace} --type=json -p '[{{\"op\":\"test\",\"path\":\"{path}\",\
             \"value\":\"{FINALIZER}\"}},{{\"op\":\"remove\",\"path\":\"{path}\"}}]'"
        ))
    }
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = if self.phase.is_empty() { "not looked at yet" } else { &self.phase };
        write!(f, "Release {}/{}: {phase}", self.namespace, self.name)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}
