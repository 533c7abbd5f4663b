//! Each row of `docs/trouble.md` names tests; they exist.

use std::{collections::BTreeSet, fs, path::Path};

/// All tests of a file, as `folder::file::name` would call them without the folder.
fn tests_in(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut found = BTreeSet::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            let name = lines.find_map(|l| l.split_once("fn ")).map(|(_, rest)| rest);
            found.extend(name.and_then(|n| n.split_once('(')).map(|(name, _)| name.to_owned()));
        }
    }
    found
}

/// The tests that a row of the table names: `` `file.rs: name` ``.
fn named(row: &str) -> Vec<(String, String)> {
    let code = row.split('`').skip(1).step_by(2);
    code.filter_map(|c| c.split_once(".rs: ")).map(|(file, name)| (format!("{file}.rs"), name.to_owned())).collect()
}

#[test]
fn every_test_that_the_table_of_troubles_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("docs/trouble.md")).expect("the table");
    let rows: Vec<&str> = table.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| Trouble")).collect();
    assert!(rows.len() >= 25, "only {} rows", rows.len());
    for row in rows {
        let tests = named(row);
        assert!(!tests.is_empty(), "no test is named in: {row}");
        for (file, name) in tests {
            assert!(tests_in(&root.join(&file)).contains(&name), "{file} has no test {name}");
        }
    }
}

#[test]
fn a_name_that_is_not_there_is_noticed() {
    assert_eq!(named("| a | `tests/it/x.rs: y`, `z` |"), [("tests/it/x.rs".to_owned(), "y".to_owned())]);
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/trouble/table.rs");
    let tests = tests_in(&here);
    assert!(tests.contains("a_name_that_is_not_there_is_noticed") && tests.len() == 2, "{tests:?}");
}
