//! The objects people write and what we remember of them: group `haldane.dev`, version `v1alpha1`.

pub mod action;
pub mod checks;
pub mod crd;
pub mod names;
pub mod notice;
pub mod notifier;
pub mod plan;
pub mod provider;
pub mod reference;
pub mod release;
pub mod report;
pub mod rollback;
pub mod routes;
pub mod state;
pub mod status;
pub mod units;

pub use action::{ReleaseAction, ReleaseActionSpec};
pub use notifier::Notifier;
pub use provider::MetricProvider;
pub use release::{Release, ReleaseSpec};
pub use state::State;
pub use status::ReleaseStatus;
