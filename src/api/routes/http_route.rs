//! HTTPRoute of the Gateway API: one backendRef beside each of the user's own, and a header rule before each such rule.

use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use super::{Ours, Reading, RouteKind, Split, accepted, rule::UserRule, rule::key};

pub const GROUP: &str = "gateway.networking.k8s.io";
pub const KIND: &str = "HTTPRoute";

/// What the API allows in one route.
const MAX_RULES: usize = 16;
const MAX_MATCHES: usize = 128;
const MAX_BACKENDS: usize = 16;
const MAX_HEADERS: usize = 16;

pub struct HttpRoute;

impl RouteKind for HttpRoute {
    fn resource(&self) -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1", KIND), "httproutes")
    }

    fn read(&self, spec: &Value, ours: &Ours<'_>) -> Reading {
        let rules = user_rules(spec, ours);
        let refs = rules.iter().enumerate().flat_map(|(i, rule)| {
            rule.split_refs(i, ours).into_iter().map(move |(at, service, own)| (key(ours, i, at, service), own))
        });
        let weights = refs.filter_map(|(key, own)| Some((key, i32::try_from(own?).ok()?))).collect();
        let problem = build(spec, ours, 50, ours.header.is_some()).err();

        let header = list(spec).len() > rules.len();
        let weight = rules.iter().filter_map(UserRule::share).max();
        let split = (header || weight.is_some()).then(|| {
            let weight = weight.unwrap_or(0).min(100);
            let uneven = build(spec, ours, weight, header).is_ok_and(|built| built == list(spec));
            Split { weight, header, uneven: !uneven }
        });
        Reading { split, weights, problem }
    }

    fn split(&self, spec: &Value, ours: &Ours<'_>, weight: u32, header: bool) -> Result<Value, String> {
        Ok(with_rules(spec, build(spec, ours, weight.min(100), header)?))
    }

    fn restore(&self, spec: &Value, ours: &Ours<'_>) -> Value {
        let rules = user_rules(spec, ours);
        with_rules(spec, rules.iter().enumerate().map(|(i, rule)| rule.restored(i, ours)).collect())
    }

    fn accepted(&self, spec: &Value, status: &Value, generation: i64, namespace: &str) -> Result<(), String> {
        accepted::by_all_parents(spec, status, generation, namespace)
    }
}

fn list(spec: &Value) -> &[Value] {
    spec.get("rules").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn user_rules<'a>(spec: &'a Value, ours: &Ours<'a>) -> Vec<UserRule<'a>> {
    list(spec).iter().filter_map(|rule| UserRule::new(rule, ours)).collect()
}

fn with_rules(spec: &Value, rules: Vec<Value>) -> Value {
    let mut spec = spec.clone();
    if let Some(old) = spec.get_mut("rules") {
        *old = rules.into();
    }
    spec
}

/// All rules with the split in them, whatever of ours was there before.
fn build(spec: &Value, ours: &Ours<'_>, weight: u32, header: bool) -> Result<Vec<Value>, String> {
    let wanted = ours.header.filter(|_| header);
    let rules = user_rules(spec, ours);
    let mut built = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        if let Some(header) = wanted {
            built.extend(rule.header_rule(i, ours, header)?);
        }
        built.push(rule.split(i, ours, weight)?);
    }
    // Taking traffic away must never fail over a limit or a Service that is gone.
    if weight > 0 || header {
        if ours.services.is_empty() {
            return Err(format!("no Service could be found whose traffic HTTPRoute {} divides", ours.route));
        }
        if rules.iter().enumerate().all(|(i, rule)| rule.split_refs(i, ours).is_empty()) {
            return Err(format!(
                "HTTPRoute {} sends no traffic to Service {}; name a route that does in spec.traffic.routes, or the \
                 Service it sends to in spec.traffic.services",
                ours.route,
                ours.services.join(", ")
            ));
        }
        within_limits(&built, ours)?;
    }
    Ok(built)
}

fn within_limits(rules: &[Value], ours: &Ours<'_>) -> Result<(), String> {
    let count = |value: &Value, field: &str| value.get(field).and_then(Value::as_array).map_or(0, Vec::len);
    let matches = rules.iter().filter_map(|rule| rule.get("matches").and_then(Value::as_array)).flatten();
    let backends = rules.iter().map(|rule| count(rule, "backendRefs")).max().unwrap_or(0);
    let headers = matches.clone().map(|one| count(one, "headers")).max().unwrap_or(0);
    for (what, found, limit) in [
        ("rules", rules.len(), MAX_RULES),
        ("matches", matches.count(), MAX_MATCHES),
        ("backendRefs in a rule", backends, MAX_BACKENDS),
        ("headers in a match", headers, MAX_HEADERS),
    ] {
        if found > limit {
            return Err(format!(
                "HTTPRoute {} would have {found} {what} with the canary's share and header, and {limit} are allowed; \
                 divide it into several routes, or leave out spec.traffic.canaryHeader",
                ours.route
            ));
        }
    }
    Ok(())
}
