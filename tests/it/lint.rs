//! `kubectl haldane lint` against a real API server: what changes under its name, and what its user may not read.

use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    cli::run,
    harness::{self, Plane, SOON, eventually},
};

const RELEASE: &str = "
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: shop}
spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}, images: {app: 'shop:2'}}
";

const SHOP: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 0
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      volumes: [{name: config, configMap: {name: shop-config}}]
      containers:
      - name: app
        image: shop:1
        readinessProbe: {httpGet: {path: /, port: 80}}
        resources: {requests: {cpu: 10m}}
        lifecycle: {preStop: {sleep: {seconds: 10}}}
        volumeMounts: [{name: config, mountPath: /etc/shop}]
        envFrom: [{secretRef: {name: shop-login}}]
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: shop-config}, data: {a: '1', b: '2', c: '3'}}
---
{apiVersion: v1, kind: Secret, metadata: {name: shop-login}, stringData: {user: sam, password: correct-horse}}
";

/// May read everything that lint looks at but Secrets.
const BOB: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: bob}
rules:
- {apiGroups: [haldane.dev], resources: [releases], verbs: [list]}
- {apiGroups: [apps], resources: [deployments], verbs: [get]}
- {apiGroups: [''], resources: [configmaps], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: bob}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: bob}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: bob}]
";

/// The manifests as Git will have them next.
fn files(text: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("shop.yaml"), text).expect("a file");
    dir
}

async fn lint(plane: &Plane, ns: &str, dir: &Path, more: &[&str]) -> (i32, String, String) {
    let args = [&["lint", "-f", dir.to_str().expect("a path")], more].concat();
    run(plane, ns, &args).await
}

#[tokio::test]
async fn what_changes_under_its_name_is_told_by_its_keys_and_never_by_its_values() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    plane.apply_yaml(&ns, RELEASE).await;
    plane.apply_yaml(&ns, SHOP).await;

    let same = files(SHOP);
    let (code, out, said) = lint(&plane, &ns, same.path(), &["--strict"]).await;
    assert_eq!((code, out.as_str(), said.as_str()), (0, "0 warnings in 1 Deployment\n", ""));

    let next = SHOP.replace("a: '1', b: '2'", "a: '7', d: '8'").replace("correct-horse", "battery-staple");
    let next = files(&next);
    let (code, out, _) = lint(&plane, &ns, next.path(), &[]).await;
    assert_eq!(code, 0, "{out}");
    let config = "ConfigMap shop-config changes under its name: keys a, b, d; the old version's pods see it too, within minutes; \
                  name it by its content (kustomize configMapGenerator), see docs/gitops.md";
    let login = "Secret shop-login changes under its name: key password; the old version's pods read it too at their next start; \
                 name it by its content (kustomize secretGenerator), see docs/gitops.md";
    assert!(out.contains(config) && out.contains(login), "{out}");
    assert!(out.contains("shop.yaml, document 1: Deployment shop of namespace "), "{out}");
    let (code, json, said) = lint(&plane, &ns, next.path(), &["--strict", "-o", "json"]).await;
    assert_eq!(code, 2);
    let parsed: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(parsed["warnings"].as_array().map(Vec::len), Some(2));
    let all = out + &json + &said;
    assert!(!all.contains("battery") && !all.contains("horse"), "{all}");

    // Whatever the cluster knows, a manifest alone has only its names.
    let (code, out, _) = lint(&plane, &ns, same.path(), &["--offline"]).await;
    assert_eq!(
        (code, out.lines().last()),
        (0, Some("nothing looked at: no Release releases a Deployment of these manifests"))
    );

    // The content alone, and the Deployment that reads it in the cluster.
    let (_, content) = SHOP.split_once("---").expect("documents");
    let content = files(&content.replace("b: '2'", "b: '9'"));
    let (code, out, _) = lint(&plane, &ns, content.path(), &[]).await;
    assert_eq!(code, 0, "{out}");
    assert!(out.starts_with("in the cluster: Deployment shop") && out.contains("under its name: key b;"), "{out}");
}

#[tokio::test]
async fn what_its_user_may_not_read_is_a_note() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    plane.apply_yaml(&ns, RELEASE).await;
    plane.apply_yaml(&ns, SHOP).await;
    plane.apply_yaml(&ns, BOB).await;
    let next = files(&SHOP.replace("a: '1'", "a: '7'"));
    let out = eventually("bob may read the rest", SOON, async || {
        let (code, out, said) = lint(&plane, &ns, next.path(), &["--as", "bob"]).await;
        if code == 0 && out.contains("shop-config changes under its name: key a;") { Ok(out) } else { Err((out, said)) }
    })
    .await;
    let notes: Vec<&str> = out.lines().filter(|line| line.starts_with("note")).collect();
    assert_eq!(notes.len(), 1, "{out}");
    assert!(notes[0].contains("Secrets of namespace") && notes[0].contains("cannot get resource \"secrets\""), "{out}");
    assert!(out.contains("Secret shop-login keeps its name when its content changes"), "{out}");

    // Not even the Releases: those of the files count, and it is no failure.
    let (code, out, said) = lint(&plane, &ns, next.path(), &["--as", "nobody"]).await;
    assert_eq!((code, said.as_str()), (0, ""), "{out}");
    assert!(out.contains("only Releases of the files count"), "{out}");
}
