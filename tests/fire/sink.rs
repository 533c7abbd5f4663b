//! The receiver of webhook notices: an effect outside of the API server, numbered with the others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Response, StatusCode},
    routing::post,
};
use serde_json::Value;

use crate::{
    fault::{Fault, Line},
    harness::Plane,
};

/// One for all namespaces. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sink(Arc<Mutex<BTreeMap<String, Desk>>>);

struct Desk {
    line: Line,
    /// Ids and reasons, in the order they came.
    got: Vec<(String, String)>,
}

/// The Notifier's name.
pub const NOTIFIER: &str = "sink";

impl Sink {
    /// Listens, and tells the operators of it.
    pub async fn open(plane: &Plane) -> Self {
        let sink = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let app = Router::new().route("/", post(take)).with_state(sink.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let notifier = format!(
            "{{apiVersion: haldane.dev/v1alpha1, kind: Notifier, metadata: {{name: {NOTIFIER}}}, \
             spec: {{allowedNamespaces: ['*'], webhook: {{url: '{url}', timeout: 1s}}}}}}"
        );
        plane.apply_yaml("haldane-system", &notifier).await;
        sink
    }

    pub fn attend(&self, ns: &str, line: &Line) {
        self.0.lock().expect("no panic inside").insert(ns.to_owned(), Desk { line: line.clone(), got: Vec::new() });
    }

    /// What came for a namespace: ids and reasons.
    pub fn got(&self, ns: &str) -> Vec<(String, String)> {
        self.0.lock().expect("no panic inside").get(ns).map(|desk| desk.got.clone()).unwrap_or_default()
    }
}

async fn take(State(sink): State<Sink>, body: Bytes) -> Response<Body> {
    let event: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let (ns, id, reason) = (text(&event["data"]["namespace"]), text(&event["id"]), text(&event["data"]["reason"]));
    let (line, fault) = {
        let mut desks = sink.0.lock().expect("no panic inside");
        let Some(desk) = desks.get_mut(&ns) else { return answer(StatusCode::NOT_FOUND, None) };
        let fault = desk.line.effect(&format!("notice {reason}"));
        if fault.is_none_or(|f| matches!(f, Fault::DieAfter | Fault::AnswerLost)) {
            desk.got.push((id, reason));
        }
        (desk.line.clone(), fault)
    };
    match fault {
        None => answer(StatusCode::OK, None),
        Some(Fault::DieBefore | Fault::DieAfter) => {
            line.die();
            std::future::pending().await
        }
        // The head of an answer and then nothing: the connection breaks off.
        Some(Fault::AnswerLost | Fault::Timeout) => std::future::pending().await,
        Some(refused) => {
            let (code, _, after) = refused.answer().expect("a fault with an answer");
            answer(StatusCode::from_u16(code).expect("a code"), after)
        }
    }
}

fn answer(code: StatusCode, after: Option<u32>) -> Response<Body> {
    let mut answer = Response::builder().status(code);
    if let Some(after) = after {
        answer = answer.header("retry-after", after);
    }
    answer.body(Body::empty()).expect("an answer")
}
