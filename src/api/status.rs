//! `status`: the memory, and what people and tools are shown of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    notice::Notice,
    state::{CauseKind, Report, Revision, State, Version},
    units::At,
};

/// The layout of `status`. A newer one than this binary knows is left alone.
pub const FORMAT_VERSION: u32 = 1;

/// Written by one writer, with server-side apply and a resourceVersion.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    pub format_version: u32,
    pub observed_generation: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    #[serde(default, flatten)]
    pub memory: Memory,
    /// For people: the State's name; `Succeeded` at rest after a success.
    #[serde(default)]
    pub phase: String,
    /// For people: `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// For people: the candidate's share of the traffic in percent, as confirmed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// For people: the version this Release is about now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate_revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The sentence that tells where it stands and why, with numbers.
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What is remembered beside the State. Nothing of it can be rebuilt from the cluster.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Revisions that are not tried again by themselves; the newest last, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejected>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// UIDs of the orders already obeyed or refused; the newest last, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handled_actions: Vec<String>,
    /// Orders created before this moment have been handled, though their UIDs are no longer listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled_before: Option<At>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Outcome>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Notices not yet delivered everywhere; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outbox: Vec<Notice>,
    /// The wait that `Stuck` has been told of: the moment it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<At>,
    /// The sequence number of the last notice.
    #[serde(default)]
    pub notices: u64,
    /// Ended releases; the newest last, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
}

/// A revision that is never tried again but by Retry.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    pub revision: Revision,
    pub cause: CauseKind,
    pub message: String,
    pub at: At,
}

/// A Pause that a person ordered.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Paused {
    pub by: String,
    pub since: At,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<At>,
}

/// How the last release ended, and for which generation.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    pub generation: i64,
    pub outcome: Ended,
    pub at: At,
    pub message: String,
}

#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    Succeeded,
    RolledBack,
    RollbackFailed,
    Superseded,
}

/// What the verdict needs to go on after a restart.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The moment up to which samples have been judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<At>,
    /// Since when the error rate has been over its limit without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_since: Option<At>,
    /// Since when the latency has been over its limit without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_since: Option<At>,
    /// Since when both versions have been bad without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded_since: Option<At>,
    /// Since when, after both were bad, the stable version alone has been well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_well_since: Option<At>,
    /// Since when one pod alone has been bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_since: Option<At>,
    /// Since when nothing could be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_data_since: Option<At>,
    /// Requests of the candidate that were judged in this step.
    #[serde(default)]
    pub requests: u64,
    /// Those of them that failed.
    #[serde(default)]
    pub failed: u64,
    /// Requests of the candidate that failed since it first had traffic.
    #[serde(default)]
    pub failed_total: u64,
    /// The step's verdict was Healthy on fresh samples, at this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_at: Option<At>,
    /// How many times as often the candidate's requests fail as the stable version's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Ratio>,
    /// The judged blocks, oldest first, at most 32: old neighbours of one weight become one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<Judged>,
    /// What the tests of the evidence remember, under 4 KB; each version of the operator has its own form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub engine: Option<Value>,
}

/// All ratios that the counts do not refute, at the confidence that convicts.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ratio {
    pub at_least: String,
    /// None: the counts set no upper limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<String>,
}

/// Requests up to a moment, as the tests took them in.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    pub to: At,
    /// The candidate's share of the traffic in percent.
    pub weight: u32,
    /// Requests and failures of the candidate, then of the stable version, as `haldane e-value` reads them.
    pub counts: String,
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A release that has ended.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    pub version: Version,
    /// What served before it.
    pub replaced: Version,
    pub outcome: Ended,
    pub at: At,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
}
