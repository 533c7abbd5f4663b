//! Which Releases have something under way, and which objects of their namespaces matter to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::sync::watch;

use super::context::Key;
use crate::api::{
    Release, State,
    release::RouteRef,
    routes::{self, destination_rule},
};

/// The names a Release in progress depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    pub deployment: String,
    pub services: BTreeSet<String>,
    pub routes: BTreeSet<RouteRef>,
}

impl Interest {
    /// What the State holds on to; `None` at rest, when nothing but the Deployment matters.
    pub fn of(release: &Release, state: &State) -> Option<Self> {
        let traffic = &state.candidate().filter(|_| state.active())?.traffic;
        Some(Self {
            deployment: release.spec.target_ref.name.clone(),
            services: traffic.services.iter().cloned().collect(),
            routes: traffic.routes.iter().cloned().collect(),
        })
    }

    /// The kinds beside the usual ones that are worth a watch: those of its routes, and what these may need.
    pub fn kinds(&self) -> BTreeSet<Extra> {
        let routes: Vec<RouteRef> = self.routes.iter().cloned().collect();
        let kinds = routes.iter().filter_map(|r| Some(Extra::Route(routes::kind(r)?.resource().kind)));
        kinds.chain(destination_rule::concern(&routes).then_some(Extra::DestinationRule)).collect()
    }
}

/// The kinds watched in namespaces with something under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Near {
    ReplicaSet,
    Pod,
    Service,
    EndpointSlice,
    Job,
    Extra(Extra),
}

/// Kinds that not every cluster has: watched where a Release names one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extra {
    /// Of this kind.
    Route(String),
    DestinationRule,
}

type Namespaces = BTreeMap<String, BTreeMap<String, Interest>>;

/// The shared list. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Active(Arc<watch::Sender<Namespaces>>);

impl Default for Active {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Namespaces::new())))
    }
}

impl Active {
    /// Called after each decision; `None` at rest.
    pub fn set(&self, key: &Key, interest: Option<Interest>) {
        self.0.send_if_modified(|namespaces| {
            let before = namespaces.get(&key.namespace).and_then(|n| n.get(&key.name));
            if before == interest.as_ref() {
                return false;
            }
            let releases = namespaces.entry(key.namespace.clone()).or_default();
            match interest {
                Some(interest) => {
                    releases.insert(key.name.clone(), interest);
                }
                None => {
                    releases.remove(&key.name);
                }
            }
            if releases.is_empty() {
                namespaces.remove(&key.namespace);
            }
            true
        });
    }

    /// Without leadership nothing is under way here.
    pub fn clear(&self) {
        self.0.send_if_modified(|namespaces| !std::mem::take(namespaces).is_empty());
    }

    /// The namespaces to watch, whenever they may have changed.
    pub fn changes(&self) -> watch::Receiver<Namespaces> {
        self.0.subscribe()
    }

    /// The Releases that want to know of a change of this object.
    pub fn touched(&self, near: &Near, meta: &ObjectMeta) -> Vec<Key> {
        let namespace = meta.namespace.clone().unwrap_or_default();
        let namespaces = self.0.borrow();
        let Some(releases) = namespaces.get(&namespace) else { return Vec::new() };
        releases
            .iter()
            .filter(|(name, interest)| concerns(near, meta, name, interest))
            .map(|(name, _)| Key { namespace: namespace.clone(), name: name.clone() })
            .collect()
    }
}

/// By name and owner, as cheaply as possible. A false alarm costs one pass that writes nothing.
fn concerns(near: &Near, meta: &ObjectMeta, release: &str, interest: &Interest) -> bool {
    let name = meta.name.as_deref().unwrap_or_default();
    let label = |key: &str| meta.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let of_deployment = |name: &str| name.strip_prefix(&interest.deployment).is_some_and(|rest| rest.starts_with('-'));
    let service = |name: &str| {
        interest.services.contains(name)
            || name.strip_suffix("-canary").is_some_and(|plain| interest.services.contains(plain))
    };
    match near {
        Near::ReplicaSet | Near::Pod => of_deployment(name),
        Near::Service => service(name),
        Near::EndpointSlice => label("kubernetes.io/service-name").is_some_and(service),
        Near::Extra(Extra::Route(kind)) => interest.routes.iter().any(|r| r.kind == *kind && r.name == name),
        Near::Extra(Extra::DestinationRule) => interest.kinds().contains(&Extra::DestinationRule),
        Near::Job => {
            // A label holds 63 characters at most; a longer name of a Release is cut there.
            label("haldane.dev/release").is_some_and(|value| release.starts_with(value) && !value.is_empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(name: &str, labels: &[(&str, &str)]) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some("shop".into()),
            labels: Some(labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()),
            ..ObjectMeta::default()
        }
    }

    fn route(kind: &str, name: &str) -> RouteRef {
        let group = if kind == "VirtualService" { "networking.istio.io" } else { "gateway.networking.k8s.io" };
        RouteRef { group: group.into(), kind: kind.into(), name: name.into() }
    }

    #[test]
    fn only_the_kinds_that_a_release_names_are_watched() {
        let of = |routes: &[RouteRef]| Interest { routes: routes.iter().cloned().collect(), ..Interest::default() };
        let kind = |kind: &str| Extra::Route(kind.into());
        assert!(of(&[]).kinds().is_empty());
        assert_eq!(of(&[route("GRPCRoute", "a"), route("GRPCRoute", "b")]).kinds(), [kind("GRPCRoute")].into());
        let istio = of(&[route("VirtualService", "a"), route("HTTPRoute", "a")]);
        assert_eq!(istio.kinds(), [kind("VirtualService"), kind("HTTPRoute"), Extra::DestinationRule].into());
    }

    #[test]
    fn only_releases_that_depend_on_an_object_hear_of_it() {
        let active = Active::default();
        let key = Key { namespace: "shop".into(), name: "checkout".into() };
        let interest = Interest {
            deployment: "checkout".into(),
            services: ["web".into()].into(),
            routes: [route("HTTPRoute", "front")].into(),
        };
        active.set(&key, Some(interest.clone()));
        let hears = |near, name: &str, labels: &[(&str, &str)]| !active.touched(&near, &meta(name, labels)).is_empty();
        let of = |kind: &str| Near::Extra(Extra::Route(kind.into()));
        assert!(hears(Near::ReplicaSet, "checkout-r0123456789", &[]));
        assert!(hears(Near::Pod, "checkout-r0123456789-abcde", &[]));
        assert!(!hears(Near::Pod, "checkouts-1", &[]));
        assert!(!hears(Near::Pod, "checkout", &[]));
        assert!(hears(Near::Service, "web", &[]) && hears(Near::Service, "web-canary", &[]));
        assert!(!hears(Near::Service, "api", &[]));
        assert!(hears(Near::EndpointSlice, "web-x1", &[("kubernetes.io/service-name", "web-canary")]));
        assert!(!hears(Near::EndpointSlice, "web-x1", &[]));
        assert!(hears(of("HTTPRoute"), "front", &[]) && !hears(of("HTTPRoute"), "back", &[]));
        assert!(!hears(of("GRPCRoute"), "front", &[]), "a namesake of another kind");
        assert!(!hears(Near::Extra(Extra::DestinationRule), "web", &[]));
        assert!(hears(Near::Job, "smoke", &[("haldane.dev/release", "checkout")]));
        assert!(!hears(Near::Job, "smoke", &[("haldane.dev/release", "")]));

        let mut elsewhere = meta("web", &[]);
        elsewhere.namespace = Some("other".into());
        assert!(active.touched(&Near::Service, &elsewhere).is_empty());

        let mut changes = active.changes();
        changes.mark_unchanged();
        active.set(&key, Some(interest));
        assert!(!changes.has_changed().unwrap(), "the same interest is no change");
        active.set(&key, None);
        assert!(changes.has_changed().unwrap() && changes.borrow().is_empty());
        assert!(!hears(Near::Service, "web", &[]));
    }
}
