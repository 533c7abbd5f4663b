//! The prober: asks the pods of active Releases over HTTP whether they are well, and counts.
//!
//! Pods of both versions are asked, so that a check which never worked on the stable version convicts nobody.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream};
use reqwest::{Client, Url, redirect::Policy};
use tokio::sync::Notify;

use super::seen::Probe;

/// Namespace and name of a Release.
pub type Key = (String, String);

/// Called with the key of a Release when there is something new to judge. Must not block.
pub type News = Arc<dyn Fn(&Key) + Send + Sync>;

/// How long one pod may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pods asked at a time, per Release.
const TOGETHER: usize = 16;

/// What to ask for one Release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkup {
    pub key: Key,
    pub every: Duration,
    /// Begins with `/`; may hold a query.
    pub path: String,
    pub pods: Vec<Asked>,
}

/// One pod to ask. Only running pods belong here: one that is not running has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub pod: String,
    pub ip: IpAddr,
    /// The container port's number.
    pub port: u16,
}

/// A handle to the prober; clones share it.
#[derive(Clone)]
pub struct Prober(Arc<Shared>);

struct Shared {
    client: Client,
    news: News,
    may_ask: fn(IpAddr) -> bool,
    rounds: Mutex<HashMap<Key, Round>>,
}

/// One Release's pods.
struct Round {
    checkup: Checkup,
    found: BTreeMap<String, Probe>,
    changed: Arc<Notify>,
}

impl Prober {
    /// `news` is called whenever a pod fails, or is well for the first time or again.
    /// Errors: the HTTP client cannot be built.
    pub fn new(news: News) -> Result<Self, String> {
        Self::with(news, is_a_pods)
    }

    fn with(news: News, may_ask: fn(IpAddr) -> bool) -> Result<Self, String> {
        let client = Client::builder()
            .redirect(Policy::none())
            .timeout(PATIENCE)
            .no_proxy()
            .tls_certs_only([])
            .pool_max_idle_per_host(0) // each check is a new connection, as a new user's would be
            .build()
            .map_err(|e| format!("the HTTP client of the health checks cannot be built: {e}"))?;
        Ok(Self(Arc::new(Shared { client, news, may_ask, rounds: Mutex::default() })))
    }

    /// Begins or changes the checks of a Release. Cheap; called by every pass of an active one. Needs a runtime.
    pub fn watch(&self, checkup: Checkup) {
        let mut rounds = self.0.rounds();
        if let Some(round) = rounds.get_mut(&checkup.key) {
            if round.checkup == checkup {
                return;
            }
            let other_question = (&round.checkup.path, round.checkup.every) != (&checkup.path, checkup.every);
            round.found.retain(|pod, _| !other_question && checkup.pods.iter().any(|asked| asked.pod == *pod));
            round.checkup = checkup;
            if other_question {
                round.changed.notify_one();
            }
            return;
        }
        let key = checkup.key.clone();
        let changed = Arc::new(Notify::new());
        let round = Round { checkup, found: BTreeMap::new(), changed: changed.clone() };
        rounds.insert(key.clone(), round);
        tokio::spawn(ask_on(self.0.clone(), key, changed));
    }

    /// Ends them and drops what was counted.
    pub fn forget(&self, key: &Key) {
        self.0.end(|k| k == key);
    }

    /// Ends all of them, as when leadership is lost.
    pub fn clear(&self) {
        self.0.end(|_| true);
    }

    /// The pods asked so far.
    pub fn probes(&self, key: &Key) -> Vec<Probe> {
        self.0.rounds().get(key).map(|round| round.found.values().cloned().collect()).unwrap_or_default()
    }
}

/// One record per pod out of two kinds of checks: the worse of the two, whole, so that its successes are its own.
pub fn merge(checks: Vec<Probe>, scrapes: Vec<Probe>) -> Vec<Probe> {
    let mut merged: BTreeMap<String, Probe> = BTreeMap::new();
    for probe in checks.into_iter().chain(scrapes) {
        let rank = |p: &Probe| (p.failures, u32::MAX - p.successes);
        if merged.get(&probe.pod).is_none_or(|known| rank(known) < rank(&probe)) {
            merged.insert(probe.pod.clone(), probe);
        }
    }
    merged.into_values().collect()
}

impl Shared {
    fn rounds(&self) -> MutexGuard<'_, HashMap<Key, Round>> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, which: impl Fn(&Key) -> bool) {
        self.rounds().retain(|key, round| {
            let ends = which(key);
            if ends {
                round.changed.notify_one();
            }
            !ends
        });
    }

    /// The checkup of a loop, as long as the loop is the one that serves it.
    fn checkup(&self, key: &Key, mine: &Arc<Notify>) -> Option<Checkup> {
        self.rounds().get(key).filter(|r| Arc::ptr_eq(&r.changed, mine)).map(|round| round.checkup.clone())
    }

    async fn ask(&self, path: &str, asked: &Asked) -> Result<(), String> {
        if !(self.may_ask)(asked.ip) {
            return Err(format!("{} is not the address of a pod", asked.ip));
        }
        let url = url(path, asked).ok_or_else(|| format!("{path} is not a path"))?;
        match self.client.get(url).send().await {
            Ok(answer) if answer.status().is_success() || answer.status().is_redirection() => Ok(()),
            Ok(answer) => Err(format!("{path} answered HTTP {}", answer.status().as_u16())),
            Err(e) if e.is_timeout() => Err(format!("{path} did not answer within 1 s")),
            Err(e) if e.is_connect() => Err(format!("port {} cannot be connected to", asked.port)),
            Err(_) => Err(format!("{path} broke the connection")),
        }
    }

    fn count(&self, key: &Key, mine: &Arc<Notify>, pod: &str, result: Result<(), String>) {
        let mut rounds = self.rounds();
        let Some(round) = rounds.get_mut(key).filter(|r| Arc::ptr_eq(&r.changed, mine)) else { return };
        if !round.checkup.pods.iter().any(|asked| asked.pod == pod) {
            return;
        }
        let fresh = || Probe { pod: pod.to_owned(), failures: 0, successes: 0, last: String::new() };
        let probe = round.found.entry(pod.to_owned()).or_insert_with(fresh);
        let news = match result {
            Ok(()) => {
                let news = probe.failures > 0 || probe.successes == 0;
                probe.failures = 0;
                probe.successes = probe.successes.saturating_add(1);
                news
            }
            Err(why) => {
                probe.failures = probe.failures.saturating_add(1);
                probe.last = why;
                true
            }
        };
        drop(rounds);
        if news {
            (self.news)(key);
        }
    }
}

async fn ask_on(shared: Arc<Shared>, key: Key, changed: Arc<Notify>) {
    while let Some(Checkup { every, path, pods, .. }) = shared.checkup(&key, &changed) {
        let (ask, path) = (&shared, path.as_str());
        let results = stream::iter(pods).map(|asked| async move {
            let result = ask.ask(path, &asked).await;
            (asked.pod, result)
        });
        let mut results = results.buffer_unordered(TOGETHER);
        while let Some((pod, result)) = results.next().await {
            shared.count(&key, &changed, &pod, result);
        }
        tokio::select! {
            () = tokio::time::sleep(every.max(PATIENCE)) => {}
            () = changed.notified() => {}
        }
    }
}

/// Built from parts: a path such as `//elsewhere/` must not become a host.
fn url(path: &str, asked: &Asked) -> Option<Url> {
    let mut url = Url::parse(&format!("http://{}/", SocketAddr::new(asked.ip, asked.port))).ok()?;
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    url.set_path(path);
    url.set_query(query);
    Some(url)
}

/// Neither this pod nor its node nor a cloud's metadata service. A pod on the host network may use the node's address.
fn is_a_pods(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast())
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || Ipv6Addr::is_unicast_link_local(&v6))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use axum::{Router, extract::State, http::StatusCode, routing::get};
    use tokio::sync::mpsc;

    use super::*;

    fn asked(pod: &str, port: u16) -> Asked {
        Asked { pod: pod.into(), ip: IpAddr::from([127, 0, 0, 1]), port }
    }

    fn prober(may_ask: fn(IpAddr) -> bool) -> (Prober, mpsc::UnboundedReceiver<Key>) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (news, heard) = mpsc::unbounded_channel();
        let tell: News = Arc::new(move |key| news.send(key.clone()).unwrap_or_default());
        (Prober::with(tell, may_ask).unwrap(), heard)
    }

    /// A pod whose health is the given status code.
    async fn pod(code: u16) -> (u16, Arc<AtomicU16>) {
        let code = Arc::new(AtomicU16::new(code));
        let health = |State(code): State<Arc<AtomicU16>>| async move {
            StatusCode::from_u16(code.load(Ordering::SeqCst)).unwrap()
        };
        let app = Router::new().route("/health", get(health)).with_state(code.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (port, code)
    }

    /// Waits for news until the probes are as wanted.
    async fn until(prober: &Prober, heard: &mut mpsc::UnboundedReceiver<Key>, wanted: impl Fn(&[Probe]) -> bool) {
        let key = ("shop".to_owned(), "web".to_owned());
        let wait = async {
            while !wanted(&prober.probes(&key)) {
                assert_eq!(heard.recv().await.unwrap(), key);
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), wait).await;
        assert!(in_time.is_ok(), "{:?}", prober.probes(&key));
    }

    #[tokio::test]
    async fn failures_in_a_row_are_counted_and_forgiven_by_a_success() {
        let (well, _) = pod(302).await;
        let (ill, health) = pod(503).await;
        let (prober, mut heard) = prober(|_| true);
        let pods = vec![asked("well", well), asked("ill", ill), asked("closed", 1)];
        let key = ("shop".to_owned(), "web".to_owned());
        prober.watch(Checkup { key: key.clone(), every: Duration::from_secs(1), path: "/health".into(), pods });
        until(&prober, &mut heard, |p| p.len() == 3 && p[1].failures >= 2 && p[2].successes > 0).await;
        let found = prober.probes(&key);
        assert_eq!(found[1].last, "/health answered HTTP 503");
        assert_eq!((found[1].successes, found[2].failures), (0, 0));
        assert_eq!(found[0].last, "port 1 cannot be connected to");
        health.store(200, Ordering::SeqCst);
        until(&prober, &mut heard, |p| p[1].failures == 0 && p[1].successes > 0).await;
        prober.forget(&key);
        assert_eq!(prober.probes(&key), []);
    }

    #[tokio::test]
    async fn addresses_that_no_pod_has_are_not_dialled() {
        let (port, _) = pod(200).await;
        let (prober, _heard) = prober(is_a_pods);
        let refused = prober.0.ask("/health", &asked("p", port)).await.unwrap_err();
        assert_eq!(refused, "127.0.0.1 is not the address of a pod");
        for ip in ["169.254.169.254", "::1", "fe80::1", "::ffff:127.0.0.1", "0.0.0.0", "224.0.0.1"] {
            assert!(!is_a_pods(ip.parse().unwrap()), "{ip}");
        }
        assert!(is_a_pods("10.1.2.3".parse().unwrap()) && is_a_pods("fd00::7".parse().unwrap()));
    }

    #[test]
    fn a_path_never_becomes_a_host() {
        let of = |path| url(path, &asked("p", 80)).unwrap().to_string();
        assert_eq!(of("/a/b?c=d"), "http://127.0.0.1/a/b?c=d");
        for path in ["//evil.example/x", "/\\evil.example", "/@evil.example", "/#x"] {
            assert!(of(path).starts_with("http://127.0.0.1/"), "{path}");
        }
    }

    #[test]
    fn the_worse_of_two_checks_counts_with_its_own_successes() {
        let probe =
            |pod: &str, failures, successes| Probe { pod: pod.into(), failures, successes, last: String::new() };
        let merged = merge(
            vec![probe("a", 0, 5), probe("b", 4, 0), probe("c", 0, 2)],
            vec![probe("a", 2, 9), probe("b", 0, 9), probe("d", 0, 1), probe("c", 0, 9)],
        );
        assert_eq!(merged, [probe("a", 2, 9), probe("b", 4, 0), probe("c", 0, 2), probe("d", 0, 1)]);
    }
}
