//! The walls of the source tree: what decides neither waits nor looks, and each file tells one thing and says which.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// More than a source file that tells one thing needs.
const LINES: usize = 400;

/// Words of waiting, of the cluster, of the clock, and of anything else outside the program's own data.
const IMPURE: &[&str] = &[
    "async ",
    ".await",
    "kube::",
    "tokio",
    "futures::",
    "reqwest",
    "tracing::",
    "observe::clock",
    "::now()",
    "Instant",
    "SystemTime",
    "std::fs",
    "std::env",
    "std::net",
    "std::process",
    "std::thread",
    "static mut",
    "Mutex",
    "OnceLock",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The words of `IMPURE` in a text's code; comments may speak of them.
fn impurities(text: &str) -> Vec<String> {
    let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    let found = code.flat_map(|(n, line)| {
        let words = IMPURE.iter().filter(move |word| line.contains(**word));
        words.map(move |word| format!("line {}: {word}", n + 1))
    });
    found.collect()
}

#[test]
fn what_decides_is_pure() {
    let source = root().join("src");
    let plans = |path: &PathBuf| {
        path.strip_prefix(&source).is_ok_and(|p| p.starts_with("act") && p.to_string_lossy().contains("steps"))
    };
    let mut pure = sources(&source.join("decide"));
    pure.extend(sources(&source.join("act")).into_iter().filter(plans));
    assert!(pure.len() > 1, "the deciding modules are somewhere else: {pure:?}");
    for path in pure {
        let found = impurities(&read(&path));
        assert!(found.is_empty(), "{} must be pure: {found:?}", path.display());
    }
}

#[test]
fn impure_code_is_recognised() {
    assert_eq!(impurities("//! async is for others\nlet t = Timestamp::now();"), ["line 2: ::now()"]);
    assert_eq!(impurities("pub async fn look() {}"), ["line 1: async "]);
}

#[test]
fn each_file_is_short_and_says_what_it_is_about() {
    let mut wrong = Vec::new();
    for path in sources(&root().join("src")).into_iter().chain(sources(&root().join("tests"))) {
        let text = read(&path);
        if !text.starts_with("//! ") {
            wrong.push(format!("{}: its first line does not say what it is about (//! …)", path.display()));
        }
        let (lines, name) = (text.lines().count(), path.strip_prefix(root()).expect("below the root"));
        if name.starts_with("src") && lines > LINES {
            wrong.push(format!("{}: {lines} lines of at most {LINES}; it tells more than one thing", name.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
