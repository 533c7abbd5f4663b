//! `promote`, `pause`, `resume`, `rollback`, `retry`: one order to one Release, as a ReleaseAction.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{
    Api, ResourceExt,
    api::{ObjectMeta, PostParams},
};

use super::{
    client::{Cluster, Reach, within},
    render::clock as clock_time,
};
use crate::{
    api::{
        Release, ReleaseAction, ReleaseActionSpec, State,
        action::{ActionType, PromoteTo},
        state::StepOutcome,
        units::{At, Span},
    },
    observe::clock,
};

/// What every order has.
#[derive(clap::Args)]
pub struct Common {
    /// The Release
    name: String,
    /// Why; kept with the order
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(clap::Args)]
pub struct Promote {
    #[command(flatten)]
    common: Common,
    /// To 100 % at once, not only to the next step; the watch after it stays
    #[arg(long)]
    full: bool,
}

#[derive(clap::Args)]
pub struct Pause {
    #[command(flatten)]
    common: Common,
    /// When it ends by itself, RFC 3339, for example 2026-05-01T12:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "for", value_parser = moment)]
    until: Option<At>,
    /// How long it lasts, for example 30m
    #[arg(long = "for", id = "for", value_name = "DURATION")]
    hold: Option<Span>,
}

#[derive(clap::Args)]
pub struct Retry {
    #[command(flatten)]
    common: Common,
    /// The revision [default: the one rejected last]
    #[arg(long)]
    revision: Option<String>,
}

fn moment(text: &str) -> Result<At, String> {
    text.parse().map(At::new).map_err(|_| format!("'{text}' is not a time such as 2026-05-01T12:00:00Z"))
}

#[derive(clap::Args)]
pub struct Confirm {
    #[command(flatten)]
    common: Common,
    /// The step of the rollback plan
    step: String,
}

/// What is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Promote { full: bool },
    Pause { until: Option<At> },
    Resume,
    Rollback,
    Retry { revision: Option<String> },
    Confirm { step: String },
}

pub async fn promote(args: &Promote) -> anyhow::Result<ExitCode> {
    order(&args.common, Wish::Promote { full: args.full }).await
}

pub async fn pause(args: &Pause) -> anyhow::Result<ExitCode> {
    let until = args.until.or_else(|| args.hold.map(|span| clock::now().plus(span.0)));
    order(&args.common, Wish::Pause { until }).await
}

pub async fn resume(args: &Common) -> anyhow::Result<ExitCode> {
    order(args, Wish::Resume).await
}

pub async fn rollback(args: &Common) -> anyhow::Result<ExitCode> {
    order(args, Wish::Rollback).await
}

pub async fn retry(args: &Retry) -> anyhow::Result<ExitCode> {
    order(&args.common, Wish::Retry { revision: args.revision.clone() }).await
}

pub async fn confirm(args: &Confirm) -> anyhow::Result<ExitCode> {
    order(&args.common, Wish::Confirm { step: args.step.clone() }).await
}

async fn order(args: &Common, wish: Wish) -> anyhow::Result<ExitCode> {
    let reach = args.cluster.connect().await?;
    let release = reach.release(&args.name).await?;
    let by = who(&reach).await?;
    let spec = action(&release, &wish, by, args.reason.clone())?;
    let prefix = format!("{}-{:?}-", args.name, spec.r#type).to_lowercase();
    let mut order = ReleaseAction::new("", spec);
    order.metadata = ObjectMeta { generate_name: Some(shorten(&prefix)), ..ObjectMeta::default() };
    let api: Api<ReleaseAction> = Api::namespaced(reach.client.clone(), &reach.namespace);
    let made = within("creating the order", api.create(&PostParams::default(), &order)).await?;
    println!("{}", told(&made.spec, &made.name_any(), clock::now()));
    println!("follow it with: kubectl haldane {}{}", follow(&wish, &args.name), args.cluster.namespace_flag());
    Ok(ExitCode::SUCCESS)
}

/// The name under which the API server knows the caller; it checks `by` against it.
async fn who(reach: &Reach) -> anyhow::Result<String> {
    let api: Api<SelfSubjectReview> = Api::all(reach.client.clone());
    let review =
        within("asking who you are", api.create(&PostParams::default(), &SelfSubjectReview::default())).await?;
    let user = review.status.and_then(|s| s.user_info).and_then(|u| u.username);
    user.context("the API server did not say who you are")
}

/// The order, for the revision that the person sees now. Refused where it could do nothing, with what to do instead.
pub fn action(release: &Release, wish: &Wish, by: String, reason: Option<String>) -> anyhow::Result<ReleaseActionSpec> {
    let name = release.name_any();
    let Some((status, state)) = release.status.as_ref().and_then(|s| Some((s, s.state.as_ref()?))) else {
        bail!("Release {name} has not been seen by the operator yet: nothing can be ordered");
    };
    let memory = &status.memory;
    let seen = status.candidate_revision.as_ref().or(status.stable_revision.as_ref());
    let mut revision = seen.cloned().unwrap_or_else(|| state.stable().revision.0.clone());
    let (mut to, mut end, mut named) = (None, None, None);
    let kind = match wish {
        Wish::Promote { full } => {
            if !matches!(state, State::Preparing { .. } | State::Stepping { .. }) {
                bail!("Release {name} is {}: only a release in its steps can be promoted", state.name());
            }
            to = Some(if *full { PromoteTo::Full } else { PromoteTo::NextStep });
            ActionType::Promote
        }
        Wish::Pause { until } => {
            end = *until;
            ActionType::Pause
        }
        Wish::Resume => {
            if memory.paused.is_none() {
                let where_else =
                    if release.spec.paused { " by an order; set spec.paused to false instead" } else { "" };
                bail!("Release {name} is not paused{where_else}");
            }
            ActionType::Resume
        }
        Wish::Rollback => {
            if let State::Draining { .. } | State::Reverting { .. } | State::RolledBack { .. } = state {
                bail!("Release {name} is {} already", state.name());
            }
            ActionType::Rollback
        }
        Wish::Confirm { step } => {
            let waiting = match state {
                State::Reverting { report, .. } => report.steps.iter().find(|s| s.outcome == StepOutcome::Unconfirmed),
                _ => None,
            };
            match waiting {
                Some(waits) if waits.name == *step => named = Some(step.clone()),
                Some(waits) => bail!("step {} is the one that waits for a yes, not {step}", waits.name),
                None => bail!("no step of a rollback of Release {name} waits for a yes: it is {}", state.name()),
            }
            ActionType::Confirm
        }
        Wish::Retry { revision: asked } => {
            let last = match state {
                State::RolledBack { candidate, .. } => Some(candidate.revision.0.clone()),
                _ => memory.rejected.last().map(|r| r.revision.0.clone()),
            };
            revision =
                asked.clone().or(last).with_context(|| format!("Release {name} has no rejected revision to retry"))?;
            ActionType::Retry
        }
    };
    Ok(ReleaseActionSpec {
        release: name,
        release_uid: release.uid().context("the Release has no UID")?,
        revision,
        r#type: kind,
        to,
        step: named,
        until: end,
        by,
        reason,
    })
}

/// What was ordered, in words.
fn told(order: &ReleaseActionSpec, name: &str, now: At) -> String {
    let (release, revision, by) = (&order.release, &order.revision, &order.by);
    let what = match (order.r#type, order.to, order.until) {
        (ActionType::Promote, Some(PromoteTo::Full), _) => format!("{release} ({revision}) goes to 100 %"),
        (ActionType::Promote, ..) => format!("{release} ({revision}) goes to its next step"),
        (ActionType::Pause, _, Some(until)) => format!("{release} pauses until {}", clock_time(until, now)),
        (ActionType::Pause, ..) => format!("{release} pauses until it is resumed"),
        (ActionType::Resume, ..) => format!("{release} goes on"),
        (ActionType::Rollback, ..) => format!("{release} gives up {revision}"),
        (ActionType::Retry, ..) => format!("{release} tries {revision} again"),
        (ActionType::Confirm, ..) => format!("yes to step {}", order.step.as_deref().unwrap_or_default()),
    };
    format!("ordered by {by}: {what} (releaseaction/{name})")
}

fn follow(wish: &Wish, name: &str) -> String {
    match wish {
        Wish::Pause { .. } => format!("explain {name}"),
        _ => format!("get {name} --watch"),
    }
}

/// Generated names may have 63 characters of which the API server adds five.
fn shorten(prefix: &str) -> String {
    if prefix.len() <= 57 {
        prefix.to_owned()
    } else {
        format!("{}-", &prefix[prefix.len() - 56..].trim_matches(['-', '.']))
    }
}
