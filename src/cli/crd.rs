//! `haldane crd`: the CustomResourceDefinitions, and the reference made from them.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde_json::Value;

use crate::api::{crd, reference};

#[derive(clap::Args)]
pub struct Args {
    /// Only this one, by its plural name, for example `releases`.
    name: Option<String>,
    /// Print the reference in Markdown instead.
    #[arg(long, hide = true)]
    docs: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let all = crd::all()?;
    let wanted: Vec<&Value> = all
        .iter()
        .filter(|crd| args.name.as_deref().is_none_or(|name| crd["spec"]["names"]["plural"] == name))
        .collect();
    if wanted.is_empty() {
        let names: Vec<&str> = all.iter().filter_map(|crd| crd["spec"]["names"]["plural"].as_str()).collect();
        anyhow::bail!("no such definition; there are: {}", names.join(", "));
    }
    let text = if args.docs { reference::markdown(&wanted) } else { yaml(&wanted)? };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// One document per definition.
fn yaml(crds: &[&Value]) -> anyhow::Result<String> {
    let documents: Vec<String> = crds.iter().map(serde_yaml_ng::to_string).collect::<Result<_, _>>()?;
    Ok(documents.join("---\n"))
}
