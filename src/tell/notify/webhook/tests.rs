//! The webhook against a receiver on this machine.

use std::{
    io,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, http::HeaderMap as Headers, http::StatusCode, response::IntoResponse, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{net::TcpListener, sync::mpsc};
use tracing::instrument::WithSubscriber;
use tracing_subscriber::EnvFilter;

use super::*;
use crate::{
    api::notice::Reason,
    observe::clock,
    serve::log,
    tell::notify::{
        fakes,
        testing::{CANARY, letter, web},
    },
};

fn call(url: &str) -> Receiver {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {CANARY}").parse().unwrap());
    let url = format!("{url}/hook?token={CANARY}").parse().unwrap();
    Receiver { url, headers, timeout: Duration::from_millis(300), signing_secret: None }
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
    assert_eq!(call(&url).send(&web(), &letter(Reason::RollingBack), clock::now()).await, Ok(()));
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
        let why = format!("the receiver answered {status}");
        assert_eq!(
            call(&url).send(&web(), &letter(Reason::RollingBack), clock::now()).await,
            Err(Fault::Later(why, None))
        );
        got.recv().await.unwrap();
        assert!(got.try_recv().is_err());
    }
    let (url, _got) = receiver(|| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "17")])).await;
    let Err(Fault::Later(_, after)) = call(&url).send(&web(), &letter(Reason::RollingBack), clock::now()).await else {
        panic!("delivered")
    };
    assert_eq!(after, Some(Duration::from_secs(17)));
}

#[tokio::test]
async fn a_silent_receiver_ends_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let why = "no answer after 300 ms".to_owned();
    assert_eq!(call(&url).send(&web(), &letter(Reason::RollingBack), clock::now()).await, Err(Fault::Later(why, None)));
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
        let answered = call(&url).send(&web(), &letter(Reason::RollingBack), clock::now()).await;
        let refused = call("http://127.0.0.1:1").send(&web(), &letter(Reason::RollingBack), clock::now()).await;
        tracing::info!(told = format!("{answered:?} {refused:?}"), "written down");
    };
    told.with_subscriber(subscriber).await;
    let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("written down") && text.contains("no connection to the receiver"), "{text}");
    let ours: Vec<&str> = text.lines().filter(|l| l.contains(r#""target":"haldane"#)).collect();
    assert!(!ours.is_empty() && ours.iter().all(|l| !l.contains(CANARY)), "{ours:#?}");
}

#[tokio::test]
async fn a_signed_event_is_known_as_ours() {
    let (url, mut got) = receiver(|| StatusCode::OK).await;
    let mut signed = call(&url);
    signed.signing_secret = Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
    assert_eq!(signed.send(&web(), &letter(Reason::RollingBack), letter(Reason::RollingBack).notice.at).await, Ok(()));
    let (headers, body) = got.recv().await.unwrap();
    let (id, stamp) = (headers["webhook-id"].to_str().unwrap(), headers["webhook-timestamp"].to_str().unwrap());
    assert_eq!((id, stamp), ("7d0b-4", "1767323045"));
    let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let expected = fakes::hmac(&key, &[format!("{id}.{stamp}.").as_bytes(), &body].concat());
    assert_eq!(headers["webhook-signature"], format!("v1,{expected}"));

    signed.signing_secret = Some(format!("{CANARY}!"));
    let why = "the signing secret is not base64; make one with: openssl rand -base64 32".to_owned();
    assert_eq!(signed.send(&web(), &letter(Reason::RollingBack), clock::now()).await, Err(Fault::Later(why, None)));
}
