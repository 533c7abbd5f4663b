//! The processes of one control plane: etcd, kube-apiserver, kube-controller-manager.
//!
//! Nothing but the API server listens on a port, on 127.0.0.1 only, and it answers nobody without a random token. etcd
//! listens on a socket file in a folder that only this user may enter.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client, Config, config::Kubeconfig};
use tempfile::TempDir;

use super::{keeper, within};

/// How the API server knows the operator: the identity that the chart's RBAC speaks of.
pub const OPERATOR: &str = "system:serviceaccount:haldane-system:haldane";
const OPERATOR_GROUPS: &str = "system:serviceaccounts,system:serviceaccounts:haldane-system,system:authenticated";

/// Only what the tests' objects need. There are no nodes to watch over.
const CONTROLLERS: &str = "*,-node-lifecycle-controller,-taint-eviction-controller,-node-ipam-controller,\
                           -node-route-controller,-service-lb-controller,-cloud-node-lifecycle-controller,\
                           -persistentvolume-attach-detach-controller,-root-ca-certificate-publisher-controller";

/// Of the tests' own clients.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// A running control plane. Dropping it ends its processes and removes its folder.
pub struct Processes {
    dir: PathBuf,
    pub server: String,
    ca: Vec<u8>,
    operator_token: String,
    etcd: Mutex<Child>,
    apiserver: Mutex<Child>,
    controllers: Mutex<Child>,
    sweeper: Mutex<Child>,
}

impl Processes {
    /// Starts all of them and waits until they answer. Panics with the end of the log that tells why not.
    pub async fn start() -> Self {
        let tools = tools();
        let dir = TempDir::with_prefix("haldane-it-").expect("a folder").keep();
        let sweeper = keeper::sweeper(&dir);
        let tokens: Vec<String> = (0..3).map(|_| openssl(&dir, "rand -hex 24").trim().to_owned()).collect();
        write_identities(&dir, &tokens);

        let etcd = keeper::start(&tools.join("etcd"), &etcd_flags(), &dir, "etcd.log");
        let (apiserver, server) = start_apiserver(&tools, &dir, &tokens[0]).await;
        let accounts = [
            ("admin.kubeconfig", &tokens[0]),
            ("controllers.kubeconfig", &tokens[1]),
            ("operator.kubeconfig", &tokens[2]),
        ];
        for (file, token) in accounts {
            fs::write(dir.join(file), kubeconfig(&dir, &server, token)).expect("a kubeconfig");
        }
        let controllers =
            keeper::start(&tools.join("kube-controller-manager"), &controller_flags(), &dir, "controllers.log");
        let running = Self {
            ca: fs::read(dir.join("ca.der")).expect("the certificate"),
            dir,
            server,
            operator_token: tokens[2].clone(),
            etcd: Mutex::new(etcd),
            apiserver: Mutex::new(apiserver),
            controllers: Mutex::new(controllers),
            sweeper: Mutex::new(sweeper),
        };
        running.await_controllers().await;
        running
    }

    /// The kubeconfig of the cluster's administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    pub fn audit_log(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    /// For the tests' own clients, and for what plays the kubelet and the gateway.
    pub async fn admin_config(&self) -> Config {
        let file = Kubeconfig::read_from(self.kubeconfig()).expect("our own kubeconfig");
        let options = kube::config::KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(file, &options).await.expect("a config");
        // A server that was stopped has an overflowing queue: what was begun then hangs on after its return.
        config.connect_timeout = Some(CONNECT_LIMIT);
        config
    }

    pub async fn operator_config(&self) -> Config {
        let mut config = self.admin_config().await;
        config.auth_info.token = Some(self.operator_token.clone().into());
        config.root_cert = Some(vec![self.ca.clone()]);
        config
    }

    /// Sends a signal to the controller-manager, such as `STOP` and `CONT`.
    pub fn signal_controllers(&self, signal: &str) {
        let id = lock(&self.controllers).id().to_string();
        let done = Command::new("kill").args(["-s", signal, &id]).status().expect("kill");
        assert!(done.success(), "kill -s {signal} {id}: {done}");
    }

    async fn await_controllers(&self) {
        let client = Client::try_from(self.admin_config().await).expect("a client");
        let accounts: Api<ServiceAccount> = Api::namespaced(client, "default");
        let ready = within(Duration::from_mins(3), async || {
            self.assert_alive();
            accounts.get_opt("default").await.ok().flatten()
        });
        assert!(ready.await.is_ok(), "the controller-manager does nothing: {}", tail(&self.dir, "controllers.log"));
    }

    fn assert_alive(&self) {
        for (child, log) in
            [(&self.etcd, "etcd.log"), (&self.apiserver, "apiserver.log"), (&self.controllers, "controllers.log")]
        {
            if let Some(status) = lock(child).try_wait().expect("a child of ours") {
                panic!("{log} ended with {status}: {}", tail(&self.dir, log));
            }
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in [&self.controllers, &self.apiserver, &self.etcd] {
            let mut child = lock(child);
            let _gone = child.kill();
            let _reaped = child.wait();
        }
        let mut sweeper = lock(&self.sweeper);
        drop(sweeper.stdin.take());
        let _swept = sweeper.wait();
    }
}

fn lock(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder with the binaries; builds them where they are missing, which takes minutes and says so.
pub fn tools() -> PathBuf {
    PathBuf::from(script("build.sh", &["kubernetes"]))
}

/// What one of the project's `tools/` scripts prints.
pub fn script(name: &str, args: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(name);
    let out = Command::new(&path).args(args).stderr(Stdio::inherit()).output().expect("the script runs");
    assert!(out.status.success(), "{} {args:?}: {}", path.display(), out.status);
    String::from_utf8(out.stdout).expect("text").trim().to_owned()
}

fn openssl(dir: &Path, args: &str) -> String {
    let out = Command::new("openssl").args(args.split(' ')).current_dir(dir).output().expect("openssl runs");
    assert!(out.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap_or_default()
}

/// The server's certificate, the key of service account tokens, who the tokens belong to, and what is audited.
fn write_identities(dir: &Path, tokens: &[String]) {
    openssl(
        dir,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=haldane-it \
         -keyout server.key -out server.crt -addext basicConstraints=critical,CA:FALSE \
         -addext subjectAltName=IP:127.0.0.1,DNS:localhost",
    );
    openssl(dir, "x509 -in server.crt -outform DER -out ca.der");
    openssl(dir, "ecparam -name prime256v1 -genkey -noout -out accounts.key");
    let users = format!(
        "{},admin,1,system:masters\n{},system:kube-controller-manager,2\n{},{OPERATOR},3,\"{OPERATOR_GROUPS}\"\n",
        tokens[0], tokens[1], tokens[2]
    );
    fs::write(dir.join("tokens.csv"), users).expect("the tokens");
    let writes = format!("users: ['{OPERATOR}'], verbs: [create, update, patch, delete, deletecollection]");
    let audit = format!(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
         - {{level: Request, {writes}{}}}\n- {{level: Metadata, {writes}}}\n- {{level: None}}\n",
        crate::AUDITED_BODIES
    );
    fs::write(dir.join("audit.yaml"), audit).expect("the audit policy");
}

fn kubeconfig(dir: &Path, server: &str, token: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: it\ncontexts: [{{name: it, context: {{cluster: it, user: it}}}}]\n\
         clusters: [{{name: it, cluster: {{server: '{server}', certificate-authority: '{}'}}}}]\n\
         users: [{{name: it, user: {{token: {token}}}}}]\n",
        dir.join("server.crt").display()
    )
}

fn etcd_flags() -> Vec<String> {
    flags(
        "--data-dir=etcd --unsafe-no-fsync --name=it --log-level=warn --listen-client-urls=unix://client:1 \
         --advertise-client-urls=unix://client:1 --listen-peer-urls=unix://peer:1 \
         --initial-advertise-peer-urls=unix://peer:1 --initial-cluster=it=unix://peer:1",
    )
}

fn apiserver_flags(port: u16) -> Vec<String> {
    flags(&format!(
        "--etcd-servers=unix://client:1 --bind-address=127.0.0.1 --secure-port={port} --tls-cert-file=server.crt \
         --tls-private-key-file=server.key --service-account-issuer=https://kubernetes.default.svc \
         --service-account-key-file=accounts.key --service-account-signing-key-file=accounts.key \
         --service-cluster-ip-range=10.96.0.0/16 --token-auth-file=tokens.csv --authorization-mode=RBAC \
         --anonymous-auth=false --endpoint-reconciler-type=none --advertise-address=192.0.2.1 --profiling=false \
         --enable-priority-and-fairness=false --max-requests-inflight=0 --max-mutating-requests-inflight=0 \
         --audit-policy-file=audit.yaml --audit-log-path=audit.log --audit-log-mode=blocking {}",
        crate::API_SERVER_FLAGS
    ))
}

fn controller_flags() -> Vec<String> {
    flags(&format!(
        "--kubeconfig=controllers.kubeconfig --use-service-account-credentials --leader-elect=false --secure-port=0 \
         --service-account-private-key-file=accounts.key --root-ca-file=server.crt --kube-api-qps=500 \
         --kube-api-burst=1000 --horizontal-pod-autoscaler-sync-period=1s --profiling=false --controllers={CONTROLLERS}"
    ))
}

fn flags(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Starts it on a free port. Between finding the port and taking it somebody else may have taken it: then on another.
async fn start_apiserver(tools: &Path, dir: &Path, token: &str) -> (Child, String) {
    for _ in 0..10 {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let mut child = keeper::start(&tools.join("kube-apiserver"), &apiserver_flags(port), dir, "apiserver.log");
        let server = format!("https://127.0.0.1:{port}");
        let config = Kubeconfig::from_yaml(&kubeconfig(dir, &server, token)).expect("our own kubeconfig");
        let config = Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("a config")).expect("a client");
        let ready = within(Duration::from_mins(3), async || {
            if let Some(status) = child.try_wait().expect("a child of ours") {
                return Ok(Err(status));
            }
            let request = http::Request::get("/readyz").body(Vec::new()).expect("a request");
            client.request_text(request).await.map(|_| Ok(()))
        });
        match ready.await {
            Ok(Ok(())) => return (child, server),
            Ok(Err(_)) if tail(dir, "apiserver.log").contains("address already in use") => {}
            Ok(Err(status)) => panic!("kube-apiserver ended with {status}: {}", tail(dir, "apiserver.log")),
            Err(last) => panic!("kube-apiserver is not ready ({last}): {}", tail(dir, "apiserver.log")),
        }
    }
    panic!("no port stayed free for kube-apiserver in ten attempts")
}

fn tail(dir: &Path, log: &str) -> String {
    let text = fs::read_to_string(dir.join(log)).unwrap_or_default();
    let from = text.char_indices().rev().nth(2000).map_or(0, |(i, _)| i);
    text[from..].to_owned()
}
