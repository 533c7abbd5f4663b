//! VirtualService of Istio, split by host: one destination beside each of the user's own, and a header rule before each
//! such rule. Subsets and their DestinationRules: `destination_rule`.

use kube::core::DynamicObject;
use serde_json::{Map, Value, json};

use super::{
    Ours, Unconfirmed,
    dialect::{Dialect, Limits, Names},
    host, settled,
};
use crate::api::{release::Header, units::At};

pub const GROUP: &str = "networking.istio.io";

const NAMES: Names = Names {
    group: GROUP,
    version: "v1",
    kind: "VirtualService",
    plural: "virtualservices",
    rules: "http",
    backends: "route",
    matches: "match",
    installed: "Istio 1.22 or newer",
};

/// Routes that carry connections. Of what they carry nothing can be divided by request, nor counted.
const CONNECTIONS: [&str; 2] = ["tls", "tcp"];

pub struct VirtualService;

/// The host of a destination.
pub fn host_of(destination: &Value) -> Option<&str> {
    destination.pointer("/destination/host").and_then(Value::as_str)
}

impl Dialect for VirtualService {
    fn names(&self) -> &'static Names {
        &NAMES
    }

    fn limits(&self) -> Option<&'static Limits> {
        None
    }

    fn max_weight(&self) -> i64 {
        i64::from(i32::MAX)
    }

    fn unwritten_weight(&self) -> i64 {
        0
    }

    fn alone_is_all(&self) -> bool {
        true
    }

    fn service<'v>(&self, backend: &'v Value, namespace: &str) -> Option<&'v str> {
        host::service(host_of(backend)?, namespace)
    }

    fn rename(&self, backend: &mut Value, _service: &str, canary: &str) {
        if let Some(host) = backend.pointer_mut("/destination/host") {
            *host = host::with_service(host.as_str().unwrap_or_default(), canary).into();
        }
    }

    /// The same port and the same subset. A host that is spelled in another way is written anew.
    fn beside(&self, user: &Value, canary: &Value) -> bool {
        let rest = |backend: &Value| {
            let mut fields = backend.get("destination").and_then(Value::as_object).cloned().unwrap_or_default();
            fields.remove("host");
            fields
        };
        rest(user) == rest(canary)
    }

    fn default_match(&self) -> Value {
        json!({})
    }

    fn demand(&self, one: &mut Map<String, Value>, header: &Header) -> bool {
        // Istio takes names in lower case only; the data plane compares them so.
        let name = header.name.to_ascii_lowercase();
        let speaks = |field: &str| {
            let headers = one.get(field).and_then(Value::as_object);
            headers.is_some_and(|headers| headers.keys().any(|key| key.eq_ignore_ascii_case(&name)))
        };
        if speaks("headers") || speaks("withoutHeaders") {
            return false;
        }
        let mut headers = one.get("headers").and_then(Value::as_object).cloned().unwrap_or_default();
        headers.insert(name, json!({"exact": header.value}));
        one.insert("headers".into(), headers.into());
        true
    }

    fn obstacle(&self, spec: &Value, ours: &Ours<'_>) -> Option<String> {
        for field in CONNECTIONS {
            let routes = spec.get(field).and_then(Value::as_array).into_iter().flatten();
            let backends = routes.filter_map(|r| r.get("route").and_then(Value::as_array)).flatten();
            let mut named = backends.filter_map(|b| self.service(b, ours.namespace));
            if let Some(service) = named.find(|name| ours.services.iter().any(|s| s == name)) {
                return Some(format!(
                    "spec.{field} of VirtualService {} sends connections to Service {service}, which cannot be divided \
                     by request; send them to another Service, or leave out {service} in spec.traffic.services",
                    ours.route
                ));
            }
        }
        None
    }

    fn accepted(&self, route: &DynamicObject, _namespace: &str, since: At, now: At) -> Result<(), Unconfirmed> {
        settled::by_status_or_time(route, since, now)
    }
}
