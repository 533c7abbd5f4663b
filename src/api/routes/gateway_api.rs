//! The routes of the Gateway API: HTTPRoute and GRPCRoute. They differ in what they match, and in nothing that is ours.

use kube::core::DynamicObject;
use serde_json::{Map, Value, json};

use super::{
    Ours, Unconfirmed, accepted,
    dialect::{Dialect, Limits, Names},
};
use crate::api::{release::Header, units::At};

pub const GROUP: &str = "gateway.networking.k8s.io";

/// Both kinds have the same.
const LIMITS: Limits = Limits { rules: 16, matches: 128, backends: 16, headers: 16 };
const MAX_WEIGHT: i64 = 1_000_000;

/// A kind of the Gateway API that carries requests.
pub struct GatewayRoute {
    names: &'static Names,
    /// The match that every request meets, as the API server would write it.
    everything: fn() -> Value,
}

pub static HTTP_ROUTE: GatewayRoute = GatewayRoute {
    names: &const { names("HTTPRoute", "httproutes") },
    everything: || json!({"path": {"type": "PathPrefix", "value": "/"}}),
};

pub static GRPC_ROUTE: GatewayRoute =
    GatewayRoute { names: &const { names("GRPCRoute", "grpcroutes") }, everything: || json!({}) };

const fn names(kind: &'static str, plural: &'static str) -> Names {
    Names {
        group: GROUP,
        version: "v1",
        kind,
        plural,
        rules: "rules",
        backends: "backendRefs",
        matches: "matches",
        installed: "its CRDs",
    }
}

impl Dialect for GatewayRoute {
    fn names(&self) -> &'static Names {
        self.names
    }

    fn limits(&self) -> Option<&'static Limits> {
        Some(&LIMITS)
    }

    fn max_weight(&self) -> i64 {
        MAX_WEIGHT
    }

    fn unwritten_weight(&self) -> i64 {
        1
    }

    fn alone_is_all(&self) -> bool {
        false // one alone with weight 0 gets nothing
    }

    fn service<'v>(&self, backend: &'v Value, namespace: &str) -> Option<&'v str> {
        let is = |field: &str, or: &[&str]| backend.get(field).and_then(Value::as_str).is_none_or(|v| or.contains(&v));
        let local = is("kind", &["Service"]) && is("group", &[""]) && is("namespace", &[namespace]);
        backend.get("name").and_then(Value::as_str).filter(|_| local)
    }

    fn rename(&self, backend: &mut Value, _service: &str, canary: &str) {
        if let Some(fields) = backend.as_object_mut() {
            fields.insert("name".into(), canary.into());
        }
    }

    fn beside(&self, user: &Value, canary: &Value) -> bool {
        user.get("port") == canary.get("port")
    }

    fn default_match(&self) -> Value {
        (self.everything)()
    }

    fn demand(&self, one: &mut Map<String, Value>, header: &Header) -> bool {
        let mut headers = one.get("headers").and_then(Value::as_array).cloned().unwrap_or_default();
        let same = |h: &Value| h["name"].as_str().is_some_and(|n| n.eq_ignore_ascii_case(&header.name));
        if headers.iter().any(same) {
            return false;
        }
        headers.push(json!({"type": "Exact", "name": header.name, "value": header.value}));
        one.insert("headers".into(), headers.into());
        true
    }

    fn obstacle(&self, _spec: &Value, _ours: &Ours<'_>) -> Option<String> {
        None
    }

    fn accepted(&self, route: &DynamicObject, namespace: &str, _since: At, _now: At) -> Result<(), Unconfirmed> {
        let part = |name: &str| route.data.get(name).unwrap_or(&Value::Null);
        let generation = route.metadata.generation.unwrap_or(0);
        let said = accepted::by_all_parents(part("spec"), part("status"), generation, namespace);
        said.map_err(|why| Unconfirmed { why, until: None })
    }
}
