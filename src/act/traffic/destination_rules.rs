//! Copies of the user's DestinationRules for the canary Service. They are there before a route sends to it, and go after
//! the last one has ceased to.

use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, PostParams, Preconditions},
};
use serde_json::{Value, json};

use super::canary;
use crate::{
    act::{fresh::refused, patch::Edit, scope::Scope},
    api::{
        names::{self, created_by},
        routes::destination_rule::{self, Copies, KIND, concern, copied},
    },
    error::{Error, Result},
    observe::route,
};

/// Makes the copies say what the user's rules say now. One that is not ours is never touched.
pub(super) async fn create(scope: &Scope<'_>, service: &str) -> Result<()> {
    if !concern(&scope.traffic.routes) {
        return Ok(());
    }
    let rules = route::destination_rules(&scope.client, scope.namespace).await?;
    let copies = Copies::of(service, &rules, scope.namespace, scope.release);
    for (user, present) in &copies.wanted {
        let spec = copied(user.data.get("spec").unwrap_or(&Value::Null), service);
        match present {
            Some(present) => update(scope, present, spec).await?,
            None => make(scope, user, spec).await?,
        }
    }
    for orphan in &copies.orphans {
        remove(scope, orphan).await?;
    }
    Ok(())
}

/// Deletes the copies that are there and ours.
pub(super) async fn delete(scope: &Scope<'_>, service: &str) -> Result<()> {
    if !concern(&scope.traffic.routes) {
        return Ok(());
    }
    let rules = route::destination_rules(&scope.client, scope.namespace).await?;
    let copies = Copies::of(service, &rules, scope.namespace, scope.release);
    let wanted = copies.wanted.iter().filter_map(|(_, copy)| *copy);
    for copy in wanted.chain(copies.orphans.iter().copied()).filter(|copy| created_by(*copy, scope.release)) {
        remove(scope, copy).await?;
    }
    Ok(())
}

fn api(scope: &Scope<'_>) -> Api<DynamicObject> {
    Api::namespaced_with(scope.client.clone(), scope.namespace, &destination_rule::resource())
}

async fn make(scope: &Scope<'_>, user: &DynamicObject, spec: Value) -> Result<()> {
    let mut copy = DynamicObject::new("", &destination_rule::resource());
    copy.metadata = canary::metadata(scope, user);
    copy.data = json!({"spec": spec});
    let doing = format!("creating {KIND} {}", copy.name_any());
    let params = PostParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PostParams::default() };
    api(scope).create(&params, &copy).await.map(drop).map_err(|e| Error::from_kube(doing, e))
}

async fn update(scope: &Scope<'_>, present: &DynamicObject, spec: Value) -> Result<()> {
    let doing = format!("updating {KIND} {}", present.name_any());
    if !created_by(present, scope.release) {
        return Err(refused(doing, format!("it exists and does not belong to Release {}", scope.release)));
    }
    let now = present.data.get("spec").unwrap_or(&Value::Null);
    if *now == spec {
        return Ok(());
    }
    let mut edit = Edit::of_any_version(present);
    edit.test(&["spec"], now.clone()).replace(&["spec"], spec);
    edit.send(&api(scope), present, &doing).await.map(drop)
}

async fn remove(scope: &Scope<'_>, copy: &DynamicObject) -> Result<()> {
    let doing = format!("deleting {KIND} {}", copy.name_any());
    let preconditions = Preconditions { uid: copy.uid(), resource_version: copy.resource_version() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api(scope).delete(&copy.name_any(), &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop).map_err(|e| Error::from_kube(doing, e)),
    }
}
