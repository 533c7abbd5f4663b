//! Where the traffic goes: Services, the pods behind them, and routes, in one look.

use std::{collections::BTreeMap, time::Duration};

use futures::future::{join_all, try_join_all};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams},
};
use tokio::time::timeout;

use super::{
    clock,
    route::{self, Found},
    seen::{RouteSeen, ServiceSeen, Side},
    services::{self, SERVICE_NAME},
};
use crate::{
    api::{
        names::created_by,
        release::{Header, RouteRef},
        routes::{canary_name, destination_rule},
        units::At,
    },
    error::{Error, Result},
};

/// More Services than this are read with one list of the namespace's, fewer each by its name.
const FEW: usize = 4;
/// How long a read may take that a way back can do without.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct TrafficAsk<'a> {
    /// The Release's name.
    pub release: &'a str,
    /// The Services, pinned or as `spec.traffic.services` says; `None`: all that select the template.
    pub services: Option<&'a [String]>,
    pub routes: &'a [RouteRef],
    pub header: Option<&'a Header>,
    /// The labels of the Deployment's template.
    pub template_labels: &'a BTreeMap<String, String>,
    /// The candidate's `pod-template-hash`.
    pub candidate_hash: Option<&'a str>,
    /// The user's weights remembered before the first split.
    pub weights: &'a BTreeMap<String, i32>,
    /// The labels of the pods of other Deployments, by their names.
    pub neighbours: &'a BTreeMap<String, BTreeMap<String, String>>,
    /// The side of each pod, by its name.
    pub pods: &'a BTreeMap<String, Side>,
    pub now: At,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficView {
    /// In the order of their names.
    pub services: Vec<ServiceSeen>,
    /// In the order asked for.
    pub routes: Vec<RouteSeen>,
}

/// Services and routes as they were read, to fall back on when they cannot be read again.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    services: Vec<Service>,
    routes: Vec<LastRoute>,
    rules: Vec<DynamicObject>,
}

/// A route as it was, and from when on it was so.
#[derive(Clone, Debug)]
struct LastRoute {
    route: RouteRef,
    object: DynamicObject,
    since: At,
}

impl Raw {
    /// The route as it was read last, or written by us since.
    pub fn route(&self, route: &RouteRef) -> Option<&DynamicObject> {
        self.last(route).map(|(object, _)| object)
    }

    fn last(&self, route: &RouteRef) -> Option<(&DynamicObject, At)> {
        self.routes.iter().find(|known| known.route == *route).map(|known| (&known.object, known.since))
    }

    /// Our own write has made it this.
    pub fn wrote(&mut self, route: &RouteRef, object: DynamicObject) {
        self.routes.retain(|known| known.route != *route);
        self.routes.push(LastRoute { route: route.clone(), object, since: clock::now() });
    }
}

/// The reads by themselves: they need nothing of the workload, so they run beside its own.
pub struct Reads {
    services: Result<Vec<Service>>,
    slices: Result<Vec<EndpointSlice>>,
    routes: Vec<Result<Found>>,
    rules: Result<Vec<DynamicObject>>,
}

/// Quorum reads, all at once. What takes longer than `limit` is as good as unreadable.
pub async fn read(
    client: &Client,
    namespace: &str,
    asked: Option<&[String]>,
    routes: &[RouteRef],
    limit: Duration,
) -> Reads {
    let names = asked.map(possible_names);
    let slices = async {
        let params = match &names {
            Some(names) if names.is_empty() => return Ok(Vec::new()),
            Some(names) => ListParams::default().labels(&format!("{SERVICE_NAME} in ({})", names.join(","))),
            None => ListParams::default().labels(SERVICE_NAME),
        };
        let api: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
        Ok(api.list(&params).await.map_err(|e| Error::from_kube("listing EndpointSlices", e))?.items)
    };
    let one = async |route: &RouteRef| {
        in_time(limit, &format!("reading {} {}", route.kind, route.name), route::get(client, namespace, route)).await
    };
    let rules = async {
        if !destination_rule::concern(routes) {
            return Ok(Vec::new());
        }
        in_time(limit, "listing DestinationRules", route::destination_rules(client, namespace)).await
    };
    let (services, slices, rules, routes) = tokio::join!(
        in_time(limit, "reading Services", services_of(client, namespace, names.as_deref())),
        in_time(limit, "listing EndpointSlices", slices),
        rules,
        join_all(routes.iter().map(one)),
    );
    Reads { services, slices, routes, rules }
}

/// The Services asked for and their canary Services. A name that no Service can have would spoil a selector.
fn possible_names(asked: &[String]) -> Vec<String> {
    let possible = |name: &&String| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && !name.is_empty();
    let names = asked.iter().filter(possible).flat_map(|name| [name.clone(), canary_name(name)]);
    names.filter(|name| name.len() <= services::MAX_NAME).collect()
}

async fn services_of(client: &Client, namespace: &str, names: Option<&[String]>) -> Result<Vec<Service>> {
    let api: Api<Service> = Api::namespaced(client.clone(), namespace);
    let Some(names) = names.filter(|names| names.len() <= 2 * FEW) else {
        return Ok(api.list(&ListParams::default()).await.map_err(|e| Error::from_kube("listing Services", e))?.items);
    };
    let one = async |name: &String| {
        api.get_opt(name).await.map_err(|e| Error::from_kube(format!("reading Service {name}"), e))
    };
    Ok(try_join_all(names.iter().map(one)).await?.into_iter().flatten().collect())
}

/// The answer, or the error that there was none in time.
pub async fn in_time<T>(limit: Duration, what: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(limit, call).await.unwrap_or_else(|_| {
        let late = format!("no answer after {} ms", limit.as_millis());
        Err(Error::Api { what: what.to_owned(), source: Box::new(kube::Error::Service(late.into())) })
    })
}

/// Reads and understands, for who needs all of it.
pub async fn look(client: &Client, namespace: &str, ask: &TrafficAsk<'_>) -> Result<TrafficView> {
    let reads = read(client, namespace, ask.services, ask.routes, Duration::MAX).await;
    Ok(see(namespace, ask, reads.whole()?, &Raw::default()).0)
}

/// What the reads brought, or what stands in for it.
pub struct Objects {
    services: Vec<Service>,
    slices: Vec<EndpointSlice>,
    routes: Vec<Found>,
    rules: Vec<DynamicObject>,
}

impl Reads {
    /// All of it, or the first error.
    pub fn whole(self) -> Result<Objects> {
        let routes = self.routes.into_iter().collect::<Result<_>>()?;
        Ok(Objects { services: self.services?, slices: self.slices?, routes, rules: self.rules? })
    }

    /// What could not be read is as it was last. One sentence for each read that failed.
    pub fn or_last(self, last: &Raw, asked: &[RouteRef]) -> (Objects, Vec<String>) {
        let mut unread = Vec::new();
        let mut tell = |error: &Error| unread.push(error.to_string());
        let services = self.services.unwrap_or_else(|error| {
            tell(&error);
            last.services.clone()
        });
        let slices = self.slices.unwrap_or_else(|error| {
            tell(&error);
            Vec::new()
        });
        let rules = self.rules.unwrap_or_else(|error| {
            tell(&error);
            last.rules.clone()
        });
        let one = |(route, found): (&RouteRef, Result<Found>)| {
            found.unwrap_or_else(|error| {
                tell(&error);
                Found::Unreadable { last: last.route(route).cloned().map(Box::new), why: error.to_string() }
            })
        };
        let routes = asked.iter().zip(self.routes).map(one).collect();
        (Objects { services, slices, routes, rules }, unread)
    }
}

/// What was read, in the terms of the release; and what to fall back on next time. `last`: that of the look before.
pub fn see(namespace: &str, ask: &TrafficAsk<'_>, objects: Objects, last: &Raw) -> (TrafficView, Raw) {
    let Objects { services, slices, routes, rules } = objects;
    let mut seen = services::see(ask, &services, &slices);
    for service in &mut seen {
        services::beside(service, namespace, ask, &rules);
    }
    let not_ours = |name: &str| {
        let canary = canary_name(name);
        services.iter().any(|s| s.metadata.name.as_ref() == Some(&canary) && !created_by(s, ask.release))
    };
    let split: Vec<String> = seen.iter().map(|s| s.name.clone()).filter(|name| !not_ours(name)).collect();
    let since = |route: &RouteRef, found: &Found| match found {
        Found::Route(object) => route::since(object, last.last(route), ask.now),
        _ => last.last(route).map_or(ask.now, |(_, since)| since),
    };
    let since: Vec<At> = ask.routes.iter().zip(&routes).map(|(route, found)| since(route, found)).collect();
    let context = route::Context { namespace, ask, services: &split, rules: &rules };
    let understood = ask.routes.iter().zip(&routes).zip(&since);
    let understood = understood.map(|((r, found), since)| route::see(context, r, found, *since));
    let view = TrafficView { routes: understood.collect(), services: seen };
    let objects = ask.routes.iter().zip(routes).zip(since).filter_map(|((route, found), since)| match found {
        Found::Route(object) | Found::Unreadable { last: Some(object), .. } => {
            Some(LastRoute { route: route.clone(), object: *object, since })
        }
        _ => None,
    });
    let routes = objects.collect();
    let ours =
        |s: &Service| view.services.iter().any(|v| [v.name.clone(), canary_name(&v.name)].contains(&s.name_any()));
    let rules = rules.into_iter().filter(|r| destination_rule::speaks_of(r, namespace, &split)).collect();
    (view.clone(), Raw { routes, rules, services: services.into_iter().filter(ours).collect() })
}
