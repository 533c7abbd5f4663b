//! What goes before all passes: new samples, failed health checks and rollback orders are judged at once on what the last
//! pass saw. If they take a version's traffic away, that is done with a route write and, ten milliseconds behind it at most,
//! the status write, and no read before them. Everything else is left to a pass.
//!
//! `decide` is the only judge here too. The last look counts for ten seconds, and only as long as nothing around the
//! Release has stirred; the status write carries its resourceVersion, the route patch tests what it changes. Where any of
//! that does not hold, a pass looks for itself.
//!
//! Weight 0 needs no record to be safe: whoever finds it without one comes to the same conviction by the same samples, or
//! gives the share back. So it does not wait for its record; pins and all that comes after them do.

use std::{pin::pin, sync::Arc, time::Duration};

use tracing::{debug, warn};

use super::{
    context::{Context, Key, News},
    kept::Look,
    show, steps as stored,
    work::Passes,
};
use crate::{
    act::{effect::Effect, steps::steps},
    api::State,
    decide::{Decision, Past, decide},
    error::{Error, Result},
    observe::{clock, seen::Seen},
    tell::status::{Change, change, status},
};

/// How long the API server has the route write for itself. It validates the whole Release for its record, which on a busy
/// machine costs the route write as much time as its own work.
const AHEAD: Duration = Duration::from_millis(10);

/// What news come to.
pub enum Glance {
    /// Nothing that was not known.
    Same,
    /// A pass has to look.
    Pass,
    /// The traffic goes now.
    Withdraw(Box<Withdrawal>),
}

/// A decision that waits for no pass.
pub struct Withdrawal {
    key: Key,
    look: Arc<Look>,
    past: Past,
    seen: Seen,
    decision: Decision,
}

impl Passes {
    /// Judges in memory; calls nothing and waits for nothing.
    pub fn glance(&self, news: &News, ctx: &Context) -> Glance {
        let News { key, order } = news;
        let Some(look) = self.keep.look(key, ctx.kicks.count(key)) else { return Glance::Pass };
        let release = &look.release;
        let uid = look.seen.release.uid.as_str();
        let past = self.past(key, release, uid);
        let mut seen = look.seen.clone();
        seen.now = clock::now();
        seen.metrics = self.senses.feed(key, release);
        seen.probes = self.senses.probes(key);
        seen.delivered = ctx.outbox.delivered(uid);
        let known = |uid: &str| seen.orders.iter().any(|o| o.uid == uid);
        if let Some(order) = order.as_ref().filter(|order| !known(&order.uid)) {
            seen.orders.push(order.clone());
        }
        let decision = decide(&release.spec, &past, &seen);
        let draining = |state: Option<&State>| matches!(state, Some(State::Draining { .. }));
        if draining(decision.state.as_ref()) && !draining(past.state.as_ref()) {
            self.keep.with(key, uid, super::kept::Kept::blink);
            return Glance::Withdraw(Box::new(Withdrawal { key: key.clone(), look, past, seen, decision }));
        }
        let before = release.status.as_ref();
        let told = change(before, &status(&show::shown(release, &decision, &seen), before)) == Change::Hard;
        let stable = decision.state.as_ref().map(|s| s.stable().revision.clone()).unwrap_or_default();
        if order.is_some() || told || decision.state != past.state || !steps(&decision.goal, &stable, &seen).is_empty()
        {
            return Glance::Pass;
        }
        if let Some(state) = &decision.state {
            self.keep.with(key, uid, |kept| kept.learn(state, decision.memory.evidence.clone()));
        }
        Glance::Same
    }

    /// The routes and their record, then the pins; the rest is for the pass that follows.
    pub async fn withdraw(&self, withdrawal: &Withdrawal, ctx: &Context) -> Result<()> {
        let Withdrawal { key, look, past, seen, decision } = withdrawal;
        let (uid, release) = (seen.release.uid.as_str(), &look.release);
        let _turn = self.keep.turn(key, uid).await;
        let record = self.store(key, release, past, decision, seen, ctx);
        let mut routes = pin!(self.effects(key, release, decision, seen, ctx, lowers));
        let (routes, stored) = if let Ok(routes) = tokio::time::timeout(AHEAD, &mut routes).await {
            (routes, record.await)
        } else {
            tokio::join!(routes, record)
        };
        let stored = stored?;
        let done = match routes {
            Ok(_) => self.effects(key, release, decision, seen, ctx, |e| takes_away(e) && !lowers(e)).await,
            failed => failed,
        };
        if let Some(stored) = stored {
            stored::tell(ctx, &stored);
        }
        done.map(drop)
    }
}

/// What takes traffic away, and the pause that a pin needs.
pub fn takes_away(effect: &Effect) -> bool {
    lowers(effect) || matches!(effect, Effect::Pause | Effect::Pin { .. })
}

/// What takes traffic away in a route.
const fn lowers(effect: &Effect) -> bool {
    matches!(effect, Effect::Route { weight: 0, .. })
}

/// Withdraws, and asks for the pass that does the rest, whatever came of it.
pub async fn attend(passes: Arc<Passes>, withdrawal: Box<Withdrawal>, ctx: Context) {
    let Key { namespace, name } = &withdrawal.key;
    match Box::pin(passes.withdraw(&withdrawal, &ctx)).await {
        Ok(()) => {}
        Err(error @ (Error::Stale(_) | Error::NotYet { .. })) => debug!(%error, "left to a pass"),
        Err(error) => warn!(%error, "traffic was not taken away at once; a pass tries"),
    }
    ctx.kicks.kick(namespace, name);
}
