//! `/healthz`, `/readyz`, `/metrics`.
//!
//! Liveness means that the event loop turns, nothing else: an API server or a Prometheus that is away must not get this
//! process killed. Readiness means that the watches have been filled; a standby is ready too.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, extract::State, http::StatusCode, http::header, response::IntoResponse, routing::get};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::tell::metrics::Metrics;

/// An event loop that needs longer for one task of no work is stuck.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What the answers are made of.
#[derive(Clone)]
pub struct Health {
    pub metrics: Metrics,
    /// Whether the watches have been filled once.
    pub synced: watch::Receiver<bool>,
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, health: Health, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, router(health)).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Opens the port.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

fn router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn alive() -> impl IntoResponse {
    match timeout(HEARTBEAT, tokio::spawn(async {})).await {
        Ok(Ok(())) => (StatusCode::OK, "ok\n"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "the event loop does not turn\n"),
    }
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    if *health.synced.borrow() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the watches have not been filled yet\n")
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match health.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, FORMAT)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response(),
    }
}

#[cfg(test)]
mod tests;
