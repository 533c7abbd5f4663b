//! Puts into a new control plane what an administrator would: the kinds of routes and the install manifest.

use std::{fs, path::Path};

use haldane::api::{MetricProvider, Notifier, Release, ReleaseAction};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::ListParams,
    runtime::{conditions, wait::Condition},
};

use super::{Plane, SOON, eventually, processes::script};

/// An order in another's name. Of the manifest's policies the one that refuses it comes last.
const FORGED: &str = "
apiVersion: haldane.dev/v1alpha1
kind: ReleaseAction
metadata: {name: forged}
spec: {release: none, releaseUid: none, revision: none, type: Pause, by: somebody-else}
";

/// The kinds of routes, and what a route may need.
const ROUTES: [&str; 4] = [
    "httproutes.gateway.networking.k8s.io",
    "grpcroutes.gateway.networking.k8s.io",
    "virtualservices.networking.istio.io",
    "destinationrules.networking.istio.io",
];

/// Where all pods run. A pod of no known node gets no endpoint.
const NODE: &str = "{apiVersion: v1, kind: Node, metadata: {name: it}}";

/// Of many CRDs in a file, those that a release has to do with.
fn of_routes(text: &str) -> String {
    let wanted = |document: &&str| ROUTES.iter().any(|name| document.contains(&format!("\n  name: {name}\n")));
    text.split("\n---\n").filter(wanted).collect::<Vec<_>>().join("\n---\n")
}

/// Returns when the CRDs are served and the admission policies in force.
pub async fn everything(plane: &Plane) {
    plane.apply_yaml("default", NODE).await;
    let read = |file: &Path| fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    for file in script("crds.sh", &[]).lines() {
        plane.apply_yaml("default", &of_routes(&read(Path::new(file)))).await;
    }
    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/install.yaml");
    plane.apply_yaml("default", &read(&install)).await;
    let api: Api<CustomResourceDefinition> = Api::all(plane.client());
    eventually("every CRD is established", SOON, async || {
        let all = api.list(&ListParams::default()).await.ok()?;
        let established = conditions::is_crd_established();
        all.items.iter().all(|crd| established.matches_object(Some(crd))).then_some(())
    })
    .await;
    // Established is a promise; a busy API server answers 404 for a moment longer.
    eventually("every kind is served", SOON, async || {
        let client = plane.client();
        let (releases, actions) = (Api::<Release>::all(client.clone()), Api::<ReleaseAction>::all(client.clone()));
        let (providers, notifiers) = (Api::<MetricProvider>::all(client.clone()), Api::<Notifier>::all(client));
        let all = ListParams::default();
        let asked =
            tokio::try_join!(releases.list(&all), actions.list(&all), providers.list(&all), notifiers.list(&all));
        asked.map(drop)
    })
    .await;
    eventually("the admission policies are in force", SOON, async || {
        match plane.try_yaml(&plane.client(), "default", FORGED).await {
            Err(refusal) if refusal.contains("ValidatingAdmissionPolicy") => Ok(()),
            other => Err(other),
        }
    })
    .await;
}
