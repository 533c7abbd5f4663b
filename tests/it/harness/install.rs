//! Puts into a new control plane what an administrator would: the Gateway API's CRDs and ours with all that belongs to them.

use std::{fs, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, CustomResourceExt,
    runtime::{conditions, wait::Condition},
};

use super::{Plane, SOON, eventually, processes::script};

pub async fn everything(plane: &Plane) {
    let crds = script("crds.sh", &[]);
    let route = Path::new(&crds).join("gateway.networking.k8s.io_httproutes.yaml");
    plane.apply_yaml("default", &fs::read_to_string(&route).expect("the HTTPRoute CRD")).await;

    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/install.yaml");
    if let Ok(text) = fs::read_to_string(install) {
        plane.apply_yaml("default", &text).await;
    } else {
        for crd in [
            haldane::api::Release::crd(),
            haldane::api::ReleaseAction::crd(),
            haldane::api::MetricProvider::crd(),
            haldane::api::Notifier::crd(),
        ] {
            plane.apply_yaml("default", &serde_json::to_string(&crd).expect("a CRD")).await;
        }
    }
    let api: Api<CustomResourceDefinition> = Api::all(plane.client());
    eventually("every CRD is established", SOON, async || {
        let all = api.list(&kube::api::ListParams::default()).await.ok()?;
        let established = conditions::is_crd_established();
        all.items.iter().all(|crd| established.matches_object(Some(crd))).then_some(())
    })
    .await;
}
