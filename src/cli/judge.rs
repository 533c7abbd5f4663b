//! `haldane judge`: replays a recording through the engine, without a cluster. One line of JSON out per line in.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::Value;

use super::pipe::through;
use crate::{
    api::{checks::Checks, units::Span},
    decide::verdict::evidence::{Config, Engine, Finding, Output, Sample},
};

pub const FORMAT: &str = "\
Each line of the recording is one look at the pods, as JSON; times in seconds, counters raw and cumulative:
  {\"t\": 12, \"weight\": 0.05, \"provider\": \"ok\", \"pods\": {\"c1\": {\"arm\": \"canary\", \"start\": 0, \"ready\": true, \"restarts\": 0,
   \"scraped\": 11.3, \"total\": 120, \"bad\": 2, \"le\": {\"0.1\": 80, \"+Inf\": 120}}, \"s1\": {\"arm\": \"stable\", …}}}
docs/verdict.md explains the fields and the answer.";

#[derive(clap::Args)]
pub struct Args {
    /// A file with the `spec.checks` of a Release, as YAML [default: all defaults]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Add each test's evidence
    #[arg(long)]
    trace: bool,
    /// How long the release is planned to take
    #[arg(long, default_value = "1h")]
    horizon: Span,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let checks = args.config.as_deref().map_or_else(|| Ok(Checks::default()), read)?;
    let mut engine = Engine::new(Config::new(&checks, args.horizon.0.as_secs_f64()));
    through(|input, out| replay(input, &mut engine, args.trace, out))
}

/// The checks of a file.
pub fn read(path: &Path) -> anyhow::Result<Checks> {
    let at = || path.display().to_string();
    parse(&fs::read_to_string(path).with_context(at)?).with_context(at)
}

/// `spec.checks` as YAML, with nothing but known fields.
pub fn parse(text: &str) -> anyhow::Result<Checks> {
    let given: Value = serde_yaml_ng::from_str(text)?;
    if given.is_null() {
        return Ok(Checks::default());
    }
    if !given.is_object() {
        bail!("the fields of spec.checks are wanted, such as errorRate: {{max: 5%, for: 2m}}");
    }
    let checks: Checks = serde_yaml_ng::from_str(text)?;
    // What was understood is written back; a field that is not there then is none of ours.
    let mut understood = serde_json::to_value(&checks)?;
    understood["sequential"] = serde_json::to_value(&checks.sequential)?;
    if let Some(field) = stranger(&given, &understood, "") {
        bail!("unknown field {field}");
    }
    if let Some(metric) = checks.metrics.iter().find(|m| m.must_not_drop.is_some() == m.must_not_rise.is_some()) {
        bail!("metrics[{}]: give either mustNotDrop or mustNotRise", metric.name);
    }
    if checks.metrics.len() > 8 {
        bail!("metrics: {} series; at most 8 are followed", checks.metrics.len());
    }
    Ok(checks)
}

/// The path of a given field that was not understood.
fn stranger(given: &Value, understood: &Value, path: &str) -> Option<String> {
    match (given, understood) {
        (Value::Object(given), understood) => given.iter().find_map(|(name, value)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match understood.get(name) {
                Some(known) => stranger(value, known, &path),
                None if absent(value) && path_is_known(name) => None,
                None => Some(path),
            }
        }),
        (Value::Array(given), Value::Array(understood)) => (given.iter().zip(understood).enumerate())
            .find_map(|(n, (value, known))| stranger(value, known, &format!("{path}[{n}]"))),
        _ => None,
    }
}

/// Nothing was said, and nothing is written back.
fn absent(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// Fields that are not written when they say nothing.
fn path_is_known(name: &str) -> bool {
    [
        "provider",
        "smoke",
        "metrics",
        "http",
        "total",
        "errors",
        "latency",
        "command",
        "args",
        "mustNotDrop",
        "mustNotRise",
    ]
    .contains(&name)
}

/// Judges a recording, line by line. Errors: the number of the first line that cannot be read, and what is wrong with it.
pub fn replay(input: impl BufRead, engine: &mut Engine, trace: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let mut last = f64::NEG_INFINITY;
    for (number, line) in input.lines().enumerate() {
        let at = || format!("line {}", number + 1);
        let line = line.with_context(at)?;
        if line.trim().is_empty() {
            continue;
        }
        let sample: Sample = serde_json::from_str(&line).with_context(at)?;
        sample.check().map_err(anyhow::Error::msg).with_context(at)?;
        if sample.t < last {
            bail!("{}: t falls from {last} to {}", at(), sample.t);
        }
        last = sample.t;
        answer(engine, &sample, trace, out)?;
    }
    Ok(())
}

/// A line of the answer.
#[derive(Serialize)]
struct Answer<'a> {
    t: f64,
    verdict: Finding,
    reason: &'a str,
    sentence: &'a str,
    ln_e: Option<f64>,
    advance: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tests: Option<BTreeMap<String, f64>>,
}

fn answer(engine: &mut Engine, sample: &Sample, trace: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let Output { t, verdict, reason, sentence, ln_e, advance, .. } = &engine.tick(sample);
    let tests = trace.then(|| engine.tests().into_iter().filter(|(_, ln)| ln.is_finite()).collect());
    let ln_e = ln_e.filter(|ln| ln.is_finite());
    let answer = Answer { t: *t, verdict: *verdict, reason, sentence, ln_e, advance: *advance, tests };
    serde_json::to_writer(&mut *out, &answer).map_err(io::Error::from)?;
    Ok(out.write_all(b"\n")?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"{"t": 12, "weight": 0.05, "provider": "ok", "pods": {"c1": {"arm": "canary", "start": 0, "ready": true, "restarts": 0, "scraped": 11.3, "total": 120, "bad": 2, "le": {"0.1": 80, "0.5": 110, "+Inf": 120}}, "s1": {"arm": "stable", "start": -86400, "ready": true, "restarts": 1, "scraped": 10, "total": 5000}}}"#;

    fn judged(input: &str) -> (String, Option<String>) {
        let (mut out, mut engine) = (Vec::new(), Engine::new(Config::new(&Checks::default(), 3600.0)));
        let error = replay(input.as_bytes(), &mut engine, true, &mut out).err().map(|e| format!("{e:#}"));
        (String::from_utf8(out).unwrap(), error)
    }

    #[test]
    fn each_line_is_answered_by_one() {
        let (out, error) = judged(&format!("{GOOD}\n\n{}\n", GOOD.replace("\"t\": 12", "\"t\": 17")));
        assert_eq!(error, None);
        let lines: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0]["t"] == 12.0 && lines[0]["verdict"] == "Watching" && lines[0]["ln_e"].is_null(), "{out}");
        assert!(lines[0]["tests"]["errors"].is_number() && lines[0]["advance"] == false);
        assert_eq!(judged(""), (String::new(), None), "an empty recording is judged at once");
    }

    /// What the documentation shows is what is said.
    #[test]
    fn the_example_of_the_documentation_is_true() {
        let docs = include_str!("../../docs/verdict.md");
        let mut engine = Engine::new(Config::new(&Checks::default(), 3600.0));
        let (mut out, recording) = (Vec::new(), include_str!("../../tests/data/evidence/failing.jsonl"));
        replay(recording.as_bytes(), &mut engine, false, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let shown: Vec<&str> = docs.lines().map(str::trim).filter(|l| l.starts_with("{\"t\":")).collect();
        assert!(shown.len() >= 3);
        for line in shown {
            assert!(out.lines().any(|said| said == line), "{line}\nis not among\n{out}");
        }
        for field in ["sequential.phiFloor", "minRequests", "settleScrapes", "`weight`", "`pods.NAME.le`"] {
            assert!(docs.contains(field), "{field}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        for (wrong, problem) in [
            ("{".to_owned(), "EOF"),
            (GOOD.replace("\"t\": 12, ", ""), "missing field `t`"),
            (GOOD.replace("canary", "blue"), "unknown variant `blue`"),
            (GOOD.replace("0.05", "5"), "weight is 5"),
            (GOOD.replace("\"t\": 12", "\"t\": 11"), "t falls from 12 to 11"),
            (GOOD.replace("\"total\": 120", "\"total\": -1"), "pods.c1.total: -1 is no counter"),
            (GOOD.replace("\"0.1\"", "\"fast\""), "'fast' is no bound in seconds"),
            (GOOD.replace("\"total\": 120", "\"total\": 1e999"), "number out of range"),
        ] {
            let (out, error) = judged(&format!("{GOOD}\n{wrong}\n"));
            assert_eq!(out.lines().count(), 1, "{wrong}");
            let error = error.unwrap();
            assert!(error.starts_with("line 2: ") && error.contains(problem), "{error}");
        }
    }

    #[test]
    fn an_unknown_field_of_the_config_is_named() {
        for (text, field) in [
            ("errorRat: {max: 5%}", "errorRat"),
            ("errorRate: {maximum: 5%}", "errorRate.maximum"),
            ("sequential: {alfa: 1%}", "sequential.alfa"),
            ("metrics: [{name: a, query: q, mustNotDrop: 5%, mustNotFall: 5%}]", "metrics[0].mustNotFall"),
            ("latency: {p: null}", "latency.p"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("unknown field {field}"), "{text}");
        }
        assert!(parse("errorRate: {max: 500%}").is_err());
        assert!(parse("metrics: [{name: a, query: q}]").unwrap_err().to_string().contains("either mustNotDrop or"));
        assert!(parse("[1]").is_err());
        for text in ["", "{}", "sequential: {alpha: 1%}", "provider: prometheus\nmetrics: []\nsmoke: null"] {
            assert_eq!(parse(text).unwrap().sequential, Checks::default().sequential, "{text}");
        }
        let checks = parse("sequential: {tolerance: \"2\", requireProof: false}\nstrict: true\nwarmUp: 10s").unwrap();
        assert!((checks.sequential.tolerance.value() - 2.0).abs() < 1e-12 && checks.strict);
    }

    proptest! {
        #[test]
        fn no_recording_panics(lines in prop::collection::vec(".{0,80}", 0..4), at in 0..400_usize, byte in any::<u8>()) {
            let _ = judged(&lines.join("\n"));
            let mut bytes = GOOD.as_bytes().to_vec();
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            let (out, error) = judged(&String::from_utf8_lossy(&bytes));
            prop_assert!(error.is_some() || out.lines().count() <= 1, "{out}");
            prop_assert!(!out.contains("NaN") && !out.contains("inf"));
        }

        #[test]
        fn no_config_panics(text in ".{0,60}", key in "[a-zA-Z]{1,12}", value in "[0-9a-z%\\[\\]{}:., ]{0,12}") {
            let _ = parse(&text);
            let _ = parse(&format!("{key}: {value}"));
            let _ = parse(&format!("errorRate: {{max: {value}}}"));
            let _ = parse(&format!("sequential: {{{key}: {value}}}"));
        }
    }
}
