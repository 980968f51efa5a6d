//! The admin port of a replica: HTTP for supervisors and for Prometheus, reading only.
//!
//! `/livez` answers 200 while the process runs, `/readyz` while the replica is part of a working view
//! (503 otherwise), `/status` with the document that `vsr status` shows, `/metrics` with its numbers.
//! There is no authentication: it belongs on loopback or behind a proxy.

use std::fmt;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use vsr_tokio::{Observer, Status};

use crate::error::{Failure, Outcome};

/// Takes the admin port.
///
/// # Errors
/// The address cannot be had.
pub(crate) async fn listen(address: &str) -> Outcome<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::usage(
            format!("cannot serve --admin on {address}: {error}"),
            "stop the other process, or choose another address",
        )
    })
}

/// Answers until the process ends.
pub(crate) async fn serve(listener: TcpListener, observer: Observer) {
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .with_state(observer);
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "the admin port is closed");
    }
}

async fn ready(State(observer): State<Observer>) -> Response {
    match observer.status().await {
        Ok(status) if status.status == "normal" => "ok\n".into_response(),
        Ok(status) => (StatusCode::SERVICE_UNAVAILABLE, status.status + "\n").into_response(),
        Err(gone) => gone_away(&gone),
    }
}

async fn status(State(observer): State<Observer>) -> Response {
    match observer.status().await {
        Ok(status) => typed("application/json", status.to_json()),
        Err(gone) => gone_away(&gone),
    }
}

async fn metrics(State(observer): State<Observer>) -> Response {
    let status = match observer.status().await {
        Ok(status) => status,
        Err(gone) => return gone_away(&gone),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics(status)));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => {
            typed("application/openmetrics-text; version=1.0.0; charset=utf-8", text.into_bytes())
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn typed(content_type: &'static str, body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

fn gone_away(gone: &vsr_tokio::NodeGone) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{gone}\n")).into_response()
}

/// A replica's numbers.
#[derive(Debug)]
struct Metrics(Status);

impl Metrics {
    /// What only rises while the process runs.
    fn counters(&self) -> [(&'static str, &'static str, u64); 5] {
        let status = &self.0;
        [
            ("vsr_operations", "Operations executed, those of a replay included", status.ops),
            ("vsr_syncs", "Syncs of the disk", status.syncs),
            ("vsr_writes", "Writes made durable", status.writes),
            ("vsr_transfer_bytes", "Bytes of checkpoints from peers", status.transfer_bytes),
            ("vsr_faults_repaired", "Entries repaired by peers", status.faults_repaired),
        ]
    }

    fn gauges(&self) -> [(&'static str, &'static str, u64); 10] {
        let status = &self.0;
        let primary = u64::from(status.role == "primary" && status.ready);
        [
            ("vsr_view", "The view it is in", status.view),
            ("vsr_op", "The last op of its log", status.op),
            ("vsr_commit", "The last op it knows to be committed", status.commit),
            ("vsr_applied", "The last op its service executed", status.applied),
            ("vsr_durable", "The last op that is durable without a gap", status.durable),
            ("vsr_primary", "Whether it is the primary and takes requests", primary),
            ("vsr_normal", "Whether its status is normal", u64::from(status.status == "normal")),
            ("vsr_repairs_pending", "What it asks its peers for", status.repairs_pending.into()),
            ("vsr_sessions", "Open sessions", status.sessions.into()),
            ("vsr_clients", "Client connections", status.clients),
        ]
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in self.counters() {
            let counter = ConstCounter::new(value);
            let kind = counter.metric_type();
            counter.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        for (name, help, value) in self.gauges() {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let kind = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        Ok(())
    }
}
