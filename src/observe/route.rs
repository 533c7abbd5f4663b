//! The routes that send to the Services, as they stand in the API server and as the data plane has taken them over.

use std::collections::BTreeMap;

use kube::{Api, Client, api::ListParams, core::DynamicObject};
use serde_json::Value;

use super::{seen::RouteSeen, traffic::TrafficAsk};
use crate::{
    api::{
        release::RouteRef,
        routes::{self, Ours, destination_rule, settled},
        units::At,
    },
    error::{Error, Result},
};

/// What a look for one route brought.
pub enum Found {
    Route(Box<DynamicObject>),
    Missing,
    /// The API server does not know the kind.
    UnknownKind,
    /// The read failed; the object as it was before, if it is known.
    Unreadable {
        last: Option<Box<DynamicObject>>,
        why: String,
    },
}

/// Reads one route; a quorum read, never from a cache.
pub async fn get(client: &Client, namespace: &str, route: &RouteRef) -> Result<Found> {
    let Some(kind) = routes::kind(route) else { return Ok(Found::UnknownKind) };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind.resource());
    match api.get(&route.name).await {
        Ok(found) => Ok(Found::Route(Box::new(found))),
        // Without the CRD the answer is a bare 404: no object is named in it, and no reason that the client knows.
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let named = status.details.as_ref().is_some_and(|d| d.name == route.name);
            Ok(if named { Found::Missing } else { Found::UnknownKind })
        }
        Err(e) => Err(Error::from_kube(format!("reading {} {}", route.kind, route.name), e)),
    }
}

/// All DestinationRules of the namespace; none where the API server does not know the kind.
pub async fn destination_rules(client: &Client, namespace: &str) -> Result<Vec<DynamicObject>> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &destination_rule::resource());
    match api.list(&ListParams::default()).await {
        Ok(found) => Ok(found.items),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(e) => Err(Error::from_kube("listing DestinationRules", e)),
    }
}

/// What a route is understood by.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub namespace: &'a str,
    pub ask: &'a TrafficAsk<'a>,
    /// Those whose canary Service is ours or absent: a `-canary` of the user in his own route is not our doing.
    pub services: &'a [String],
    /// The DestinationRules of the namespace, where a route may need them.
    pub rules: &'a [DynamicObject],
}

/// From when on a route is there as it stands. This process knows it of its own clock where it saw another generation
/// before; else the API server's note counts, and where that clock is ahead, no longer than until now.
pub fn since(object: &DynamicObject, last: Option<(&DynamicObject, At)>, now: At) -> At {
    let version = |o: &DynamicObject| (o.metadata.uid.clone(), o.metadata.generation);
    match last {
        Some((before, since)) if version(before) == version(object) => since.min(now),
        Some(_) => now,
        None => settled::written(object).unwrap_or(now).min(now),
    }
}

/// What one route says. `since`: from when on it is there as it stands.
pub fn see(context: Context<'_>, route: &RouteRef, found: &Found, since: At) -> RouteSeen {
    let Context { namespace, ask, services, rules } = context;
    let bare = |problem: String| RouteSeen {
        route: route.clone(),
        problem: Some(problem),
        split: None,
        weights: BTreeMap::new(),
        confirmed: false,
        complaint: None,
        settles_at: None,
    };
    let (kind, name) = (&route.kind, &route.name);
    let (object, routing) = match (found, routes::kind(route)) {
        (Found::Route(object) | Found::Unreadable { last: Some(object), .. }, Some(routing)) => (object, routing),
        (Found::Unreadable { last: None, why }, _) => {
            return RouteSeen { problem: None, complaint: Some(why.clone()), ..bare(String::new()) };
        }
        (Found::Missing, _) => {
            return bare(format!("{kind} {name} does not exist; create it, or correct spec.traffic.routes"));
        }
        _ => {
            let installed = routes::kind(route).map_or("its CRDs", |kind| kind.installed());
            return bare(format!(
                "this cluster has no {kind}.{}; install {installed}, or leave out spec.traffic.routes to split by the \
                 number of pods",
                route.group
            ));
        }
    };
    let ours = Ours { namespace, route: name, services, header: ask.header, weights: ask.weights };
    let spec = object.data.get("spec").unwrap_or(&Value::Null);
    let reading = routing.read(spec, &ours);
    // Once it is split, what became of a subset since must not make a route unusable that can be taken back.
    let subsets = || {
        let subsets = reading.split.is_none() && destination_rule::concern(std::slice::from_ref(route));
        subsets.then(|| destination_rule::problem(spec, &ours, rules, ask.release, ask.template_labels)).flatten()
    };
    let (confirmed, complaint, settles_at) = match found {
        // What was accepted once says nothing of now.
        Found::Unreadable { why, .. } => (false, Some(why.clone()), None),
        _ => match routing.accepted(object, namespace, since, ask.now) {
            Ok(()) => (true, None, None),
            Err(unconfirmed) => (false, Some(unconfirmed.why), unconfirmed.until),
        },
    };
    let going = object.metadata.deletion_timestamp.is_some().then(|| format!("{kind} {name} is being deleted"));
    RouteSeen {
        route: route.clone(),
        problem: going.or(reading.problem).or_else(subsets),
        split: reading.split,
        weights: reading.weights,
        confirmed,
        complaint,
        settles_at,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn this_process_knows_better_than_the_api_servers_clock_since_when() {
        let at = |text: &str| At::new(text.parse().unwrap());
        let route = |generation: i64| -> DynamicObject {
            serde_json::from_value(json!({"metadata": {"uid": "u", "generation": generation, "managedFields": [{
                "manager": "haldane", "operation": "Update", "time": "2026-11-28T10:00:00Z", "fieldsV1": {"f:spec": {}},
            }]}}))
            .unwrap()
        };
        let (noted, now) = (at("2026-11-28T10:00:01Z"), at("2026-11-28T10:00:07Z"));
        let seen = at("2026-11-28T10:00:05.250Z");
        assert_eq!(since(&route(2), None, now), noted, "nothing else is known");
        assert_eq!(since(&route(2), Some((&route(2), seen)), now), seen, "it was there then");
        assert_eq!(since(&route(3), Some((&route(2), seen)), now), now, "it has come since, whatever is noted");
        let early = at("2026-11-28T09:00:00Z");
        assert_eq!(since(&route(2), None, early), early, "the other's clock is ahead: no wait grows of it");
        let mut anew = route(2);
        anew.metadata.uid = Some("v".into());
        assert_eq!(since(&anew, Some((&route(2), seen)), now), now, "another of the same name");
    }
}
