//! Serves the gRPC API.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use proxy_client::proto::{
    inventory_server::InventoryServer, member_access_server::MemberAccessServer,
    member_watch_server::MemberWatchServer,
};
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::{Code, Status, body::Body, transport::server::Router};
use tonic_health::server::HealthReporter;
use tower::{
    layer::util::{Identity, Stack},
    util::MapResponseLayer,
};

use crate::{
    args::Listen,
    error::CallError,
    services::{Core, InventoryService, MemberAccessService, MemberWatchService},
};

/// A message of a caller may be this large.
const MESSAGE_MAX: usize = 4 * 1024 * 1024;
const STREAMS_PER_CONNECTION: u32 = 64;
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A bound socket.
#[derive(Debug)]
pub enum Bound {
    /// A loopback address.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Bound {
    /// Binds; a stale Unix socket of an earlier process is replaced.
    pub async fn bind(listen: &Listen) -> anyhow::Result<Self> {
        match listen {
            Listen::Tcp(address) => Ok(Self::Tcp(
                TcpListener::bind(address)
                    .await
                    .with_context(|| format!("listen on {address}"))?,
            )),
            Listen::Unix(path) => {
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(error).with_context(|| format!("replace {}", path.display()));
                    }
                    _ => {}
                }
                let listener = UnixListener::bind(path)
                    .with_context(|| format!("listen on {}", path.display()))?;
                // Whoever may open the socket is a trusted caller.
                let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                std::fs::set_permissions(path, owner_only)
                    .with_context(|| format!("protect {}", path.display()))?;
                Ok(Self::Unix(listener))
            }
        }
    }

    /// The address, which tells the port when 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

/// Serves until the core is stopped and its calls have ended.
pub async fn serve(core: Arc<Core>, bound: Bound) -> anyhow::Result<()> {
    let stop = core.stop.clone();
    let (health, health_service) = tonic_health::server::health_reporter();
    set_health(&health, true).await;
    let draining = {
        let (health, stop) = (health.clone(), stop.clone());
        tokio::spawn(async move {
            stop.cancelled().await;
            set_health(&health, false).await;
        })
    };
    let router = router(&core).add_service(health_service);
    let shutdown = stop.cancelled_owned();
    match bound {
        Bound::Tcp(listener) => {
            let incoming = TcpListenerStream::new(listener);
            let incoming = futures::StreamExt::map(incoming, |stream| {
                stream.inspect(|stream| {
                    // Without it small frames wait for acknowledgements.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "no TCP_NODELAY");
                    }
                })
            });
            router
                .serve_with_incoming_shutdown(incoming, shutdown)
                .await?;
        }
        Bound::Unix(listener) => {
            let incoming = UnixListenerStream::new(listener);
            router
                .serve_with_incoming_shutdown(incoming, shutdown)
                .await?;
        }
    }
    draining.abort();
    Ok(())
}

type Answer = http::Response<Body>;
type Layers = Stack<MapResponseLayer<fn(Answer) -> Answer>, Identity>;

fn router(core: &Arc<Core>) -> Router<Layers> {
    let access = MemberAccessServer::new(MemberAccessService::new(Arc::clone(core)));
    let watch = MemberWatchServer::new(MemberWatchService::new(Arc::clone(core)));
    let inventory = InventoryServer::new(InventoryService::new(Arc::clone(core)));
    tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .layer(MapResponseLayer::new(
            name_the_limit as fn(Answer) -> Answer,
        ))
        .add_service(access.max_decoding_message_size(MESSAGE_MAX))
        .add_service(watch.max_decoding_message_size(MESSAGE_MAX))
        .add_service(inventory.max_decoding_message_size(MESSAGE_MAX))
}

/// tonic says `OUT_OF_RANGE` of a message that is too large, which to callers means an expired list.
fn name_the_limit(answer: Answer) -> Answer {
    match Status::from_header_map(answer.headers()) {
        Some(status) if is_too_large(&status) => Status::from(too_large()).into_http(),
        _ => answer,
    }
}

/// Statuses of our own come with details.
pub(crate) fn is_too_large(status: &Status) -> bool {
    status.code() == Code::OutOfRange && status.details().is_empty()
}

/// A caller's message is over the limit.
pub(crate) fn too_large() -> CallError {
    CallError::invalid("message", "is larger than the 4 MiB that are read")
}

async fn set_health(health: &HealthReporter, serving: bool) {
    type Access = MemberAccessServer<MemberAccessService>;
    type Watch = MemberWatchServer<MemberWatchService>;
    type States = InventoryServer<InventoryService>;
    if serving {
        health.set_serving::<Access>().await;
        health.set_serving::<Watch>().await;
        health.set_serving::<States>().await;
    } else {
        health.set_not_serving::<Access>().await;
        health.set_not_serving::<Watch>().await;
        health.set_not_serving::<States>().await;
    }
}
