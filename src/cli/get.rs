//! `kubectl haldane get`: one Release as a picture, many as a table, all as JSON or YAML.

use std::{
    io::{IsTerminal, Write, stdout},
    process::ExitCode,
};

use clap::ValueEnum;
use futures::{StreamExt, pin_mut};
use kube::{
    Api, ResourceExt,
    api::ListParams,
    runtime::{WatchStreamExt, watcher},
};

use super::{
    client::{Cluster, Reach, within},
    render::Style,
    table::{Columns, table},
    tree::tree,
};
use crate::{api::Release, observe::clock};

#[derive(clap::Args)]
pub struct Args {
    /// The Release; none: all of the namespace
    name: Option<String>,
    /// Releases of all namespaces
    #[arg(short = 'A', long, conflicts_with = "name")]
    all_namespaces: bool,
    /// Go on showing changes
    #[arg(short, long)]
    watch: bool,
    /// How it is shown [default: a picture of one Release, a table of many]
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Wide,
    Json,
    Yaml,
    Name,
}

pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let reach = args.cluster.connect().await?;
    if args.watch {
        return watch(args, &reach).await;
    }
    let releases = match &args.name {
        Some(name) => vec![reach.release(name).await?],
        None => within("listing Releases", api(args, &reach).list(&ListParams::default())).await?.items,
    };
    if releases.is_empty() && matches!(args.output, None | Some(Output::Table | Output::Wide)) {
        let place = if args.all_namespaces { String::new() } else { format!(" in namespace {}", reach.namespace) };
        eprintln!("No Releases found{place}.");
        return Ok(ExitCode::SUCCESS);
    }
    print(&show(args, &releases, true)?)?;
    Ok(ExitCode::SUCCESS)
}

fn api(args: &Args, reach: &Reach) -> Api<Release> {
    if args.all_namespaces { Api::all(reach.client.clone()) } else { reach.releases() }
}

/// A closed pipe (`| head`) ends the command like any other write error, but without a panic.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// The text for the asked form. `first` is false for changes that follow in a watch.
fn show(args: &Args, releases: &[Release], first: bool) -> anyhow::Result<String> {
    let now = clock::now();
    let columns = Columns { namespace: args.all_namespaces, wide: args.output == Some(Output::Wide), header: first };
    Ok(match (args.output, releases) {
        (None, [one]) if args.name.is_some() => tree(one, now, Style::of_stdout()),
        (None | Some(Output::Table | Output::Wide), _) => table(releases, columns, now),
        (Some(Output::Name), _) => {
            releases.iter().flat_map(|r| ["release.haldane.dev/".to_owned(), r.name_any(), "\n".to_owned()]).collect()
        }
        (Some(form), _) => {
            let mut values = Vec::new();
            for release in releases {
                let mut plain = release.clone();
                plain.metadata.managed_fields = None;
                values.push(serde_json::to_value(plain)?);
            }
            let value = match (args.name.is_some() || !first, values.len()) {
                (true, 1) => values.remove(0),
                _ => serde_json::json!({"apiVersion": "v1", "kind": "List", "items": values}),
            };
            match form {
                Output::Json => format!("{}\n", serde_json::to_string_pretty(&value)?),
                _ => format!("---\n{}", serde_yaml_ng::to_string(&value)?),
            }
        }
    })
}

async fn watch(args: &Args, reach: &Reach) -> anyhow::Result<ExitCode> {
    if let Some(name) = &args.name {
        reach.release(name).await?; // a wrong name ends here, not in an endless wait
    }
    let mut config = watcher::Config::default();
    if let Some(name) = &args.name {
        config = config.fields(&format!("metadata.name={name}"));
    }
    let changes = watcher(api(args, reach), config).default_backoff().touched_objects();
    pin_mut!(changes);
    let picture = args.name.is_some() && args.output.is_none();
    let redraw = picture && Style::of_stdout().color && stdout().is_terminal();
    let mut first = true;
    while let Some(change) = changes.next().await {
        match change {
            Ok(release) => {
                let text = show(args, std::slice::from_ref(&release), first)?;
                let before = if redraw {
                    "\x1b[H\x1b[2J"
                } else if picture && !first {
                    "\n"
                } else {
                    ""
                };
                print(&format!("{before}{text}"))?;
                first = false;
            }
            Err(error) => eprintln!("the watch was interrupted, trying again: {error}"),
        }
    }
    Ok(ExitCode::SUCCESS)
}
