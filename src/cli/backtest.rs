//! `kubectl haldane backtest`: what the checks of a Release would have done to the version that serves, had some of its
//! own pods been a candidate. From the metric provider's history; nothing in the cluster is touched.

mod history;
mod replay;

use std::{
    io::{IsTerminal, Write as _, stderr},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams},
};

use super::{
    client::{Cluster, Reach, within},
    judge,
    render::{Style, Tone, clean},
};
use crate::{
    api::{MetricProvider, Release, checks::Checks, provider::MetricProviderSpec, units::Span},
    observe::{
        clock,
        prometheus::client::{Login, Provider, Secret, Secrets},
        raw,
        seen::OwnedSet,
    },
};
use history::History;
use replay::{HOUR, LEAD, Said, Tally};

pub const EXIT_CODES: &str = "\
The version that serves is compared with itself, hour by hour: as many of its pods as the first step has are taken for the
candidate, other ones each hour. Whatever is convicted is a false alarm, or an hour in which one pod was really worse.

Exit codes:
  0  no hour would have been rolled back
  1  wrong usage, or something did not answer
  2  some hours would have been rolled back";

/// One query reads an hour and a half of many series.
const PATIENCE: Span = Span::secs(30);

#[derive(clap::Args)]
pub struct Args {
    /// The Release
    name: String,
    /// How far back
    #[arg(long, default_value = "7d", value_parser = days)]
    since: Span,
    /// A file with the `spec.checks` to try, as YAML [default: those of the Release]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The provider's address as seen from here, such as a port-forward [default: that of the MetricProvider]
    #[arg(long)]
    url: Option<String>,
    /// A file with the provider's bearer token
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// Where the MetricProvider is
    #[arg(long, value_name = "NAMESPACE", default_value = "haldane-system")]
    operator_namespace: String,
    #[command(flatten)]
    cluster: Cluster,
}

/// `7d` too, which durations of Kubernetes do not know.
fn days(text: &str) -> Result<Span, String> {
    let since = match text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()) {
        Some(days) => Span(Duration::from_hours(24 * u64::from(days))),
        None => text.parse()?,
    };
    if since.0 < HOUR {
        return Err("at least 1h is needed".into());
    }
    Ok(since)
}

pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let reach = args.cluster.connect().await?;
    let release = reach.release(&args.name).await?;
    let checks = args.config.as_deref().map_or_else(|| Ok(release.spec.checks.clone()), judge::read)?;
    let set = serving(&reach, &release).await?;
    let provider = provider(args, &reach, &checks).await?;
    let history = History::new(provider, &checks, &reach.namespace, &set.name)?;
    let candidates = release.spec.plan.steps.first().and_then(|step| step.pods).unwrap_or(1);

    let hours = u32::try_from(args.since.0.as_secs() / HOUR.as_secs()).unwrap_or(u32::MAX);
    let begin = clock::now().minus(HOUR * hours);
    let (style, mut tally) = (Style::of_stdout(), Tally::default());
    for hour in 0..hours {
        progress(hour, hours);
        let from = begin.plus(HOUR * hour);
        let readings = history.read(from.minus(LEAD), from.plus(HOUR)).await;
        let readings = readings.with_context(|| format!("asking about {}", replay::minute(from)))?;
        let samples = replay::samples(&readings, &checks, from, candidates, hour as usize);
        let said = replay::judge(&checks, &samples);
        if let Said::RolledBack { after, sentence } = &said {
            clear();
            println!(
                "{}  {} after {}: {}",
                replay::minute(from),
                style.paint(Tone::Bad, "rolled back"),
                Span::secs(after.as_secs()),
                clean(sentence)
            );
        }
        tally.add(&said);
    }
    clear();
    println!("{}", tally.sentence(&set.name));
    Ok(if tally.rolled_back == 0 { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// The ReplicaSet of the version that serves.
async fn serving(reach: &Reach, release: &Release) -> anyhow::Result<OwnedSet> {
    let name = &release.spec.target_ref.name;
    let what = format!("reading Deployment {name}");
    let found = within(&what, raw::deployments(&reach.client, &reach.namespace).get_opt(name)).await?;
    let Some(deployment) = found else { bail!("there is no Deployment {name} in namespace {}", reach.namespace) };
    let sets: Api<DynamicObject> = raw::replica_sets(&reach.client, &reach.namespace);
    let sets = within("listing ReplicaSets", sets.list(&ListParams::default())).await?;
    let of_it = |set: &&DynamicObject| {
        set.owner_references().iter().any(|owner| Some(&owner.uid) == deployment.metadata.uid.as_ref())
    };
    let sets = sets.items.iter().filter(of_it).map(raw::owned_set);
    let stable = release.status.as_ref().and_then(|status| status.stable_revision.as_deref());
    sets.filter(|set| stable.is_none_or(|stable| set.revision.0 == stable))
        .max_by_key(|set| (set.size > 0, set.number))
        .with_context(|| format!("no ReplicaSet of Deployment {name} has the version that serves"))
}

/// The provider as it is reached from here. Its Secrets stay in the operator's namespace: a person has his own.
async fn provider(args: &Args, reach: &Reach, checks: &Checks) -> anyhow::Result<Provider> {
    let Some(name) = &checks.provider else {
        bail!("spec.checks.provider is not set: without a metric provider there is no history");
    };
    let providers: Api<MetricProvider> = Api::namespaced(reach.client.clone(), &args.operator_namespace);
    let what = format!("reading MetricProvider {name} of namespace {}", args.operator_namespace);
    let mut spec = match (within(&what, providers.get_opt(name)).await, &args.url) {
        (Ok(Some(found)), _) => found.spec,
        (_, Some(url)) => serde_json::from_value::<MetricProviderSpec>(serde_json::json!({"url": url}))?,
        (Ok(None), None) => bail!("there is no MetricProvider {name} in namespace {}", args.operator_namespace),
        (Err(error), None) => return Err(error.context("give --url to do without it")),
    };
    if let Some(url) = &args.url {
        spec.url.clone_from(url);
    }
    spec.timeout = PATIENCE;
    let token = |file: &PathBuf| std::fs::read_to_string(file).with_context(|| file.display().to_string());
    let token = args.token.as_ref().map(token).transpose()?;
    let secrets = Secrets { login: token.map(|token| Login::Bearer(Secret::new(token))), ..Secrets::default() };
    Provider::new(&spec, &secrets).map_err(anyhow::Error::msg)
}

fn progress(hour: u32, hours: u32) {
    if stderr().is_terminal() {
        eprint!("\r\x1b[Khour {} of {hours}", hour + 1);
        let _terminal_gone = stderr().flush();
    } else if hour.is_multiple_of(24) {
        eprintln!("hour {} of {hours}", hour + 1);
    }
}

/// What was shown of the progress makes room.
fn clear() {
    if stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}
