//! The pass: observe → decide → remember → act → tell.
//!
//! A breach need not wait for one: see `first`.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use kube::ResourceExt;
use tracing::{info, warn};

use super::{
    active,
    context::{Context, Key, News},
    first::{self, Glance},
    kept::{Begun, Keep},
    pass::{After, Work},
    senses::Senses,
    show, steps as stored,
};
use crate::{
    act::{self, effect::Effect, scope::Scope, steps::steps, traffic::routes},
    api::{
        Release, State,
        release::RouteRef,
        state::{PinnedTraffic, Version},
        units::Span,
    },
    decide::{Decision, Past, decide, goal::Goal},
    error::{Error, Result},
    observe::{
        clock,
        seen::{Hold, Seen, Target},
        world::{Known, observe},
    },
};

/// What a pass does, and what this process keeps between passes.
pub struct Passes {
    pub(super) senses: Senses,
    pub(super) keep: Keep,
}

impl Passes {
    pub fn new(senses: Senses) -> Self {
        Self { senses, keep: Keep::default() }
    }

    async fn once(&self, watched: &Release, ctx: &Context) -> Result<After> {
        let key = Key { namespace: watched.namespace().unwrap_or_default(), name: watched.name_any() };
        let begun = Begun { at: clock::monotonic(), kicks: ctx.kicks.count(&key) };
        let watched_uid = watched.uid().unwrap_or_default();
        let turns = self.keep.turns(&key, &watched_uid);
        let (release, orders_proven) = tokio::join!(stored::present(ctx, watched), self.senses.orders_proven());
        let (release, unread) = match release {
            Ok(Some(release)) => (release, None),
            Ok(None) => {
                self.senses.forget(&key);
                self.keep.forget(&key);
                return Ok(After::default());
            }
            // The watched copy is good enough to take traffic away, and for nothing else.
            Err(error) => (watched.clone(), Some(error)),
        };
        let uid = release.uid().unwrap_or_default();
        let past = self.past(&key, &release, &uid);
        let unread = match unread {
            Some(error) if !past.state.as_ref().is_some_and(State::active) => return Err(error),
            other => other,
        };
        let known = Known {
            metrics: self.senses.feed(&key, &release),
            probes: self.senses.probes(&key),
            route_written_at: ctx.notes.route_written_at(&uid),
            delivered: ctx.outbox.delivered(&uid),
            problems: self.senses.problems(&release, past.state.as_ref(), ctx.image.is_some()).await,
            orders_proven,
            holds_at_change: release.spec.held() && self.senses.holds_at_change().await,
            last: self.keep.with(&key, &uid, |kept| kept.raw.clone()),
            stood: self.keep.with(&key, &uid, |kept| kept.stood),
            retiring: *ctx.retiring.borrow(),
        };
        let mut world = Box::pin(observe(&ctx.client, &release, past.state.as_ref(), &past.memory, known)).await?;
        world.seen.release.blind = self.senses.blind(&key, &release, past.state.as_ref(), &world.seen.pods);
        self.keep.with(&key, &uid, |kept| (kept.raw, kept.stood) = (world.raw.clone(), world.seen.stands));
        let seen = &world.seen;
        let decision = decide(&release.spec, &past, seen);
        let withdraws = matches!(decision.goal, Goal::Withdraw { .. });

        let _writing = self.keep.writing(&key, &uid).await;
        if self.keep.turns(&key, &uid) != turns {
            return Err(Error::Stale(format!("Release {}", key.name)));
        }
        let stored = self.store(&key, &release, &past, &decision, seen, ctx).await?;
        self.tend(&key, &release, &decision, &world);
        let permitted = |effect: &Effect| unread.is_none() || withdraws && first::takes_away(effect);
        let done = self.effects(&key, &release, &decision, seen, ctx, permitted).await;
        // After the effects: nobody is told before the traffic is where it should be.
        if let Some(stored) = &stored {
            stored::tell(ctx, stored);
        }
        let quiet = done?;
        if let Some(error) = unread {
            return Err(error);
        }
        let steady = quiet && decision.state == past.state && seen.unread.first().is_none();
        if steady && let (Some(release), true) = (stored, decision.state.as_ref().is_some_and(State::active)) {
            self.keep.with(&key, &uid, |kept| kept.saw(begun, release, world.seen.clone()));
        }
        let interest = decision.state.as_ref().and_then(|s| active::Interest::of(&release, s));
        // No watch tells of time that has passed.
        let wake = decision.wake.into_iter().chain(seen.settles_in()).min();
        Ok(After { wake, interest })
    }

    /// What is remembered, with evidence that is newer than its stored copy.
    pub(super) fn past(&self, key: &Key, release: &Release, uid: &str) -> Past {
        let Some(status) = release.status.as_ref() else { return Past::default() };
        let mut memory = status.memory.clone();
        if let Some(newer) = self.keep.with(key, uid, |kept| kept.evidence(status.state.as_ref())) {
            memory.evidence = newer;
        }
        Past { state: status.state.clone(), memory }
    }

    /// The status write. A decision is stored before anything is done about it, with one exception: a version that is
    /// to lose its traffic loses it also when two writes have failed (and at once, where no pass is waited for: `first`). Gives the Release as it is stored now.
    pub(super) async fn store(
        &self,
        key: &Key,
        release: &Release,
        past: &Past,
        decision: &Decision,
        seen: &Seen,
        ctx: &Context,
    ) -> Result<Option<Release>> {
        let uid = release.uid().unwrap_or_default();
        let mut stored = None;
        if !unrecorded(past, seen) {
            match stored::remember(ctx, release, &show::shown(release, decision, seen)).await {
                Ok(now) => stored = Some(now),
                Err(error) => {
                    if matches!(decision.goal, Goal::Withdraw { .. }) && ctx.notes.unrecorded(&uid) {
                        warn!(%error, "weight 0 is written without a record");
                        self.effects(key, release, decision, seen, ctx, |e| matches!(e, Effect::Route { .. })).await?;
                    }
                    return Err(error);
                }
            }
        }
        if let Some(state) = &decision.state {
            self.keep.with(key, &uid, |kept| kept.learn(state, decision.memory.evidence.clone()));
        }
        transition(past, decision, &uid, ctx);
        Ok(stored)
    }

    /// Sampler and prober follow the pods of a release on its way.
    fn tend(&self, key: &Key, release: &Release, decision: &Decision, world: &crate::observe::world::World) {
        match &decision.state {
            Some(state) if state.active() => self.senses.follow(key, release, state, world),
            _ => self.senses.rest(key),
        }
    }

    /// The planned writes, in order. What must wait ends the pass without harm; the next one looks again. True when there
    /// was nothing to write.
    pub(super) async fn effects(
        &self,
        key: &Key,
        release: &Release,
        decision: &Decision,
        seen: &Seen,
        ctx: &Context,
        wanted: impl Fn(&Effect) -> bool,
    ) -> Result<bool> {
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
            hold: seen.target.found().map_or(Hold::No, |workload| workload.hold),
            image: ctx.image.as_deref(),
            stable,
            candidate,
            traffic: candidate.map_or(&as_named, |c| &c.traffic),
        };
        let urgent = matches!(decision.goal, Goal::Withdraw { .. });
        let plan = steps(&decision.goal, &stable.revision, seen);
        for effect in plan.iter().filter(|e| wanted(e)) {
            if !urgent && self.keep.with(key, &uid, |kept| kept.undone(effect)) {
                return Ok(false); // what comes after it is only safe behind it
            }
            let outcome = match effect {
                Effect::Route { route, weight: 0, .. } if urgent => self.take_away(key, route, effect, &scope).await,
                _ => act::act(effect, &scope, release.spec.checks.smoke.as_ref()).await,
            };
            match outcome {
                Ok(()) => info!(?effect, "written"),
                Err(Error::NotYet { what, why }) => {
                    info!(what, why, "must wait");
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
            self.written(key, &uid, effect, urgent, decision, ctx);
        }
        Ok(plan.is_empty())
    }

    /// The route as it is known loses our weight without a look; where it has changed, after one.
    async fn take_away(&self, key: &Key, route: &RouteRef, effect: &Effect, scope: &Scope<'_>) -> Result<()> {
        let last = self.keep.with(key, scope.release_uid, |kept| kept.raw.route(route).cloned());
        let outcome = match &last {
            Some(last) => routes::take_away(scope, route, last).await,
            None => Err(Error::Stale(String::new())),
        };
        match outcome {
            Ok(now) => {
                self.keep.with(key, scope.release_uid, |kept| kept.raw.wrote(route, now));
                Ok(())
            }
            Err(Error::Stale(_)) => act::act(effect, scope, None).await,
            Err(error) => Err(error),
        }
    }

    fn written(&self, key: &Key, uid: &str, effect: &Effect, urgent: bool, decision: &Decision, ctx: &Context) {
        let heals = matches!(effect, Effect::Route { .. } | Effect::Pin { .. } | Effect::Unpin { .. } | Effect::Pause);
        if heals {
            self.keep.with(key, uid, |kept| kept.healed(effect));
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

/// Nothing is written to the status any more: the Release went away with its finalizer, or the operator goes and nothing of
/// ours is left.
fn unrecorded(past: &Past, seen: &Seen) -> bool {
    let on_its_way = past.state.as_ref().is_some_and(State::active);
    let left = seen.release.deleting() || seen.release.uninstalled() && !on_its_way;
    left && !seen.release.finalizer
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

    fn news(&self, news: &News, ctx: &Context) -> Option<BoxFuture<'static, ()>> {
        let withdrawal = match self.glance(news, ctx) {
            Glance::Same => return None,
            Glance::Pass => {
                ctx.kicks.kick(&news.key.namespace, &news.key.name);
                return None;
            }
            Glance::Withdraw(withdrawal) => withdrawal,
        };
        let (passes, ctx) = (self.clone(), ctx.clone());
        Some(first::attend(passes, withdrawal, ctx).boxed())
    }

    fn term_ended(&self) {
        self.senses.clear();
        self.keep.clear();
    }
}
