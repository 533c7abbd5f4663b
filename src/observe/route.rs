//! The routes that send to the Services, as they stand in the API server and as the data plane has taken them over.

use std::collections::BTreeMap;

use kube::{Api, Client, core::DynamicObject};
use serde_json::Value;

use super::seen::RouteSeen;
use crate::{
    api::{
        release::{Header, RouteRef},
        routes::{self, Ours},
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

/// What one route says. `services` are those whose canary Service is ours or absent: a `-canary` of the user in his own
/// route is not our doing.
pub fn see(
    namespace: &str,
    route: &RouteRef,
    found: &Found,
    services: &[String],
    header: Option<&Header>,
    weights: &BTreeMap<String, i32>,
) -> RouteSeen {
    let bare = |problem: String| RouteSeen {
        route: route.clone(),
        problem: Some(problem),
        split: None,
        weights: BTreeMap::new(),
        confirmed: false,
        complaint: None,
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
            return bare(format!(
                "this cluster has no {kind}.{}; install its CRDs, or leave out spec.traffic.routes to split by the \
                 number of pods",
                route.group
            ));
        }
    };
    let ours = Ours { namespace, route: name, services, header, weights };
    let (spec, status) = (object.data.get("spec").unwrap_or(&Value::Null), object.data.get("status"));
    let reading = routing.read(spec, &ours);
    let generation = object.metadata.generation.unwrap_or(0);
    let accepted = match found {
        Found::Unreadable { why, .. } => Err(why.clone()), // what was accepted once says nothing of now
        _ => routing.accepted(spec, status.unwrap_or(&Value::Null), generation, namespace),
    };
    let going = object.metadata.deletion_timestamp.is_some().then(|| format!("{kind} {name} is being deleted"));
    RouteSeen {
        route: route.clone(),
        problem: going.or(reading.problem),
        split: reading.split,
        weights: reading.weights,
        confirmed: accepted.is_ok(),
        complaint: accepted.err(),
    }
}
