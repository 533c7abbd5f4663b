//! Goal → world. `steps` is pure and says what to write in which order; the rest writes it.

pub mod effect;
pub mod finalizer;
pub mod fresh;
pub mod hold;
pub mod home;
pub mod job;
pub mod patch;
pub mod promote;
pub mod replace;
pub mod rollback_step;
pub mod scope;
pub mod smoke;
pub mod steps;
pub mod traffic;
pub mod workload;

use crate::{api::checks::Smoke, error::Result};
use effect::Effect;
use scope::Scope;

/// Does one write.
pub async fn act(effect: &Effect, scope: &Scope<'_>, smoke: Option<&Smoke>) -> Result<()> {
    match effect {
        Effect::AddFinalizer => finalizer::add_finalizer(scope).await,
        Effect::DropFinalizer => finalizer::drop_finalizer(scope).await,
        Effect::Pause => workload::pause(scope).await,
        Effect::Unpause { any_template } => workload::unpause(scope, *any_template).await,
        Effect::Hold => hold::hold(scope).await,
        Effect::LetGo { rolling } => hold::let_go(scope, *rolling).await,
        Effect::KeepTemplate => hold::keep_template(scope).await,
        Effect::ForgetTemplate => hold::forget_template(scope).await,
        Effect::RestoreStable { unpause } => hold::restore_stable(scope, *unpause).await,
        Effect::Pin { service, hash } => traffic::pins::pin(scope, service, hash).await,
        Effect::Unpin { service } => traffic::pins::unpin(scope, service).await,
        Effect::CreateCanaryService { service } => {
            let candidate = scope.candidate("creating a canary Service")?;
            traffic::canary::create(scope, service, &crate::api::names::candidate_hash(&candidate.id)).await
        }
        Effect::TurnCanaryService { service, hash } => traffic::canary::turn(scope, service, hash).await,
        Effect::DeleteCanaryService { service } => traffic::canary::delete(scope, service).await,
        Effect::CreateCandidate => workload::create_candidate(scope).await,
        Effect::ScaleCandidate { size } => workload::scale_candidate(scope, *size).await,
        Effect::MarkCandidate { carries_traffic } => workload::mark_candidate(scope, *carries_traffic).await,
        Effect::DeleteCandidate => workload::delete_candidate(scope).await,
        Effect::ReplacePod { pod } => replace::replace_pod(scope, pod).await,
        Effect::Route { route, weight, header } => {
            traffic::routes::split(scope, scope.traffic, route, *weight, *header).await
        }
        Effect::RestoreRoute { route } => traffic::routes::restore(scope, scope.traffic, route).await,
        Effect::DeleteEqualSet { name } => workload::delete_equal_set(scope, name).await,
        Effect::TakeTemplate => promote::take_template(scope).await,
        Effect::Offer { wanted } => promote::offer(scope, *wanted).await,
        Effect::Withdraw => promote::withdraw(scope).await,
        Effect::RestoreTemplate => promote::restore_template(scope).await,
        Effect::FinishHandOver => promote::finish_hand_over(scope).await,
        Effect::StartSmoke { point } => match smoke {
            Some(smoke) => smoke::start_smoke(scope, *point, smoke).await,
            None => Ok(()),
        },
        Effect::StartTrial => rollback_step::try_plan(scope).await,
        Effect::StartStep { attempt } => rollback_step::start(scope, attempt).await,
        Effect::DeleteSmoke { point } => smoke::delete_smoke(scope, *point).await,
    }
}
