//! Prometheus is slow, says NaN, restarts and is away in the middle of a step: nothing is known then, so nothing moves,
//! and when it answers again the step goes on. Before a release it must know the version that serves.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::Trouble;
use crate::{
    harness::metrics::Metrics,
    release::{STAYS, Shop, Wish},
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Well,
    Slow,
    NotANumber,
    Starting,
    /// No series is as it is asked for.
    Empty,
}

/// Stands before a Prometheus that is well.
#[derive(Clone)]
struct Line {
    upstream: String,
    mood: Arc<Mutex<Mood>>,
    http: reqwest::Client,
}

impl Line {
    async fn start(upstream: &str) -> (Self, String) {
        let line =
            Self { upstream: upstream.into(), mood: Arc::new(Mutex::new(Mood::Well)), http: reqwest::Client::new() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let app = Router::new().fallback(forward).with_state(line.clone());
        tokio::spawn(async { axum::serve(listener, app).await });
        (line, url)
    }

    fn be(&self, mood: Mood) {
        *self.mood.lock().expect("no panic inside") = mood;
    }
}

async fn forward(State(line): State<Line>, request: Request) -> Response {
    let mood = *line.mood.lock().expect("no panic inside");
    match mood {
        Mood::Slow => tokio::time::sleep(Duration::from_mins(1)).await,
        Mood::Starting => return (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable").into_response(),
        Mood::Well | Mood::NotANumber | Mood::Empty => {}
    }
    let url = format!("{}{}", line.upstream, request.uri());
    let body = to_bytes(Body::new(request.into_body()), 1 << 20).await.expect("a query");
    let form = "application/x-www-form-urlencoded";
    let answer = line.http.post(url).header("content-type", form).body(body).send().await.expect("it is well");
    let mut answer: Value = answer.json().await.expect("JSON");
    if mood == Mood::NotANumber {
        for series in answer["data"]["result"].as_array_mut().into_iter().flatten() {
            if let Some(value) = series.get_mut("value") {
                value[1] = json!("NaN");
            }
        }
    }
    if mood == Mood::Empty {
        answer["data"]["result"] = json!([]);
    }
    (StatusCode::OK, [("content-type", "application/json")], answer.to_string()).into_response()
}

async fn provider(shop: &Shop, url: &str) {
    let ns = &shop.ns;
    let provider = format!(
        "{{apiVersion: haldane.dev/v1alpha1, kind: MetricProvider, metadata: {{name: prometheus-{ns}}}, spec: {{url: '{url}', \
         allowedNamespaces: [{ns}], scrapeInterval: 1s, timeout: 2s}}}}"
    );
    shop.plane.apply_yaml("haldane-system", &provider).await;
}

/// A Prometheus behind a line that has moods, and the checks that name it.
async fn measured(shop: &Shop) -> (Metrics, Line, String) {
    let metrics = Metrics::start(Duration::from_secs(1)).await;
    metrics.home("shop-", &shop.ns);
    let (line, url) = Line::start(&metrics.url).await;
    provider(shop, &url).await;
    (metrics, line, format!("provider: prometheus-{}, warmUp: 0s, minRequests: 10", shop.ns))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_moves_while_prometheus_says_nothing() {
    let trouble = Trouble::open().await;
    let shop = &trouble.shop;
    let (_metrics, line, checks) = measured(shop).await;
    shop.wish(Wish { checks: &checks, ..STAYS }).await;
    shop.in_step().await;
    for (mood, sentence) in [
        (Mood::Slow, "nothing can be said: the metric provider did not answer within 2 s"),
        (Mood::NotANumber, "nothing can be said: the counter of requests of pod shop-"),
        (Mood::Starting, "nothing can be said: the metric provider answered HTTP 503"),
    ] {
        shop.until("shop", "it is judged", |status| status.verdict.as_deref().is_some_and(|v| v != "NoData")).await;
        line.be(mood);
        let status = shop.until("shop", sentence, |status| status.message.starts_with(sentence)).await;
        assert_eq!(
            (status.phase.as_str(), status.weight, status.verdict.as_deref()),
            ("Stepping", Some(20), Some("NoData"))
        );
        let known = status.conditions.iter().find(|c| c.type_ == "MetricsAvailable").expect("the condition");
        assert_eq!(known.status, "False", "{mood:?}");
        line.be(Mood::Well);
    }
    shop.until("shop", "it is judged", |status| status.verdict.as_deref().is_some_and(|v| v != "NoData")).await;
    trouble.assert_harmless(&[]).await;
    shop.order("Rollback", "").await;
    shop.phase("shop", "RolledBack").await;
    trouble.assert_over("shop:1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_begins_before_the_version_that_serves_can_be_measured() {
    let trouble = Trouble::open().await;
    let shop = &trouble.shop;
    let (_metrics, line, checks) = measured(shop).await;
    line.be(Mood::Empty);
    shop.wish(Wish { checks: &checks, ..STAYS }).await;
    for (mood, gate, sentence) in [
        (
            Mood::Empty,
            "ConfigError",
            "http_requests_total finds nothing for the 2 pods that serve: no series has their names in the labels namespace \
             and pod; let them be scraped, or correct spec.checks.source or the MetricProvider's labels",
        ),
        (Mood::Starting, "NoData", "the version that serves cannot be measured: the metric provider answered HTTP 503"),
    ] {
        line.be(mood);
        let waits = |status: &haldane::api::status::ReleaseStatus| match &status.state {
            Some(haldane::api::State::Waiting { closed, .. }) => {
                closed.iter().any(|g| g.name == gate && g.message == sentence)
            }
            _ => false,
        };
        let status = shop.until("shop", sentence, waits).await;
        assert_eq!(status.message, sentence);
    }
    trouble.assert_untouched();
    line.be(Mood::Well);
    shop.in_step().await;
    shop.order("Rollback", "").await;
    shop.phase("shop", "RolledBack").await;
    trouble.assert_over("shop:1").await;
}
