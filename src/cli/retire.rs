//! `haldane retire`: asks the running operator to bring every Release home, and waits until it has. Helm runs it before it
//! uninstalls the chart.
//!
//! Nothing is put back by the command itself: that is the leader's work, by the same rules as ever. The command marks the
//! operator's Lease, sees from the Lease that the leader has read it, and then only watches.

mod left;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, Instant},
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

pub use left::Left;

use super::{
    client::{Cluster, within},
    render::{clean, clock as clock_time},
};
use crate::{
    api::{
        Release, names,
        units::{At, Span},
    },
    controller::{
        client::CALL_LIMIT,
        lease::{election::Record, record},
    },
    observe::clock,
};

/// How long the mark counts without being renewed, and how often it is.
const MARK: Duration = Duration::from_mins(1);
const RENEW: Duration = Duration::from_secs(15);
/// How long it counts when everything is home: the operator must not begin anew until Helm has ended it.
const LAST_MARK: Duration = Duration::from_mins(10);
/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);
/// A leader renews its lease every two seconds; a pod that is restarted may take some more. Where it was not renewed for so long
/// by the clock of this machine either, a few seconds are enough to be sure.
const SILENT: Duration = Duration::from_secs(30);
const SURE: Duration = Duration::from_secs(5);
/// A request that was sent before the leader has read the mark has arrived by then, or never does.
const LATE: Duration = Duration::from_secs(CALL_LIMIT.as_secs() + 1);

#[derive(clap::Args)]
pub struct Args {
    /// How long to wait at most
    #[arg(long, default_value = "5m")]
    timeout: Span,
    /// The namespaces that the operator looks after, separated by commas; none means all
    #[arg(long, env = "HALDANE_WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// The name of the operator's lease, in the namespace given with -n: the operator's own
    #[arg(long, env = "HALDANE_LEASE", default_value = "haldane")]
    lease: String,
    #[command(flatten)]
    cluster: Cluster,
}

/// What is to be done, and where.
pub struct Retire {
    pub client: Client,
    /// The operator's own namespace.
    pub namespace: String,
    /// The name of its lease.
    pub lease: String,
    /// The namespaces it looks after. Empty: all.
    pub watched: Vec<String>,
    pub timeout: Duration,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing of ours is left at any Release.
    Home,
    /// The time is over.
    Late(Vec<Left>),
    /// No operator runs that could do it.
    NoLeader(Vec<Left>),
    /// The command itself was told to end.
    Stopped(Vec<Left>),
}

pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let reach = args.cluster.connect().await?;
    let wish = Retire {
        client: reach.client,
        namespace: reach.namespace,
        lease: args.lease.clone(),
        watched: args.watch_namespaces.iter().filter(|name| !name.is_empty()).cloned().collect(),
        timeout: args.timeout.0,
    };
    let (stop, mut terminate) = (CancellationToken::new(), signal(SignalKind::terminate())?);
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        told.cancel();
    });
    let outcome = Box::pin(wish.carry_out(&stop, |line| {
        let now = clock::now();
        eprintln!("{}  {}", clock_time(now, now), clean(line));
    }))
    .await?;
    println!("{}", wish.sentence(&outcome));
    Ok(match outcome {
        Outcome::Home => ExitCode::SUCCESS,
        Outcome::Late(_) | Outcome::NoLeader(_) => ExitCode::FAILURE,
        Outcome::Stopped(_) => ExitCode::from(2), // a Job whose node is drained tries it elsewhere
    })
}

impl Retire {
    /// Asks, waits, and takes the wish back unless it was fulfilled: then it must outlive the command.
    pub async fn carry_out(&self, stop: &CancellationToken, mut say: impl FnMut(&str)) -> anyhow::Result<Outcome> {
        let outcome = self.wait(stop, &mut say).await;
        let last = if matches!(outcome, Ok(Outcome::Home)) { Some(LAST_MARK) } else { None };
        let there = !matches!(self.leases().get_opt(&self.lease).await, Ok(None));
        if there && let Err(error) = self.mark(last).await {
            say(&format!("{error:#}; the mark of before counts for {} more", Span(MARK)));
        }
        outcome
    }

    async fn wait(&self, stop: &CancellationToken, say: &mut impl FnMut(&str)) -> anyhow::Result<Outcome> {
        let begun = clock::monotonic();
        let mut leader = Leader { last: None, alive: begun };
        let mut asked: Option<(Record, Instant)> = None;
        let (mut read, mut home, mut told) = (false, None, BTreeMap::new());
        loop {
            let looked = self.look().await;
            let now = clock::monotonic();
            let over = now.duration_since(begun) >= self.timeout;
            let (lease, left) = match looked {
                Ok(looked) => looked,
                Err(error) if over => return Err(error),
                Err(error) => {
                    say(&format!("{error:#}; trying again"));
                    if stop.run_until_cancelled(sleep(LOOK)).await.is_none() {
                        return Ok(Outcome::Stopped(Vec::new()));
                    }
                    continue;
                }
            };
            let present = lease.as_ref().map(record).unwrap_or_default();
            leader.see(&present, now);
            if leader.gone(&present, now, clock::now()) {
                return Ok(if left.is_empty() { Outcome::Home } else { Outcome::NoLeader(left) });
            }
            if lease.is_some() && asked.as_ref().is_none_or(|(_, at)| now.duration_since(*at) >= RENEW) {
                match self.mark(Some(MARK)).await {
                    Ok(marked) => {
                        if asked.is_none() {
                            let (holder, limit) = (&present.holder, Span(self.timeout));
                            say(&format!(
                                "asked the operator ({holder}) to bring {} home, within {limit}",
                                many(&left)
                            ));
                        }
                        // Whoever renews the lease after the first mark has read it: it could not be written else.
                        let since = asked.map_or_else(|| record(&marked), |(since, _)| since);
                        asked = Some((since, now));
                    }
                    Err(error) => say(&format!("{error:#}; trying again")),
                }
            } else if let Some((since, _)) = &asked {
                read = read || !present.holder.is_empty() && present != *since;
            }
            progress(&left, &mut told, say);
            home = if left.is_empty() && read { home.or(Some(now)) } else { None };
            if home.is_some_and(|since| now.duration_since(since) >= LATE) {
                return Ok(Outcome::Home);
            }
            if over && home.is_none() {
                return Ok(Outcome::Late(left));
            }
            if stop.run_until_cancelled(sleep(LOOK)).await.is_none() {
                return Ok(Outcome::Stopped(left));
            }
        }
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Marks the Lease for so long, or takes the mark off.
    async fn mark(&self, lasts: Option<Duration>) -> anyhow::Result<Lease> {
        let annotations = match lasts {
            Some(lasts) => json!({
                names::RETIRING: clock::now().timestamp().to_string(),
                names::RETIRING_FOR: lasts.as_secs().to_string(),
            }),
            None => json!({names::RETIRING: null, names::RETIRING_FOR: null}),
        };
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        let params = PatchParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PatchParams::default() };
        let what = format!("marking Lease {} in namespace {}", self.lease, self.namespace);
        within(&what, self.leases().patch(&self.lease, &params, &patch)).await
    }

    /// The lease, and the Releases that are not home.
    async fn look(&self) -> anyhow::Result<(Option<Lease>, Vec<Left>)> {
        let what = format!("reading Lease {} in namespace {}", self.lease, self.namespace);
        let lease = within(&what, self.leases().get_opt(&self.lease)).await?;
        // Untyped: one that this version cannot read is as far from home as any other.
        let kind = ApiResource::erase::<Release>(&());
        let apis: Vec<Api<DynamicObject>> = if self.watched.is_empty() {
            vec![Api::all_with(self.client.clone(), &kind)]
        } else {
            self.watched.iter().map(|name| Api::namespaced_with(self.client.clone(), name, &kind)).collect()
        };
        let mut left = Vec::new();
        for api in apis {
            let found = async {
                match api.list(&ListParams::default()).await {
                    // The definition is gone, and with it every Release.
                    Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Vec::new()),
                    other => other.map(|list| list.items),
                }
            };
            left.extend(within("listing Releases", found).await?.iter().filter_map(Left::of));
        }
        Ok((lease, left))
    }

    /// What is said at the end.
    pub fn sentence(&self, outcome: &Outcome) -> String {
        let own = &self.namespace;
        let (first, left) = match outcome {
            Outcome::Home => return "every Release is home: nothing of Haldane is left at any workload".into(),
            Outcome::Late(left) => (format!("not home after {}:", Span(self.timeout)), left),
            Outcome::Stopped(left) => ("the command was stopped; not home:".to_owned(), left),
            Outcome::NoLeader(left) => (
                format!(
                    "no operator runs: nobody has renewed Lease {lease} in namespace {own}; start it (kubectl -n {own} get \
                     pods,lease) and try again, and give its namespace with -n where it is another one. Not home:",
                    lease = self.lease
                ),
                left,
            ),
        };
        let mut lines = vec![first];
        for left in left {
            lines.push(format!("  {left}"));
        }
        if !matches!(outcome, Outcome::NoLeader(_)) {
            lines.push("Haldane goes on working. Put right what is said above and try again.".into());
        }
        let commands: Vec<_> = left.iter().filter_map(Left::last_resort).collect();
        if !commands.is_empty() {
            lines.push("The last resort is to let go of them by hand:".into());
            lines.extend(commands.into_iter().map(|command| format!("  {command}")));
            lines.push(
                "That leaves behind, as they are now: the -canary backends in their routes and the Services of that name, \
                 pod-template-hash in the selectors of their Services, spec.paused of their Deployments, and ReplicaSets and \
                 DestinationRules labelled haldane.dev/release. Then uninstall with: helm uninstall --no-hooks"
                    .into(),
            );
        }
        clean_lines(&lines)
    }
}

/// Follows the lease: who holds it, and whether he lives.
struct Leader {
    last: Option<Record>,
    /// When it was last seen to change.
    alive: Instant,
}

impl Leader {
    fn see(&mut self, present: &Record, now: Instant) {
        let changed = self.last.as_ref().is_some_and(|last| last != present) && !present.holder.is_empty();
        if changed {
            self.alive = now;
        }
        self.last = Some(present.clone());
    }

    fn gone(&self, present: &Record, now: Instant, wall: At) -> bool {
        let old = present.renewed.is_none_or(|at| wall.since(At::new(at)) >= SILENT);
        now.duration_since(self.alive) >= if old { SURE } else { SILENT }
    }
}

/// A line for each Release that has come home or says something new.
fn progress(left: &[Left], told: &mut BTreeMap<String, String>, say: &mut impl FnMut(&str)) {
    let name = |left: &Left| format!("{}/{}", left.namespace, left.name);
    let home: Vec<String> = told.keys().filter(|known| !left.iter().any(|l| name(l) == **known)).cloned().collect();
    for known in home {
        say(&format!("Release {known}: home"));
        told.remove(&known);
    }
    for left in left {
        let line = left.to_string();
        if told.insert(name(left), line.clone()).as_ref() != Some(&line) {
            say(&line);
        }
    }
}

fn many(left: &[Left]) -> String {
    match left.len() {
        1 => "1 Release".into(),
        n => format!("{n} Releases"),
    }
}

fn clean_lines(lines: &[String]) -> String {
    lines.iter().map(|line| clean(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
