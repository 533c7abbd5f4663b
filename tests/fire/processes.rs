//! The real binary as processes of its own, each with an identity that the audit log tells apart, and signals to any
//! process of the control plane.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use k8s_openapi::api::{authentication::v1::TokenRequest, core::v1::ServiceAccount};
use kube::{Api, api::PostParams};
use serde_json::Value;

use crate::harness::{Plane, keeper};

/// One `haldane run`. Ends when dropped.
pub struct Process {
    child: Child,
    /// What the audit log calls its token.
    pub credential: String,
}

/// A write of the operator's account as it was audited.
#[derive(Clone, Debug)]
pub struct Audited {
    pub credential: String,
    pub resource: String,
    /// For people.
    pub text: String,
    pub code: u64,
    pub holder: Option<String>,
}

impl Process {
    /// For these namespaces, competing for a lease with others of the same `lease`.
    pub async fn start(plane: &Plane, identity: &str, lease: &str, namespaces: &[String], before: &[&str]) -> Self {
        let accounts: Api<ServiceAccount> = Api::namespaced(plane.client(), "haldane-system");
        let request = TokenRequest::default();
        let token = accounts.create_token_request("haldane", &PostParams::default(), &request).await.expect("a token");
        let token = token.status.expect("a status").token;
        let kubeconfig = kubeconfig(plane, identity, &token);
        let dir = kubeconfig.parent().expect("a folder").to_owned();
        let mut args = vec![format!("KUBECONFIG={}", kubeconfig.display()), "RUST_LOG=info".to_owned()];
        args.extend(before.iter().map(|&word| word.to_owned()));
        args.extend([
            env!("CARGO_BIN_EXE_haldane").to_owned(),
            "run".to_owned(),
            format!("--watch-namespaces={}", namespaces.join(",")),
            "--address=127.0.0.1:0".to_owned(),
            format!("--lease={lease}"),
            format!("--identity={identity}"),
        ]);
        let child = keeper::start(Path::new("env"), &args, &dir, &format!("{identity}.log"));
        Self { child, credential: credential(&token) }
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The administrator's kubeconfig with another token.
fn kubeconfig(plane: &Plane, identity: &str, token: &str) -> PathBuf {
    let path = plane.kubeconfig();
    let mut config: Value = serde_yaml_ng::from_str(&fs::read_to_string(&path).expect("a kubeconfig")).expect("YAML");
    config["users"][0]["user"]["token"] = token.into();
    let own = path.with_file_name(format!("{identity}.kubeconfig"));
    fs::write(&own, config.to_string()).expect("a kubeconfig");
    own
}

/// The id of a token, as the API server writes it into its audit log.
fn credential(token: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let claims = token.split('.').nth(1).expect("a JWT");
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON");
    format!("JTI={}", claims["jti"].as_str().expect("an id"))
}

pub fn signal(id: u32, name: &str) {
    let done = Command::new("kill").args(["-s", name, &id.to_string()]).status().expect("kill");
    assert!(done.success(), "kill -s {name} {id}: {done}");
}

/// The process of this name that runs in the folder of a control plane.
pub fn of_plane(plane: &Plane, name: &str) -> u32 {
    let dir = plane.kubeconfig();
    let dir = dir.parent().expect("a folder");
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let mut found = all.filter_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let here = fs::read_link(entry.path().join("cwd")).ok()? == dir;
        let called = fs::read_to_string(entry.path().join("comm")).ok()?.trim() == name;
        (here && called).then_some(id)
    });
    found.next().unwrap_or_else(|| panic!("no {name} runs in {}", dir.display()))
}

/// All that the operator's account wrote, in the order of the answers. A review (who am I?) is asked by a create and stores nothing.
pub fn audited(plane: &Plane) -> Vec<Audited> {
    let log = fs::read_to_string(plane.kubeconfig().with_file_name("audit.log")).unwrap_or_default();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .map(|event| Audited {
            credential: text(&event["user"]["extra"]["authentication.kubernetes.io/credential-id"][0]),
            resource: text(&event["objectRef"]["resource"]),
            text: format!("{} {}", text(&event["verb"]), text(&event["requestURI"])),
            code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
            holder: event["requestObject"]["spec"]["holderIdentity"].as_str().map(str::to_owned),
        })
        .filter(|write| !write.resource.ends_with("subjectreviews"))
        .collect()
}
