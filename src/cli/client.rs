//! The way to the cluster for a person's command: kubeconfig, namespace, identity, and calls that end in time.

use std::{fmt, future::Future, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::api::Release;

/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// Which cluster, and as whom.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub struct Cluster {
    /// The namespace [default: the context's]
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// The kubeconfig context
    #[arg(long)]
    pub context: Option<String>,
    /// The kubeconfig file
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Act as this user
    #[arg(long = "as", value_name = "USER")]
    pub impersonate: Option<String>,
}

/// A connection and the namespace that names are looked up in.
pub struct Reach {
    pub client: Client,
    pub namespace: String,
}

impl Cluster {
    pub async fn connect(&self) -> anyhow::Result<Reach> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match &self.kubeconfig {
            Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?,
            None if self.context.is_some() => Config::from_kubeconfig(&options).await?,
            None => Config::infer().await.context("no kubeconfig was found; set KUBECONFIG or give --kubeconfig")?,
        };
        if self.impersonate.is_some() {
            config.auth_info.impersonate.clone_from(&self.impersonate);
        }
        // A person waits at the terminal: an error now is better than a retry for minutes.
        config.default_retry = false;
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Reach { client: Client::try_from(config)?, namespace })
    }

    /// The flag to repeat in a command that is suggested.
    pub fn namespace_flag(&self) -> String {
        self.namespace.as_ref().map(|n| format!(" -n {n}")).unwrap_or_default()
    }
}

impl Reach {
    pub fn releases(&self) -> Api<Release> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// One Release.
    pub async fn release(&self, name: &str) -> anyhow::Result<Release> {
        let what = format!("reading Release {name}");
        match within(&what, self.releases().get_opt(name)).await? {
            Some(release) => Ok(release),
            None => bail!("there is no Release {name} in namespace {}", self.namespace),
        }
    }
}

/// Ends a call in time, and says what was being done when it failed.
pub async fn within<T>(what: &str, call: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
    match tokio::time::timeout(CALL_LIMIT, call).await {
        Ok(answer) => answer.map_err(|error| anyhow::anyhow!("{what}: {}", Words(&error))),
        Err(_) => bail!("{what}: the API server did not answer within {} s", CALL_LIMIT.as_secs()),
    }
}

/// The API server's own sentence, without the client's wrapping.
struct Words<'a>(&'a kube::Error);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            kube::Error::Api(status) if !status.message.is_empty() => f.write_str(&status.message),
            other => write!(f, "{other}"),
        }
    }
}
