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
    error::{Error, Result},
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
    let way = if weight > 0 || header { Way::Give } else { Way::Take };
    write(scope, traffic, route, doing, way, |kind, spec, ours| kind.split(spec, ours, weight, header)).await
}

/// Weight 0 and no header in one patch and without a look: `last` is the route as it was read or written before. What
/// was changed since then fails a `test`, and then, or where `last` has nothing to take away, it is `Error::Stale`.
/// Returns the route as it is stored now.
pub async fn take_away(scope: &Scope<'_>, route: &RouteRef, last: &DynamicObject) -> Result<DynamicObject> {
    let doing = format!("taking the traffic of {} {} from the candidate", route.kind, route.name);
    let Some(kind) = routes::kind(route) else { return Err(Error::Stale(doing)) };
    let ours = ours(scope, scope.traffic, route);
    let spec = last.data.get("spec").unwrap_or(&Value::Null);
    let wanted = kind.split(spec, &ours, 0, false).map_err(|why| refused(doing.clone(), why))?;
    if wanted == *spec {
        return Err(Error::Stale(doing));
    }
    let api: Api<DynamicObject> = Api::namespaced_with(scope.client.clone(), scope.namespace, &kind.resource());
    difference(Edit::of_any_version(last), spec, &wanted).send(&api, last, &doing).await
}

/// The route as the user wrote it. One that is gone needs nothing.
pub async fn restore(scope: &Scope<'_>, traffic: &PinnedTraffic, route: &RouteRef) -> Result<()> {
    let doing = format!("restoring {} {}", route.kind, route.name);
    write(scope, traffic, route, doing, Way::Restore, |kind, spec, ours| Ok(kind.restore(spec, ours))).await
}

/// What a write does for the candidate's share.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The route must be there, and nobody may have written its spec since.
    Give,
    /// Loses no race: tests only what it changes.
    Take,
    Restore,
}

async fn write(
    scope: &Scope<'_>,
    traffic: &PinnedTraffic,
    route: &RouteRef,
    doing: String,
    way: Way,
    change: impl FnOnce(&dyn RouteKind, &Value, &Ours<'_>) -> Result<Value, String>,
) -> Result<()> {
    let found = get(&scope.client, scope.namespace, route).await?;
    let (Found::Route(object), Some(kind)) = (found, routes::kind(route)) else {
        return if way == Way::Give { Err(refused(doing, "it does not exist")) } else { Ok(()) };
    };
    let ours = ours(scope, traffic, route);
    let spec = object.data.get("spec").unwrap_or(&Value::Null);
    let wanted = change(kind, spec, &ours).map_err(|why| refused(doing.clone(), why))?;
    let api: Api<DynamicObject> = Api::namespaced_with(scope.client.clone(), scope.namespace, &kind.resource());
    let edit = if way == Way::Take { Edit::of_any_version(&*object) } else { Edit::of_generation(&*object) };
    difference(edit, spec, &wanted).send(&api, &object, &doing).await.map(drop)
}

fn ours<'a>(scope: &'a Scope<'_>, traffic: &'a PinnedTraffic, route: &'a RouteRef) -> Ours<'a> {
    Ours {
        namespace: scope.namespace,
        route: &route.name,
        services: &traffic.services,
        header: traffic.header.as_ref(),
        weights: &traffic.weights,
    }
}

/// Each field that differs is tested and replaced.
fn difference(mut edit: Edit, spec: &Value, wanted: &Value) -> Edit {
    for (field, value) in wanted.as_object().into_iter().flatten() {
        if let Some(before) = spec.get(field).filter(|before| *before != value) {
            edit.test(&["spec", field], before.clone()).replace(&["spec", field], value.clone());
        }
    }
    edit
}
