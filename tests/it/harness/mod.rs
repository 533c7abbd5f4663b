//! What a test against a real API server needs.
//!
//! One control plane (etcd, kube-apiserver, kube-controller-manager) is started for the whole test binary by whoever asks
//! first, in about ten seconds; it ends with the test process, however that ends. Each test takes a namespace of its own:
//!
//! ```ignore
//! use crate::harness::{self, SOON, eventually, pods};
//!
//! #[tokio::test]
//! async fn something_holds() {
//!     let plane = harness::plane().await;
//!     let ns = plane.namespace().await;                        // fresh, with its default service account
//!     let agent = pods::Agent::start(&plane, &ns);             // plays the scheduler and the kubelet of `ns`
//!     agent.unready(pods::of_image("shop:2"));                 // the last rule that fits a pod is the one it follows
//!     plane.apply_yaml(&ns, "apiVersion: apps/v1 …").await;    // several documents, server-side apply, as the admin
//!     let api: Api<Deployment> = Api::namespaced(plane.operator_client(), &ns);
//!     let ready = eventually("two pods are ready", SOON, async || { … Some(value) or None … }).await;
//! }
//! ```
//!
//! - `plane.client()` is the administrator; `client_as(user, groups)` anybody else; `operator_client()` the operator's
//!   service account, which may do only what the chart's RBAC allows.
//! - `plane.create_yaml(client, ns, text)` creates one object with strict validation and gives the API server's sentence.
//! - `plane.operator_writes(&ns)` lists every write of the operator in the order the API server answered them.
//! - `pods::Agent` makes pods run; `gateway::Gateway` accepts HTTPRoutes; `metrics::Metrics` is a Prometheus. All stop when
//!   dropped. `proxy::Proxy` stands before the API server, notes the operator's calls and refuses those a test names.
//! - `eventually` looks every 50 ms. The closure gives `Some`, or `Ok`; an `Err(what was seen)` shows in the panic.
//! - `API_SERVER_FLAGS` in the `main.rs` of each test binary is what its API server is started with beside the rest.
//! - Tests that stop the controllers must not share: `harness::own_plane()` starts a control plane for one test, with
//!   `stop_controllers()` and `continue_controllers()`.

pub mod gateway;
mod install;
pub mod keeper;
pub mod load;
pub mod metrics;
pub mod notices;
pub mod pods;
mod processes;
pub mod proxy;
pub mod shop;
mod yaml;

use std::{
    fmt::Debug,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{Api, Client, Config, api::PostParams, core::ObjectMeta};
use serde_json::Value;

use processes::Processes;
pub use processes::tools;

/// Long enough for anything that a healthy control plane does at once, also on a busy machine.
pub const SOON: Duration = Duration::from_mins(1);

/// After a watch that failed.
pub const AGAIN: Duration = Duration::from_millis(100);

/// Longer than any `--timeout` it is given.
const KUBECTL: Duration = Duration::from_mins(4);

/// A control plane as one test sees it. Its clients belong to the test's own runtime.
pub struct Plane {
    processes: Arc<Processes>,
    admin: Config,
    operator: Config,
    kinds: yaml::Kinds,
}

/// The control plane that all tests share.
pub async fn plane() -> Plane {
    static SHARED: OnceLock<Option<Arc<Processes>>> = OnceLock::new();
    let once = || std::thread::spawn(|| in_own_runtime(start)).join().ok();
    let shared = tokio::task::spawn_blocking(move || SHARED.get_or_init(once).clone()).await.expect("no panic inside");
    Plane::of(shared.expect("the shared control plane starts; the first test that asked for it says why not")).await
}

/// A control plane for one test alone. Costs ten seconds and 400 MB: only for tests that break it.
pub async fn own_plane() -> Plane {
    let own = tokio::task::spawn_blocking(|| in_own_runtime(start));
    Plane::of(own.await.expect("a control plane")).await
}

async fn start() -> Arc<Processes> {
    let plane = Plane::of(Arc::new(Processes::start().await)).await;
    install::everything(&plane).await;
    plane.processes
}

/// A runtime that ends here, so that nothing of it hangs on the runtime of the test that came first.
fn in_own_runtime<T>(work: impl AsyncFnOnce() -> T) -> T {
    let _already = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work())
}

impl Plane {
    async fn of(processes: Arc<Processes>) -> Self {
        let (admin, operator) = (processes.admin_config().await, processes.operator_config().await);
        let client = Client::try_from(admin.clone()).expect("a client");
        Self { processes, admin, operator, kinds: yaml::Kinds::new(client) }
    }

    /// The administrator.
    pub fn client(&self) -> Client {
        Client::try_from(self.admin.clone()).expect("a client")
    }

    /// The administrator, who takes the first answer: an eviction that a budget refuses is a 429, which others try again
    /// for minutes.
    pub fn impatient_client(&self) -> Client {
        let mut config = self.admin.clone();
        config.default_retry = false;
        Client::try_from(config).expect("a client")
    }

    /// The operator's service account, without any right that the install manifest does not give it.
    pub fn operator_client(&self) -> Client {
        Client::try_from(self.operator_config()).expect("a client")
    }

    /// For tests that run the operator itself.
    pub fn operator_config(&self) -> Config {
        self.operator.clone()
    }

    /// Anybody, by impersonation.
    pub fn client_as(&self, user: &str, groups: &[&str]) -> Client {
        let mut config = self.admin.clone();
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(groups.iter().map(|&g| g.to_owned()).collect());
        Client::try_from(config).expect("a client")
    }

    /// For `kubectl --kubeconfig`. Beside it lie `operator.kubeconfig`, for an operator that is a process of its own, and
    /// `audit.log`.
    pub fn kubeconfig(&self) -> PathBuf {
        self.processes.kubeconfig()
    }

    /// `kubectl` as the administrator; panics when it fails.
    pub async fn kubectl(&self, namespace: &str, args: &[&str]) -> String {
        self.kubectl_may_fail(namespace, args).await.unwrap_or_else(|said| panic!("{args:?}: {said}"))
    }

    /// `kubectl` as the administrator: all that it says, as an error when it fails. Does not block: pods of a test may
    /// live on its very thread.
    pub async fn kubectl_may_fail(&self, namespace: &str, args: &[&str]) -> Result<String, String> {
        let tools = tokio::task::spawn_blocking(tools).await.expect("the binaries");
        let mut kubectl = tokio::process::Command::new(tools.join("kubectl"));
        kubectl.args(["--kubeconfig", self.kubeconfig().to_str().expect("a path"), "-n", namespace]).args(args);
        kubectl.kill_on_drop(true);
        let done = tokio::time::timeout(KUBECTL, kubectl.output()).await;
        let done = done.unwrap_or_else(|_| panic!("{args:?} does not end")).expect("kubectl runs");
        let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        if done.status.success() { Ok(text) } else { Err(text) }
    }

    /// The address of the API server.
    pub fn server(&self) -> &str {
        &self.processes.server
    }

    /// A new namespace, ready for pods.
    pub async fn namespace(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let client = self.client();
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = Namespace { metadata, ..Namespace::default() };
        namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace");
        let accounts: Api<ServiceAccount> = Api::namespaced(client, &name);
        eventually("the default service account", SOON, async || accounts.get_opt("default").await.ok().flatten())
            .await;
        name
    }

    /// Server-side apply of every document of `text`, as the administrator; those without a namespace go to `namespace`.
    pub async fn apply_yaml(&self, namespace: &str, text: &str) {
        for object in yaml::documents(text) {
            let what = format!("{} {}", object["kind"], object["metadata"]["name"]);
            self.kinds.apply(namespace, object).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        }
    }

    /// Creates one object with strict validation. The error is the API server's own sentence.
    pub async fn create_yaml(&self, client: &Client, namespace: &str, text: &str) -> Result<Value, String> {
        self.kinds.create(client, namespace, yaml::single(text), "").await
    }

    /// As `create_yaml`, but nothing is stored (a dry run).
    pub async fn try_yaml(&self, client: &Client, namespace: &str, text: &str) -> Result<Value, String> {
        self.kinds.create(client, namespace, yaml::single(text), "&dryRun=All").await
    }

    /// Every write that the operator's account has sent for `namespace` so far, refused ones too.
    pub fn operator_writes(&self, namespace: &str) -> Vec<Write> {
        let log = std::fs::read_to_string(self.processes.audit_log()).unwrap_or_default();
        // The log is that of all tests: most lines need not be read.
        let mark = format!("\"{namespace}\"");
        let lines = log.lines().filter(|line| line.contains(&mark));
        let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|e| e["objectRef"]["namespace"] == namespace).map(|e| Write::from(&e)).collect()
    }

    /// Holds the controller-manager. Only on a plane of one's own.
    pub fn stop_controllers(&self) {
        self.processes.signal_controllers("STOP");
    }

    pub fn continue_controllers(&self) {
        self.processes.signal_controllers("CONT");
    }
}

/// One request of the operator that changes something.
#[derive(Clone, Debug)]
pub struct Write {
    /// `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// `deployments`, `releases/status`.
    pub resource: String,
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u64,
    pub body: Value,
}

impl From<&Value> for Write {
    fn from(event: &Value) -> Self {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let object = &event["objectRef"];
        let parts = [text(&object["resource"]), text(&object["subresource"])];
        Self {
            verb: text(&event["verb"]),
            resource: parts.join("/").trim_end_matches('/').to_owned(),
            name: text(&object["name"]),
            code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
            body: event["requestObject"].clone(),
        }
    }
}

/// What a look gives: found, or not yet.
pub trait Look {
    type Found;
    fn found(self) -> Result<Self::Found, String>;
}

impl<T> Look for Option<T> {
    type Found = T;
    fn found(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing seen".into())
    }
}

impl<T, E: Debug> Look for Result<T, E> {
    type Found = T;
    fn found(self) -> Result<T, String> {
        self.map_err(|e| format!("{e:?}"))
    }
}

/// Looks every 50 ms until something is found. Panics with `what` and the last look when `limit` has passed.
pub async fn eventually<L: Look>(what: &str, limit: Duration, look: impl AsyncFnMut() -> L) -> L::Found {
    within(limit, look).await.unwrap_or_else(|last| panic!("not within {limit:?}: {what}; last: {last}"))
}

/// As `eventually`; the error is the last look.
pub async fn within<L: Look>(limit: Duration, mut look: impl AsyncFnMut() -> L) -> Result<L::Found, String> {
    let mut last = String::from("no look ended in time");
    let search = async {
        loop {
            match look().await.found() {
                Ok(found) => return found,
                Err(seen) => last = seen,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(limit, search).await;
    found.map_err(|_| last)
}
