//! Where the traffic goes: Services, the pods behind them, and routes, in one look.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{Api, Client, api::ListParams};

use super::{
    route,
    seen::{RouteSeen, ServiceSeen, Side},
    services::{self, SERVICE_NAME},
};
use crate::{
    api::{
        release::{Header, RouteRef},
        routes::canary_name,
    },
    error::{Error, Result},
};

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
    /// The side of each pod, by its name.
    pub pods: &'a BTreeMap<String, Side>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficView {
    /// In the order of their names.
    pub services: Vec<ServiceSeen>,
    /// In the order asked for.
    pub routes: Vec<RouteSeen>,
}

/// Quorum reads, all at once.
pub async fn look(client: &Client, namespace: &str, ask: &TrafficAsk<'_>) -> Result<TrafficView> {
    let all = ListParams::default();
    let of_services = match ask.services {
        Some(asked) => {
            // A name that no Service can have would spoil the selector for the others.
            let possible = |name: &&String| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            let names = asked.iter().filter(possible).flat_map(|name| [name.clone(), canary_name(name)]);
            let names: Vec<String> = names.filter(|name| name.len() <= services::MAX_NAME).collect();
            (!names.is_empty()).then(|| all.clone().labels(&format!("{SERVICE_NAME} in ({})", names.join(","))))
        }
        None => Some(all.clone().labels(SERVICE_NAME)),
    };
    let services = async {
        let api: Api<Service> = Api::namespaced(client.clone(), namespace);
        api.list(&all).await.map_err(|e| Error::from_kube("listing Services", e))
    };
    let slices = async {
        let Some(params) = of_services else { return Ok(Vec::new()) };
        let api: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
        let list = api.list(&params).await.map_err(|e| Error::from_kube("listing EndpointSlices", e))?;
        Ok(list.items)
    };
    let routes = try_join_all(ask.routes.iter().map(|r| route::get(client, namespace, r)));
    let (services, slices, found) = tokio::try_join!(services, slices, routes)?;

    let seen = services::see(ask, &services.items, &slices);
    let not_ours = |name: &str| {
        let canary = canary_name(name);
        services.items.iter().any(|s| s.metadata.name.as_ref() == Some(&canary) && !services::is_ours(s, ask.release))
    };
    let split: Vec<String> = seen.iter().map(|s| s.name.clone()).filter(|name| !not_ours(name)).collect();
    let routes = ask.routes.iter().zip(&found);
    let routes = routes.map(|(r, found)| route::see(namespace, r, found, &split, ask.header, ask.weights)).collect();
    Ok(TrafficView { services: seen, routes })
}
