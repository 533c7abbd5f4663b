//! `<service>-canary`: what a route sends the candidate's share to. It selects what the user's Service selects, of the
//! candidate's pods only.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use kube::{
    ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
    core::ObjectMeta,
};

use super::{destination_rules, json, service, services};
use crate::{
    act::{fresh::refused, patch::Edit, scope::Scope},
    api::{names, routes::canary_name},
    error::{Error, Result},
};

/// With these GitOps tools mark what they have applied, and delete what bears the mark but is not in Git.
const TRACKING: [&str; 3] = ["argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/"];
/// Argo CD's mark where it tracks by label. People select by it too, so it is copied, and Argo CD is told to let go.
const INSTANCE: &str = "app.kubernetes.io/instance";
const LET_GO: [(&str, &str); 2] =
    [("argocd.argoproj.io/compare-options", "IgnoreExtraneous"), ("argocd.argoproj.io/sync-options", "Prune=false")];
/// Annotations by which a scraper finds its targets.
const SCRAPE: &str = "prometheus.io/";

/// Creates it, or turns one left over from an earlier candidate to `hash`, and what stands beside it. What is not ours is
/// never touched.
pub async fn create(scope: &Scope<'_>, name: &str, hash: &str) -> Result<()> {
    destination_rules::create(scope, name).await?;
    create_service(scope, name, hash).await
}

async fn create_service(scope: &Scope<'_>, name: &str, hash: &str) -> Result<()> {
    let canary = canary_name(name);
    let doing = format!("creating Service {canary}");
    let (user, present) = tokio::try_join!(service(scope, name), service(scope, &canary))?;
    let Some(user) = user else { return Err(refused(doing, format!("Service {name} does not exist"))) };
    let wanted = wanted(scope, &user, hash);
    let Some(present) = present else {
        let params = PostParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PostParams::default() };
        let created = services(scope).create(&params, &wanted).await;
        return created.map(drop).map_err(|e| Error::from_kube(doing, e));
    };
    refuse_foreign(scope, &present, &doing)?;
    let (now, then) = (present.spec.clone().unwrap_or_default(), wanted.spec.unwrap_or_default());
    if now.selector == then.selector && now.ports == then.ports {
        return Ok(());
    }
    let mut edit = Edit::of_any_version(&present);
    for (field, now, then) in [
        ("selector", json(&now.selector, &doing)?, json(&then.selector, &doing)?),
        ("ports", json(&now.ports, &doing)?, json(&then.ports, &doing)?),
    ] {
        edit.test(&["spec", field], now).add(&["spec", field], then);
    }
    edit.send(&services(scope), &present, &format!("updating Service {canary}")).await.map(drop)
}

/// Lets it select the pods of `hash`. One that is gone, or not ours, is left alone.
pub async fn turn(scope: &Scope<'_>, name: &str, hash: &str) -> Result<()> {
    let canary = canary_name(name);
    let doing = format!("turning Service {canary} to {hash}");
    let Some(present) = service(scope, &canary).await? else { return Ok(()) };
    refuse_foreign(scope, &present, &doing)?;
    let now = present.spec.as_ref().and_then(|spec| spec.selector.as_ref()).and_then(|s| s.get(names::HASH));
    if now.map(String::as_str) == Some(hash) {
        return Ok(());
    }
    let mut edit = Edit::of(&present);
    edit.add(&["spec", "selector", names::HASH], hash);
    edit.send(&services(scope), &present, &doing).await.map(drop)
}

/// Deletes it and what stands beside it, as far as it is there and ours. The Service goes last: what is left when this
/// is broken off is found by it.
pub async fn delete(scope: &Scope<'_>, name: &str) -> Result<()> {
    destination_rules::delete(scope, name).await?;
    let canary = canary_name(name);
    let doing = format!("deleting Service {canary}");
    let Some(present) = service(scope, &canary).await? else { return Ok(()) };
    refuse_foreign(scope, &present, &doing)?;
    let preconditions = Preconditions { uid: present.uid(), resource_version: present.resource_version() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match services(scope).delete(&canary, &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop).map_err(|e| Error::from_kube(doing, e)),
    }
}

fn refuse_foreign(scope: &Scope<'_>, present: &Service, doing: &str) -> Result<()> {
    if names::created_by(present, scope.release) {
        return Ok(());
    }
    Err(refused(doing, format!("it exists and does not belong to Release {}", scope.release)))
}

fn wanted(scope: &Scope<'_>, user: &Service, hash: &str) -> Service {
    let users = user.spec.clone().unwrap_or_default();
    let mut selector = users.selector.unwrap_or_default();
    selector.insert(names::HASH.into(), hash.to_owned());
    let mut ports = users.ports;
    for port in ports.iter_mut().flatten() {
        port.node_port = None;
    }
    let spec = ServiceSpec {
        type_: Some("ClusterIP".into()),
        cluster_ip: users.cluster_ip.filter(|ip| ip == "None"),
        selector: Some(selector),
        ports,
        ip_families: users.ip_families,
        ip_family_policy: users.ip_family_policy,
        internal_traffic_policy: users.internal_traffic_policy,
        publish_not_ready_addresses: users.publish_not_ready_addresses,
        traffic_distribution: users.traffic_distribution,
        ..ServiceSpec::default()
    };
    Service { metadata: metadata(scope, user), spec: Some(spec), ..Service::default() }
}

/// Name and marks of what is made beside an object of the user.
pub(super) fn metadata(scope: &Scope<'_>, user: &impl ResourceExt) -> ObjectMeta {
    let tracked = |key: &str| TRACKING.iter().any(|prefix| key.starts_with(prefix));
    let copied = |from: &BTreeMap<String, String>, keep: &dyn Fn(&str) -> bool| -> BTreeMap<String, String> {
        from.iter().filter(|(key, _)| keep(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let mut labels = copied(user.labels(), &|key| !tracked(key) && !key.starts_with(names::PREFIX));
    let mut annotations = copied(user.annotations(), &|key| key.starts_with(SCRAPE));
    if labels.contains_key(INSTANCE) {
        annotations.extend(LET_GO.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    labels.insert(names::RELEASE.into(), names::label_value(scope.release).to_owned());
    annotations.insert(names::RELEASE.into(), scope.release.to_owned());
    annotations.insert(names::RELEASE_UID.into(), scope.release_uid.to_owned());
    ObjectMeta {
        name: Some(canary_name(&user.name_any())),
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    }
}
