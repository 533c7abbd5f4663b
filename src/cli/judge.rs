//! `haldane judge`: replays a recording through the engine, without a cluster. One line of JSON out per line in.

use std::{
    fs,
    io::{self, BufRead, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use serde_json::{Map, Number, Value, json};

use super::pipe::closed;
use crate::{
    api::{checks::Checks, units::Span},
    decide::verdict::evidence::{Config, Engine, Sample},
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
    let mut out = io::BufWriter::new(io::stdout().lock());
    let end = replay(io::stdin().lock(), &mut engine, args.trace, &mut out);
    let flushed = out.flush();
    match end {
        Err(error) if !closed(&error) => return Err(error),
        _ => {}
    }
    match flushed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn read(path: &Path) -> anyhow::Result<Checks> {
    let at = || path.display().to_string();
    parse(&fs::read_to_string(path).with_context(at)?).with_context(at)
}

/// `spec.checks` with nothing but known fields.
fn parse(text: &str) -> anyhow::Result<Checks> {
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

fn replay(input: impl BufRead, engine: &mut Engine, trace: bool, out: &mut impl Write) -> anyhow::Result<()> {
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
        let answer = answer(engine, &sample, trace);
        serde_json::to_writer(&mut *out, &answer)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn answer(engine: &mut Engine, sample: &Sample, trace: bool) -> Value {
    let output = engine.tick(sample);
    let number = |value: f64| Number::from_f64(value).map_or(Value::Null, Value::Number);
    let mut answer = json!({
        "t": number(output.t),
        "verdict": output.verdict,
        "reason": output.reason,
        "sentence": output.sentence,
        "ln_e": output.ln_e.map_or(Value::Null, number),
        "advance": output.advance,
    });
    if trace {
        let tests: Map<String, Value> = engine.tests().into_iter().map(|(name, ln)| (name, number(ln))).collect();
        answer["tests"] = Value::Object(tests);
    }
    answer
}
