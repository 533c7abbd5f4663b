//! The operator as a process of its own: the release binary, with the rights of its service account.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use super::harness::{Plane, keeper};

pub struct Operator {
    child: Child,
    address: SocketAddr,
    identity: String,
}

/// What it has used up to a moment.
#[derive(Clone, Copy)]
pub struct Usage {
    at: Instant,
    cpu: f64,
    calls: f64,
}

impl Operator {
    pub fn start(plane: &Plane, dir: &Path, identity: &str) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
        let args = [
            format!("KUBECONFIG={}", plane.kubeconfig().with_file_name("operator.kubeconfig").display()),
            env!("CARGO_BIN_EXE_haldane").to_owned(),
            "run".to_owned(),
            format!("--address={address}"),
            format!("--identity={identity}"),
        ];
        let child = keeper::start(Path::new("/usr/bin/env"), &args, dir, &format!("{identity}-{}.log", address.port()));
        Self { child, address, identity: identity.to_owned() }
    }

    /// Another one of the same name, as a container that is restarted in place.
    pub fn again(&self, plane: &Plane, dir: &Path) -> Self {
        Self::start(plane, dir, &self.identity)
    }

    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.address);
        let answer = async { reqwest::get(&url).await.ok()?.text().await.ok() };
        answer.await.unwrap_or_default()
    }

    pub async fn leads(&self) -> bool {
        self.metrics().await.lines().any(|line| line == "haldane_leader 1")
    }

    /// By SIGKILL: nothing is given back and nothing is said.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }

    /// Resident memory, MiB.
    pub fn rss(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        kib.unwrap_or(0.0_f64) / 1024.0
    }

    pub async fn usage(&self) -> Usage {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let after = stat.rsplit(')').next().unwrap_or_default();
        let ticks: f64 = after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
        let metrics = self.metrics().await;
        let calls = metrics.lines().filter(|line| line.starts_with("haldane_api_calls_total"));
        let calls = calls.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        Usage { at: haldane::observe::clock::monotonic(), cpu: ticks / ticks_per_second(), calls }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Usage {
    /// Percent of one processor, and API calls a minute, since then.
    pub fn since(&self, before: &Self) -> (f64, f64) {
        let seconds = self.at.duration_since(before.at).max(Duration::from_millis(1)).as_secs_f64();
        (100.0 * (self.cpu - before.cpu) / seconds, 60.0 * (self.calls - before.calls) / seconds)
    }
}

fn ticks_per_second() -> f64 {
    let told = Command::new("getconf").arg("CLK_TCK").output().ok();
    told.and_then(|out| String::from_utf8(out.stdout).ok()?.trim().parse().ok()).unwrap_or(100.0)
}
