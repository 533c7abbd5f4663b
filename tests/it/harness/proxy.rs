//! Stands between the operator and the API server: notes its calls, and answers some of them itself as a test says.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use kube::{Client, Config};
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{Notify, futures::OwnedNotified},
    task::JoinHandle,
};

/// One call of the operator.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    /// Path and query.
    pub path: String,
    pub body: Bytes,
    pub code: u16,
}

impl Call {
    /// A look at the cluster: neither a watch nor the lease, which has rules of its own.
    pub fn is_read(&self) -> bool {
        self.method == Method::GET && !self.path.contains("watch=") && !self.path.contains("/leases/")
    }
}

/// The HTTP status that a call gets instead of its answer; `None`: it goes on to the API server.
type Rule = Box<dyn Fn(&Call) -> Option<u16> + Send>;

type Which = Box<dyn Fn(&Call) -> bool + Send>;

#[derive(Default)]
struct Book {
    calls: Vec<Call>,
    rule: Option<Rule>,
    /// Calls that wait, and how many have come.
    held: Option<(Which, usize)>,
    go: Arc<Notify>,
    cut: Arc<Notify>,
}

/// Runs until it is dropped.
pub struct Proxy {
    url: http::Uri,
    config: Config,
    book: Arc<Mutex<Book>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// For who has this config.
    pub async fn start(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address")).parse().expect("an address");
        let book = Arc::<Mutex<Book>>::default();
        let client = Client::try_from(config.clone()).expect("a client");
        let app = Router::new().fallback(pass_on).with_state((client, book.clone()));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { url, config, book, task }
    }

    /// How to reach the API server through it.
    pub fn config(&self) -> Config {
        let mut config = self.config.clone();
        config.cluster_url = self.url.clone();
        config
    }

    /// From now on calls are answered by this rule.
    pub fn rule(&self, rule: impl Fn(&Call) -> Option<u16> + Send + 'static) {
        self.book.lock().expect("no panic inside").rule = Some(Box::new(rule));
    }

    /// Everything goes on to the API server again.
    pub fn no_rule(&self) {
        self.book.lock().expect("no panic inside").rule = None;
    }

    /// From now on these calls wait until `go`.
    pub fn hold(&self, which: impl Fn(&Call) -> bool + Send + 'static) {
        self.book.lock().expect("no panic inside").held = Some((Box::new(which), 0));
    }

    /// How many have waited.
    pub fn held(&self) -> usize {
        self.book.lock().expect("no panic inside").held.as_ref().map_or(0, |(_, count)| *count)
    }

    pub fn go(&self) {
        let mut book = self.book.lock().expect("no panic inside");
        book.held = None;
        book.go.notify_waiters();
    }

    /// Ends all answers that are on their way: the open watches.
    pub fn cut(&self) {
        self.book.lock().expect("no panic inside").cut.notify_waiters();
    }

    /// All calls so far, in the order of their answers.
    pub fn calls(&self) -> Vec<Call> {
        self.book.lock().expect("no panic inside").calls.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Book {
    fn waits(&mut self, call: &Call) -> Option<OwnedNotified> {
        let (which, count) = self.held.as_mut()?;
        which(call).then(|| {
            *count += 1;
            self.go.clone().notified_owned()
        })
    }
}

type Shared = (Client, Arc<Mutex<Book>>);

async fn pass_on(State((client, book)): State<Shared>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 16 << 20).await else { return StatusCode::BAD_REQUEST.into_response() };
    let path = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let mut call = Call { method: parts.method.clone(), path: path.clone(), body: body.clone(), code: 0 };
    let waits = book.lock().expect("no panic inside").waits(&call);
    if let Some(go) = waits {
        go.await;
    }
    let (refused, cut) = {
        let book = book.lock().expect("no panic inside");
        (book.rule.as_ref().and_then(|rule| rule(&call)), book.cut.clone().notified_owned())
    };
    let response = if let Some(code) = refused {
        refusal(code)
    } else {
        parts.uri = path.parse().expect("a path");
        parts.headers.remove("host");
        parts.headers.remove("authorization");
        let request = http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
        match client.send(request).await {
            Ok(response) => response.map(|body| Body::from_stream(Body::new(body).into_data_stream().take_until(cut))),
            Err(_) => StatusCode::BAD_GATEWAY.into_response(),
        }
    };
    call.code = response.status().as_u16();
    book.lock().expect("no panic inside").calls.push(call);
    response
}

fn refusal(code: u16) -> Response {
    let reason = if code == 409 { "Conflict" } else { "InternalError" };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code,
        "message": "as the test says",
    });
    let code = StatusCode::from_u16(code).expect("a status code");
    (code, [(CONTENT_TYPE, "application/json")], status.to_string()).into_response()
}
