//! `kubectl haldane backtest` against a real API server and a real Prometheus that holds the hours before.

use haldane::observe::{clock, raw};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, ResourceExt, api::ListParams};

use crate::{
    cli::run,
    harness::{self, Plane, SOON, eventually, shop::SHOP},
    prometheus::{Recorded, Recording},
};

/// Seconds between two scrapes.
const SCRAPE: u32 = 15;
/// The hours that are asked about, and half an hour before them.
const SECONDS: u32 = 3 * 3600 + 1800;

/// The ReplicaSet of a Deployment whose pods need not run.
async fn set(plane: &Plane, ns: &str) -> String {
    plane.apply_yaml(ns, SHOP).await;
    let sets = raw::replica_sets(&plane.client(), ns);
    eventually("the ReplicaSet", SOON, async || {
        Some(sets.list(&ListParams::default()).await.ok()?.items.first()?.name_any())
    })
    .await
}

/// Three pods with twenty requests a second each, of which 0.1 % fail; the third fails a fifth in the second hour.
fn recording(ns: &str, set: &str) -> String {
    let (mut recording, end) = (Recording::default(), clock::now().epoch().floor());
    for pod in 0..3 {
        let (mut good, mut bad) = (0.0, 0.0);
        for second in (0..=SECONDS).step_by(SCRAPE as usize) {
            let hour = second.saturating_sub(1800) / 3600;
            let share = if pod == 2 && hour == 1 { 0.2 } else { 0.001 };
            (good, bad) = (good + 300.0 * (1.0 - share), bad + 300.0 * share);
            let at = end - f64::from(SECONDS - second);
            let labels = format!(r#"namespace="{ns}",pod="{set}-{pod}abcd""#);
            recording.add("http_requests_total", &format!(r#"{labels},code="200""#), at, f64::floor(good));
            recording.add("http_requests_total", &format!(r#"{labels},code="500""#), at, f64::floor(bad));
            recording.add("up", &labels, at, 1.0);
        }
    }
    recording.text()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_in_which_one_pod_was_worse_are_named_and_the_others_pass() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let set = set(&plane, &ns).await;
    let recorded = Recorded::start(&recording(&ns, &set)).await;
    let release = "
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: shop}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
  images: {app: 'shop:1'}
  checks: {provider: prometheus}
";
    plane.apply_yaml(&ns, release).await;

    let missing = run(&plane, &ns, &["backtest", "shop", "--since", "3h"]).await;
    assert_eq!(
        (missing.0, missing.2.as_str()),
        (1, "haldane: there is no MetricProvider prometheus in namespace haldane-system\n")
    );

    // In the second hour it is the second pod's turn: the third one, which fails, is among the stable ones and holds it.
    let spared = run(&plane, &ns, &["backtest", "shop", "--since", "3h", "--url", &recorded.url]).await;
    assert_eq!(spared.0, 0, "{spared:?}");
    assert_eq!(
        spared.1.trim(),
        format!("these settings would have rolled back 0 of 3 hours of {set}; in 1 no step would have ended")
    );

    // Two of three are taken for the candidate: the third one's turn comes in the second hour.
    let two = release
        .replace("  checks:", "  plan: {steps: [{pods: 2, weight: 20, for: 1m}, {weight: 100, for: 0s}]}\n  checks:");
    plane.apply_yaml(&ns, &two).await;
    let strict = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(strict.path(), "{provider: prometheus, strict: true}").expect("written");
    let config = strict.path().to_str().expect("a path");
    let named =
        run(&plane, &ns, &["backtest", "shop", "--since", "3h", "--url", &recorded.url, "--config", config]).await;
    assert_eq!(named.0, 2, "{named:?}");
    let lines: Vec<&str> = named.1.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("  rolled back after "), "{named:?}");
    assert_eq!(lines[1], format!("these settings would have rolled back 1 of 3 hours of {set}"));

    let deployments: Api<Deployment> = Api::namespaced(plane.client(), &ns);
    deployments.delete("shop", &kube::api::DeleteParams::default()).await.expect("deleted");
    let gone = run(&plane, &ns, &["backtest", "shop", "--since", "3h", "--url", &recorded.url]).await;
    assert_eq!((gone.0, gone.2), (1, format!("haldane: there is no Deployment shop in namespace {ns}\n")));
}
