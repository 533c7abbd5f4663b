//! DestinationRules of Istio: for each that speaks of a Service of the user, a copy of ours that says the same of its
//! canary. The user's own are never written. Why: docs/adr/0014-istio-destination-rules.md.

use std::collections::{BTreeMap, BTreeSet};

use kube::{
    ResourceExt,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::Value;

use super::{
    Ours, canary_name,
    dialect::Dialect,
    host,
    virtual_service::{GROUP, VirtualService, host_of},
};
use crate::api::{
    names::{RELEASE, created_by},
    release::RouteRef,
};

pub const KIND: &str = "DestinationRule";

pub fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1", KIND), "destinationrules")
}

/// Whether any of these routes may send to subsets.
pub fn concern(routes: &[RouteRef]) -> bool {
    routes.iter().any(|r| r.group == GROUP && r.kind == VirtualService.names().kind)
}

/// The Service of its own namespace that a DestinationRule speaks of.
pub fn service<'r>(rule: &'r DynamicObject, namespace: &str) -> Option<&'r str> {
    host::service(rule.data.pointer("/spec/host")?.as_str()?, namespace)
}

/// Whether a DestinationRule has to do with one of these Services, or may have the name of a copy.
pub fn speaks_of(rule: &DynamicObject, namespace: &str, services: &[String]) -> bool {
    let of = |named: &str| services.iter().any(|s| s == named || canary_name(s) == named);
    service(rule, namespace).is_some_and(of) || rule.name_any().ends_with("-canary")
}

/// The spec of the copy for the canary Service: all the same, for another host.
pub fn copied(spec: &Value, service: &str) -> Value {
    let mut spec = spec.clone();
    if let Some(host) = spec.get_mut("host") {
        *host = host::with_service(host.as_str().unwrap_or_default(), &canary_name(service)).into();
    }
    spec
}

/// What one Service needs beside its canary Service, and what is there.
#[derive(Debug)]
pub struct Copies<'r> {
    /// Each of the user's rules for this Service, with what has its copy's name.
    pub wanted: Vec<(&'r DynamicObject, Option<&'r DynamicObject>)>,
    /// Copies of ours whose original is gone or speaks of something else now.
    pub orphans: Vec<&'r DynamicObject>,
}

impl<'r> Copies<'r> {
    /// `rules`: all of the namespace.
    pub fn of(name: &str, rules: &'r [DynamicObject], namespace: &str, release: &str) -> Self {
        let users = rules.iter().filter(|r| !r.annotations().contains_key(RELEASE));
        let users: Vec<_> = users.filter(|r| service(r, namespace) == Some(name)).collect();
        let wanted: Vec<_> = users
            .into_iter()
            .map(|user| {
                let copy = canary_name(&user.name_any());
                (user, rules.iter().find(|r| r.name_any() == copy))
            })
            .collect();
        let ours = rules.iter().filter(|r| created_by(*r, release));
        let ours = ours.filter(|r| service(r, namespace) == Some(canary_name(name).as_str()));
        let orphans =
            ours.filter(|r| !wanted.iter().any(|(_, copy)| copy.is_some_and(|c| c.name_any() == r.name_any())));
        Self { orphans: orphans.collect(), wanted }
    }

    /// Every rule has its copy, it says the same, and there is no other.
    pub fn complete(&self, name: &str, release: &str) -> bool {
        let same = |user: &DynamicObject, copy: &DynamicObject| {
            created_by(copy, release)
                && copy.data.get("spec") == user.data.get("spec").map(|s| copied(s, name)).as_ref()
        };
        self.orphans.is_empty() && self.wanted.iter().all(|(user, copy)| copy.is_some_and(|copy| same(user, copy)))
    }

    /// Whether a copy of ours is there.
    pub fn any(&self, release: &str) -> bool {
        !self.orphans.is_empty() || self.wanted.iter().filter_map(|(_, copy)| *copy).any(|c| created_by(c, release))
    }
}

/// Why the subsets that a VirtualService sends to would not reach the candidate, and the cure. `labels`: of the pods of
/// both versions.
pub fn problem(
    spec: &Value,
    ours: &Ours<'_>,
    rules: &[DynamicObject],
    release: &str,
    labels: &BTreeMap<String, String>,
) -> Option<String> {
    for (i, http) in spec.get("http").and_then(Value::as_array).into_iter().flatten().enumerate() {
        for destination in http.get("route").and_then(Value::as_array).into_iter().flatten() {
            let named = host_of(destination).and_then(|h| host::service(h, ours.namespace));
            let Some(service) = named.and_then(|n| ours.services.iter().find(|s| *s == n)) else { continue };
            let Some(subset) = destination.pointer("/destination/subset").and_then(Value::as_str) else { continue };
            if let Some(why) = subset_problem(subset, service, rules, ours, labels) {
                return Some(format!("rule {} of VirtualService {}: {why}", i + 1, ours.route));
            }
        }
    }
    ours.services.iter().find_map(|service| taken(service, rules, ours.namespace, release))
}

/// A DestinationRule of somebody else has the name of a copy.
fn taken(service: &str, rules: &[DynamicObject], namespace: &str, release: &str) -> Option<String> {
    let copies = Copies::of(service, rules, namespace, release);
    let foreign = copies.wanted.iter().filter_map(|(_, copy)| *copy).find(|copy| !created_by(*copy, release))?;
    let name = foreign.name_any();
    Some(match foreign.annotations().get(RELEASE) {
        Some(other) => format!("DestinationRule {name} belongs to Release {other}, which splits the same Service"),
        None => format!("DestinationRule {name} exists and was not created by Haldane; rename or delete it"),
    })
}

fn subset_problem(
    subset: &str,
    service: &str,
    rules: &[DynamicObject],
    ours: &Ours<'_>,
    labels: &BTreeMap<String, String>,
) -> Option<String> {
    let users = rules
        .iter()
        .filter(|r| !r.annotations().contains_key(RELEASE) && self::service(r, ours.namespace) == Some(service));
    let subsets = |rule: &DynamicObject| {
        rule.data.pointer("/spec/subsets").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let mut known = BTreeSet::new();
    for rule in users {
        for one in subsets(rule) {
            let name = one["name"].as_str().unwrap_or_default().to_owned();
            if name != subset {
                known.insert(name);
                continue;
            }
            let wanted = one["labels"].as_object().cloned().unwrap_or_default();
            let other = wanted.iter().find(|(key, value)| labels.get(*key).map(String::as_str) != value.as_str());
            let (key, value) = other?;
            let has = labels.get(key).map_or_else(|| format!("no label {key}"), |has| format!("{key}={has}"));
            return Some(format!(
                "subset {subset} of DestinationRule {} selects pods with {key}={}, and the template of the Deployment has \
                 {has}: no pod of it would be reached; correct the labels of the subset, or those of the template",
                rule.name_any(),
                value.as_str().unwrap_or_default()
            ));
        }
    }
    let known = if known.is_empty() { "none".to_owned() } else { known.into_iter().collect::<Vec<_>>().join(", ") };
    Some(format!(
        "it sends to subset {subset} of Service {service}, which no DestinationRule of this namespace defines (it knows: \
         {known}); define it in one whose host is {service}, or take the subset out of the destination"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(name: &str, host: &str, rest: &Value, release: Option<&str>) -> DynamicObject {
        let mut whole = json!({"apiVersion": "networking.istio.io/v1", "kind": KIND, "metadata": {"name": name}, "spec": {"host": host}});
        json_patch::merge(&mut whole["spec"], rest);
        if let Some(release) = release {
            whole["metadata"]["annotations"] = json!({RELEASE: release});
        }
        serde_json::from_value(whole).unwrap()
    }

    fn subsets() -> Value {
        json!({"trafficPolicy": {"loadBalancer": {"simple": "LEAST_REQUEST"}}, "future": [1],
               "subsets": [{"name": "v1", "labels": {"version": "v1"}}, {"name": "all"}]})
    }

    fn told(spec: &Value, rules: &[DynamicObject], version: &str) -> Option<String> {
        let (services, weights) = (["shop".to_owned()], BTreeMap::new());
        let ours = Ours { namespace: "web", route: "front", services: &services, header: None, weights: &weights };
        let labels =
            BTreeMap::from([("app".to_owned(), "shop".to_owned()), ("version".to_owned(), version.to_owned())]);
        problem(spec, &ours, rules, "shop", &labels)
    }

    fn to(subset: &str) -> Value {
        json!({"http": [{"route": [{"destination": {"host": "other", "subset": "x"}}]},
                        {"route": [{"destination": {"host": "shop.web", "subset": subset}}]}]})
    }

    #[test]
    fn a_copy_says_the_same_of_the_canary() {
        let user = rule("shop", "shop.web.svc.cluster.local", &subsets(), None);
        let mut expected = user.data["spec"].clone();
        expected["host"] = "shop-canary.web.svc.cluster.local".into();
        assert_eq!(copied(&user.data["spec"], "shop"), expected);
    }

    #[test]
    fn a_subset_must_be_defined_and_select_the_pods() {
        let rules = [rule("shop", "shop", &subsets(), None), rule("other", "other", &subsets(), None)];
        assert_eq!(told(&to("v1"), &rules, "v1"), None);
        assert_eq!(told(&to("all"), &rules, "v9"), None, "a subset without labels is all pods");
        assert_eq!(
            told(&to("v1"), &rules, "v2").unwrap(),
            "rule 2 of VirtualService front: subset v1 of DestinationRule shop selects pods with version=v1, and the \
             template of the Deployment has version=v2: no pod of it would be reached; correct the labels of the subset, \
             or those of the template"
        );
        assert_eq!(
            told(&to("v2"), &rules, "v2").unwrap(),
            "rule 2 of VirtualService front: it sends to subset v2 of Service shop, which no DestinationRule of this \
             namespace defines (it knows: all, v1); define it in one whose host is shop, or take the subset out of the \
             destination"
        );
        assert!(told(&to("v1"), &rules[1..], "v1").unwrap().contains("(it knows: none)"));
    }

    #[test]
    fn a_rule_of_somebody_else_with_the_copys_name_is_told() {
        let rules = |owner: Option<&str>| {
            [rule("shop", "shop", &subsets(), None), rule("shop-canary", "shop-canary", &subsets(), owner)]
        };
        let why = told(&to("v1"), &rules(None), "v1").unwrap();
        assert_eq!(why, "DestinationRule shop-canary exists and was not created by Haldane; rename or delete it");
        assert!(told(&to("v1"), &rules(Some("second")), "v1").unwrap().contains("belongs to Release second"));
        assert_eq!(told(&to("v1"), &rules(Some("shop")), "v1"), None);
    }

    #[test]
    fn copies_are_complete_when_each_says_what_its_original_says() {
        let user = rule("shop", "shop", &subsets(), None);
        let copy = rule("shop-canary", "shop-canary", &subsets(), Some("shop"));
        let state = |rules: &[DynamicObject]| {
            let copies = Copies::of("shop", rules, "web", "shop");
            (copies.complete("shop", "shop"), copies.any("shop"))
        };
        assert_eq!(state(&[]), (true, false), "nothing is needed");
        assert_eq!(state(std::slice::from_ref(&user)), (false, false));
        assert_eq!(state(&[user.clone(), copy.clone()]), (true, true));
        let edited = rule("shop", "shop", &json!({"subsets": []}), None);
        assert_eq!(state(&[edited, copy.clone()]), (false, true), "its user has changed it since");
        assert_eq!(state(std::slice::from_ref(&copy)), (false, true), "the original is gone");
        let foreign = rule("shop-canary", "shop-canary", &subsets(), None);
        assert_eq!(state(&[user, foreign]), (false, false));
    }

    #[test]
    fn odd_rules_are_survived() {
        for spec in
            [json!(null), json!({"host": 3}), json!({"host": "shop", "subsets": [null, {"name": 1, "labels": 2}]})]
        {
            let mut odd = rule("odd", "x", &json!({}), None);
            odd.data["spec"] = spec.clone();
            assert!(told(&to("v1"), &[odd], "v1").is_some());
            copied(&spec, "shop");
        }
    }
}
