//! Routes: how the share of a candidate is put into the objects people route by, read there, and taken out again.
//!
//! All of it is pure and works on the object's raw `spec`, so that fields no one here has heard of survive. What a split
//! is stands once, in `rules` and `rule`; a kind of route says in its `Dialect` only where it keeps what. `contract` is
//! what every kind promises; `docs/traffic.md` tells it to people.

pub mod accepted;
pub mod destination_rule;
mod dialect;
pub mod gateway_api;
pub mod host;
mod rule;
mod rules;
pub mod settled;
pub mod virtual_service;

use std::collections::BTreeMap;

use kube::core::{ApiResource, DynamicObject};
use serde_json::Value;

use super::{
    release::{Header, RouteRef},
    units::At,
};
pub use dialect::Dialect;
use gateway_api::{GRPC_ROUTE, HTTP_ROUTE};
use virtual_service::VirtualService;

/// What of a route is ours to write: the Services that are split, and what the user wrote before.
#[derive(Clone, Copy, Debug)]
pub struct Ours<'a> {
    pub namespace: &'a str,
    /// The route's name.
    pub route: &'a str,
    pub services: &'a [String],
    pub header: Option<&'a Header>,
    /// The user's own weights by `<route>/<rule>/<backend>`: positions, and the Service's name. The kind stands before it,
    /// if it is not an HTTPRoute.
    pub weights: &'a BTreeMap<String, i32>,
}

/// The share that a route gives the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// The candidate's share in percent; the highest, if rules differ.
    pub weight: u32,
    /// Whether the header rule is there.
    pub header: bool,
    /// Not all rules say the same, or the header rule is broken: somebody else changed them.
    pub uneven: bool,
}

/// What a route says of the Services that are split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `None`: nothing of ours is in it.
    pub split: Option<Split>,
    /// The user's own weights, to be remembered before the first split.
    pub weights: BTreeMap<String, i32>,
    /// Why it cannot be split, and the cure.
    pub problem: Option<String>,
}

/// Why a route does not count as taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// What the data plane says, or has not said yet.
    pub why: String,
    /// When time alone makes a difference.
    pub until: Option<At>,
}

/// A kind of route. `spec` is always the whole raw `spec` of one.
pub trait RouteKind: Send + Sync {
    fn resource(&self) -> ApiResource;

    /// What has to be installed for the API server to know the kind.
    fn installed(&self) -> &'static str;

    fn read(&self, spec: &Value, ours: &Ours<'_>) -> Reading;

    /// The spec that gives the candidate `weight` percent, and with `header` all requests that carry it.
    /// Fails with a sentence that names the cure.
    fn split(&self, spec: &Value, ours: &Ours<'_>, weight: u32, header: bool) -> Result<Value, String>;

    /// The spec as the user wrote it, his edits since then included.
    fn restore(&self, spec: &Value, ours: &Ours<'_>) -> Value;

    /// Whether the data plane has taken over this very generation, which is there since `since`.
    fn accepted(&self, route: &DynamicObject, namespace: &str, since: At, now: At) -> Result<(), Unconfirmed>;
}

/// All kinds that can be split.
pub fn kinds() -> [&'static dyn RouteKind; 3] {
    [&HTTP_ROUTE, &GRPC_ROUTE, &VirtualService]
}

/// The kind a reference names, if it is one we can split.
pub fn kind(route: &RouteRef) -> Option<&'static dyn RouteKind> {
    kinds().into_iter().find(|kind| {
        let resource = kind.resource();
        resource.group == route.group && resource.kind == route.kind
    })
}

/// The name of the Service that selects the candidate only.
pub fn canary_name(service: &str) -> String {
    format!("{service}-canary")
}

#[cfg(test)]
mod contract;
#[cfg(test)]
mod tests;
