//! The webhook against a receiver on this machine.

use std::{
    io,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, http::HeaderMap as Headers, http::StatusCode, response::IntoResponse, routing::post};
use tokio::{net::TcpListener, sync::mpsc};
use tracing::instrument::WithSubscriber;
use tracing_subscriber::EnvFilter;

use super::*;
use crate::{
    api::{
        notice::{Notice, Reason},
        units::At,
    },
    serve::log,
    tell::outbox::Subject,
};

/// Planted where secrets are; must come out nowhere.
const CANARY: &str = "canary-5b1f0e";

fn letter() -> Letter {
    Letter {
        subject: Subject {
            namespace: "shop".into(),
            name: "checkout".into(),
            uid: "7d0b".into(),
            state: "Draining".into(),
            version: Some("1.4.2".into()),
        },
        notice: Notice {
            seq: 4,
            reason: Reason::RollingBack,
            at: At::new("2026-01-02T03:04:05.678Z".parse().unwrap()),
            message: "error rate 7.31 % > 5 % at 20 %, stable 0.40 %".into(),
            revision: Some("0123456789".into()),
            pending: vec!["oncall".into()],
            attempts: 0,
        },
        channel: "oncall".into(),
    }
}

fn web() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

fn call(url: &str) -> Call {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {CANARY}").parse().unwrap());
    Call { url: format!("{url}/hook?token={CANARY}").parse().unwrap(), headers, timeout: Duration::from_millis(300) }
}

async fn receiver<R>(
    answer: impl Fn() -> R + Clone + Send + Sync + 'static,
) -> (String, mpsc::UnboundedReceiver<(Headers, Bytes)>)
where
    R: IntoResponse + 'static,
{
    let (tx, rx) = mpsc::unbounded_channel();
    let take = move |headers: Headers, body: Bytes| {
        tx.send((headers, body)).unwrap();
        let response = answer().into_response();
        async move { response }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", post(take))).await.unwrap() });
    (url, rx)
}

#[tokio::test]
async fn the_receiver_gets_a_cloud_event() {
    let (url, mut got) = receiver(|| StatusCode::ACCEPTED).await;
    assert_eq!(call(&url).send(&web(), &letter()).await, Sent::Delivered);
    let (headers, body) = got.recv().await.unwrap();
    assert_eq!(headers["content-type"], "application/cloudevents+json");
    assert_eq!(headers["authorization"], format!("Bearer {CANARY}"));
    let expected = json!({
        "specversion": "1.0",
        "id": "7d0b-4",
        "source": "/apis/haldane.dev/v1alpha1/namespaces/shop/releases/checkout",
        "type": "dev.haldane.release.rollingback.v1",
        "subject": "shop/checkout",
        "time": "2026-01-02T03:04:05.678Z",
        "datacontenttype": "application/json",
        "data": {
            "release": "checkout",
            "namespace": "shop",
            "state": "Draining",
            "reason": "RollingBack",
            "severity": "Warning",
            "message": "error rate 7.31 % > 5 % at 20 %, stable 0.40 %",
            "revision": "0123456789",
            "version": "1.4.2",
        },
    });
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
}

#[tokio::test]
async fn anything_but_2xx_is_tried_again_and_redirects_lead_nowhere() {
    for status in [302, 400, 404, 500] {
        let answer = move || (StatusCode::from_u16(status).unwrap(), [("location", "/elsewhere")], CANARY);
        let (url, mut got) = receiver(answer).await;
        let why = format!("Notifier oncall: the receiver answered {status}");
        assert_eq!(call(&url).send(&web(), &letter()).await, Sent::Later { why, after: None });
        got.recv().await.unwrap();
        assert!(got.try_recv().is_err());
    }
    let (url, _got) = receiver(|| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "17")])).await;
    let Sent::Later { after, .. } = call(&url).send(&web(), &letter()).await else { panic!("delivered") };
    assert_eq!(after, Some(Duration::from_secs(17)));
}

#[tokio::test]
async fn a_silent_receiver_ends_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let why = "Notifier oncall: no answer after 300 ms".to_owned();
    assert_eq!(call(&url).send(&web(), &letter()).await, Sent::Later { why, after: None });
}

/// A log that keeps all it is given.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_reaches_the_log_or_the_sentence_that_is_told() {
    let paper = Paper::default();
    let writer = paper.clone();
    let subscriber = log::subscriber(EnvFilter::new("trace"), move || writer.clone());
    let told = async {
        let (url, _got) = receiver(|| (StatusCode::INTERNAL_SERVER_ERROR, CANARY)).await;
        let answered = call(&url).send(&web(), &letter()).await;
        let refused = call("http://127.0.0.1:1").send(&web(), &letter()).await;
        tracing::info!(told = format!("{answered:?} {refused:?}"), "written down");
    };
    told.with_subscriber(subscriber).await;
    let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("written down") && text.contains("no connection to the receiver"), "{text}");
    let ours: Vec<&str> = text.lines().filter(|l| l.contains(r#""target":"haldane"#)).collect();
    assert!(!ours.is_empty() && ours.iter().all(|l| !l.contains(CANARY)), "{ours:#?}");
}
