//! `/livez`, `/readyz` and `/metrics`.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the process waits for. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    checks: Arc<RwLock<BTreeMap<&'static str, Result<(), String>>>>,
}

impl Readiness {
    /// Not ready until each of these checks was set to `Ok`.
    pub fn waiting_for(checks: &[&'static str]) -> Self {
        let readiness = Self::default();
        for check in checks {
            readiness.set(check, Err("not yet".into()));
        }
        readiness
    }

    /// Sets a check: passing, or failing with the reason.
    pub fn set(&self, check: &'static str, state: Result<(), String>) {
        let mut checks = self.checks.write().unwrap_or_else(PoisonError::into_inner);
        checks.insert(check, state);
    }

    /// The failing checks and their reasons.
    pub fn failing(&self) -> Vec<(&'static str, String)> {
        let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner);
        checks
            .iter()
            .filter_map(|(check, state)| Some((*check, state.as_ref().err()?.clone())))
            .collect()
    }

    /// Whether no check fails.
    pub fn is_ready(&self) -> bool {
        self.failing().is_empty()
    }
}

/// The server, while it runs.
#[derive(Debug)]
pub struct Server {
    /// Where it listens; tells the port when 0 was asked for.
    pub address: SocketAddr,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Waits for its end, which comes after the shutdown.
    pub async fn ended(self) -> io::Result<()> {
        self.task.await.map_err(io::Error::other)?
    }
}

/// Serves health and metrics until the shutdown.
pub async fn serve(
    address: SocketAddr,
    readiness: Readiness,
    registry: Registry,
    shutdown: CancellationToken,
) -> io::Result<Server> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(readiness))
        .route("/metrics", get(metrics).with_state(Arc::new(registry)));
    let server = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
    Ok(Server {
        address,
        task: tokio::spawn(server.into_future()),
    })
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let failing = readiness.failing();
    if failing.is_empty() {
        return "ok\n".into_response();
    }
    let lines = failing
        .iter()
        .map(|(check, reason)| format!("{check}: {reason}\n"));
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect::<String>()).into_response()
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing_and_metrics_are_served() {
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        registry.register("kurator_test", "A test", counter.clone());
        counter.inc();
        let readiness = Readiness::waiting_for(&["crds", "inventory"]);
        let shutdown = CancellationToken::new();
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = serve(anywhere, readiness.clone(), registry, shutdown.clone())
            .await
            .unwrap();

        readiness.set("inventory", Ok(()));
        readiness.set("crds", Err("waiting for backups".into()));
        let answer = ask(server.address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.ends_with("crds: waiting for backups\n"), "{answer}");
        assert!(
            ask(server.address, "/livez")
                .await
                .starts_with("HTTP/1.1 200")
        );

        readiness.set("crds", Ok(()));
        assert!(
            ask(server.address, "/readyz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        let answer = ask(server.address, "/metrics").await;
        assert!(answer.contains("openmetrics-text"), "{answer}");
        assert!(answer.contains("kurator_test_total 1\n"), "{answer}");

        let taken = serve(
            server.address,
            readiness,
            Registry::default(),
            shutdown.clone(),
        )
        .await;
        let error = taken.unwrap_err().to_string();
        assert!(error.contains("cannot listen on 127.0.0.1"), "{error}");
        shutdown.cancel();
        server.ended().await.unwrap();
    }
}
