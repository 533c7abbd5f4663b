//! The command line against a real API server: the binary as people call it, with its exit codes.

use std::{
    os::unix::fs::symlink,
    process::{Output, Stdio},
};

use haldane::api::{Release, ReleaseAction};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::harness::{self, Plane, SOON, eventually};

const SHOP: &str = "
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: {name: shop}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
  images: {app: 'shop:2'}
";

/// The binary, in a namespace of the plane.
fn haldane(plane: &Plane, ns: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haldane"));
    command.args(args).args(["-n", ns, "--kubeconfig"]).arg(plane.kubeconfig()).env_remove("KUBECONFIG");
    command.kill_on_drop(true);
    command
}

pub async fn run(plane: &Plane, ns: &str, args: &[&str]) -> (i32, String, String) {
    let output = tokio::time::timeout(SOON, haldane(plane, ns, args).output()).await;
    let output: Output = output.unwrap_or_else(|_| panic!("{args:?} does not end")).expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

fn version(image: &str, revision: &str) -> Value {
    json!({"revision": revision, "images": {"app": image}})
}

fn candidate() -> Value {
    let mut candidate = version("shop:2", "2222222222");
    candidate["id"] = "2222222222".into();
    candidate["generation"] = 1.into();
    candidate["targetUid"] = "d-1".into();
    candidate["plan"] = json!({"steps": [{"weight": 100, "for": "60s"}], "watch": {"for": "60s"}, "deadline": "600s"});
    candidate["targetUid"] = "d-1".into();
    candidate["traffic"] = json!({"services": []});
    candidate
}

/// Writes a status as the operator does.
async fn say(plane: &Plane, ns: &str, phase: &str, state: Value, more: &Value) {
    let mut status = json!({
        "formatVersion": 1, "observedGeneration": 1, "state": state, "notices": 0, "phase": phase,
        "message": format!("now {phase}"), "stableRevision": "1111111111", "candidateRevision": "2222222222",
        "conditions": [],
    });
    for (key, value) in more.as_object().expect("an object") {
        status[key] = value.clone();
    }
    let patch = json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Release", "status": status});
    let api: Api<Release> = Api::namespaced(plane.operator_client(), ns);
    let params = PatchParams::apply("haldane").force();
    api.patch_status("shop", &params, &Patch::Apply(&patch)).await.expect("the operator writes the status");
}

async fn stepping(plane: &Plane, ns: &str) {
    let since = "2026-01-01T00:00:00Z";
    let state = json!({"stepping": {"stable": version("shop:1", "1111111111"), "candidate": candidate(), "step": 0, "since": since}});
    say(plane, ns, "Stepping", state, &json!({"step": "1/1", "weight": 100})).await;
}

async fn rolled_back(plane: &Plane, ns: &str) {
    let at = "2026-01-01T00:00:00Z";
    let state = json!({"rolledBack": {
        "stable": version("shop:1", "1111111111"),
        "candidate": version("shop:2", "2222222222"),
        "cause": {"kind": "Bad", "message": "error rate 20.00 % > 5 %"},
        "report": {"decidedAt": at, "proof": "Counters"},
    }});
    let result = json!({"generation": 1, "outcome": "RolledBack", "at": at, "message": "error rate 20.00 % > 5 %"});
    say(plane, ns, "RolledBack", state, &json!({"result": result})).await;
}

#[tokio::test]
async fn an_order_is_made_in_the_callers_own_name() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    plane.apply_yaml(&ns, SHOP).await;
    stepping(&plane, &ns).await;

    let (code, _, said) = run(&plane, &ns, &["promote", "shop", "--as", "alice"]).await;
    assert_eq!(code, 1, "alice has no rights yet");
    assert!(said.contains("alice") && said.contains("cannot get resource \"releases\""), "{said}");
    let binding = "
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: alice}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: alice}]
";
    plane.apply_yaml(&ns, binding).await;
    let done = eventually("alice may order", SOON, async || {
        let (code, out, err) = run(&plane, &ns, &["promote", "shop", "--full", "--as", "alice"]).await;
        if code == 0 { Ok(out) } else { Err(err) }
    })
    .await;
    assert!(done.starts_with("ordered by alice: shop (2222222222) goes to 100 %"), "{done}");
    assert!(done.contains(&format!("kubectl haldane get shop --watch -n {ns}")), "{done}");

    let (code, ..) = run(&plane, &ns, &["pause", "shop", "--for", "30m"]).await;
    assert_eq!(code, 0);
    let api: Api<ReleaseAction> = Api::namespaced(plane.client(), &ns);
    let release: Api<Release> = Api::namespaced(plane.client(), &ns);
    let uid = release.get("shop").await.expect("the Release").metadata.uid;
    let orders = api.list(&ListParams::default()).await.expect("orders").items;
    assert_eq!(orders.len(), 2);
    assert!(orders.iter().all(|o| Some(&o.spec.release_uid) == uid.as_ref() && o.spec.revision == "2222222222"));
    let by_alice = orders.iter().find(|o| o.spec.by == "alice").expect("her order");
    assert!(by_alice.metadata.name.as_ref().is_some_and(|n| n.starts_with("shop-promote-")));
    assert!(orders.iter().any(|o| o.spec.until.is_some()));

    let (code, _, said) = run(&plane, &ns, &["resume", "shop"]).await;
    assert_eq!((code, said.trim()), (1, "haldane: Release shop is not paused"));
}

/// Starts `wait` and returns when it has told of the present state: from then on it watches.
async fn waiting(plane: &Plane, ns: &str, more: &[&str], first: &str) -> Child {
    let args: Vec<&str> = ["wait", "shop"].iter().chain(more).copied().collect();
    let mut child = haldane(plane, ns, &args).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stderr.as_mut().expect("piped")).lines();
    let line = tokio::time::timeout(SOON, lines.next_line()).await.expect("a line in time").expect("readable");
    assert!(line.as_ref().is_some_and(|l| l.contains(first)), "{line:?}");
    child
}

#[tokio::test]
async fn a_wait_ends_with_the_release_and_its_exit_code_says_how() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let (code, _, said) = run(&plane, &ns, &["wait", "shop"]).await;
    assert_eq!((code, said.trim()), (1, format!("haldane: there is no Release shop in namespace {ns}").as_str()));

    plane.apply_yaml(&ns, SHOP).await;
    stepping(&plane, &ns).await;
    let (code, out, _) = run(&plane, &ns, &["wait", "shop", "--timeout", "1s"]).await;
    assert_eq!((code, out.trim()), (4, "Release shop generation 1 not ended at the timeout: now Stepping"));

    let child = waiting(&plane, &ns, &[], "Stepping 1/1 at 100 %: now Stepping").await;
    rolled_back(&plane, &ns).await;
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await.expect("it ends").expect("with output");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), "Release shop generation 1 rolled back: error rate 20.00 % > 5 %");
    let (code, ..) = run(&plane, &ns, &["wait", "shop", "--for-generation", "1"]).await;
    assert_eq!(code, 2, "what has ended is told at once");

    let gates = json!([{"name": "Preflight", "message": "hostPort"}]);
    let state = json!({"waiting": {"stable": version("shop:1", "1111111111"), "candidate": candidate(), "since": "2026-01-01T00:00:00Z", "closed": gates}});
    say(&plane, &ns, "Waiting", state, &json!({})).await;
    let (code, ..) = run(&plane, &ns, &["wait", "shop", "--timeout", "1s"]).await;
    assert_eq!(code, 3, "still gated");
    let child = waiting(&plane, &ns, &["--for-generation", "1"], "Waiting: now Waiting").await;
    let api: Api<Release> = Api::namespaced(plane.client(), &ns);
    api.delete("shop", &kube::api::DeleteParams::default()).await.expect("deleted");
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await.expect("it ends").expect("with output");
    assert_eq!(output.status.code(), Some(1), "a deleted Release is an error");
}

#[tokio::test]
async fn releases_are_shown_in_every_form() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let (code, out, said) = run(&plane, &ns, &["get"]).await;
    assert_eq!((code, out.as_str(), said.trim()), (0, "", format!("No Releases found in namespace {ns}.").as_str()));

    plane.apply_yaml(&ns, SHOP).await;
    stepping(&plane, &ns).await;
    let shown = async |args: &[&str]| {
        let (code, out, said) = run(&plane, &ns, args).await;
        assert_eq!((code, said.as_str()), (0, ""), "{args:?}");
        out
    };
    assert!(shown(&["get", "shop"]).await.contains("Stepping 1/1"));
    assert!(shown(&["get"]).await.starts_with("NAME   STATUS     STEP   WEIGHT"));
    assert!(shown(&["get", "-o", "wide"]).await.contains("1111111111"));
    assert_eq!(shown(&["get", "-o", "name"]).await, "release.haldane.dev/shop\n");
    let one: Value = serde_json::from_str(&shown(&["get", "shop", "-o", "json"]).await).expect("JSON");
    assert_eq!(one["metadata"]["name"], "shop");
    assert!(one["metadata"].get("managedFields").is_none());
    let many: Value = serde_yaml_ng::from_str(&shown(&["get", "-o", "yaml"]).await).expect("YAML");
    assert_eq!(many["items"][0]["kind"], "Release");
    assert!(shown(&["explain", "shop"]).await.contains("is in step 1 of 1"));
}

#[tokio::test]
async fn as_a_plugin_it_calls_itself_kubectl_haldane() {
    let dir = tempfile::tempdir().expect("a directory");
    let plugin = dir.path().join("kubectl-haldane");
    symlink(env!("CARGO_BIN_EXE_haldane"), &plugin).expect("a link");
    let output = Command::new(plugin).args(["wait", "--help"]).output().await.expect("it runs");
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(help.contains("Usage: kubectl haldane wait"), "{help}");
    assert!(help.contains("3  still gated at the timeout"), "{help}");
}
