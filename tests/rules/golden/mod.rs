//! Releases as an operator of yesterday left them in the API server, one file per State. Today's operator reads them without
//! losing or renaming anything, and finds nothing to begin.

mod samples;
mod unchanged;

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use haldane::{
    act::{effect::Effect, steps::steps},
    api::{Release, State, crd, state::Part, status::FORMAT_VERSION},
    decide::{Past, decide, goal::Goal},
    observe::template,
};
use kube::CustomResourceExt;
use serde_json::Value;

/// The files of one layout of `status`.
fn folder(format: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/format-{format}"))
}

/// All files of all layouts that there have been, the oldest first.
fn files() -> Vec<(u32, String, Value)> {
    let mut all = Vec::new();
    for format in 1..=FORMAT_VERSION {
        let found = fs::read_dir(folder(format)).unwrap_or_else(|e| panic!("format {format}: {e}"));
        let mut paths: Vec<PathBuf> = found.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            all.push((format, name, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))));
        }
    }
    all
}

fn read(name: &str, stored: &Value) -> Release {
    serde_json::from_value(stored.clone())
        .unwrap_or_else(|e| panic!("{name}: a stored Release is not read any more: {e}"))
}

#[test]
fn every_state_has_a_file() {
    let write = env::var_os("HALDANE_GOLDEN").is_some_and(|word| word == "write");
    for (name, release) in samples::all() {
        let path = folder(FORMAT_VERSION).join(name).with_extension("json");
        if write && !path.exists() {
            fs::create_dir_all(folder(FORMAT_VERSION)).unwrap();
            fs::write(&path, serde_json::to_string_pretty(&release).unwrap() + "\n").unwrap();
        }
        assert!(
            path.exists(),
            "{} is missing; write it: HALDANE_GOLDEN=write cargo test --test rules golden",
            path.display()
        );
    }
}

#[test]
fn what_is_stored_is_read_and_written_again_as_it_was() {
    for (format, name, stored) in files() {
        let release = read(&name, &stored);
        assert_eq!(stored["status"]["formatVersion"], format, "{name}");
        // An older layout is written anew in today's; then only its meaning has to stay.
        if format == FORMAT_VERSION {
            let again = serde_json::to_value(&release).unwrap();
            let changed = template::difference(&stored, &again);
            assert_eq!(changed, None, "{name}: an upgrade would change this field of what is stored");
        }
    }
}

/// The path of what stands below. What States have in common need not stand in each of them.
fn below(path: &str, name: &str, out: &mut BTreeSet<String>) -> String {
    let found = format!("{path}.{name}");
    out.insert(found.clone());
    if path == "status.state" { format!("{path}.*") } else { found }
}

/// Where a field or a fixed word stands: `status.state.idle.stable`, `status.result.outcome = Succeeded`.
fn known(schema: &Value, path: &str, out: &mut BTreeSet<String>) {
    for word in schema["enum"].as_array().into_iter().flatten().filter(|_| path.starts_with("status")) {
        out.insert(format!("{path} = {}", word.as_str().unwrap_or_default()));
    }
    for variant in schema["oneOf"].as_array().into_iter().chain(schema["anyOf"].as_array()).flatten() {
        known(variant, path, out);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        known(field, &below(path, name, out), out);
    }
    if schema["items"].is_object() {
        known(&schema["items"], path, out);
    }
}

fn used(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                used(field, &below(path, name, out), out);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| used(item, path, out)),
        Value::String(word) => {
            out.insert(format!("{path} = {word}"));
        }
        _ => {}
    }
}

#[test]
fn every_field_and_every_fixed_word_stands_in_some_file() {
    // As it is derived: the published one leaves out what only the operator reads.
    let derived = serde_json::to_value(Release::crd()).unwrap();
    let schema = crd::schema(&derived);
    let (mut there_are, mut stand) = (BTreeSet::new(), BTreeSet::new());
    for part in ["spec", "status"] {
        known(&schema["properties"][part], part, &mut there_are);
    }
    for (_, _, stored) in files().into_iter().filter(|(format, ..)| *format == FORMAT_VERSION) {
        for part in ["spec", "status"] {
            used(&stored[part], part, &mut stand);
        }
    }
    assert!(there_are.len() > 150, "{there_are:?}");
    let missing: Vec<_> = there_are.difference(&stand).collect();
    assert!(missing.is_empty(), "no golden file has: {missing:#?}; give tests/rules/golden/samples.rs one that does");
}

/// What a State still wants of a world that agrees with it.
fn wanted(state: &State, effects: &[Effect]) -> bool {
    match state {
        // The pods of both are there, so the route is the next to go home.
        State::Promoting { part: Part::GiveBack, .. } => {
            matches!(effects, [Effect::Route { weight: 0, header: false, .. }])
        }
        _ => effects.is_empty(),
    }
}

/// A smoke test is run where the spec names one.
fn without_smoke(goal: Goal) -> Goal {
    match goal {
        Goal::Canary { candidate, step, share, .. } => Goal::Canary { candidate, step, share, smoke: None },
        other => other,
    }
}

#[test]
fn an_upgrade_begins_nothing() {
    for (format, name, stored) in files() {
        let (release, name) = (read(&name, &stored), format!("format {format}, {name}"));
        let seen = unchanged::seen(&release);
        let status = release.status.clone().unwrap();
        let past = Past { state: status.state, memory: status.memory };
        let before = past.state.clone().unwrap();
        let decision = decide(&release.spec, &past, &seen);
        let after = decision.state.clone().unwrap();
        match (&before, &after) {
            // The sentence of a closed gate may have become another.
            (State::Waiting { candidate: a, since: b, .. }, State::Waiting { candidate: c, since: d, closed, .. }) => {
                assert_eq!((a, b), (c, d), "{name}");
                assert!(!closed.is_empty(), "{name}");
            }
            _ => assert_eq!(after, before, "{name}: {}", decision.display.message),
        }
        assert_eq!(without_smoke(decision.goal.clone()), without_smoke(Goal::of(&before)), "{name}");
        assert_eq!(
            decision.memory.notices, past.memory.notices,
            "{name} tells something: {:?}",
            decision.memory.outbox
        );
        assert_eq!(decision.memory.rejected, past.memory.rejected, "{name}");
        let effects = steps(&decision.goal, &before.stable().revision, &seen);
        assert!(wanted(&before, &effects), "{name} does {effects:?}");
    }
}
