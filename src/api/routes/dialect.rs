//! `Dialect`: where one kind of route keeps what all of them have (rules, matches, weighted backends), and how it spells it.

use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Map, Value};

use super::{Ours, Unconfirmed, gateway_api::GROUP};
use crate::api::{release::Header, units::At};

/// The names of a kind and of the fields that matter in its `spec`.
#[derive(Debug)]
pub struct Names {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    /// The list of rules in `spec`.
    pub rules: &'static str,
    /// The list of backends in a rule.
    pub backends: &'static str,
    /// The list of matches in a rule. They are alternatives.
    pub matches: &'static str,
    /// What has to be there for the API server to know the kind.
    pub installed: &'static str,
}

/// What the API allows in one route.
#[derive(Debug)]
pub struct Limits {
    pub rules: usize,
    pub matches: usize,
    pub backends: usize,
    pub headers: usize,
}

/// What differs between kinds. Everything else is in `rule` and `rules`, once.
pub trait Dialect: Send + Sync + 'static {
    fn names(&self) -> &'static Names;

    /// `None`: the API sets none.
    fn limits(&self) -> Option<&'static Limits>;

    /// The highest weight that the API allows.
    fn max_weight(&self) -> i64;

    /// What a backend without a weight weighs among several.
    fn unwritten_weight(&self) -> i64;

    /// Whether a backend that stands alone in its rule gets everything, whatever its weight says.
    fn alone_is_all(&self) -> bool;

    /// The Service of the route's own namespace that a backend names.
    fn service<'v>(&self, backend: &'v Value, namespace: &str) -> Option<&'v str>;

    /// Makes a copy of a backend name `canary` where it named `service`, in the same spelling.
    fn rename(&self, backend: &mut Value, service: &str, canary: &str);

    /// Whether a backend that names a canary Service is the one that we would put beside this one of the user.
    fn beside(&self, user: &Value, canary: &Value) -> bool;

    /// The match of a rule without matches.
    fn default_match(&self) -> Value;

    /// Demands the header of a match. False: the match speaks of this header already.
    fn demand(&self, one: &mut Map<String, Value>, header: &Header) -> bool;

    /// How many headers a match demands.
    fn headers(&self, one: &Value) -> usize {
        let headers = one.get("headers");
        headers.map_or(0, |h| h.as_array().map_or_else(|| h.as_object().map_or(0, Map::len), Vec::len))
    }

    /// What else of the spec stands in the way of a split, and the cure.
    fn obstacle(&self, spec: &Value, ours: &Ours<'_>) -> Option<String>;

    /// Whether the data plane has taken over this very generation, which is there since `since`.
    fn accepted(&self, route: &DynamicObject, namespace: &str, since: At, now: At) -> Result<(), Unconfirmed>;
}

impl Names {
    pub fn resource(&self) -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(self.group, self.version, self.kind), self.plural)
    }

    /// What stands before the name of a route in the keys of remembered weights. None for the kind that was first: its
    /// keys are in the status of releases on their way.
    pub fn prefix(&self) -> String {
        if self.group == GROUP && self.kind == "HTTPRoute" { String::new() } else { format!("{}/", self.kind) }
    }
}
