//! The candidate's share in the user's routes: one read, one patch, for any kind of route.

use kube::{Api, core::DynamicObject};
use serde_json::Value;

use crate::{
    act::{fresh::refused, patch::Edit, scope::Scope},
    api::{
        release::RouteRef,
        routes::{self, Ours, RouteKind},
        state::PinnedTraffic,
    },
    error::Result,
    observe::route::{Found, get},
};

/// Gives the candidate `weight` percent, and with `header` the requests that carry the pinned header: one patch. With
/// weight 0 and no header our backendRefs stay, at 0. A route that is gone needs no taking away.
pub async fn split(
    scope: &Scope<'_>,
    traffic: &PinnedTraffic,
    route: &RouteRef,
    weight: u32,
    header: bool,
) -> Result<()> {
    let doing = format!("sending {weight} % of {} {} to the candidate", route.kind, route.name);
    write(scope, traffic, route, doing, weight > 0 || header, |kind, spec, ours| kind.split(spec, ours, weight, header))
        .await
}

/// The route as the user wrote it. One that is gone needs nothing.
pub async fn restore(scope: &Scope<'_>, traffic: &PinnedTraffic, route: &RouteRef) -> Result<()> {
    let doing = format!("restoring {} {}", route.kind, route.name);
    write(scope, traffic, route, doing, false, |kind, spec, ours| Ok(kind.restore(spec, ours))).await
}

async fn write(
    scope: &Scope<'_>,
    traffic: &PinnedTraffic,
    route: &RouteRef,
    doing: String,
    needed: bool,
    change: impl FnOnce(&dyn RouteKind, &Value, &Ours<'_>) -> Result<Value, String>,
) -> Result<()> {
    let found = get(&scope.client, scope.namespace, route).await?;
    let (Found::Route(object), Some(kind)) = (found, routes::kind(route)) else {
        return if needed { Err(refused(doing, "it does not exist")) } else { Ok(()) };
    };
    let ours = Ours {
        namespace: scope.namespace,
        route: &route.name,
        services: &traffic.services,
        header: traffic.header.as_ref(),
        weights: &traffic.weights,
    };
    let spec = object.data.get("spec").unwrap_or(&Value::Null);
    let wanted = change(kind, spec, &ours).map_err(|why| refused(doing.clone(), why))?;
    let mut edit = Edit::of_any_version(object.as_ref());
    for (field, value) in wanted.as_object().into_iter().flatten() {
        if let Some(before) = spec.get(field).filter(|before| *before != value) {
            edit.test(&["spec", field], before.clone()).replace(&["spec", field], value.clone());
        }
    }
    let api: Api<DynamicObject> = Api::namespaced_with(scope.client.clone(), scope.namespace, &kind.resource());
    edit.send(&api, &object, &doing).await.map(drop)
}
