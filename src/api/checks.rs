//! `spec.checks`: what convicts a version. Edits take effect at once, also in the middle of a release.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{A_SECOND_OR_MORE, Factor, Percent, Span};

/// The triggers and what to do when nothing can be known. Defaults are the organisation's rollback rule.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.provider) || !has(self.metrics) || self.metrics.size() == 0").message("spec.checks.metrics needs spec.checks.provider: the name of a MetricProvider of the operator's namespace"))]
#[x_kube(validation = Rule::new("has(self.provider) || self.source.preset == 'App'").message("spec.checks.source needs spec.checks.provider: the name of a MetricProvider of the operator's namespace"))]
pub struct Checks {
    /// A MetricProvider of the operator's namespace. None: pod health, the HTTP check and the smoke test alone decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub provider: Option<String>,
    /// Which series tell of requests.
    #[serde(default)]
    pub source: Source,
    /// Convicts by failed requests.
    #[serde(default)]
    pub error_rate: ErrorRate,
    /// Convicts by slow requests.
    #[serde(default)]
    pub latency: Latency,
    /// Convicts by pods that fail their checks.
    #[serde(default)]
    pub health: Health,
    /// A Job that must succeed. None: no smoke test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoke: Option<Smoke>,
    /// Further series to compare with the stable version's, beside requests and their durations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub metrics: Vec<Metric>,
    /// The comparison with the stable version, which decides as soon as the evidence allows.
    #[serde(default, skip_serializing_if = "Sequential::is_default")]
    pub sequential: Sequential,
    /// The letter of the thresholds: no comparison with the stable version, no single-pod exception.
    #[serde(default)]
    pub strict: bool,
    /// Requests of the candidate that a step must have seen before it may end.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_requests: u32,
    /// A new pod's first moments, which do not count against it.
    #[serde(default = "thirty_seconds")]
    pub warm_up: Span,
    /// Scrapes after a change of weight that do not count.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 20))]
    pub settle_scrapes: u32,
    /// When nothing could be measured for this long.
    #[serde(default = "Fallback::no_data")]
    pub on_no_data: Fallback,
    /// When both versions have been bad for this long.
    #[serde(default = "Fallback::degraded")]
    pub on_degraded: Fallback,
}

/// Which series tell of requests.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.preset != 'Custom' || (has(self.total) && has(self.errors))").message("spec.checks.source: preset Custom needs total and errors: PromQL selectors or sums by pod of raw counters"))]
#[x_kube(validation = Rule::new("self.preset == 'Custom' || !(has(self.total) || has(self.errors) || has(self.latency))").message("spec.checks.source: total, errors and latency are for preset Custom only; remove them or set preset: Custom"))]
pub struct Source {
    /// A family of series known by name, or Custom.
    #[serde(default)]
    pub preset: Preset,
    /// A counter of all requests, one series per pod after `sum by (pod)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub total: Option<String>,
    /// A counter of the failed ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub errors: Option<String>,
    /// A histogram's `_bucket` series, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub latency: Option<String>,
}

/// Families of series that are known by name.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Preset {
    /// `http_requests_total{code}` or `http_requests_errors_total`, and `http_request_duration_seconds`.
    #[default]
    App,
    /// `istio_requests_total` and `istio_request_duration_milliseconds` as the pods' sidecars report them.
    Istio,
    /// `envoy_cluster_upstream_rq` and `envoy_cluster_upstream_rq_time` of an Envoy beside each pod.
    Envoy,
    /// The queries given beside it.
    Custom,
}

/// More than `max` of the requests failed for as long as `for`.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorRate {
    /// The share of failed requests that is still accepted.
    #[serde(default = "five_percent")]
    pub max: Percent,
    /// How long without a break.
    #[serde(default = "two_minutes", rename = "for")]
    pub hold: Span,
}

/// The percentile was above `max` for as long as `for`.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// Which percentile.
    #[serde(default = "ninety_nine")]
    #[schemars(range(min = 50, max = 99))]
    pub percentile: u32,
    /// The latency that is still accepted.
    #[serde(default = "two_seconds")]
    pub max: Span,
    /// How long without a break.
    #[serde(default = "five_minutes", rename = "for")]
    pub hold: Span,
}

/// So many failed checks of one pod in a row: not ready, not scraped (`up`), or the HTTP check failed.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Failed checks of one pod in a row that convict.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 20))]
    pub failures: u32,
    /// The time between two checks of a pod.
    #[serde(default = "ten_seconds")]
    #[x_kube(validation = Rule::new(A_SECOND_OR_MORE).message("spec.checks.health.every must be at least 1s"))]
    pub every: Span,
    /// Asked of each pod. None: readiness and `up` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
}

/// A GET that must answer 2xx or 3xx within a second.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpCheck {
    /// The path, from the root.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self.startsWith('/')").message("spec.checks.health.http.path must start with /"))]
    pub path: String,
    /// A container port, by name or number.
    #[schemars(length(min = 1, max = 15))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+$') ? (int(self) >= 1 && int(self) <= 65535) : self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')").message("spec.checks.health.http.port must be the name of a container port, such as http, or a number from 1 to 65535 in quotes"))]
    pub port: String,
}

/// A Job that must succeed at the named moments.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Smoke {
    /// The image that holds the test.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Instead of the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub command: Vec<String>,
    /// Arguments of the command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub args: Vec<String>,
    /// How long the Job may take; then it has failed.
    #[serde(default = "five_minutes")]
    #[x_kube(validation = Rule::new(A_SECOND_OR_MORE).message("spec.checks.smoke.timeout must be at least 1s"))]
    pub timeout: Span,
    /// When it runs. Default: in the first step and at 100 %.
    #[serde(default = "SmokePoint::both")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub after: Vec<SmokePoint>,
}

/// The moments of a smoke test.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SmokePoint {
    FirstStep,
    Full,
}

/// A series of the user's own, compared with the stable version's per request (counters) or as it stands (gauges).
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.mustNotDrop) != has(self.mustNotRise)").message("spec.checks.metrics: give either mustNotDrop or mustNotRise"))]
pub struct Metric {
    /// What it is called in verdicts.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// PromQL that gives a value for each pod: for a Counter raw counters or a sum of them, for a Gauge nearly anything.
    #[schemars(length(min = 1, max = 2048))]
    pub query: String,
    /// How its value behaves.
    #[serde(default)]
    pub kind: MetricKind,
    /// Convicts when it is lower than the stable version's by more than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_not_drop: Option<Percent>,
    /// Convicts when it is higher than the stable version's by more than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_not_rise: Option<Percent>,
}

/// How a series behaves.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricKind {
    /// It only grows; what counts is its growth per request.
    #[default]
    Counter,
    /// It goes up and down.
    Gauge,
}

/// How sure the comparison must be.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sequential {
    /// False: the literal thresholds alone convict.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How often a good version may be convicted: once in so many whole releases.
    #[serde(default = "one_percent")]
    pub alpha: Percent,
    /// So many times the stable version's rate is still accepted.
    #[serde(default = "one_and_a_half")]
    pub tolerance: Factor,
    /// An error rate that is accepted whatever the stable version's is.
    #[serde(default = "one_per_mille")]
    pub floor: Percent,
    /// How many errors come together at least; the measured value counts when it is higher.
    #[serde(default = "one_factor")]
    pub phi_floor: Factor,
    /// What one scrape says counts at most so many times, such as "32": then two scrapes must agree. None: no cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_cap: Option<Factor>,
    /// A step ends only when the error rate is proven to be inside its limit.
    #[serde(default = "yes")]
    pub require_proof: bool,
}

/// After how long a state of not knowing is ended, and how.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fallback {
    /// How long without a break.
    pub after: Span,
    /// What happens then.
    pub then: Then,
}

/// What ends a state of not knowing.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then {
    /// Hold the weight and wait for a person.
    Pause,
    /// Give the traffic back; the version is not convicted.
    Rollback,
}

impl Sequential {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl SmokePoint {
    fn both() -> Vec<Self> {
        vec![Self::FirstStep, Self::Full]
    }
}

impl Fallback {
    const fn no_data() -> Self {
        Self { after: Span::mins(10), then: Then::Pause }
    }
    const fn degraded() -> Self {
        Self { after: Span::mins(5), then: Then::Rollback }
    }
}

const fn yes() -> bool {
    true
}
const fn one_percent() -> Percent {
    Percent::whole(1)
}
const fn one_per_mille() -> Percent {
    Percent::millionths(1000)
}
const fn one_factor() -> Factor {
    Factor::ONE
}
const fn one_and_a_half() -> Factor {
    Factor::thousandths(1500)
}
const fn one() -> u32 {
    1
}
const fn three() -> u32 {
    3
}
const fn fifty() -> u32 {
    50
}
const fn ninety_nine() -> u32 {
    99
}
const fn five_percent() -> Percent {
    Percent::whole(5)
}
const fn two_seconds() -> Span {
    Span::secs(2)
}
const fn ten_seconds() -> Span {
    Span::secs(10)
}
const fn thirty_seconds() -> Span {
    Span::secs(30)
}
const fn two_minutes() -> Span {
    Span::mins(2)
}
const fn five_minutes() -> Span {
    Span::mins(5)
}

impl Default for ErrorRate {
    fn default() -> Self {
        Self { max: five_percent(), hold: two_minutes() }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self { percentile: ninety_nine(), max: two_seconds(), hold: five_minutes() }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self { failures: three(), every: ten_seconds(), http: None }
    }
}

impl Default for Sequential {
    fn default() -> Self {
        Self {
            enabled: true,
            alpha: one_percent(),
            tolerance: one_and_a_half(),
            floor: one_per_mille(),
            phi_floor: one_factor(),
            block_cap: None,
            require_proof: true,
        }
    }
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            provider: None,
            source: Source::default(),
            error_rate: ErrorRate::default(),
            latency: Latency::default(),
            health: Health::default(),
            smoke: None,
            metrics: Vec::new(),
            sequential: Sequential::default(),
            strict: false,
            min_requests: fifty(),
            warm_up: thirty_seconds(),
            settle_scrapes: one(),
            on_no_data: Fallback::no_data(),
            on_degraded: Fallback::degraded(),
        }
    }
}
