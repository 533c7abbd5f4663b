//! Which series count requests, errors and durations, and the queries that read them for many pods at once.
//!
//! One query reads everything of a batch, so that its parts belong to the same moment: each part is tagged with a
//! label of ours and the parts are joined by `or`. Counters are read raw and summed per pod and class; their increase
//! is taken where they are judged, because `rate` loses what a new series counted before its first scrape.

use super::promql::{Custom, Scope, one_of, quote};
use crate::api::checks::{Preset, Source};

/// The label that says which part of a query a series belongs to.
pub const PART: &str = "haldane_part";

/// Series known by name.
#[derive(Debug)]
pub struct Names {
    pub requests: &'static str,
    more: &'static str,
    /// Labels that may hold the answer's code; the first that is there counts.
    pub codes: &'static [&'static str],
    /// A counter of errors, for requests without a code.
    pub errors: Option<&'static str>,
    buckets: &'static str,
    /// Units of `le` in a second.
    pub per_second: f64,
}

const APP: Names = Names {
    requests: "http_requests_total",
    more: "",
    codes: &["code", "status"],
    errors: Some("http_requests_errors_total"),
    buckets: "http_request_duration_seconds_bucket",
    per_second: 1.0,
};

// The side that received the request: a client's sidecar would tell of the network between them too.
const ISTIO: Names = Names {
    requests: "istio_requests_total",
    more: r#"reporter="destination""#,
    codes: &["response_code"],
    errors: None,
    buckets: "istio_request_duration_milliseconds_bucket",
    per_second: 1000.0,
};

const ENVOY: Names = Names {
    requests: "envoy_cluster_upstream_rq",
    more: "",
    codes: &["envoy_response_code"],
    errors: None,
    buckets: "envoy_cluster_upstream_rq_time_bucket",
    per_second: 1000.0,
};

/// A source, understood.
#[derive(Clone, Debug)]
pub enum Family {
    Named(&'static Names),
    Custom(Box<Queries>),
}

/// The queries of a custom source.
#[derive(Clone, Debug)]
pub struct Queries {
    total: Custom,
    errors: Custom,
    latency: Option<Custom>,
}

impl Family {
    /// Errors: a sentence that names the field and says what to change.
    pub fn of(source: &Source) -> Result<Self, String> {
        let custom = |field: &str, text: Option<&str>| {
            let field = format!("spec.checks.source.{field}");
            let text = text.ok_or_else(|| format!("{field} is missing; preset Custom needs it"))?;
            Custom::parse(&field, text)
        };
        Ok(match source.preset {
            Preset::App => Self::Named(&APP),
            Preset::Istio => Self::Named(&ISTIO),
            Preset::Envoy => Self::Named(&ENVOY),
            Preset::Custom => Self::Custom(Box::new(Queries {
                total: custom("total", source.total.as_deref())?,
                errors: custom("errors", source.errors.as_deref())?,
                latency: source.latency.as_deref().map(|text| custom("latency", Some(text))).transpose()?,
            })),
        })
    }

    /// What the numbers are read from, for sentences.
    pub fn requests(&self) -> &'static str {
        match self {
            Self::Named(names) => names.requests,
            Self::Custom(_) => "spec.checks.source.total",
        }
    }

    /// Units of `le` in a second.
    pub fn per_second(&self) -> f64 {
        match self {
            Self::Named(names) => names.per_second,
            Self::Custom(_) => 1.0,
        }
    }
}

impl Names {
    /// The one query of a batch. `bounds` are the values of `le` that are needed; none: durations are left out.
    pub fn query<'a>(&self, scope: &Scope, bounds: impl IntoIterator<Item = &'a str>) -> String {
        let requests = scope.select(self.requests, self.more);
        let by = scope.by();
        let codes = self.codes.join(", ");
        let mut parts = vec![
            part("requests", &format!("sum by ({by}, {codes}) ({requests})")),
            part("at", &format!("max by ({by}) (timestamp({requests}))")),
        ];
        if let Some(errors) = self.errors {
            parts.push(part("errors", &format!("sum by ({by}) ({})", scope.select(errors, self.more))));
        }
        let bounds: Vec<&str> = bounds.into_iter().collect();
        if !bounds.is_empty() {
            let le = quote(&one_of(bounds.into_iter().chain(["+Inf"])));
            parts.push(part("le", &format!("sum by ({by}, le) ({})", self.buckets(scope, &format!("le=~{le}")))));
        }
        parts.extend(up(scope, &by));
        parts.join(" or ")
    }

    /// Which bounds there are, per pod.
    pub fn bounds_query(&self, scope: &Scope) -> String {
        part("le", &format!("count by ({}, le) ({})", scope.by(), self.buckets(scope, "")))
    }

    fn buckets(&self, scope: &Scope, le: &str) -> String {
        let comma = if self.more.is_empty() || le.is_empty() { "" } else { "," };
        scope.select(self.buckets, &format!("{}{comma}{le}", self.more))
    }
}

impl Queries {
    pub const fn has_latency(&self) -> bool {
        self.latency.is_some()
    }

    /// The one query of a Release. A user's sum may have dropped the namespace, so only the pod is asked for.
    pub fn query(&self, scope: &Scope, pod_label: &str) -> Result<String, String> {
        let (total, selectors) = self.total.within(scope)?;
        let (errors, _) = self.errors.within(scope)?;
        let mut parts = vec![
            part("requests", &format!("sum by ({pod_label}) ({total})")),
            part("errors", &format!("sum by ({pod_label}) ({errors})")),
        ];
        // A pod's series come from one scrape, so the first selector that knows the pod tells the time.
        let stamps: Vec<String> = selectors.iter().map(|s| format!("max by ({pod_label}) (timestamp({s}))")).collect();
        parts.push(part("at", &format!("({})", stamps.join(" or "))));
        if let Some(latency) = &self.latency {
            parts.push(part("le", &format!("sum by ({pod_label}, le) ({})", latency.within(scope)?.0)));
        }
        parts.extend(up(scope, pod_label));
        Ok(parts.join(" or "))
    }
}

/// A pod may be scraped at several ports of which some never answer, so it counts as down when none does.
fn up(scope: &Scope, by: &str) -> [String; 2] {
    let up = scope.select("up", "");
    [part("up", &format!("max by ({by}) ({up})")), part("up_at", &format!("max by ({by}) (timestamp({up}))"))]
}

pub(super) fn part(name: &str, vector: &str) -> String {
    format!(r#"label_replace({vector}, "{PART}", "{name}", "", "")"#)
}

#[cfg(test)]
mod tests {
    use promql_parser::parser::{parse, value::ValueType};

    use super::*;

    fn source(total: &str) -> Source {
        Source {
            preset: Preset::Custom,
            total: Some(total.into()),
            errors: Some("sum by (pod) (failed)".into()),
            latency: Some("took_bucket".into()),
        }
    }

    #[test]
    fn every_query_is_an_instant_vector_even_with_hostile_names() {
        let scope = Scope::new(("namespace", "pod"), ["shop", "\"} or vector(1)"], ["a\\", "b\n"]);
        for names in [&APP, &ISTIO, &ENVOY] {
            for query in [names.query(&scope, ["2", "2.5"]), names.query(&scope, []), names.bounds_query(&scope)] {
                assert_eq!(parse(&query).unwrap().value_type(), ValueType::Vector, "{query}");
            }
        }
        let Ok(Family::Custom(queries)) = Family::of(&source("a + b")) else { panic!("custom") };
        let query = queries.query(&scope, "pod").unwrap();
        assert_eq!(parse(&query).unwrap().value_type(), ValueType::Vector, "{query}");
    }

    #[test]
    fn a_bad_custom_query_names_its_field() {
        let why = Family::of(&source("rate(a[5m])")).unwrap_err();
        assert_eq!(why, "spec.checks.source.total calls rate(); give the raw counter, its increase is taken here");
        let missing = Source { errors: None, ..source("a") };
        assert_eq!(Family::of(&missing).unwrap_err(), "spec.checks.source.errors is missing; preset Custom needs it");
    }
}
