//! The Services that are split, and who answers behind them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{ResourceExt, api::DynamicObject};

use super::{
    seen::{ServiceSeen, Side},
    traffic::TrafficAsk,
};
use crate::api::{
    names::{HASH, RELEASE, created_by},
    routes::{canary_name, destination_rule::Copies},
};

/// The label of an EndpointSlice that names its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// What a Service may be called at most.
pub const MAX_NAME: usize = 63;

/// The Services that count, in the order of their names.
pub fn see(ask: &TrafficAsk<'_>, services: &[Service], slices: &[EndpointSlice]) -> Vec<ServiceSeen> {
    let by_name: BTreeMap<String, &Service> = services.iter().map(|s| (s.name_any(), s)).collect();
    let names: BTreeSet<&str> = match ask.services {
        Some(named) => named.iter().map(String::as_str).collect(),
        None => services.iter().filter(|s| is_default(s, ask)).filter_map(|s| s.metadata.name.as_deref()).collect(),
    };
    names
        .into_iter()
        .map(|name| {
            let service = by_name.get(name).copied();
            let canary = by_name.get(canary_name(name).as_str()).copied();
            let endpoints = |of: &str, side| count(slices, of, ask.pods, side);
            ServiceSeen {
                name: name.to_owned(),
                pin: service.and_then(|s| selector(s).get(HASH)).cloned(),
                stable_endpoints: endpoints(name, Side::Stable),
                candidate_endpoints: endpoints(name, Side::Candidate),
                canary_service: canary.is_some_and(|c| created_by(c, ask.release) && selects_candidate(c, ask)),
                canary_left: canary.is_some_and(|c| created_by(c, ask.release) && !selects_candidate(c, ask)),
                rules_copied: true,
                canary_endpoints: endpoints(&canary_name(name), Side::Candidate),
                problem: problem(name, service, canary, ask),
            }
        })
        .collect()
}

/// What of ours stands beside a Service but its canary Service: copies of DestinationRules. At rest one that is left
/// counts as the canary Service does, so that it is cleaned up.
pub fn beside(service: &mut ServiceSeen, namespace: &str, ask: &TrafficAsk<'_>, rules: &[DynamicObject]) {
    let copies = Copies::of(&service.name, rules, namespace, ask.release);
    service.rules_copied = copies.complete(&service.name, ask.release);
    service.canary_service |= ask.candidate_hash.is_none() && copies.any(ask.release);
}

fn selector(service: &Service) -> &BTreeMap<String, String> {
    static EMPTY: BTreeMap<String, String> = BTreeMap::new();
    service.spec.as_ref().and_then(|s| s.selector.as_ref()).unwrap_or(&EMPTY)
}

fn is_external(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|s| s.type_.as_deref() == Some("ExternalName"))
}

/// Whether the Service, but for our pin, selects the pods of the template.
fn selects_template(service: &Service, labels: &BTreeMap<String, String>) -> bool {
    let mut users = selector(service).iter().filter(|(key, _)| *key != HASH).peekable();
    users.peek().is_some() && users.all(|(key, value)| labels.get(key) == Some(value))
}

/// A canary Service of any Release is no Service of the user.
fn is_default(service: &Service, ask: &TrafficAsk<'_>) -> bool {
    let created = service.annotations().contains_key(RELEASE);
    !created && !is_external(service) && selects_template(service, ask.template_labels)
}

/// One left over from an earlier candidate does not count: it has to be written anew.
fn selects_candidate(canary: &Service, ask: &TrafficAsk<'_>) -> bool {
    ask.candidate_hash.is_none_or(|hash| selector(canary).get(HASH).is_some_and(|pin| pin == hash))
}

fn problem(name: &str, service: Option<&Service>, canary: Option<&Service>, ask: &TrafficAsk<'_>) -> Option<String> {
    let Some(service) = service else {
        return Some(format!("Service {name} does not exist; create it, or correct spec.traffic.services"));
    };
    if is_external(service) {
        return Some(format!("Service {name} is of type ExternalName and selects no pods, so it cannot be split"));
    }
    if selector(service).keys().all(|key| key == HASH) {
        return Some(format!("Service {name} has no selector, so its traffic cannot be split"));
    }
    if !selects_template(service, ask.template_labels) {
        return Some(format!("the selector of Service {name} does not match the labels of the Deployment's template"));
    }
    if let Some((other, _)) = ask.neighbours.iter().find(|(_, labels)| selects_template(service, labels)) {
        return Some(format!(
            "Service {name} selects the pods of Deployment {other} too, which would get nothing of its traffic during a \
             release; narrow its selector, or name other Services in spec.traffic.services"
        ));
    }
    if ask.routes.is_empty() {
        return None; // no canary Service is needed
    }
    let canary_name = canary_name(name);
    if canary_name.len() > MAX_NAME {
        let limit = MAX_NAME - (canary_name.len() - name.len());
        return Some(format!(
            "the name of Service {name} is too long for a canary Service beside it: {} characters, at most {limit}",
            name.len()
        ));
    }
    let canary = canary.filter(|c| !created_by(*c, ask.release))?;
    Some(match canary.annotations().get(RELEASE) {
        Some(other) => format!("Service {canary_name} belongs to Release {other}, which splits the same Service"),
        None => format!("Service {canary_name} exists and was not created by Haldane; rename or delete it"),
    })
}

/// Pods of a side behind a Service that serve and do not terminate. A pod stands in one slice per address family, and
/// counts once.
fn count(slices: &[EndpointSlice], service: &str, pods: &BTreeMap<String, Side>, side: Side) -> u32 {
    let of_service = slices.iter().filter(|s| s.labels().get(SERVICE_NAME).is_some_and(|name| name == service));
    let endpoints = of_service.flat_map(|s| &s.endpoints).filter(|e| {
        let Some(conditions) = &e.conditions else { return true };
        conditions.serving.or(conditions.ready).unwrap_or(true) && !conditions.terminating.unwrap_or(false)
    });
    let names =
        endpoints.filter_map(|e| e.target_ref.as_ref().filter(|t| t.kind.as_deref() == Some("Pod"))?.name.as_deref());
    let serving: BTreeSet<&str> = names.filter(|name| pods.get(*name) == Some(&side)).collect();
    u32::try_from(serving.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::release::RouteRef;

    fn service(name: &str, spec: &Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    fn of_release(mut service: Service, release: &str) -> Service {
        service.annotations_mut().insert(RELEASE.into(), release.into());
        service
    }

    fn ask<'a>(named: Option<&'a [String]>, routes: &'a [RouteRef], world: &'a World) -> TrafficAsk<'a> {
        TrafficAsk {
            release: "web",
            services: named,
            routes,
            header: None,
            template_labels: &world.labels,
            candidate_hash: Some("h2"),
            weights: &world.weights,
            neighbours: &world.neighbours,
            pods: &world.pods,
            now: crate::observe::clock::now(),
        }
    }

    #[derive(Default)]
    struct World {
        labels: BTreeMap<String, String>,
        weights: BTreeMap<String, i32>,
        neighbours: BTreeMap<String, BTreeMap<String, String>>,
        pods: BTreeMap<String, Side>,
    }

    fn world() -> World {
        World {
            labels: [("app", "web"), ("tier", "front")].map(|(k, v)| (k.into(), v.into())).into(),
            pods: [("a", Side::Stable), ("b", Side::Stable), ("c", Side::Candidate)].map(|(n, s)| (n.into(), s)).into(),
            ..World::default()
        }
    }

    fn route() -> Vec<RouteRef> {
        vec![serde_json::from_value(json!({"name": "web"})).unwrap()]
    }

    #[test]
    fn by_default_every_service_that_selects_the_template_counts() {
        let world = world();
        let services = [
            service("pinned", &json!({"selector": {"app": "web", HASH: "h1"}})),
            service("all", &json!({"selector": {"app": "web", "tier": "front"}})),
            service("other", &json!({"selector": {"app": "web", "tier": "back"}})),
            service("bare", &json!({})),
            service("only-pin", &json!({"selector": {HASH: "h1"}})),
            service("outside", &json!({"type": "ExternalName", "externalName": "x", "selector": {"app": "web"}})),
            of_release(service("all-canary", &json!({"selector": {"app": "web", HASH: "h2"}})), "web"),
        ];
        let seen = see(&ask(None, &[], &world), &services, &[]);
        let found: Vec<_> = seen.iter().map(|s| (s.name.as_str(), s.pin.as_deref(), s.canary_service)).collect();
        assert_eq!(found, [("all", None, true), ("pinned", Some("h1"), false)]);
        assert!(seen.iter().all(|s| s.problem.is_none()));
    }

    #[test]
    fn a_named_service_that_cannot_be_split_says_why() {
        let world = world();
        let long = "x".repeat(57);
        let services = [
            service("bare", &json!({"selector": {HASH: "h1"}})),
            service("outside", &json!({"type": "ExternalName", "externalName": "x"})),
            service("other", &json!({"selector": {"app": "db"}})),
            service("taken", &json!({"selector": {"app": "web"}})),
            service("taken-canary", &json!({"selector": {"app": "web"}})),
            service("shared", &json!({"selector": {"app": "web"}})),
            of_release(service("shared-canary", &json!({"selector": {"app": "web"}})), "second"),
            service(&long, &json!({"selector": {"app": "web"}})),
        ];
        let routes = route();
        for (name, says) in [
            ("gone", "does not exist"),
            ("bare", "has no selector"),
            ("outside", "ExternalName"),
            ("other", "does not match the labels"),
            ("taken", "Service taken-canary exists and was not created by Haldane"),
            ("shared", "belongs to Release second"),
            (&long, "57 characters, at most 56"),
        ] {
            let named = [name.to_owned()];
            let seen = see(&ask(Some(&named), &routes, &world), &services, &[]);
            let problem = seen[0].problem.clone().unwrap_or_default();
            assert!(problem.contains(says), "{name}: {problem}");
        }
        let named = ["taken".to_owned()];
        assert_eq!(
            see(&ask(Some(&named), &[], &world), &services, &[])[0].problem,
            None,
            "no route, no canary Service"
        );
    }

    #[test]
    fn a_service_of_two_workloads_is_not_split() {
        let batch = BTreeMap::from([("tier".to_owned(), "front".to_owned()), ("app".to_owned(), "batch".to_owned())]);
        let world = World { neighbours: BTreeMap::from([("batch".to_owned(), batch)]), ..world() };
        let services = [
            service("front", &json!({"selector": {"tier": "front"}})),
            service("web", &json!({"selector": {"app": "web"}})),
        ];
        let seen = see(&ask(None, &[], &world), &services, &[]);
        let why = seen[0].problem.as_deref().unwrap_or_default();
        assert!(why.starts_with("Service front selects the pods of Deployment batch too"), "{why}");
        assert_eq!(seen[1].problem, None);
    }

    #[test]
    fn a_canary_service_of_an_earlier_candidate_does_not_count() {
        let world = world();
        let of = |hash: &str| {
            [
                service("web", &json!({"selector": {"app": "web"}})),
                of_release(service("web-canary", &json!({"selector": {"app": "web", HASH: hash}})), "web"),
            ]
        };
        assert!(see(&ask(None, &[], &world), &of("h2"), &[])[0].canary_service);
        assert!(!see(&ask(None, &[], &world), &of("h1"), &[])[0].canary_service);
        let at_rest = TrafficAsk { candidate_hash: None, ..ask(None, &[], &world) };
        assert!(see(&at_rest, &of("h1"), &[])[0].canary_service, "so that it is cleaned up");
    }

    #[test]
    fn pods_that_serve_and_do_not_terminate_are_counted_once() {
        let world = world();
        let endpoint = |pod: &str, conditions: Value| json!({"addresses": ["10.0.0.1"], "conditions": conditions, "targetRef": {"kind": "Pod", "name": pod}});
        let slice = |service: &str, endpoints: Vec<Value>| -> EndpointSlice {
            let labels = json!({SERVICE_NAME: service});
            serde_json::from_value(
                json!({"metadata": {"labels": labels}, "addressType": "IPv4", "endpoints": endpoints}),
            )
            .unwrap()
        };
        let serving = json!({"ready": true, "serving": true, "terminating": false});
        let slices = [
            slice("web", vec![endpoint("a", serving.clone()), endpoint("c", json!({"ready": true}))]),
            slice("web", vec![endpoint("a", serving.clone()), endpoint("stranger", serving.clone())]),
            slice("web", vec![endpoint("b", json!({"ready": false, "serving": true, "terminating": true}))]),
            slice("web-canary", vec![endpoint("c", json!({}))]),
            slice("other", vec![endpoint("b", serving)]),
        ];
        let services = [service("web", &json!({"selector": {"app": "web"}}))];
        let seen = &see(&ask(None, &[], &world), &services, &slices)[0];
        assert_eq!((seen.stable_endpoints, seen.candidate_endpoints, seen.canary_endpoints), (1, 1, 1));
        let not_ready = [slice("web", vec![endpoint("b", json!({"ready": false}))])];
        assert_eq!(see(&ask(None, &[], &world), &services, &not_ready)[0].stable_endpoints, 0);
    }
}
