//! A whole route: one backend beside each of the user's own, and a header rule before each such rule.

use kube::core::{ApiResource, DynamicObject};
use serde_json::Value;

use super::{
    Ours, Reading, RouteKind, Split, Unconfirmed,
    dialect::Dialect,
    rule::{Place, UserRule},
};
use crate::api::units::At;

impl<D: Dialect> RouteKind for D {
    fn resource(&self) -> ApiResource {
        self.names().resource()
    }

    fn installed(&self) -> &'static str {
        self.names().installed
    }

    fn read(&self, spec: &Value, ours: &Ours<'_>) -> Reading {
        let at = Place { dialect: self, ours };
        let rules = user_rules(spec, at);
        let refs = rules.iter().enumerate().flat_map(|(i, rule)| {
            rule.split_refs(i).into_iter().map(move |(backend, service, own)| (at.key(i, backend, service), own))
        });
        let weights = refs.filter_map(|(key, own)| Some((key, i32::try_from(own?).ok()?))).collect();
        let problem = build(spec, at, 50, ours.header.is_some()).err();

        let header = list(spec, at).len() > rules.len();
        let weight = rules.iter().filter_map(UserRule::share).max();
        let split = (header || weight.is_some()).then(|| {
            let weight = weight.unwrap_or(0).min(100);
            let uneven = build(spec, at, weight, header).is_ok_and(|built| built == list(spec, at));
            Split { weight, header, uneven: !uneven }
        });
        Reading { split, weights, problem }
    }

    fn split(&self, spec: &Value, ours: &Ours<'_>, weight: u32, header: bool) -> Result<Value, String> {
        let at = Place { dialect: self, ours };
        Ok(with_rules(spec, at, build(spec, at, weight.min(100), header)?))
    }

    fn restore(&self, spec: &Value, ours: &Ours<'_>) -> Value {
        let at = Place { dialect: self, ours };
        let rules = user_rules(spec, at);
        with_rules(spec, at, rules.iter().enumerate().map(|(i, rule)| rule.restored(i)).collect())
    }

    fn accepted(&self, route: &DynamicObject, namespace: &str, since: At, now: At) -> Result<(), Unconfirmed> {
        Dialect::accepted(self, route, namespace, since, now)
    }
}

fn list<'v>(spec: &'v Value, at: Place<'_>) -> &'v [Value] {
    spec.get(at.names().rules).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn user_rules<'a>(spec: &'a Value, at: Place<'a>) -> Vec<UserRule<'a>> {
    list(spec, at).iter().filter_map(|rule| UserRule::new(rule, at)).collect()
}

fn with_rules(spec: &Value, at: Place<'_>, rules: Vec<Value>) -> Value {
    let mut spec = spec.clone();
    if let Some(old) = spec.get_mut(at.names().rules).filter(|old| old.is_array()) {
        *old = rules.into();
    }
    spec
}

/// All rules with the split in them, whatever of ours was there before.
fn build(spec: &Value, at: Place<'_>, weight: u32, header: bool) -> Result<Vec<Value>, String> {
    let wanted = at.ours.header.filter(|_| header);
    let rules = user_rules(spec, at);
    let mut built = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        if let Some(header) = wanted {
            built.extend(rule.header_rule(i, header)?);
        }
        built.push(rule.split(i, weight)?);
    }
    // Taking traffic away must never fail over a limit or a Service that is gone.
    if weight > 0 || header {
        let (kind, name, services) = (at.names().kind, at.ours.route, at.ours.services);
        if services.is_empty() {
            return Err(format!("no Service could be found whose traffic {kind} {name} divides"));
        }
        if let Some(obstacle) = at.dialect.obstacle(spec, at.ours) {
            return Err(obstacle);
        }
        if rules.iter().enumerate().all(|(i, rule)| rule.split_refs(i).is_empty()) {
            return Err(format!(
                "{kind} {name} sends no traffic to Service {}; name a route that does in spec.traffic.routes, or the \
                 Service it sends to in spec.traffic.services",
                services.join(", ")
            ));
        }
        within_limits(&built, at)?;
    }
    Ok(built)
}

fn within_limits(rules: &[Value], at: Place<'_>) -> Result<(), String> {
    let Some(limits) = at.dialect.limits() else { return Ok(()) };
    let names = at.names();
    let count = |value: &Value, field: &str| value.get(field).and_then(Value::as_array).map_or(0, Vec::len);
    let matches = rules.iter().filter_map(|rule| rule.get(names.matches).and_then(Value::as_array)).flatten();
    let backends = rules.iter().map(|rule| count(rule, names.backends)).max().unwrap_or(0);
    let headers = matches.clone().map(|one| at.dialect.headers(one)).max().unwrap_or(0);
    for (what, found, limit) in [
        (names.rules, rules.len(), limits.rules),
        (names.matches, matches.count(), limits.matches),
        ("backendRefs in a rule", backends, limits.backends),
        ("headers in a match", headers, limits.headers),
    ] {
        if found > limit {
            return Err(format!(
                "{} {} would have {found} {what} with the canary's share and header, and {limit} are allowed; divide it \
                 into several routes, or leave out spec.traffic.canaryHeader",
                names.kind, at.ours.route
            ));
        }
    }
    Ok(())
}
