//! `spec.plan`: the steps a candidate walks.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{A_SECOND_OR_MORE, Span};

/// The steps, the watch after them, and the patience with pods. Defaults are the organisation's canary rule.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Walked in order; the last one is `weight: 100`. Weights never go down.
    #[serde(default = "Plan::default_steps")]
    #[schemars(length(min = 1, max = 20))]
    #[x_kube(validation = Rule::new("self.size() == 0 || (has(self[self.size() - 1].weight) && self[self.size() - 1].weight == 100)").message("spec.plan.steps: the last step must be {weight: 100}"))]
    #[x_kube(validation = Rule::new("self.all(s, has(s.pods) || has(s.weight))").message("spec.plan.steps: each step needs pods or weight, for example {weight: 30, for: 30m}"))]
    #[x_kube(validation = Rule::new("self.filter(s, has(s.weight)).map(s, s.weight).isSorted()").message("spec.plan.steps: weights must not go down from one step to the next; put the steps in rising order"))]
    pub steps: Vec<Step>,
    /// Images that name no version (no tag, or `latest`, and no digest).
    #[serde(default)]
    pub floating_tags: FloatingTags,
    /// After 100 %, with the old pods still warm.
    #[serde(default)]
    pub watch: Watch,
    /// How long pods may take to become ready. Then the candidate is withdrawn.
    #[serde(default = "Plan::default_deadline")]
    #[x_kube(validation = Rule::new(A_SECOND_OR_MORE).message("spec.plan.deadline must be at least 1s: pods need time to become ready"))]
    pub deadline: Span,
}

/// One step: a number of pods, a share of the traffic, or both; and how long it is watched.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// At least this many candidate pods. Without `weight` they get the share their number gives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub pods: Option<u32>,
    /// The candidate's share of the traffic in percent. 0 is a preview: no traffic but by the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub weight: Option<u32>,
    /// How long the step is watched, counted from the moment its traffic has arrived.
    #[serde(default, rename = "for")]
    pub hold: Span,
}

/// What becomes of an image that names no version: what it stands for can change while it runs, and going back to it
/// proves nothing.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FloatingTags {
    #[default]
    Warn,
    Refuse,
}

/// How long the new version is watched at 100 %.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watch {
    /// The time at 100 % before the Deployment takes the candidate's pods over.
    #[serde(default = "Watch::default_hold", rename = "for")]
    pub hold: Span,
}

impl Plan {
    fn default_steps() -> Vec<Step> {
        vec![
            Step { pods: Some(1), weight: None, hold: Span::mins(10) },
            Step { pods: None, weight: Some(30), hold: Span::mins(30) },
            Step { pods: None, weight: Some(100), hold: Span::default() },
        ]
    }

    const fn default_deadline() -> Span {
        Span::mins(10)
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            steps: Self::default_steps(),
            floating_tags: FloatingTags::default(),
            watch: Watch::default(),
            deadline: Self::default_deadline(),
        }
    }
}

impl Watch {
    const fn default_hold() -> Span {
        Span::mins(30)
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self { hold: Self::default_hold() }
    }
}
