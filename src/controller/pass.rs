//! A pass from outside: leadership, time, panics and failures. What it does with a Release is `Work`.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::error_boundary::InvalidObject,
    runtime::controller::Action,
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, info_span, warn};

use super::{
    active::Interest,
    context::{Context, Key, News},
    watch::Guarded,
};
use crate::{
    api::{Release, status::FORMAT_VERSION, units::At},
    error::{Error, Result},
    observe::clock,
    tell::status::cut,
};

/// A whole pass takes no longer.
pub const PASS_LIMIT: Duration = Duration::from_secs(20);
/// After a conflict the world is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// An unreadable object's conditions are written under a name of their own, so that its memory stays as it is.
const INVALID_MANAGER: &str = "haldane-invalid";

/// What a pass leaves behind.
#[derive(Clone, Debug, Default)]
pub struct After {
    /// When to look again; `None`: when something changes.
    pub wake: Option<Duration>,
    /// What is to be watched meanwhile.
    pub interest: Option<Interest>,
}

/// One pass over one Release: observe → decide → remember → act → tell.
pub trait Work: Send + Sync + 'static {
    /// `release` is as the watch has it; the pass reads the present one itself.
    fn pass(&self, release: Arc<Release>, ctx: Context) -> BoxFuture<'static, Result<After>>;

    /// Something is new that may take no pass: what is to be done at once, if anything. Must not block.
    fn news(&self, news: &News, ctx: &Context) -> Option<BoxFuture<'static, ()>> {
        ctx.kicks.kick(&news.key.namespace, &news.key.name);
        None
    }

    /// Leadership is lost: nothing goes on in the background.
    fn term_ended(&self) {}
}

/// Why a pass did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Failed(#[from] Error),
    #[error("the pass was ended after {} s", PASS_LIMIT.as_secs())]
    TimedOut,
    #[error("the pass panicked: {0}")]
    Panicked(String),
}

impl Failure {
    const fn name(&self) -> &'static str {
        match self {
            Self::Failed(Error::Stale(_)) => "stale",
            Self::Failed(_) => "error",
            Self::TimedOut => "timeout",
            Self::Panicked(_) => "panic",
        }
    }
}

/// Runs one pass, whatever it does, and says when the next one is due.
pub async fn run(work: &dyn Work, object: Arc<Guarded>, ctx: &Context) -> Action {
    let uid = object.uid().unwrap_or_default();
    let key = Key { namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
    let span = info_span!("pass", namespace = key.namespace, release = key.name);
    let (mut leading, mut retiring) = (ctx.leading.clone(), ctx.retiring.clone());
    if !*leading.borrow() {
        return Action::await_change(); // all Releases are visited when leadership comes
    }
    retiring.mark_unchanged();
    let begun = clock::monotonic();
    let outcome = {
        let release = match &object.0 {
            Ok(release) => Ok(Arc::new(release.clone())),
            Err(invalid) => Err(invalid.clone()),
        };
        let pass = match release {
            Ok(release) => work.pass(release, ctx.clone()),
            Err(invalid) => tell_invalid(invalid, ctx.clone()).boxed(),
        };
        tokio::select! {
            outcome = bounded(pass, PASS_LIMIT).instrument(span.clone()) => outcome,
            // Work stops at once; what it has begun, the next leader finds in the state.
            _ = leading.wait_for(|leads| !leads) => return Action::await_change(),
            // So that nothing begins any more that was decided before.
            Ok(()) = retiring.changed() => return Action::requeue(LOOK_AGAIN),
        }
    };
    let took = begun.elapsed();
    let _entered = span.enter();
    match outcome {
        Ok(after) => {
            ctx.metrics.pass("ok", took);
            ctx.backoff.succeeded(&uid);
            ctx.active.set(&key, after.interest);
            after.wake.map_or_else(Action::await_change, Action::requeue)
        }
        Err(failure) => {
            ctx.metrics.pass(failure.name(), took);
            if matches!(failure, Failure::Failed(Error::Stale(_))) {
                return Action::requeue(LOOK_AGAIN);
            }
            let pause = ctx.backoff.failed(&uid);
            warn!(error = %failure, again_after_ms = pause.as_millis(), "pass failed");
            Action::requeue(pause)
        }
    }
}

/// Attends to news, whatever that does. What is done at once goes on beside the passes.
pub fn first(work: &dyn Work, news: &News, ctx: &Context) {
    let Key { namespace, name } = &news.key;
    let span = info_span!("news", namespace, release = name);
    let entered = span.enter();
    let at_once = std::panic::catch_unwind(AssertUnwindSafe(|| work.news(news, ctx)));
    drop(entered);
    match at_once {
        Ok(None) => {}
        Ok(Some(at_once)) => {
            let mut leading = ctx.leading.clone();
            let bounded = async move {
                tokio::select! {
                    _ = timeout(PASS_LIMIT, at_once) => {}
                    _ = leading.wait_for(|leads| !leads) => {}
                }
            };
            tokio::spawn(bounded.instrument(span));
        }
        Err(panic) => {
            warn!(namespace, release = name, panic = words(panic.as_ref()), "news could not be judged; a pass looks");
            ctx.kicks.kick(namespace, name);
        }
    }
}

/// On a task of its own, so that a panic ends the task and nothing else; ended with the caller.
async fn bounded<F>(pass: F, limit: Duration) -> Result<After, Failure>
where
    F: Future<Output = Result<After>> + Send + 'static,
{
    let task = AbortOnDropHandle::new(tokio::spawn(AssertUnwindSafe(pass).catch_unwind().in_current_span()));
    match timeout(limit, task).await {
        Err(_) => Err(Failure::TimedOut),
        Ok(Err(ended)) => Err(Failure::Panicked(ended.to_string())),
        Ok(Ok(Err(panic))) => Err(Failure::Panicked(words(panic.as_ref()))),
        Ok(Ok(Ok(outcome))) => Ok(outcome?),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_owned()
}

/// An object that the schema let through and we cannot read. It is told what is wrong and else left alone.
async fn tell_invalid(invalid: InvalidObject, ctx: Context) -> Result<After> {
    let meta = &invalid.metadata;
    let (uid, name) = (meta.uid.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
    let generation = meta.generation.unwrap_or(0);
    let news = format!("{generation}: {}", invalid.error);
    if !ctx.notes.invalid(&uid, &news) {
        return Ok(After::default());
    }
    let told = write_invalid(&invalid, &ctx.client, &name, &uid, generation).await;
    match told {
        Ok(true) => {}
        Ok(false) => ctx.metrics.status_too_new(),
        Err(_) => ctx.notes.forget(&uid),
    }
    told.map(|_| After::default())
}

/// False: a newer version of the operator keeps this Release; nothing was written.
async fn write_invalid(
    invalid: &InvalidObject,
    client: &Client,
    name: &str,
    uid: &str,
    generation: i64,
) -> Result<bool> {
    let failed =
        |what: &str, error| Err(Error::from_kube(format!("{what} Release {name}, which cannot be read"), error));
    let namespace = invalid.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<Release>(&()));
    let status = match api.get_opt(name).await {
        Ok(Some(object)) => object.data["status"].clone(),
        Ok(None) => return Ok(true),
        Err(error) => return failed("reading", error),
    };
    let version = status["formatVersion"].as_u64();
    if version.is_some_and(|version| version > u64::from(FORMAT_VERSION)) {
        warn!(version, "a newer version of the operator wrote this status; it is left alone");
        return Ok(false);
    }
    warn!(error = invalid.error, "this Release cannot be read");
    let message = cut(&format!("this Release cannot be read: {}; correct the named field", invalid.error));
    let patch = invalid_status(name, uid, generation, &message, version.is_none(), clock::now());
    let params = PatchParams::apply(INVALID_MANAGER).force();
    match api.patch_status(name, &params, &Patch::Apply(&patch)).await {
        Ok(_) => Ok(true),
        Err(error) => failed("writing the status of", error),
    }
}

fn invalid_status(name: &str, uid: &str, generation: i64, message: &str, first: bool, now: At) -> Value {
    let at = now.timestamp().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |kind: &str, status: &str| {
        json!({
            "type": kind, "status": status, "reason": "Invalid", "message": message,
            "observedGeneration": generation, "lastTransitionTime": at,
        })
    };
    let mut status = json!({
        "observedGeneration": generation,
        "message": message,
        "conditions": [
            condition("Accepted", "False"),
            condition("Ready", "False"),
            condition("Reconciling", "False"),
            condition("Stalled", "True"),
        ],
    });
    if first {
        status["formatVersion"] = json!(FORMAT_VERSION);
    }
    json!({
        "apiVersion": "haldane.dev/v1alpha1",
        "kind": "Release",
        "metadata": {"name": name, "uid": uid},
        "status": status,
    })
}

#[cfg(test)]
mod tests;
