//! The table in docs/traffic.md: each promise, and on what it is tried for each kind.

use std::{fs, path::Path};

use super::{KINDS, PROMISES, Promise};

const BEGIN: &str = "<!-- written by a test from src/api/routes/contract: change the promises, not this table -->\n";
const END: &str = "<!-- end of the table -->";

fn tried_on(promise: &Promise) -> String {
    let mut on = Vec::new();
    on.extend(promise.shown.map(|_| "examples"));
    on.extend(promise.random.map(|_| "random routes"));
    on.extend(promise.on_a_server.map(|_| "an API server"));
    on.join(", ")
}

fn table() -> String {
    let head: Vec<&str> = KINDS.iter().map(|k| k.name).collect();
    let mut text = format!("| Promise | {} |\n|---|{}\n", head.join(" | "), "---|".repeat(KINDS.len()));
    text.extend(PROMISES.iter().map(|promise| {
        let cells = vec![tried_on(promise); KINDS.len()];
        format!("| {} | {} |\n", promise.sentence, cells.join(" | "))
    }));
    text
}

/// `HALDANE_WRITE=1` writes it anew.
#[test]
fn the_table_in_the_docs_is_that_of_the_promises() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/traffic.md");
    let text = fs::read_to_string(&path).expect("docs/traffic.md");
    let (before, rest) = text.split_once(BEGIN).expect("the mark before the table");
    let (_, after) = rest.split_once(END).expect("the mark behind the table");
    let wanted = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("HALDANE_WRITE").is_some() {
        fs::write(&path, &wanted).expect("docs/traffic.md");
    }
    let now = fs::read_to_string(&path).expect("docs/traffic.md");
    assert!(now == wanted, "the table is stale: HALDANE_WRITE=1 cargo test --lib the_table_in_the_docs writes it");
}

#[test]
fn the_tests_on_an_api_server_exist() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/every_route.rs");
    let text = fs::read_to_string(&path).expect("tests/it/every_route.rs");
    for name in PROMISES.iter().filter_map(|p| p.on_a_server) {
        assert!(text.contains(&format!("async fn {name}()")), "{name}");
    }
}
