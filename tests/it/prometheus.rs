//! The queries against a real Prometheus that holds recorded samples.
//!
//! Samples are written as OpenMetrics text and made into blocks before the server starts, so nothing is scraped and
//! nothing has to be waited for. Where the sampler's own clock matters, the recording reaches into the future: at each
//! moment the server answers with what was "scraped" until then.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::TcpListener,
    path::Path,
    process::{Child, Command},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use haldane::{
    api::{
        checks::{Metric, MetricKind, Preset, Source},
        provider::MetricProviderSpec,
        units::At,
    },
    controller::sampler::{Interest, ProviderBook, Sampler},
    observe::{
        clock,
        prometheus::{
            client::{Provider, Secrets},
            own::Own,
            preflight::preflight,
            presets::Family,
            promql::Scope,
            reading::{PodReading, Reading, read},
        },
        seen::{Blind, Feed, PodSamples, Samples},
    },
};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{SOON, eventually, keeper};

const MISSING: &str = "these tests need a real Prometheus and its promtool: apt-get install prometheus";

/// A Prometheus with recorded samples. It ends when dropped.
pub struct Recorded {
    process: Child,
    pub url: String,
    _dir: TempDir,
}

impl Recorded {
    /// Starts it with samples in the OpenMetrics text format.
    pub async fn start(samples: &str) -> Self {
        Self::limited(samples, 50_000_000).await
    }

    /// Starts one that refuses queries which load more than `most` samples.
    pub async fn limited(samples: &str, most: u32) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = TempDir::with_prefix("haldane-prometheus-").expect("a folder");
        std::fs::write(dir.path().join("samples.om"), samples).expect("the samples");
        std::fs::write(dir.path().join("prometheus.yml"), "scrape_configs: []\n").expect("a configuration");
        let blocks = ["tsdb", "create-blocks-from", "openmetrics", "samples.om", "data"];
        let made = Command::new("promtool").args(blocks).current_dir(dir.path()).output().expect(MISSING);
        assert!(made.status.success(), "promtool: {}", String::from_utf8_lossy(&made.stderr));

        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let flags = [
            "--config.file=prometheus.yml".to_owned(),
            "--storage.tsdb.path=data".to_owned(),
            "--storage.tsdb.retention.time=100y".to_owned(),
            "--log.level=warn".to_owned(),
            format!("--query.max-samples={most}"),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        assert!(Command::new("prometheus").arg("--version").output().is_ok(), "{MISSING}");
        let process = keeper::start(Path::new("prometheus"), &flags, dir.path(), "prometheus.log");
        let url = format!("http://127.0.0.1:{port}");
        let ready = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        eventually("Prometheus is ready", SOON, async || {
            let answer = ready.get(format!("{url}/-/ready")).send().await;
            answer.ok().filter(|answer| answer.status().is_success())
        })
        .await;
        Self { process, url, _dir: dir }
    }

    pub fn provider(&self, rest: &serde_json::Value) -> Arc<Provider> {
        provider(&self.url, rest)
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A provider at `url` that allows all namespaces; `rest` is merged over its spec.
pub fn provider(url: &str, rest: &serde_json::Value) -> Arc<Provider> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut spec = json!({"url": url, "allowedNamespaces": ["*"], "timeout": "20s"});
    json_patch::merge(&mut spec, rest);
    let spec: MetricProviderSpec = serde_json::from_value(spec).expect("a spec");
    Arc::new(Provider::new(&spec, &Secrets::default()).expect("a provider"))
}

/// Providers by name.
pub struct Book(pub BTreeMap<String, Arc<Provider>>);

impl ProviderBook for Book {
    fn find<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<Provider>, String>> {
        let found = self.0.get(name).cloned().ok_or_else(|| format!("the MetricProvider {name} does not exist"));
        async move { found }.boxed()
    }
}

/// A sampler with one provider called `prometheus`, and the keys it told news of.
pub fn sampler(provider: Arc<Provider>) -> (Sampler, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let tell = heard.clone();
    let book = Book(BTreeMap::from([("prometheus".to_owned(), provider)]));
    let news = Arc::new(move |key: &(String, String)| tell.lock().unwrap().push(format!("{}/{}", key.0, key.1)));
    (Sampler::new(Arc::new(book), news), heard)
}

pub fn interest(namespace: &str, release: &str, pods: &[&str]) -> Interest {
    Interest {
        key: (namespace.into(), release.into()),
        provider: Some("prometheus".into()),
        source: Source::default(),
        metrics: Vec::new(),
        latency: Duration::from_secs(2),
        pods: pods.iter().map(|pod| (*pod).to_owned()).collect(),
        keep: Duration::from_mins(6),
        since: None,
    }
}

pub async fn data(asker: &Sampler, interest: &Interest) -> Samples {
    eventually("there is data", SOON, async || match asker.feed(&interest.key) {
        Feed::Data(samples) => Ok(samples),
        other => Err(other),
    })
    .await
}

/// OpenMetrics text. Series of one metric must stand together, so they are sorted at the end.
#[derive(Default)]
pub struct Recording(BTreeMap<String, BTreeMap<String, Vec<(f64, f64)>>>);

impl Recording {
    pub fn add(&mut self, metric: &str, labels: &str, at: f64, value: f64) {
        let series = self.0.entry(metric.into()).or_default().entry(labels.into()).or_default();
        series.push((at, value));
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for (metric, all) in &self.0 {
            let _ = writeln!(text, "# TYPE {metric} unknown");
            for (labels, points) in all {
                for (at, value) in points {
                    let _ = writeln!(text, "{metric}{{{labels}}} {value} {at}");
                }
            }
        }
        text + "# EOF\n"
    }
}

/// 2026-01-02T00:00:00Z: when the recordings under `tests/data` begin.
const RECORDED: f64 = 1_767_312_000.0;

fn source(preset: Preset) -> Source {
    Source { preset, ..Source::default() }
}

/// What a preset reads of the given pods, `after` seconds into the recording.
async fn presets(recorded: &Recorded, preset: Preset, pods: &[&str], after: f64) -> Reading {
    let provider = recorded.provider(&json!({}));
    let labels = ("namespace", "pod");
    let scope = Scope::new(labels, ["shop", "bank"], pods.iter().copied());
    let family = Family::of(&source(preset)).expect("a preset");
    let Family::Named(names) = &family else { panic!("{preset:?} is a preset") };
    let at = At::from_epoch(RECORDED + after);
    let bounds = provider.instant(&names.bounds_query(&scope), at).await.expect("bounds");
    let bounds: Vec<String> = bounds.iter().map(|series| series.label("le").to_owned()).collect();
    let query = names.query(&scope, bounds.iter().map(String::as_str));
    let answer = provider.instant(&query, at).await.expect("an answer");
    read(&family, &answer, labels, "").pop_last().map(|(_, reading)| reading).unwrap_or_default()
}

fn of<'a>(reading: &'a Reading, namespace: &str, pod: &str) -> &'a PodReading {
    reading.get(&(namespace.to_owned(), pod.to_owned())).unwrap_or_else(|| panic!("{namespace}/{pod}: {reading:?}"))
}

fn le(pod: &PodReading) -> Vec<(&str, f64)> {
    pod.le.iter().map(|(le, count)| (le.as_str(), *count)).collect()
}

#[tokio::test]
async fn the_presets_read_what_was_recorded() {
    let recorded = Recorded::start(include_str!("../data/presets.om")).await;
    let app = presets(&recorded, Preset::App, &["web-1", "web-2", "web-3", "old-1"], 40.0).await;

    let web1 = of(&app, "shop", "web-1");
    assert_eq!(web1.at, At::from_epoch(RECORDED + 30.0), "the time of the scrape, not of the question");
    assert_eq!((web1.requests, web1.coded, web1.server_errors), (Some(660.0), true, 60.0));
    assert_eq!(le(web1), [("+Inf", 660.0), ("0.5", 600.0), ("2.5", 650.0)]);
    assert_eq!((web1.up, web1.up_at), (Some(true), At::from_epoch(RECORDED + 30.0)));

    let web2 = of(&app, "shop", "web-2");
    assert_eq!((web2.requests, web2.server_errors), (Some(300.0), 0.0), "no 5xx series yet is no error, not no data");
    let other = of(&app, "bank", "web-1");
    assert_eq!((other.requests, other.server_errors), (Some(7.0), 7.0), "the same pod name in another namespace");
    let web3 = of(&app, "shop", "web-3");
    assert_eq!((web3.requests, web3.up), (None, Some(false)), "known, but not scraped");
    let old = of(&app, "shop", "old-1");
    assert_eq!((old.requests, old.coded, old.errors), (Some(50.0), false, Some(4.0)), "errors counted beside");

    let istio = presets(&recorded, Preset::Istio, &["web-1"], 40.0).await;
    let web1 = of(&istio, "shop", "web-1");
    assert_eq!((web1.requests, web1.server_errors), (Some(110.0), 10.0), "the receiving side alone");
    assert_eq!(le(web1), [("+Inf", 110.0), ("2500", 109.0), ("500", 100.0)]);

    let envoy = presets(&recorded, Preset::Envoy, &["web-1"], 40.0).await;
    let web1 = of(&envoy, "shop", "web-1");
    assert_eq!((web1.requests, web1.server_errors), (Some(21.0), 1.0));
    assert_eq!(le(web1), [("+Inf", 21.0), ("1000", 20.0)]);

    let absent = presets(&recorded, Preset::App, &["nobody"], 40.0).await;
    assert_eq!(absent, Reading::new(), "absent series are an empty answer");
    let later = presets(&recorded, Preset::App, &["web-1"], 900.0).await;
    assert_eq!(later, Reading::new(), "what was not scraped for long is not repeated");
}

#[tokio::test]
async fn a_custom_source_reads_its_own_namespace_only() {
    let recorded = Recorded::start(include_str!("../data/presets.om")).await;
    let provider = recorded.provider(&json!({}));
    let custom = Source {
        preset: Preset::Custom,
        total: Some(r#"sum by (pod) (http_requests_total{namespace=~".+"})"#.into()),
        errors: Some(r#"http_requests_total{code=~"5.."}"#.into()),
        latency: Some("http_request_duration_seconds_bucket".into()),
    };
    let family = Family::of(&custom).expect("a source");
    let Family::Custom(queries) = &family else { panic!("custom") };
    let scope = Scope::new(("namespace", "pod"), ["shop"], ["web-1", "web-2"]);
    let query = queries.query(&scope, "pod").expect("a query");
    let answer = provider.instant(&query, At::from_epoch(RECORDED + 40.0)).await.expect("an answer");
    let reading = read(&family, &answer, ("namespace", "pod"), "shop").pop_last().expect("a reading").1;

    let web1 = of(&reading, "shop", "web-1");
    assert_eq!((web1.requests, web1.errors), (Some(660.0), Some(60.0)), "7 requests of bank/web-1 are not among them");
    assert_eq!(web1.at, At::from_epoch(RECORDED + 30.0));
    assert_eq!(le(web1), [("+Inf", 660.0), ("0.5", 600.0), ("2.5", 650.0)]);
    let web2 = of(&reading, "shop", "web-2");
    assert_eq!((web2.requests, web2.errors), (Some(300.0), None), "no 5xx series");
    assert_eq!(reading.len(), 2);
}

#[tokio::test]
async fn nothing_divided_by_nothing_is_a_value_and_never_a_count() {
    let recorded = Recorded::start(include_str!("../data/presets.om")).await;
    let provider = recorded.provider(&json!({}));
    let at = At::from_epoch(RECORDED + 40.0);
    let query = |text: &'static str| provider.instant(text, at);
    let nan = query("sum(http_requests_total * 0) / sum(http_requests_total * 0)").await.expect("an answer");
    assert!(nan[0].samples()[0].value.is_nan());
    assert!(query("absent_from_all_recordings").await.expect("an answer").is_empty());
    assert_eq!(
        query("http_requests_total{").await.unwrap_err().to_string(),
        "the metric provider refused the query (HTTP 400): it cannot be understood"
    );
    assert_eq!(query("1").await.unwrap_err().to_string(), "the answer is a scalar, not an instant vector");
    assert_eq!(query(r#""x""#).await.unwrap_err().to_string(), "the answer is a string, not an instant vector");
    assert_eq!(query("up[5m]").await.unwrap_err().to_string(), "the answer is a range vector, not an instant vector");
}

/// Scrapes each second, from ten minutes ago to ten minutes ahead, of what `per_scrape` says.
fn live(mut per_scrape: impl FnMut(&mut Recording, f64, f64)) -> String {
    let now = clock::now().epoch().floor();
    let mut recording = Recording::default();
    for second in -600..600 {
        per_scrape(&mut recording, now + f64::from(second), f64::from(second));
    }
    recording.text()
}

fn pod<'a>(samples: &'a Samples, name: &str) -> &'a PodSamples {
    samples.pods.iter().find(|pod| pod.pod == name).unwrap_or_else(|| panic!("{name}"))
}

#[tokio::test]
async fn the_sampler_follows_scrapes_and_remembers_what_was_before_it() {
    let text = live(|r, at, second| {
        let elapsed = second + 600.0;
        for name in ["stable-1", "candidate-1", "silent-1"] {
            r.add("up", &format!(r#"namespace="shop",pod="{name}""#), at, f64::from(u8::from(name != "silent-1")));
        }
        let stable = |rest: &str| format!(r#"namespace="shop",pod="stable-1"{rest}"#);
        r.add("http_requests_total", &stable(r#",code="200""#), at, elapsed * 10.0);
        r.add("http_request_duration_seconds_bucket", &stable(r#",le="2.5""#), at, elapsed * 9.0);
        r.add("http_request_duration_seconds_bucket", &stable(r#",le="+Inf""#), at, elapsed * 10.0);
        // The candidate answers its first request 60 s before the test begins, and all of them with 500.
        if second >= -60.0 {
            r.add("http_requests_total", r#"namespace="shop",pod="candidate-1",code="500""#, at, second + 61.0);
        }
        // Another namespace's pod of the same name must not be mistaken for it.
        r.add("http_requests_total", r#"namespace="bank",pod="stable-1",code="500""#, at, 1e6);
    });
    let recorded = Recorded::start(&text).await;
    let (asker, heard) = sampler(recorded.provider(&json!({"scrapeInterval": "1s"})));
    let interest = interest("shop", "web", &["stable-1", "candidate-1", "silent-1"]);
    asker.watch(interest.clone());
    let samples = data(&asker, &interest).await;

    assert_eq!(samples.slow_bound, Some(2.5), "2 s is no bound; the next above is");
    let stable = pod(&samples, "stable-1");
    let (first, last) = (stable.points[0], stable.points[stable.points.len() - 1]);
    assert!(last.at.since(first.at) > Duration::from_mins(5), "{} to {}", first.at, last.at);
    assert!(last.errors.abs() < 1e-9);
    assert!((last.slow - last.timed / 10.0).abs() < 1e-6, "{last:?}");
    assert!(last.requests < 1e5, "bank/stable-1 is another pod");
    let candidate = pod(&samples, "candidate-1");
    let birth = candidate.points.iter().rev().find(|p| p.requests < 0.5).expect("a scrape before its first request");
    let next = candidate.points.iter().find(|p| p.at > birth.at).expect("its first requests");
    assert!(next.requests >= 1.0 && (next.errors - next.requests).abs() < 1e-9, "{next:?}");
    assert_eq!(candidate.points.last().map(|p| p.at), Some(last.at), "both are cut at the same moment");
    assert_eq!(pod(&samples, "silent-1").points, []);

    // It goes on with each scrape, and says so.
    heard.lock().unwrap().clear();
    let newer = eventually("a later scrape", SOON, async || {
        let samples = data(&asker, &interest).await;
        pod(&samples, "stable-1").points.last().copied().filter(|p| p.at > last.at)
    })
    .await;
    assert!(newer.requests > last.requests);
    assert!(heard.lock().unwrap().contains(&"shop/web".to_owned()));
    let scrapes = eventually("three scrapes", SOON, async || {
        let scrapes = asker.scrapes(&interest.key);
        scrapes.iter().any(|p| p.pod == "silent-1" && p.failures >= 3).then_some(scrapes)
    })
    .await;
    let stable = scrapes.iter().find(|p| p.pod == "stable-1").expect("stable-1");
    assert!(stable.failures == 0 && stable.successes >= 3, "{stable:?}");

    asker.forget(&interest.key);
    assert_eq!(asker.feed(&interest.key), Feed::Unset);
}

#[tokio::test]
async fn a_restarted_pod_and_thousands_of_series_are_summed_per_pod() {
    let now = clock::now().epoch().floor();
    let mut recording = Recording::default();
    // Two pods with 2,000 series each: one code per path. The second pod restarts 30 s before the test begins.
    for (name, restart) in [("big-1", f64::MIN), ("big-2", -30.0)] {
        for path in 0..2000 {
            let code = if path % 100 == 0 { 503 } else { 200 };
            let labels = format!(r#"namespace="shop",pod="{name}",path="/p{path}",code="{code}""#);
            for step in -10..60 {
                let second = f64::from(step) * 10.0;
                let since = second - if second >= restart { restart.max(-600.0) } else { -600.0 };
                recording.add("http_requests_total", &labels, now + second, since);
            }
        }
    }
    let recorded = Recorded::start(&recording.text()).await;
    let (asker, _) = sampler(recorded.provider(&json!({"scrapeInterval": "10s"})));
    let interest = interest("shop", "web", &["big-1", "big-2"]);
    asker.watch(interest.clone());
    let samples = data(&asker, &interest).await;
    for name in ["big-1", "big-2"] {
        let last = *pod(&samples, name).points.last().expect("points");
        assert!((last.errors - last.requests / 100.0).abs() < 1e-3, "{last:?}");
        let whole = last.requests / 2000.0;
        assert!((whole - whole.round()).abs() < 1e-6, "all 2,000 series are in the sum: {last:?}");
    }
    let restarted = &pod(&samples, "big-2").points;
    let fell = restarted.windows(2).filter(|pair| pair[1].requests < pair[0].requests).count();
    assert_eq!(fell, 1, "a restart is handed on as it was counted");
    assert_eq!(samples.slow_bound, None, "there is no histogram");
}

#[tokio::test]
async fn one_refused_release_disturbs_no_other() {
    // A server that loads at most 2,000 samples: the big pod's query is refused, alone and with others.
    let text = live(|r, at, second| {
        if second.rem_euclid(5.0) != 0.0 {
            return;
        }
        for n in (0..3000).filter(|_| (-30.0..120.0).contains(&second)) {
            r.add("http_requests_total", &format!(r#"namespace="shop",pod="big",path="{n}",code="200""#), at, 1.0);
        }
        for name in ["a", "b", "c"] {
            let labels = format!(r#"namespace="shop",pod="{name}",code="200""#);
            r.add("http_requests_total", &labels, at, second + 600.0);
        }
    });
    let recorded = Recorded::limited(&text, 2000).await;
    let (asker, _) = sampler(recorded.provider(&json!({"scrapeInterval": "5s"})));
    let small: Vec<Interest> = ["a", "b", "c"].map(|name| interest("shop", name, &[name])).into();
    let big = interest("shop", "big", &["big"]);
    for one in small.iter().chain([&big]) {
        asker.watch(one.clone());
    }
    for one in &small {
        data(&asker, one).await;
    }
    let why = eventually("the big one is refused", SOON, async || match asker.feed(&big.key) {
        Feed::NoData { why } if why.contains("refused") => Ok(why),
        other => Err(other),
    })
    .await;
    assert_eq!(why, "the metric provider refused the query (HTTP 422): it loads too many samples");
}

fn own(name: &str, query: &str, kind: MetricKind) -> Metric {
    Metric { name: name.into(), query: query.into(), kind, must_not_drop: None, must_not_rise: None }
}

#[tokio::test]
async fn the_users_own_series_are_read_beside_the_requests_and_spoil_nothing() {
    let text = live(|r, at, second| {
        for name in ["stable-1", "candidate-1"] {
            let labels = |rest: &str| format!(r#"namespace="shop",pod="{name}"{rest}"#);
            let elapsed = second + 600.0;
            r.add("http_requests_total", &labels(r#",code="200""#), at, elapsed * 10.0);
            r.add("payment_success_total", &labels(r#",way="card""#), at, elapsed * 2.0);
            r.add("payment_success_total", &labels(r#",way="bill""#), at, elapsed);
            for area in ["heap", "stack"] {
                r.add("jvm_memory_used_bytes", &labels(&format!(r#",area="{area}""#)), at, 25.0);
            }
            r.add("jvm_memory_max_bytes", &labels(""), at, 100.0);
            r.add("payment_success_total", &format!(r#"namespace="bank",pod="{name}""#), at, 1e6);
        }
    });
    let recorded = Recorded::start(&text).await;
    let provider = recorded.provider(&json!({"scrapeInterval": "1s"}));
    let pods = ["stable-1", "candidate-1"];
    let metrics = vec![
        own("payments", "payment_success_total", MetricKind::Counter),
        own("memory", "sum by (pod) (jvm_memory_used_bytes) / sum by (pod) (jvm_memory_max_bytes)", MetricKind::Gauge),
        own("refunds", "refunds_total", MetricKind::Counter),
    ];
    let (asker, _) = sampler(provider.clone());
    let whole = Interest { metrics: metrics.clone(), ..interest("shop", "web", &pods) };
    asker.watch(whole.clone());
    let samples = data(&asker, &whole).await;
    assert_eq!(samples.scrapes.own_trouble, None);
    for name in pods {
        let scrapes = &samples.scrapes.pods[name];
        assert!(scrapes.len() > 50, "what was before it is known: {}", scrapes.len());
        for scrape in scrapes {
            let told: Vec<usize> = scrape.own.keys().copied().collect();
            assert_eq!(told, [0, 1], "a series that is not there is no 0");
            assert!((scrape.own[&0] - 0.3 * scrape.requests).abs() < 1e-6, "of one moment: {scrape:?}");
            assert!((scrape.own[&1] - 0.5).abs() < 1e-9, "{scrape:?}");
        }
    }

    // A query that fails when it runs leaves the requests as they are.
    let broken = vec![own("ratio", "jvm_memory_used_bytes / on (namespace) jvm_memory_used_bytes", MetricKind::Gauge)];
    let broken_one = Interest { metrics: broken.clone(), ..interest("shop", "broken", &pods) };
    asker.watch(broken_one.clone());
    let samples = data(&asker, &broken_one).await;
    let refused = "the metric provider refused the query (HTTP 422): it failed while it ran";
    assert_eq!(samples.scrapes.own_trouble, Some(format!("spec.checks.metrics: {refused}")));
    assert!(samples.scrapes.pods["stable-1"].last().is_some_and(|s| s.requests > 0.0 && s.own.is_empty()));

    // Before a release that is told, and what finds nothing is named.
    let family = Family::of(&Source::default()).expect("a family");
    let serving = ["stable-1".to_owned()];
    let told = async |metrics: &[Metric]| {
        let own = Own::of(metrics).expect("queries");
        preflight(&provider, &family, &own, "shop", &serving).await
    };
    assert_eq!(told(&metrics[..2]).await, None);
    assert_eq!(
        told(&metrics).await,
        Some(Blind::Config(
            "spec.checks.metrics[refunds].query finds nothing for the pod that serves; correct it (sum by (pod) or a selector keeps the pod), or take it out".into()
        ))
    );
    assert_eq!(
        told(&broken).await,
        Some(Blind::Config(format!("spec.checks.metrics: {refused}; correct its queries")))
    );
}
