//! Releases as a table, as `kubectl get` would show them.

use comfy_table::{Table, presets};
use kube::ResourceExt;

use super::render::{age, clean};
use crate::api::{Release, units::At};

/// Which columns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns {
    pub namespace: bool,
    pub wide: bool,
    pub header: bool,
}

/// Longer reasons are cut in the narrow table.
const REASON: usize = 72;

pub fn table(releases: &[Release], columns: Columns, now: At) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if columns.header {
        let mut header = vec!["NAME", "STATUS", "STEP", "WEIGHT", "VERSION", "REASON", "AGE"];
        if columns.namespace {
            header.insert(0, "NAMESPACE");
        }
        if columns.wide {
            header.extend(["TARGET", "VERDICT", "STABLE", "CANDIDATE"]);
        }
        table.set_header(header);
    }
    for release in releases {
        table.add_row(row(release, columns, now));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join(
        "
",
    ) + "
"
}

fn row(release: &Release, columns: Columns, now: At) -> Vec<String> {
    let status = release.status.clone().unwrap_or_default();
    let text = |value: Option<String>| clean(&value.unwrap_or_default());
    let reason = clean(&status.message);
    let created = release.creation_timestamp().map(|t| At::new(t.0));
    let mut cells = vec![
        release.name_any(),
        if status.phase.is_empty() { "Unknown".into() } else { status.phase.clone() },
        text(status.step),
        text(status.weight.map(|w| w.to_string())),
        text(status.version),
        if columns.wide { reason } else { cut(&reason) },
        created.map(|at| age(at, now)).unwrap_or_default(),
    ];
    if columns.namespace {
        cells.insert(0, release.namespace().unwrap_or_default());
    }
    if columns.wide {
        cells.push(release.spec.target_ref.name.clone());
        cells.extend([text(status.verdict), text(status.stable_revision), text(status.candidate_revision)]);
    }
    cells
}

fn cut(text: &str) -> String {
    if text.chars().count() <= REASON {
        return text.to_owned();
    }
    text.chars().take(REASON - 1).chain(['…']).collect()
}
