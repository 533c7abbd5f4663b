//! The pass: observe → decide → remember → act → tell.
//!
//! The way of a breach is this file from top to bottom: samples are in memory, the world is read, the verdict falls,
//! one status write, one route write.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use kube::ResourceExt;
use tracing::{info, warn};

use super::{
    active,
    context::{Context, Key},
    pass::{After, Work},
    senses::Senses,
    show, steps as stored,
};
use crate::{
    act::{self, effect::Effect, scope::Scope, steps::steps},
    api::{
        Release, State,
        state::{PinnedTraffic, Version},
        status::Evidence,
        units::Span,
    },
    decide::{Decision, Past, decide, goal::Goal},
    error::{Error, Result},
    observe::{
        clock,
        seen::{Seen, Target},
        world::{Known, observe},
    },
};

/// The same heal again within this time means that somebody undoes it: they get their way until it is over.
const HEAL_PAUSE: Duration = Duration::from_secs(10);

/// What a pass does, and what this process keeps between passes.
pub struct Passes {
    senses: Senses,
    kept: Mutex<HashMap<String, Kept>>,
}

/// Kept of one Release. Lost with the process without harm.
#[derive(Default)]
struct Kept {
    /// Evidence newer than what is stored, and the State it belongs to.
    evidence: Option<(State, Option<Evidence>)>,
    heals: Vec<(Effect, Instant)>,
}

impl Passes {
    pub fn new(senses: Senses) -> Self {
        Self { senses, kept: Mutex::default() }
    }

    fn forget(&self, key: &Key, uid: &str) {
        self.senses.forget(key);
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    fn with<T>(&self, uid: &str, f: impl FnOnce(&mut Kept) -> T) -> T {
        f(self.kept.lock().unwrap_or_else(PoisonError::into_inner).entry(uid.to_owned()).or_default())
    }

    async fn once(&self, watched: &Release, ctx: &Context) -> Result<After> {
        let key = Key { namespace: watched.namespace().unwrap_or_default(), name: watched.name_any() };
        let Some(release) = stored::present(ctx, watched).await? else {
            self.forget(&key, &watched.uid().unwrap_or_default());
            return Ok(After::default());
        };
        let uid = release.uid().unwrap_or_default();
        let past = self.past(&release, &uid);
        let known = Known {
            metrics: self.senses.feed(&key, &release).await,
            probes: self.senses.probes(&key),
            route_written_at: ctx.notes.route_written_at(&uid),
            delivered: ctx.outbox.delivered(&uid),
            problems: self.senses.problems(&release, past.state.as_ref()).await,
            orders_proven: self.senses.orders_proven().await,
        };
        let world = Box::pin(observe(&ctx.client, &release, past.state.as_ref(), &past.memory, known)).await?;
        let seen = &world.seen;
        let decision = decide(&release.spec, &past, seen);

        self.store(&release, &past, &decision, seen, ctx).await?;
        self.tend(&key, &release, &decision, &world);
        self.effects(&release, &decision, seen, ctx, |_| true).await?;
        let interest = decision.state.as_ref().and_then(|s| active::Interest::of(&release, s));
        Ok(After { wake: decision.wake, interest })
    }

    /// What is remembered, with evidence that is newer than its stored copy.
    fn past(&self, release: &Release, uid: &str) -> Past {
        let Some(status) = release.status.as_ref() else { return Past::default() };
        let mut memory = status.memory.clone();
        let newer = self.with(uid, |kept| kept.evidence.clone());
        if let Some((state, evidence)) = newer
            && status.state.as_ref() == Some(&state)
        {
            memory.evidence = evidence;
        }
        Past { state: status.state.clone(), memory }
    }

    /// The status write. A decision is stored before anything is done about it, with one exception: a version that is
    /// to lose its traffic loses it also when two writes have failed.
    async fn store(
        &self,
        release: &Release,
        past: &Past,
        decision: &Decision,
        seen: &Seen,
        ctx: &Context,
    ) -> Result<()> {
        let uid = release.uid().unwrap_or_default();
        if !gone(seen) {
            match stored::remember(ctx, release, &show::shown(release, decision, seen)).await {
                Ok(stored) => stored::tell(ctx, &stored),
                Err(error) => {
                    if matches!(decision.goal, Goal::Withdraw { .. }) && ctx.notes.unrecorded(&uid) {
                        warn!(%error, "weight 0 is written without a record");
                        self.effects(release, decision, seen, ctx, |e| matches!(e, Effect::Route { .. })).await?;
                    }
                    return Err(error);
                }
            }
        }
        if let Some(state) = &decision.state {
            let kept = (state.clone(), decision.memory.evidence.clone());
            self.with(&uid, |k| k.evidence = Some(kept));
        }
        transition(past, decision, &uid, ctx);
        Ok(())
    }

    /// Sampler and prober follow the pods of a release on its way.
    fn tend(&self, key: &Key, release: &Release, decision: &Decision, world: &crate::observe::world::World) {
        match &decision.state {
            Some(state) if state.active() => self.senses.follow(key, release, state, world),
            _ => self.senses.forget(key),
        }
    }

    /// The planned writes, in order. What must wait ends the pass without harm; the next one looks again.
    async fn effects(
        &self,
        release: &Release,
        decision: &Decision,
        seen: &Seen,
        ctx: &Context,
        wanted: impl Fn(&Effect) -> bool,
    ) -> Result<()> {
        let uid = release.uid().unwrap_or_default();
        let namespace = release.namespace().unwrap_or_default();
        let name = release.name_any();
        let unknown = Version::default();
        let stable = decision.state.as_ref().map_or(&unknown, State::stable);
        let candidate = decision.state.as_ref().and_then(State::candidate);
        let as_named = PinnedTraffic {
            services: seen.services.iter().map(|s| s.name.clone()).collect(),
            routes: release.spec.traffic.routes.clone(),
            header: release.spec.traffic.canary_header.clone(),
            weights: seen.routes.iter().flat_map(|r| r.weights.clone()).collect(),
        };
        let target_uid = match &seen.target {
            Target::Found(workload) => workload.uid.clone(),
            Target::Missing => candidate.map(|c| c.target_uid.clone()).unwrap_or_default(),
        };
        let scope = Scope {
            client: ctx.client.clone(),
            namespace: &namespace,
            release: &name,
            release_uid: &uid,
            target: &release.spec.target_ref.name,
            target_uid: &target_uid,
            stable,
            candidate,
            traffic: candidate.map_or(&as_named, |c| &c.traffic),
        };
        let urgent = matches!(decision.goal, Goal::Withdraw { .. });
        for effect in steps(&decision.goal, &stable.revision, seen).iter().filter(|e| wanted(e)) {
            if !urgent && self.undone(&uid, effect) {
                continue;
            }
            match act::act(effect, &scope, release.spec.checks.smoke.as_ref()).await {
                Ok(()) => info!(?effect, "written"),
                Err(Error::NotYet { what, why }) => {
                    info!(what, why, "must wait");
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            self.written(&uid, effect, urgent, decision, ctx);
        }
        Ok(())
    }

    /// Whether this very heal was done a moment ago.
    fn undone(&self, uid: &str, effect: &Effect) -> bool {
        let now = clock::monotonic();
        self.with(uid, |kept| {
            kept.heals.retain(|(_, at)| now.duration_since(*at) < HEAL_PAUSE);
            kept.heals.iter().any(|(done, _)| done == effect)
        })
    }

    fn written(&self, uid: &str, effect: &Effect, urgent: bool, decision: &Decision, ctx: &Context) {
        let heals = matches!(effect, Effect::Route { .. } | Effect::Pin { .. } | Effect::Unpin { .. } | Effect::Pause);
        if heals {
            self.with(uid, |kept| kept.heals.push((effect.clone(), clock::monotonic())));
        }
        if urgent && matches!(effect, Effect::Route { .. } | Effect::Pin { .. }) {
            let now = clock::now();
            if ctx.notes.route_written_at(uid).is_none()
                && let Some(State::Draining { report, .. }) = &decision.state
            {
                ctx.metrics.route_written(now.since(report.decided_at));
            }
            ctx.notes.route_written(uid, now);
        }
    }
}

/// The Release goes away with its finalizer: nothing is left to write a status to.
fn gone(seen: &Seen) -> bool {
    seen.release.deleting && !seen.release.finalizer
}

/// Log and numbers of a transition.
fn transition(past: &Past, decision: &Decision, uid: &str, ctx: &Context) {
    let (before, after) = (past.state.as_ref(), decision.state.as_ref());
    let Some(after) = after.filter(|a| before.is_none_or(|b| b.name() != a.name())) else { return };
    let revision = after.candidate().map_or(&after.stable().revision, |c| &c.version.revision);
    info!(state = after.name(), %revision, message = decision.display.message, "state changed");
    match after {
        State::Draining { .. } => ctx.metrics.rollback(),
        State::Idle { .. } | State::RolledBack { .. } | State::RollbackFailed { .. } => {
            if let State::RolledBack { report, .. } = after
                && let Some(proven) = report.proven_at
            {
                info!(took = %Span(proven.since(report.decided_at)), "rollback proven");
            }
            ctx.notes.rollback_over(uid);
        }
        _ => {}
    }
}

impl Work for Arc<Passes> {
    fn pass(&self, release: Arc<Release>, ctx: Context) -> BoxFuture<'static, Result<After>> {
        let passes = self.clone();
        async move { Box::pin(passes.once(&release, &ctx)).await }.boxed()
    }

    fn term_ended(&self) {
        self.senses.clear();
    }
}
