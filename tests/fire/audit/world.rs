//! One namespace as it was stored at one revision.

use std::collections::BTreeMap;

use haldane::{
    api::state::{Candidate, State},
    decide::sizes,
};
use serde_json::Value;

use crate::etcd::Change;

pub const HASH: &str = "pod-template-hash";
pub const OURS: &str = "haldane.dev/";

/// All objects, by resource and name.
#[derive(Clone, Debug, Default)]
pub struct World(BTreeMap<(String, String), Value>);

/// The share of one Service in one rule of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub rule: usize,
    pub service: String,
    pub percent: u32,
}

impl World {
    /// Stores a change; gives what was there before.
    pub fn apply(&mut self, change: &Change) -> Option<Value> {
        let key = (change.kind.clone(), change.name.clone());
        match &change.now {
            Some(object) => self.0.insert(key, object.clone()),
            None => self.0.remove(&key),
        }
    }

    pub fn get(&self, kind: &str, name: &str) -> Option<&Value> {
        self.0.get(&(kind.to_owned(), name.to_owned()))
    }

    pub fn all(&self, kind: &str) -> impl Iterator<Item = (&str, &Value)> {
        let from = (kind.to_owned(), String::new());
        let kind = kind.to_owned();
        self.0
            .range(from..)
            .take_while(move |((k, _), _)| *k == kind)
            .map(|((_, name), object)| (name.as_str(), object))
    }

    pub fn everything(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.0.iter().map(|((kind, name), object)| (kind.as_str(), name.as_str(), object))
    }

    /// The Deployments that Releases of this namespace are about, each once.
    pub fn targets(&self) -> Vec<(&str, &Value)> {
        let mut names: Vec<&str> =
            self.all("releases").filter_map(|(_, r)| r["spec"]["targetRef"]["name"].as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter_map(|name| Some((name, self.get("deployments", name)?))).collect()
    }

    /// The Services that select the pods of a Deployment's template, whatever our key says.
    pub fn services_of<'a>(&'a self, deployment: &'a Value) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        self.all("services").filter(move |(_, service)| {
            let selector = service["spec"]["selector"].as_object();
            selector.is_some_and(|s| {
                s.iter().any(|(k, _)| k != HASH) && s.iter().all(|(k, v)| k == HASH || labels[k] == *v)
            })
        })
    }

    /// Ready pods that a selector chooses.
    pub fn ready(&self, selector: &Value) -> Vec<&str> {
        let chosen = self.all("pods").filter(|(_, pod)| ready(pod) && selects(selector, &pod["metadata"]["labels"]));
        chosen.map(|(name, _)| name).collect()
    }

    /// Whether any traffic is sent to a Service: by its weight in a route, or by everybody if no route names it.
    pub fn reached(&self, service: &str) -> bool {
        let mut named = false;
        for (_, route) in self.all("httproutes") {
            for share in shares(route) {
                if share.service == service {
                    named = true;
                    if share.percent > 0 {
                        return true;
                    }
                }
            }
        }
        !named && !service.ends_with("-canary")
    }

    /// Whether every route that names a Service has been taken over by its gateway as it is stored.
    pub fn confirmed(&self, service: &str) -> bool {
        let about = |route: &Value| shares(route).iter().any(|s| s.service == service);
        self.all("httproutes").filter(|(_, route)| about(route)).all(|(_, route)| {
            let parents = route["status"]["parents"].as_array().map_or(&[][..], Vec::as_slice);
            let conditions = parents.iter().filter_map(|p| p["conditions"].as_array()).flatten();
            let mut conditions = conditions.peekable();
            conditions.peek().is_some()
                && conditions
                    .all(|c| c["status"] == "True" && c["observedGeneration"] == route["metadata"]["generation"])
        })
    }
}

pub fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    pod["metadata"]["deletionTimestamp"].is_null()
        && conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

pub fn selects(selector: &Value, labels: &Value) -> bool {
    selector.as_object().is_some_and(|s| !s.is_empty() && s.iter().all(|(k, v)| labels[k] == *v))
}

pub fn refs(rule: &Value) -> &[Value] {
    rule["backendRefs"].as_array().map_or(&[][..], Vec::as_slice)
}

pub fn rules(route: &Value) -> &[Value] {
    route["spec"]["rules"].as_array().map_or(&[][..], Vec::as_slice)
}

pub fn canary(backend: &Value) -> bool {
    backend["name"].as_str().is_some_and(|name| name.ends_with("-canary"))
}

/// A rule that sends to canary Services alone: the header rule.
pub fn header_rule(rule: &Value) -> bool {
    !refs(rule).is_empty() && refs(rule).iter().all(canary)
}

pub fn weight(backend: &Value) -> i64 {
    backend["weight"].as_i64().unwrap_or(1)
}

/// The shares that the rules of a route give, the header rule left out.
pub fn shares(route: &Value) -> Vec<Share> {
    let own = rules(route).iter().filter(|rule| !header_rule(rule)).enumerate();
    own.flat_map(|(rule, whole)| {
        let sum: i64 = refs(whole).iter().map(weight).sum();
        refs(whole).iter().map(move |r| Share {
            rule,
            service: r["name"].as_str().unwrap_or_default().to_owned(),
            percent: u32::try_from((weight(r) * 100).checked_div(sum).unwrap_or(0)).unwrap_or(0),
        })
    })
    .collect()
}

/// The candidate's share in a route, and whether the header rule is there.
pub fn split(route: &Value) -> (u32, bool) {
    let candidate = shares(route).into_iter().filter(|s| s.service.ends_with("-canary")).map(|s| s.percent).max();
    (candidate.unwrap_or(0), rules(route).iter().any(header_rule))
}

/// The stored State of a Release.
pub fn state(release: &Value) -> Option<State> {
    serde_json::from_value(release["status"]["state"].clone()).ok()
}

/// The share in percent that a stored State gives its candidate.
pub fn allowed(state: &State, wanted: u32) -> Option<u32> {
    let of_step = |candidate: &Candidate, step: u32| sizes::share_of(&candidate.step(step), wanted);
    match state {
        State::Stepping { candidate, step, .. } => Some(of_step(candidate, *step)),
        State::Observing { .. } | State::Promoting { .. } => Some(100),
        _ => None,
    }
}

pub fn wanted(deployment: &Value) -> u32 {
    deployment["spec"]["replicas"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1)
}
