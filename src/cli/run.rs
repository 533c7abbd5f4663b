//! `haldane run`: the operator.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use kube::{Client, Config};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    controller::{
        active::Active,
        client::{CALL_LIMIT, Fence, guarded, plain},
        context::{Context, Kicks},
        lease::{Lease, election::Timing},
        pass::Work,
        run::{Scope, run as run_loop},
        senses::Senses,
        work::Passes,
    },
    observe::clock,
    serve::{http, log},
    tell::{metrics::Metrics, notify::Post, outbox::Outbox},
};

/// How long passes may take to notice that they are to stop.
const STOP_LIMIT: Duration = Duration::from_secs(1);
/// How long giving back the lease may take.
const LEASE_LIMIT: Duration = Duration::from_secs(2);

/// Runs the operator: one of all replicas works, the others stand by.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The operator's own namespace: its lease, MetricProviders, Notifiers and their Secrets
    #[arg(long, env = "POD_NAMESPACE", default_value = "haldane-system")]
    pub namespace: String,
    /// The name of this process among the replicas; must be its own [default: host name and process id]
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,
    /// Namespaces to look after, separated by commas; none means all
    #[arg(long, env = "HALDANE_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, env = "HALDANE_ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)))]
    pub address: SocketAddr,
    /// Passes at the same time
    #[arg(long, env = "HALDANE_CONCURRENCY", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// The name of the lease that the replicas compete for
    #[arg(long, env = "HALDANE_LEASE", default_value = "haldane")]
    pub lease: String,
    /// The operator's own image, for the Jobs of Redis steps in rollback plans
    #[arg(long, env = "HALDANE_IMAGE")]
    pub image: Option<String>,
    /// What tells this installation from a later one [default: the UID of the service account]
    #[arg(long, env = "HALDANE_INSTALLATION")]
    pub installation: Option<String>,
}

/// The operator with its real work.
pub async fn operator(args: RunArgs) -> anyhow::Result<ExitCode> {
    run(args, |ctx| {
        let senses =
            Senses::new(ctx.client.clone(), &ctx.operator_namespace, &ctx.kicks).map_err(anyhow::Error::msg)?;
        Ok(Arc::new(Arc::new(Passes::new(senses))))
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// Runs until SIGTERM or SIGINT, then gives the lease back. `work` makes what a pass does from what all passes share.
pub async fn run(args: RunArgs, work: impl FnOnce(&Context) -> anyhow::Result<Arc<dyn Work>>) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    log::start();
    let config = Config::infer().await.context("no kubeconfig and no service account was found")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let operator = start(args, config, work, stop.clone());
    tokio::pin!(operator);
    tokio::select! {
        outcome = &mut operator => return outcome,
        _ = terminate.recv() => {}
        outcome = tokio::signal::ctrl_c() => outcome?,
    }
    info!("stopping");
    stop.cancel();
    operator.await
}

/// The operator until `stop`, on any cluster.
pub async fn start(
    args: RunArgs,
    config: Config,
    work: impl FnOnce(&Context) -> anyhow::Result<Arc<dyn Work>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    start_over(args, |limit| plain(config.clone(), limit), work, stop).await
}

/// As `start`, over connections that `connect` makes; what it is given is how long connecting may take.
pub async fn start_over(
    args: RunArgs,
    connect: impl Fn(Duration) -> kube::Result<Client>,
    work: impl FnOnce(&Context) -> anyhow::Result<Arc<dyn Work>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let identity = args.identity.clone().unwrap_or_else(own_name);
    let listener = http::bind(args.address).await.with_context(|| format!("{} cannot be opened", args.address))?;
    let metrics = Metrics::default();
    let (fence, timing) = (Fence::closed(), Timing::default());
    let client = guarded(connect(CALL_LIMIT)?, fence.clone(), metrics.calls(), CALL_LIMIT);
    let watch_client = guarded(connect(CALL_LIMIT)?, Fence::closed(), metrics.calls(), CALL_LIMIT);
    let lease_client = guarded(connect(timing.call)?, Fence::open(), metrics.calls(), timing.call);
    let (mut lease, leading) = Lease::new(lease_client, &args.namespace, &args.lease, &identity, timing, fence);
    lease.installation(args.installation);

    let kicks = Kicks::default();
    let kick = {
        let kicks = kicks.clone();
        Arc::new(move |namespace: &str, name: &str| kicks.kick(namespace, name))
    };
    let post = Post::new(client.clone(), args.namespace.clone(), identity.clone())?;
    let ctx = Context {
        client,
        operator_namespace: args.namespace,
        identity: identity.clone(),
        image: args.image.map(Into::into),
        metrics: metrics.clone(),
        outbox: Outbox::new(post, kick, metrics.clone()),
        kicks,
        notes: Arc::default(),
        active: Active::default(),
        backoff: Arc::default(),
        leading,
        retiring: lease.retiring(),
    };
    let work = work(&ctx)?;
    let (synced, ready) = watch::channel(false);
    info!(identity, version = env!("CARGO_PKG_VERSION"), "starting");

    let (end_lease, end_http) = (CancellationToken::new(), CancellationToken::new());
    let web = tokio::spawn(http::serve(listener, http::Health { metrics, synced: ready }, end_http.clone()));
    let candidacy = tokio::spawn(lease.run(end_lease.clone()));
    let scope = Scope { namespaces: args.watch_namespaces, concurrency: args.concurrency };
    let passes = run_loop(ctx, watch_client, work, scope, synced, stop.clone());
    tokio::pin!(passes);
    tokio::select! {
        () = &mut passes => {}
        () = stop.cancelled() => {
            if timeout(STOP_LIMIT, &mut passes).await.is_err() {
                warn!("passes did not stop in time; the fence stops their writes");
            }
        }
    }
    // Only when nothing works any more may another process begin.
    end_lease.cancel();
    if timeout(LEASE_LIMIT, candidacy).await.is_err() {
        warn!("the lease was not given back in time; it runs out by itself");
    }
    end_http.cancel();
    let _ = timeout(STOP_LIMIT, web).await;
    Ok(())
}

/// Not used by any other process on earth at this moment.
fn own_name() -> String {
    let host = std::env::var("HOSTNAME").ok().or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    let host = host.map(|h| h.trim().to_owned()).filter(|h| !h.is_empty()).unwrap_or_else(|| "haldane".into());
    let started = clock::now().timestamp().as_millisecond();
    format!("{host}-{}-{started}", std::process::id())
}
