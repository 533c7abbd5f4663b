//! The way to the API server: every call ends in time, and nothing is written without leadership.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Method, Request, Response, StatusCode, header::RETRY_AFTER};
use kube::{Client, Config, client::Body};
use tokio::time::timeout;
use tower::BoxError;

use crate::observe::clock;

/// How long a call may take, unless told otherwise.
pub const CALL_LIMIT: Duration = Duration::from_secs(5);
/// The longest pause before a read is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Tries of a read that the API server turned away.
const READ_TRIES: u32 = 2;

/// Why a call ended without an answer of the API server.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{verb} {path} was not sent: this process does not hold the lease")]
    NotLeader { verb: Verb, path: String },
    #[error("{verb} {path} had no answer after {} ms", limit.as_millis())]
    TimedOut { verb: Verb, path: String, limit: Duration },
}

/// Whether the call was stopped by the fence, not by the cluster.
pub fn not_leader(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Service(inner)
        if matches!(inner.downcast_ref::<Refusal>(), Some(Refusal::NotLeader { .. })))
}

/// Until when this process may write. Cheap to ask, shared by the lease and the client.
///
/// The lease moves the deadline forward with each renewal; a process that was frozen wakes up behind it.
#[derive(Clone, Debug)]
pub struct Fence(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Instant,
    /// Milliseconds after `origin`; 0 is closed, `u64::MAX` is open for ever.
    writes_until: AtomicU64,
}

impl Fence {
    /// Nothing may be written yet.
    pub fn closed() -> Self {
        Self::with(0)
    }

    /// For tools that need no leadership.
    pub fn open() -> Self {
        Self::with(u64::MAX)
    }

    fn with(writes_until: u64) -> Self {
        Self(Arc::new(Inner { origin: clock::monotonic(), writes_until: AtomicU64::new(writes_until) }))
    }

    /// Writes may be sent until then.
    pub fn hold_until(&self, deadline: Instant) {
        let after = deadline.saturating_duration_since(self.0.origin).as_millis();
        self.0.writes_until.store(u64::try_from(after).unwrap_or(u64::MAX - 1), Ordering::Release);
    }

    pub fn close(&self) {
        self.0.writes_until.store(0, Ordering::Release);
    }

    /// How long writes may still be sent; `None` when they may not.
    pub fn left(&self) -> Option<Duration> {
        let until = self.0.writes_until.load(Ordering::Acquire);
        if until == u64::MAX {
            return Some(Duration::MAX);
        }
        let passed = clock::monotonic().saturating_duration_since(self.0.origin);
        Duration::from_millis(until).checked_sub(passed).filter(|left| !left.is_zero())
    }

    pub fn held(&self) -> bool {
        self.left().is_some()
    }
}

/// What is asked of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    Read,
    Watch,
    Create,
    Patch,
    Update,
    Delete,
}

impl Verb {
    /// In the order of the counters.
    pub const ALL: [Self; 6] = [Self::Read, Self::Watch, Self::Create, Self::Patch, Self::Update, Self::Delete];

    fn of<B>(request: &Request<B>) -> Self {
        let watch = || request.uri().query().is_some_and(|q| q.split('&').any(|p| p == "watch=true" || p == "watch=1"));
        match *request.method() {
            Method::POST => Self::Create,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            Method::GET if watch() => Self::Watch,
            Method::GET | Method::HEAD | Method::OPTIONS => Self::Read,
            _ => Self::Update,
        }
    }

    const fn writes(self) -> bool {
        !matches!(self, Self::Read | Self::Watch)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How many requests were sent, by verb. Refused ones are not counted: they were not sent.
#[derive(Debug, Default)]
pub struct Calls([AtomicU64; 6]);

impl Calls {
    pub fn count(&self, verb: Verb) -> u64 {
        self.0[verb as usize].load(Ordering::Relaxed)
    }

    fn add(&self, verb: Verb) {
        self.0[verb as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection to the API server, for `guarded`: nothing is repeated on it, and connecting takes no longer than `limit`.
pub fn plain(mut config: Config, limit: Duration) -> kube::Result<Client> {
    // kube's own retry repeats writes for minutes; a write of ours must be over before somebody else may lead.
    config.default_retry = false;
    config.connect_timeout = Some(limit);
    Client::try_from(config)
}

/// A client whose calls end within `limit`, whose writes pass the fence, and whose reads are tried once more when the
/// API server is busy. Watches are bounded by their own watcher only once they have begun to answer.
pub fn guarded(raw: Client, fence: Fence, calls: Arc<Calls>, limit: Duration) -> Client {
    let namespace = raw.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (raw, fence, calls) = (raw.clone(), fence.clone(), calls.clone());
        async move {
            let (verb, path) = (Verb::of(&request), request.uri().path().to_owned());
            let mut limit = limit;
            if verb.writes() {
                let Some(left) = fence.left() else {
                    return Err(BoxError::from(Refusal::NotLeader { verb, path }));
                };
                limit = limit.min(left);
            }
            match timeout(limit, answer(&raw, &calls, verb, request)).await {
                Ok(answer) => answer.map_err(BoxError::from),
                Err(_) => Err(Refusal::TimedOut { verb, path, limit }.into()),
            }
        }
    });
    Client::new(service, namespace)
}

/// The whole answer, but for a watch: of that only its beginning.
async fn answer(raw: &Client, calls: &Calls, verb: Verb, request: Request<Body>) -> kube::Result<Response<Body>> {
    if verb != Verb::Read {
        calls.add(verb);
        let response = raw.send(request).await?;
        return if verb == Verb::Watch { Ok(response) } else { whole(response).await };
    }
    let (parts, _) = request.into_parts();
    let mut tries = 1;
    loop {
        calls.add(verb);
        let response = raw.send(Request::from_parts(parts.clone(), Body::empty())).await?;
        let busy = matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        if !busy || tries >= READ_TRIES {
            return whole(response).await;
        }
        tries += 1;
        tokio::time::sleep(pause(&response)).await;
    }
}

async fn whole(response: Response<Body>) -> kube::Result<Response<Body>> {
    let (parts, body) = response.into_parts();
    Ok(Response::from_parts(parts, Body::from(body.collect_bytes().await?)))
}

/// `Retry-After` in seconds, but never long: a read that waits holds up a pass.
fn pause<B>(response: &Response<B>) -> Duration {
    let asked = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    asked.map_or(Duration::from_millis(200), Duration::from_secs).min(RETRY_PAUSE)
}

#[cfg(test)]
mod tests;
