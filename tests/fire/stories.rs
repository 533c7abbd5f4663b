//! The stories that are told again and again: what a person does, and how it ends.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::{
    harness::pods,
    stage::{QUICK, STAYS, Stage, Story, Wish},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tale {
    /// A good version arrives.
    Promotion,
    /// A version crashes in its step and goes back.
    Rollback,
    /// A newer version takes the place of one on its way.
    Superseded,
    /// After a success the way back is ordered.
    Undo,
    /// The Release is deleted in the middle of a step.
    Deletion,
    /// As Promotion and Rollback, without a route: shares by numbers of pods.
    PromotionByNumbers,
    RollbackByNumbers,
    /// As Rollback, with a rollback plan.
    RollbackPlan,
    /// As Promotion, Rollback and Deletion, of a held Deployment.
    HeldPromotion,
    HeldRollback,
    HeldDeletion,
}

const BY_NUMBERS: Wish = Wish { routed: false, ..QUICK };

impl Tale {
    pub const ALL: [Self; 11] = [
        Self::Promotion,
        Self::Rollback,
        Self::Superseded,
        Self::Undo,
        Self::Deletion,
        Self::PromotionByNumbers,
        Self::RollbackByNumbers,
        Self::RollbackPlan,
        Self::HeldPromotion,
        Self::HeldRollback,
        Self::HeldDeletion,
    ];

    /// What comes before anything is counted.
    pub async fn prelude(self, stage: &Stage) -> Story<()> {
        match self {
            Self::Undo => {
                stage.wish(QUICK).await;
                stage.rests("Succeeded", "2").await
            }
            Self::Deletion => {
                stage.wish(STAYS).await;
                stage.in_step().await?;
                stage.told("in its step", |_| true).await
            }
            Self::HeldPromotion => stage.hold(QUICK).await,
            Self::HeldRollback => stage.hold(STAYS).await,
            Self::HeldDeletion => {
                stage.hold(STAYS).await?;
                stage.agent.crash(pods::of_image("shop:2"));
                stage.set_image("shop:2").await;
                stage.rests("RolledBack", "shop:2").await
            }
            _ => Ok(()),
        }
    }

    /// The story itself, up to where it rests.
    pub async fn play(self, stage: &Stage) -> Story<()> {
        match self {
            Self::Promotion | Self::PromotionByNumbers => {
                stage.wish(Wish { routed: self == Self::Promotion, ..BY_NUMBERS }).await;
                stage.rests("Succeeded", "2").await
            }
            Self::Rollback | Self::RollbackByNumbers => {
                stage.wish(Wish { routed: self == Self::Rollback, ..STAYS }).await;
                stage.in_step().await?;
                stage.agent.crash(pods::of_image("shop:2"));
                stage.rests("RolledBack", "2").await
            }
            Self::RollbackPlan => {
                stage.agent.end(pods::named("shop-rollback-"), true);
                // The first attempt fails.
                let first =
                    |pod: &Pod| pod.name_any().starts_with("shop-rollback-schema-") && pod.name_any().contains("-1-");
                stage.agent.end(first, false);
                stage.wish(Wish { plan: true, ..STAYS }).await;
                stage.in_step().await?;
                stage.agent.crash(pods::of_image("shop:2"));
                stage.rests("RolledBack", "2").await
            }
            Self::Superseded => {
                stage.wish(STAYS).await;
                stage.in_step().await?;
                stage.wish(Wish { image: "shop:3", ..QUICK }).await;
                stage.rests("Succeeded", "3").await
            }
            Self::Undo => {
                stage.order("Rollback").await;
                let undone = |message: &str| message.contains("was rejected");
                stage.told("2 is rejected", |s| undone(&s.message)).await
            }
            Self::Deletion | Self::HeldDeletion => {
                stage.delete().await;
                stage.gone().await
            }
            Self::HeldPromotion => {
                stage.set_image("shop:2").await;
                stage.rests("Succeeded", "shop:2").await
            }
            Self::HeldRollback => {
                stage.set_image("shop:2").await;
                stage.in_step().await?;
                stage.agent.crash(pods::of_image("shop:2"));
                stage.rests("RolledBack", "shop:2").await
            }
        }
    }
}
