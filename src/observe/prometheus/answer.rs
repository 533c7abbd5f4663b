//! The query API's envelope, and all the ways in which an answer is not one.

use std::{borrow::Cow, collections::BTreeMap, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

use crate::api::units::{At, Span};

/// Why there is no usable answer. Shown to people, so it repeats nothing that the provider or a secret says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the metric provider cannot be reached: {0}")]
    Unreachable(&'static str),
    #[error("the metric provider did not answer within {}", Span(*.0))]
    Timeout(Duration),
    #[error("the metric provider redirects (HTTP {0}); is a login page in front of it?")]
    Redirect(u16),
    #[error("the metric provider refuses the credentials (HTTP {0})")]
    Denied(u16),
    #[error("the metric provider answered HTTP {0}")]
    Http(u16),
    #[error("the metric provider refused the query (HTTP {code}): {class}")]
    Refused { code: u16, class: &'static str },
    #[error("the metric provider answered with a web page, not with JSON")]
    Html,
    #[error("the metric provider's answer is not declared as JSON")]
    ContentType,
    #[error("the metric provider's answer is cut off or not valid JSON")]
    Malformed,
    #[error("the metric provider's answer is larger than {} MiB", .0 / (1024 * 1024))]
    TooLarge(usize),
    #[error("partial answer: the metric provider sent {0} warning(s) with it")]
    Partial(usize),
    #[error("the answer is a {is}, not {}", .asked.words())]
    WrongType { is: &'static str, asked: Shape },
    #[error("the answer holds native histograms; classic counters and buckets are needed")]
    NativeHistogram,
    #[error("the counter of {0} is {1}")]
    NotACount(String, &'static str),
}

impl Fault {
    /// Whether asking for less may help: the provider is there, but the query was too much for it or broken.
    pub fn is_about_the_query(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::TooLarge(_) | Self::Partial(_) | Self::Http(413 | 414))
    }
}

/// One series of an instant or range answer.
#[derive(Clone, Debug, Deserialize)]
pub struct Series {
    pub metric: BTreeMap<String, String>,
    #[serde(default)]
    value: Option<Sample>,
    #[serde(default)]
    values: Option<Vec<Sample>>,
    #[serde(default)]
    histogram: Option<IgnoredAny>,
    #[serde(default)]
    histograms: Option<IgnoredAny>,
}

/// A value at an evaluation time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub at: At,
    pub value: f64,
}

impl Series {
    pub fn label(&self, name: &str) -> &str {
        self.metric.get(name).map_or("", String::as_str)
    }

    /// The samples, oldest first: one of an instant answer, many of a range answer.
    pub fn samples(&self) -> &[Sample] {
        self.value.as_ref().map(std::slice::from_ref).or(self.values.as_deref()).unwrap_or_default()
    }
}

/// A number that can be a counter's value.
pub fn count(what: impl fmt::Display, value: f64) -> Result<f64, Fault> {
    let wrong = if value.is_nan() {
        "NaN"
    } else if value.is_infinite() {
        "infinite"
    } else if value < 0.0 {
        "negative"
    } else {
        return Ok(value);
    };
    Err(Fault::NotACount(what.to_string(), wrong))
}

/// Which of the two shapes a query asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Instant,
    Range,
}

impl Shape {
    fn words(self) -> &'static str {
        match self {
            Self::Instant => "an instant vector",
            Self::Range => "a range vector",
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<Data<'a>>,
    #[serde(borrow, rename = "errorType", default)]
    error_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    error: Option<Cow<'a, str>>,
    // `infos` are remarks on style (a name that does not look like a counter's) and take nothing from an answer.
    #[serde(default)]
    warnings: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, rename = "resultType")]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Vectors {
    data: Listed,
}

#[derive(Deserialize)]
struct Listed {
    result: Vec<Series>,
}

/// Reads an answer's body. `http` is its status code.
pub fn read(http: u16, body: &[u8], shape: Shape) -> Result<Vec<Series>, Fault> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|_| match http {
        200..300 => Fault::Malformed,
        _ => Fault::Http(http),
    })?;
    if envelope.status != "success" || !(200..300).contains(&http) {
        return Err(match envelope.error_type {
            Some(kind) => refusal(http, &kind, envelope.error.as_deref().unwrap_or_default()),
            None if (200..300).contains(&http) => Fault::Malformed,
            None => Fault::Http(http),
        });
    }
    if let Some(warnings) = envelope.warnings.filter(|w| !w.is_empty()) {
        return Err(Fault::Partial(warnings.len()));
    }
    let data = envelope.data.ok_or(Fault::Malformed)?;
    match (&*data.kind, shape) {
        ("vector", Shape::Instant) | ("matrix", Shape::Range) => {}
        (kind, asked) => return Err(Fault::WrongType { is: kind_in_words(kind), asked }),
    }
    // A second reading, because what `result` looks like depends on a type that may stand behind it.
    let vectors: Vectors = serde_json::from_slice(body).map_err(|_| Fault::Malformed)?;
    let series = vectors.data.result;
    if series.iter().any(|s| s.histogram.is_some() || s.histograms.is_some()) {
        return Err(Fault::NativeHistogram);
    }
    if series.iter().any(|s| s.samples().is_empty()) {
        return Err(Fault::Malformed);
    }
    Ok(series)
}

fn kind_in_words(kind: &str) -> &'static str {
    match kind {
        "matrix" => "range vector",
        "vector" => "instant vector",
        "scalar" => "scalar",
        "string" => "string",
        _ => "result of an unknown type",
    }
}

/// The error types of the query API in our own words; its free text may quote a query of somebody else.
fn refusal(code: u16, kind: &str, text: &str) -> Fault {
    let class = match kind {
        "bad_data" => "it cannot be understood",
        "execution" if text.contains("too many samples") => "it loads too many samples",
        "execution" => "it failed while it ran",
        "timeout" => "it took too long",
        "canceled" => "it was cancelled",
        // Load and inner troubles of the provider: the same query may well succeed later, smaller ones would fail too.
        _ => return Fault::Http(code),
    };
    Fault::Refused { code, class }
}

/// `[1234.5, "42"]`.
impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Sample;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pair of a time and a number as text")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sample, A::Error> {
                let wrong = || serde::de::Error::invalid_length(0, &self);
                let at = seq.next_element::<f64>()?.and_then(At::from_epoch).ok_or_else(wrong)?;
                let text = seq.next_element::<Cow<'de, str>>()?.ok_or_else(wrong)?;
                let value = text.parse().map_err(|_| wrong())?;
                seq.next_element::<IgnoredAny>()?.map_or(Ok(Sample { at, value }), |_| Err(wrong()))
            }
        }
        d.deserialize_seq(Pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(body: &str) -> Result<Vec<Series>, Fault> {
        read(200, body.as_bytes(), Shape::Instant)
    }

    #[test]
    fn a_complete_vector_is_read_with_its_labels_and_time() {
        let body = r#"{"status":"success","infos":["x"],"data":{"resultType":"vector","result":[
            {"metric":{"pod":"a"},"value":[1700000000.25,"3.5"]}]}}"#;
        let series = instant(body).unwrap();
        assert_eq!(series[0].label("pod"), "a");
        assert_eq!(series[0].label("code"), "");
        assert_eq!(series[0].samples(), [Sample { at: At::from_epoch(1_700_000_000.25).unwrap(), value: 3.5 }]);
    }

    #[test]
    fn not_a_number_is_read_as_a_value_and_refused_as_a_count() {
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"+Inf"]}]}}"#;
        let value = instant(body).unwrap()[0].samples()[0].value;
        assert_eq!(count("requests", value), Err(Fault::NotACount("requests".into(), "infinite")));
        assert_eq!(count("requests", f64::NAN), Err(Fault::NotACount("requests".into(), "NaN")));
        assert_eq!(count("requests", -1.0), Err(Fault::NotACount("requests".into(), "negative")));
        assert_eq!(count("requests", 0.0), Ok(0.0));
    }

    #[test]
    fn an_incomplete_or_strange_answer_is_never_data() {
        let wrong = |is| Fault::WrongType { is, asked: Shape::Instant };
        let vector = |rest: &str| format!(r#"{{"status":"success","data":{{"resultType":"vector","result":{rest}}}}}"#);
        for (body, fault) in [
            (vector("[{"), Fault::Malformed),
            (vector(r#"[{"metric":{}}]"#), Fault::Malformed),
            (vector(r#"[{"metric":{},"value":[1,"x"]}]"#), Fault::Malformed),
            (vector(r#"[{"metric":{},"value":[1e300,"1"]}]"#), Fault::Malformed),
            (vector(r#"[{"metric":{},"histogram":[1,{"count":"1"}]}]"#), Fault::NativeHistogram),
            (r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#.into(), wrong("string")),
            (r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#.into(), wrong("scalar")),
            (
                r#"{"status":"success","warnings":["store down"],"data":{"resultType":"vector","result":[]}}"#.into(),
                Fault::Partial(1),
            ),
            (r#"{"status":"success"}"#.into(), Fault::Malformed),
            (r#"{"status":"error"}"#.into(), Fault::Malformed),
            ("[]".into(), Fault::Malformed),
        ] {
            assert_eq!(instant(&body).unwrap_err(), fault, "{body}");
        }
    }

    #[test]
    fn refusals_are_told_in_our_words_only() {
        let body = br#"{"status":"error","errorType":"execution","error":"too many samples for tenant hunter2"}"#;
        let fault = read(422, body, Shape::Instant).unwrap_err();
        assert_eq!(fault.to_string(), "the metric provider refused the query (HTTP 422): it loads too many samples");
        assert!(fault.is_about_the_query());
        let busy = br#"{"status":"error","errorType":"too_many_requests","error":"x"}"#;
        assert_eq!(read(429, busy, Shape::Instant).unwrap_err(), Fault::Http(429));
    }
}
