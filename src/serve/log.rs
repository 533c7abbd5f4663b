//! The log: one JSON object per line, with release, namespace, revision and state where there are any.

use std::io;

use tracing_subscriber::{EnvFilter, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

/// The environment variable with the level, for example `debug` or `info,haldane::controller=debug`.
pub const LEVEL: &str = "HALDANE_LOG";

/// Our own words and other crates' warnings. kube's client logs each answer above 499, watched and handled by us.
const DEFAULT: &str = "warn,haldane=info,kube_client::client::builder=off";

/// Starts the log. A second start changes nothing.
pub fn start() {
    let level = std::env::var(LEVEL).ok().filter(|level| !level.is_empty());
    let filter = level.as_deref().map_or_else(|| EnvFilter::new(DEFAULT), EnvFilter::new);
    let _ = subscriber(filter, io::stderr).try_init();
}

/// The log on any writer.
pub fn subscriber<W>(filter: EnvFilter, writer: W) -> impl SubscriberInitExt + tracing::Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let json =
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false);
    tracing_subscriber::registry().with(filter).with(json.with_writer(writer))
}
