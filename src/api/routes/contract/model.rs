//! Routes as all kinds have them, and how each kind writes them: what the contract is tried on.

use std::collections::BTreeMap;

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use crate::api::{
    release::Header,
    routes::{Ours, Reading, RouteKind, Split, gateway_api, host, virtual_service::VirtualService},
};

pub const NAMESPACE: &str = "shop-ns";

/// A kind of route, and how it writes a model down.
pub struct Kind {
    pub name: &'static str,
    pub api: &'static dyn RouteKind,
    pub rules: &'static str,
    pub backends: &'static str,
    pub matches: &'static str,
    istio: bool,
    /// Three alternatives that a rule may match.
    alternatives: fn(usize) -> Value,
}

pub static KINDS: [Kind; 3] = [
    Kind {
        name: "HTTPRoute",
        api: &gateway_api::HTTP_ROUTE,
        rules: "rules",
        backends: "backendRefs",
        matches: "matches",
        istio: false,
        alternatives: |i| match i {
            0 => json!({"path": {"type": "PathPrefix", "value": "/a"}}),
            1 => json!({"method": "POST", "headers": [{"type": "Exact", "name": "tenant", "value": "x"}]}),
            _ => json!({"future": true}),
        },
    },
    Kind {
        name: "GRPCRoute",
        api: &gateway_api::GRPC_ROUTE,
        rules: "rules",
        backends: "backendRefs",
        matches: "matches",
        istio: false,
        alternatives: |i| match i {
            0 => json!({"method": {"type": "Exact", "service": "shop.Cart", "method": "Add"}}),
            1 => json!({"headers": [{"type": "Exact", "name": "tenant", "value": "x"}]}),
            _ => json!({"future": true}),
        },
    },
    Kind {
        name: "VirtualService",
        api: &VirtualService,
        rules: "http",
        backends: "route",
        matches: "match",
        istio: true,
        alternatives: |i| match i {
            0 => json!({"uri": {"prefix": "/a"}, "name": "a"}),
            1 => json!({"method": {"exact": "POST"}, "headers": {"tenant": {"exact": "x"}}}),
            _ => json!({"sourceLabels": {"app": "web"}, "future": true}),
        },
    },
];

/// One backend of the user.
#[derive(Clone, Debug)]
pub struct Backend {
    pub service: &'static str,
    pub port: u16,
    pub weight: Option<i64>,
    pub manner: Manner,
}

/// How a backend is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Plain,
    /// With all that may be left out.
    Spelled,
    /// With fields of the kind, and some nobody knows.
    Rich,
    /// The namesake in another namespace.
    Elsewhere,
    /// Something that is no Service of the namespace, or a subset of one.
    Other,
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub matches: Option<Vec<usize>>,
    /// `None`: it redirects.
    pub backends: Option<Vec<Backend>>,
    /// Named, with time limits, filters and unknown fields.
    pub rich: bool,
}

pub fn plain(service: &'static str) -> Backend {
    Backend { service, port: 80, weight: None, manner: Manner::Plain }
}

pub fn weighing(service: &'static str, weight: i64) -> Backend {
    Backend { weight: Some(weight), ..plain(service) }
}

pub fn rule(backends: &[Backend]) -> Rule {
    Rule { matches: None, backends: Some(backends.to_vec()), rich: false }
}

impl Kind {
    pub fn backend(&self, one: &Backend) -> Value {
        let mut written = if self.istio {
            let host = match one.manner {
                Manner::Plain | Manner::Other => one.service.to_owned(),
                Manner::Rich => format!("{}.{NAMESPACE}", one.service),
                Manner::Spelled => format!("{}.{NAMESPACE}.svc.cluster.local", one.service),
                Manner::Elsewhere => format!("{}.elsewhere.svc.cluster.local", one.service),
            };
            json!({"destination": {"host": host, "port": {"number": one.port}}})
        } else {
            json!({"name": one.service, "port": one.port})
        };
        if let Some(weight) = one.weight {
            written["weight"] = weight.into();
        }
        let more = match (one.manner, self.istio) {
            (Manner::Rich, true) => {
                json!({"headers": {"request": {"set": {"a": "b"}}}, "future": {"deep": [1, {"x": null}]}})
            }
            (Manner::Other, true) => {
                json!({"destination": {"subset": "v1", "future": 1, "host": one.service, "port": {"number": one.port}}})
            }
            (Manner::Rich, false) => {
                json!({"filters": [{"type": "RequestHeaderModifier"}], "future": {"deep": [1, {"x": null}]}})
            }
            (Manner::Spelled, false) => json!({"group": "", "kind": "Service", "namespace": NAMESPACE}),
            (Manner::Elsewhere, false) => json!({"namespace": "elsewhere"}),
            (Manner::Other, false) => json!({"group": "example.dev", "kind": "Other"}),
            _ => json!({}),
        };
        merge(written, more)
    }

    pub fn rule(&self, one: &Rule) -> Value {
        let mut written = match (&one.backends, self.istio) {
            (Some(backends), _) => json!({self.backends: backends.iter().map(|b| self.backend(b)).collect::<Vec<_>>()}),
            (None, true) => json!({"redirect": {"uri": "/new"}}),
            (None, false) => json!({"filters": [{"type": "RequestRedirect"}]}),
        };
        if let Some(matches) = &one.matches {
            written[self.matches] = matches.iter().map(|i| (self.alternatives)(*i)).collect();
        }
        let more = match (one.rich && one.backends.is_some(), self.istio) {
            (true, true) => {
                json!({"name": "main", "timeout": "3s", "retries": {"attempts": 2}, "fault": {"delay": {"fixedDelay": "1s"}},
                "mirror": {"host": "shop"}, "corsPolicy": {"allowOrigins": [{"exact": "a"}]}, "future": [{"x": null}]})
            }
            (true, false) => json!({"name": "main", "timeouts": {"request": "1s"}, "retry": {"codes": [503]},
                "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "shop", "port": 80}}}], "future": [{"x": null}]}),
            (false, _) => json!({}),
        };
        merge(written, more)
    }

    pub fn route(&self, rules: &[Rule]) -> Value {
        let rules: Vec<Value> = rules.iter().map(|r| self.rule(r)).collect();
        if self.istio {
            json!({"hosts": ["shop.example"], "gateways": ["edge"], self.rules: rules, "exportTo": ["."], "future": {"a": [1]}})
        } else {
            json!({"parentRefs": [{"name": "gw"}], "hostnames": ["h"], self.rules: rules, "future": {"a": [1]}})
        }
    }

    /// The Service that a backend names, whoever's namespace it is in, and whether it is the route's own.
    pub fn named<'v>(&self, backend: &'v Value) -> (&'v str, bool) {
        if self.istio {
            let host = backend.pointer("/destination/host").and_then(Value::as_str).unwrap_or_default();
            let name = host.split('.').next().unwrap_or_default();
            return (name, host::service(host, NAMESPACE).is_some());
        }
        let local = backend.get("kind").is_none_or(|k| k == "Service");
        let here = backend.get("namespace").is_none_or(|n| n == NAMESPACE);
        (backend["name"].as_str().unwrap_or_default(), local && here)
    }

    /// The backends of a rule by name, and what each really weighs: as the API of the kind says, not as our code does.
    pub fn shares(&self, rule: &Value) -> Vec<(String, i64)> {
        let backends = rule[self.backends].as_array().cloned().unwrap_or_default();
        let alone = backends.len() == 1 && self.istio;
        let weight = |b: &Value| b["weight"].as_i64().unwrap_or(i64::from(!self.istio));
        let shares = backends.iter().map(|b| {
            let (name, here) = self.named(b);
            let name = if here { name.to_owned() } else { format!("{name} elsewhere") };
            (name, if alone { 100 } else { weight(b) })
        });
        shares.collect()
    }
}

/// Our side of route `web`, whose Services `shop` and `pay` are split.
pub struct Fixture {
    api: &'static dyn RouteKind,
    services: Vec<String>,
    header: Header,
    pub weights: BTreeMap<String, i32>,
}

impl Fixture {
    /// Remembers the user's weights, as is done before the first split.
    pub fn of(kind: &Kind, spec: &Value) -> Self {
        let mut fixture = Self {
            api: kind.api,
            services: vec!["shop".into(), "pay".into()],
            header: Header { name: "X-Canary".into(), value: "true".into() },
            weights: BTreeMap::new(),
        };
        fixture.weights = fixture.reading(spec).weights;
        fixture
    }

    fn ours(&self) -> Ours<'_> {
        Ours {
            namespace: NAMESPACE,
            route: "web",
            services: &self.services,
            header: Some(&self.header),
            weights: &self.weights,
        }
    }

    pub fn try_split(&self, spec: &Value, weight: u32, header: bool) -> Result<Value, String> {
        self.api.split(spec, &self.ours(), weight, header)
    }

    pub fn split(&self, spec: &Value, weight: u32, header: bool) -> Value {
        self.try_split(spec, weight, header).unwrap_or_else(|why| panic!("{why}: {spec}"))
    }

    pub fn restore(&self, spec: &Value) -> Value {
        self.api.restore(spec, &self.ours())
    }

    pub fn reading(&self, spec: &Value) -> Reading {
        self.api.read(spec, &self.ours())
    }

    pub fn read(&self, spec: &Value) -> Option<Split> {
        self.reading(spec).split
    }

    pub fn problem(&self, spec: &Value) -> String {
        self.reading(spec).problem.unwrap_or_default()
    }
}

pub fn even(weight: u32, header: bool) -> Split {
    Split { weight, header, uneven: false }
}

fn merge(mut into: Value, more: Value) -> Value {
    if let (Some(fields), Value::Object(more)) = (into.as_object_mut(), more) {
        fields.extend(more);
    }
    into
}

fn backend() -> impl Strategy<Value = Backend> {
    let service = select(vec!["shop", "pay", "other", "legacy"]);
    let weight = option::of(prop_oneof![Just(0), 1..100_i64, 100..2000_i64, Just(1_000_000)]);
    let manner =
        select(vec![Manner::Plain, Manner::Plain, Manner::Spelled, Manner::Rich, Manner::Elsewhere, Manner::Other]);
    (service, 80..83_u16, weight, manner).prop_map(|(service, port, weight, manner)| Backend {
        service,
        port,
        weight,
        manner,
    })
}

/// Rules of a route that a user may have.
pub fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let one = (option::of(vec(0..3_usize, 0..3)), option::of(vec(backend(), 0..4)), any::<bool>());
    vec(one.prop_map(|(matches, backends, rich)| Rule { matches, backends, rich }), 1..5)
}
