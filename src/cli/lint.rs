//! `kubectl haldane lint`: what a release of these manifests would stumble over. It reads files and, with the rights of
//! whoever calls it, the cluster; it changes nothing.

mod contents;
mod findings;
mod live;
mod manifests;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{Write as _, stdout},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::ValueEnum;
use serde_json::{Value, json};

use super::{
    client::{Cluster, Reach},
    render::{Style, Tone, clean},
};
use crate::api::Release;
use findings::{Finding, Released};
use live::Known;
use manifests::{Kind, Manifest};

pub const EXIT_CODES: &str = "\
For each Deployment that a Release of the files, or of the cluster, releases: ConfigMaps and Secrets of the files that its
pods read and that change under their names, and what the operator would warn of. Values of Secrets are never shown.

Exit codes:
  0  nothing to warn of, or warnings without --strict
  1  wrong usage, a file that cannot be read, or the API server did not answer
  2  warnings, with --strict";

const WITHOUT: &str = "give --offline to do without a cluster";

#[derive(clap::Args)]
pub struct Args {
    /// A file or folder of manifests, YAML or JSON; - is standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    /// Folders inside folders too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Ask no cluster: every name that stays is warned of, whether or not its content changes
    #[arg(long)]
    offline: bool,
    /// Warnings end with exit code 2
    #[arg(long)]
    strict: bool,
    /// How it is shown
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// What was found, and what could not be looked at.
#[derive(Default)]
struct Said {
    findings: Vec<Finding>,
    notes: BTreeSet<String>,
    deployments: usize,
}

pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let reach = if args.offline { None } else { Some(args.cluster.connect().await.context(WITHOUT)?) };
    let namespace = reach.as_ref().map(|reach| reach.namespace.clone()).or_else(|| args.cluster.namespace.clone());
    let manifests = manifests::read(&args.filename, args.recursive, namespace.as_deref().unwrap_or("default"))?;
    let said = lint(&manifests, reach.as_ref()).await?;
    let text = match args.output {
        Output::Text => text(&said, Style::of_stdout()),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&json(&said))?),
    };
    stdout().lock().write_all(text.as_bytes())?;
    Ok(if args.strict && !said.findings.is_empty() { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

async fn lint(manifests: &[Manifest], reach: Option<&Reach>) -> anyhow::Result<Said> {
    let mut said = Said::default();
    let mut releases: Vec<(String, Release)> = Vec::new();
    for manifest in manifests.iter().filter(|m| m.kind == Kind::Release) {
        releases.push((manifest.namespace.clone(), release(manifest)?));
    }
    if let Some(reach) = reach {
        let namespaces: BTreeSet<&str> = manifests.iter().map(|m| m.namespace.as_str()).collect();
        for namespace in namespaces {
            match live::releases(reach, namespace).await.context(WITHOUT)? {
                Ok(found) => {
                    let named = |release: &Release| {
                        let target = &release.spec.target_ref.name;
                        releases.iter().any(|(at, known)| at == namespace && known.spec.target_ref.name == *target)
                    };
                    let more: Vec<_> = found.into_iter().filter(|r| !named(r)).collect();
                    releases.extend(more.into_iter().map(|release| (namespace.to_owned(), release)));
                }
                Err(note) => drop(said.notes.insert(note)),
            }
        }
    }
    let targets = targets(manifests, &releases, reach, &mut said).await?;
    let looked_at: Vec<Released<'_>> = targets
        .iter()
        .map(|(place, object, namespace, release)| Released { place, namespace, deployment: object, release })
        .collect();
    let mut known = Known::new();
    if let Some(reach) = reach {
        for manifest in findings::unhashed(&looked_at, manifests) {
            let Manifest { kind, namespace, name, .. } = manifest;
            match live::compare(reach, manifest).await? {
                Ok(live) => drop(known.insert((*kind, namespace.clone(), name.clone()), live)),
                Err(why) => {
                    said.notes.insert(format!(
                        "{kind}s of namespace {namespace} cannot be read, so that nothing is said of what changes: {}",
                        without_name(&why, name)
                    ));
                }
            }
        }
    }
    said.deployments = looked_at.len();
    said.findings = looked_at.iter().flat_map(|r| findings::of(r, manifests, &known)).collect();
    Ok(said)
}

/// The API server's sentence, which is to be told once for all of a kind.
fn without_name(why: &str, name: &str) -> String {
    why.replace(&format!("\"{name}\""), "…")
}

fn release(manifest: &Manifest) -> anyhow::Result<Release> {
    let Manifest { place, name, object, .. } = manifest;
    serde_json::from_value(object.clone()).map_err(|wrong| {
        anyhow::anyhow!("{place}: Release {name}: {wrong}; kubectl explain release.spec says what is wanted")
    })
}

type Target<'a> = (String, Value, String, &'a Release);

/// The Deployments that are released: as the files have them, else as the cluster does.
async fn targets<'a>(
    manifests: &[Manifest],
    releases: &'a [(String, Release)],
    reach: Option<&Reach>,
    said: &mut Said,
) -> anyhow::Result<Vec<Target<'a>>> {
    let mut all = Vec::new();
    for (namespace, release) in releases {
        let name = &release.spec.target_ref.name;
        let mut here = manifests.iter().rev().filter(|m| m.kind == Kind::Deployment);
        if let Some(found) = here.find(|m| m.name == *name && m.namespace == *namespace) {
            all.push((found.place.clone(), found.object.clone(), namespace.clone(), release));
            continue;
        }
        let live = match reach {
            Some(reach) => live::deployment(reach, namespace, name).await?,
            None => None,
        };
        match live {
            Some(object) => all.push(("in the cluster".into(), object, namespace.clone(), release)),
            None => drop(said.notes.insert(format!(
                "Deployment {name} of namespace {namespace}, which a Release names, is not in the files{}",
                if reach.is_some() { ", and not to be read in the cluster" } else { "" }
            ))),
        }
    }
    Ok(all)
}

fn text(said: &Said, style: Style) -> String {
    let mut out = String::new();
    let mut shown = None;
    for finding in &said.findings {
        let head = (&finding.place, &finding.namespace, &finding.deployment);
        if shown != Some(head) {
            let _ = writeln!(
                out,
                "{}: Deployment {} of namespace {}",
                clean(&finding.place),
                style.paint(Tone::Bold, clean(&finding.deployment)),
                clean(&finding.namespace)
            );
            shown = Some(head);
        }
        let _ = writeln!(out, "  {}  {}", style.paint(Tone::Warn, "warning"), clean(&finding.message));
    }
    for note in &said.notes {
        let _ = writeln!(out, "{}  {}", style.paint(Tone::Dim, "note"), clean(note));
    }
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let _ = match said.deployments {
        0 => writeln!(out, "nothing looked at: no Release releases a Deployment of these manifests"),
        n => writeln!(out, "{} in {}", count(said.findings.len(), "warning"), count(n, "Deployment")),
    };
    out
}

fn json(said: &Said) -> Value {
    let warning = |f: &Finding| {
        json!({
            "place": f.place, "namespace": f.namespace, "deployment": f.deployment,
            "fields": f.fields, "message": f.message,
        })
    };
    let warnings: Vec<Value> = said.findings.iter().map(warning).collect();
    json!({"deployments": said.deployments, "warnings": warnings, "notes": said.notes})
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &str = "
{apiVersion: haldane.dev/v1alpha1, kind: Release, metadata: {name: shop}, spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}, images: {app: 'shop:2'}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: shop}, spec: {template: {spec: {containers: [{name: app, envFrom: [{configMapRef: {name: shop-config}}]}]}}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: not-released}, spec: {template: {spec: {containers: [{name: app}]}}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: shop-config}, data: {a: b}}
";
    const PLAIN: Style = Style { color: false, symbols: true };

    async fn said(text: &str) -> anyhow::Result<Said> {
        lint(&manifests::parse("shop.yaml", text, "web")?, None).await
    }

    #[tokio::test]
    async fn a_released_deployment_is_looked_at_and_no_other() {
        let said = said(FILES).await.unwrap();
        assert_eq!(
            text(&said, PLAIN),
            "\
shop.yaml, document 2: Deployment shop of namespace web
  warning  container app of Deployment shop has no readinessProbe: it counts as ready as soon as it runs
  warning  container app of Deployment shop has no resource requests: the scheduler may put both versions on one full node
  warning  Deployment shop has no preStop delay: requests can be lost when its pods end; add lifecycle.preStop.sleep of 10 seconds
  warning  ConfigMap shop-config keeps its name when its content changes: then the old version's pods read it too at their next start; name it by its content (kustomize configMapGenerator), see docs/gitops.md
4 warnings in 1 Deployment
"
        );
        let json = json(&said);
        assert_eq!(json["deployments"], 1);
        assert_eq!(json["warnings"][3]["fields"][0], "spec.template.spec.containers[app].envFrom[0]");
        assert!(text(&said, Style { color: true, symbols: true }).contains("\u{1b}[33mwarning"));
    }

    #[tokio::test]
    async fn what_is_not_there_is_a_note_and_what_is_wrong_an_error() {
        let alone = FILES.split("---").next().unwrap();
        let shown = text(&said(alone).await.unwrap(), PLAIN);
        assert_eq!(
            shown,
            "note  Deployment shop of namespace web, which a Release names, is not in the files\n\
             nothing looked at: no Release releases a Deployment of these manifests\n"
        );
        let wrong = said(&alone.replace("targetRef", "target")).await.err().unwrap().to_string();
        assert!(
            wrong.starts_with(
                "shop.yaml, document 1: Release shop: missing field `targetRef`; kubectl explain release.spec"
            ),
            "{wrong}"
        );
    }

    #[test]
    fn a_right_that_is_missing_is_told_once_for_all_of_a_kind() {
        let why = |name: &str| format!("secrets \"{name}\" is forbidden: User \"sam\" cannot get resource \"secrets\"");
        assert_eq!(without_name(&why("a"), "a"), without_name(&why("b"), "b"));
    }
}
