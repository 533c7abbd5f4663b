//! The line between one Release's operator and the API server: it names and numbers everything that has an effect, and
//! does to it what a plan says. What it does not name passes untouched.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::body::Body as Answer;
use http::{Method, Request, Response, header::ACCEPT};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::{runtime::Handle, sync::watch};
use tower::BoxError;

use crate::{
    ending::unmarked,
    views::{self, Event, Seen, View},
};

/// What can happen to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The operator is gone before the write is sent.
    DieBefore,
    /// The write is applied, and the operator is gone before it has the answer.
    DieAfter,
    /// The write is applied, and its answer is lost; the operator lives.
    AnswerLost,
    /// Instead of being applied it is answered so.
    Conflict,
    TooMany,
    Broken,
    Away,
    /// It is never sent and never answered.
    Timeout,
}

impl Fault {
    pub const ALL: [Self; 8] = [
        Self::DieBefore,
        Self::DieAfter,
        Self::AnswerLost,
        Self::Conflict,
        Self::TooMany,
        Self::Broken,
        Self::Away,
        Self::Timeout,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::DieBefore => "die-before",
            Self::DieAfter => "die-after",
            Self::AnswerLost => "answer-lost",
            Self::Conflict => "409",
            Self::TooMany => "429",
            Self::Broken => "500",
            Self::Away => "503",
            Self::Timeout => "timeout",
        }
    }

    /// The answer instead of the effect: code, reason, and when to ask again.
    pub const fn answer(self) -> Option<(u16, &'static str, Option<u32>)> {
        match self {
            Self::Conflict => Some((409, "Conflict", None)),
            Self::TooMany => Some((429, "TooManyRequests", Some(1))),
            Self::Broken => Some((500, "InternalError", None)),
            Self::Away => Some((503, "ServiceUnavailable", None)),
            _ => None,
        }
    }
}

/// The nth effect of this name in a story.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub what: String,
    pub nth: u32,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.what, self.nth)
    }
}

/// What is to happen in one telling of a story.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    pub faults: Vec<(Point, Fault)>,
    pub view: Option<(Event, View)>,
}

/// One line, over all lives of its operator. Cheap to clone.
#[derive(Clone)]
pub struct Line(Arc<Inner>);

struct Inner {
    raw: Client,
    /// Calls are made here, so that one on its way outlives the operator that sent it.
    runtime: Handle,
    book: Mutex<Book>,
    views: Mutex<Seen>,
    /// Events told so far, over all watches.
    told: watch::Sender<u64>,
    /// The number of the present life; 0 when none shall follow.
    life: watch::Sender<u32>,
}

#[derive(Default)]
struct Book {
    counting: bool,
    counts: BTreeMap<String, u32>,
    points: Vec<Point>,
    plan: Vec<(Point, Fault)>,
    fired: usize,
}

impl Line {
    /// Over `raw`, whose calls are made on the runtime of the caller.
    pub fn new(raw: Client) -> Self {
        let (life, _) = watch::channel(1);
        Self(Arc::new(Inner {
            raw,
            runtime: Handle::current(),
            book: Mutex::default(),
            views: Mutex::default(),
            told: watch::Sender::new(0),
            life,
        }))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().expect("no panic inside")
    }

    /// From now on effects are counted, and this happens to some of them.
    pub fn count(&self, trouble: &Trouble) {
        let mut book = self.book();
        book.counting = true;
        book.plan.clone_from(&trouble.faults);
        self.views(|seen| {
            seen.counting = true;
            seen.plan.clone_from(&trouble.view);
        });
    }

    /// How much of its plan has come to pass.
    pub fn fired(&self) -> usize {
        self.book().fired + self.views(|seen| usize::from(seen.fired))
    }

    /// All effects so far, in their order.
    pub fn points(&self) -> Vec<Point> {
        self.book().points.clone()
    }

    pub fn life(&self) -> u32 {
        *self.0.life.borrow()
    }

    /// Resolves when this life is over.
    pub async fn over(&self, life: u32) {
        let mut lives = self.0.life.subscribe();
        let _line_gone = lives.wait_for(|now| *now != life).await;
    }

    /// The operator is gone at this moment; the next one begins.
    pub fn die(&self) {
        self.0.life.send_modify(|life| *life += u32::from(*life > 0));
    }

    /// The operator is gone, and none follows.
    pub fn end(&self) {
        self.0.life.send_replace(0);
    }

    /// Notes an effect that is about to happen; what is to become of it.
    pub fn effect(&self, what: &str) -> Option<Fault> {
        let mut book = self.book();
        if !book.counting {
            return None;
        }
        let nth = book.counts.entry(what.to_owned()).or_default();
        *nth += 1;
        let point = Point { what: what.to_owned(), nth: *nth };
        book.points.push(point.clone());
        let at = book.plan.iter().position(|(planned, _)| *planned == point)?;
        book.fired += 1;
        Some(book.plan.remove(at).1)
    }

    /// What is known of the watches.
    pub fn views<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.views.lock().expect("no panic inside"))
    }

    /// An event goes to the operator.
    pub fn tell(&self) {
        self.0.told.send_modify(|told| *told += 1);
    }

    /// Resolves when the next event goes to the operator.
    pub fn told(&self) -> impl Future<Output = ()> + use<> {
        let mut told = self.0.told.subscribe();
        async move {
            let _line_gone = told.changed().await;
        }
    }

    /// On the runtime that outlives the operator.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.runtime.spawn(work);
    }

    /// A client of this life. Made on the operator's runtime.
    pub fn client(&self, number: u32) -> Client {
        let own = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let own = own.clone();
            async move {
                tokio::select! {
                    biased;
                    () = own.over(number) => std::future::pending().await,
                    answer = own.call(request) => answer,
                }
            }
        });
        Client::new(service, self.0.raw.default_namespace())
    }

    async fn call(&self, request: Request<Body>) -> Result<Response<Answer>, BoxError> {
        if request.method() == Method::GET {
            return self.read(request).await;
        }
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await?;
        let json = serde_json::from_slice(&bytes).unwrap_or_default();
        let fault = name(&parts.method, parts.uri.path(), &json).and_then(|what| self.effect(&what));
        let request = Request::from_parts(parts, Body::from(bytes));
        match fault {
            None => self.send(request).await,
            Some(Fault::DieBefore) => {
                self.die();
                std::future::pending().await
            }
            Some(Fault::DieAfter) => {
                let _lost = self.send(request).await;
                self.die();
                std::future::pending().await
            }
            Some(Fault::AnswerLost) => {
                let _lost = self.send(request).await;
                Err("the connection broke off".into())
            }
            Some(Fault::Timeout) => std::future::pending().await,
            Some(refused) => Ok(refusal(refused)),
        }
    }

    /// Watches, and the lists they begin with, may lie. Reads of a pass never do.
    async fn read(&self, request: Request<Body>) -> Result<Response<Answer>, BoxError> {
        let query = request.uri().query().unwrap_or_default();
        let (watch, list) = (query.contains("watch=true"), query.contains("limit="));
        let form = request.headers().get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let form = if form.contains("as=PartialObjectMetadata") { "metadata" } else { "whole" };
        let what = format!("{} {form}", request.uri().path());
        let answer = self.send(request).await?;
        if !answer.status().is_success() || !watch && !list {
            return Ok(answer);
        }
        let (parts, body) = answer.into_parts();
        if watch {
            return Ok(Response::from_parts(parts, views::through(self, what, body)));
        }
        let now = axum::body::to_bytes(body, usize::MAX).await?;
        let told = self.views(|seen| seen.list(&what, now));
        let mut answer = Response::new(Answer::from(told));
        answer.headers_mut().insert("content-type", "application/json".parse()?);
        Ok(answer)
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Answer>, BoxError> {
        let raw = self.0.raw.clone();
        let sent = self.0.runtime.spawn(async move { raw.send(request).await });
        Ok(sent.await??.map(Answer::new))
    }
}

fn refusal(fault: Fault) -> Response<Answer> {
    let (code, reason, after) = fault.answer().expect("a fault with an answer");
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": "as the test says",
    });
    let mut answer = Response::builder().status(code).header("content-type", "application/json");
    if let Some(after) = after {
        answer = answer.header("retry-after", after);
    }
    answer.body(Answer::from(status.to_string())).expect("an answer")
}

/// What a write is called: the same in each run of a story. `None`: leadership has tests of its own.
fn name(method: &Method, path: &str, body: &Value) -> Option<String> {
    let parts: Vec<&str> = path.split('/').skip_while(|part| *part != "namespaces").skip(2).collect();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let (resource, named) = (*parts.first()?, parts.get(1..).unwrap_or_default().join("/"));
    if resource == "leases" {
        return None;
    }
    Some(match *method {
        Method::POST if resource == "events" => format!("create event {}", text(&body["reason"])),
        Method::POST => format!("create {resource} {}", unmarked(&text(&body["metadata"]["name"]))),
        Method::DELETE => format!("delete {resource} {named}"),
        _ if named.ends_with("/status") => format!("status {}", state(&body["status"]["state"])),
        _ => format!("patch {resource} {named} {}", edits(body)),
    })
}

/// The State in a few words.
fn state(state: &Value) -> String {
    let Some((name, inner)) = state.as_object().and_then(|s| s.iter().next()) else { return "none".into() };
    let step = inner["step"].as_u64().map_or_else(String::new, |step| format!(" {}", step + 1));
    let part = inner["part"].as_str().map_or_else(String::new, |part| format!(" {part}"));
    let settled = if inner["settled"].is_null() { "" } else { " settled" };
    format!("{name}{step}{part}{settled}")
}

/// What a JSON patch changes, and of a route the share.
fn edits(patch: &Value) -> String {
    let ops = patch.as_array().map_or(&[][..], Vec::as_slice).iter().filter(|op| op["op"] != "test");
    let one = |op: &Value| {
        let field = op["path"].as_str().unwrap_or_default();
        if field == "/spec/rules" {
            let rules = op["value"].as_array().map_or(&[][..], Vec::as_slice);
            let mut refs = rules.iter().filter_map(|rule| rule["backendRefs"].as_array()).filter(|refs| refs.len() > 1);
            let canary =
                refs.find_map(|refs| refs.iter().find(|r| r["name"].as_str().is_some_and(|n| n.ends_with("-canary"))));
            return canary.map_or_else(|| "restored".into(), |canary| format!("at {}", canary["weight"]));
        }
        let last = field.rsplit('/').next().unwrap_or_default().replace("~1", "/");
        let sign = match op["op"].as_str() {
            Some("remove") => "-",
            _ => "+",
        };
        format!("{sign}{last}")
    };
    ops.map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_write_has_the_same_name_in_each_run() {
        let patch = |address: &str, body: Value| name(&Method::PATCH, address, &body);
        assert_eq!(
            patch(
                "/apis/haldane.dev/v1alpha1/namespaces/t7/releases/shop/status",
                json!({"status": {"state": {"stepping": {"step": 0, "settled": "2026-01-01T00:00:00Z"}}}})
            ),
            Some("status stepping 1 settled".into())
        );
        let pin = json!([
            {"op": "test", "path": "/metadata/uid", "value": "u"},
            {"op": "add", "path": "/spec/selector/pod-template-hash", "value": "h1"},
        ]);
        assert_eq!(
            patch("/api/v1/namespaces/t7/services/shop", pin),
            Some("patch services shop +pod-template-hash".into())
        );
        let refs = json!([{"name": "shop", "weight": 80}, {"name": "shop-canary", "weight": 20}]);
        let route = json!([{"op": "replace", "path": "/spec/rules", "value": [{"backendRefs": refs}]}]);
        let address = "/apis/gateway.networking.k8s.io/v1/namespaces/t7/httproutes/shop";
        assert_eq!(patch(address, route), Some("patch httproutes shop at 20".into()));
        assert_eq!(patch("/apis/coordination.k8s.io/v1/namespaces/haldane-system/leases/t7", json!({})), None);
    }
}
