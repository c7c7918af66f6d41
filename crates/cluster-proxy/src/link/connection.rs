//! One HTTP/2 connection to a member.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{LinkContext, dial::dial};
use crate::credentials::Credentials;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TLS_TIMEOUT: Duration = Duration::from_secs(5);
/// With the answer awaited for 5 s a silent member is noticed in 14 s, inside the promised 15.
const PING_INTERVAL: Duration = Duration::from_secs(9);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
const HEADER_LIST_MAX: u32 = 16 * 1024;

/// HTTP/2 flow control windows: how much a member may have in flight towards us.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    stream: u32,
    connection: u32,
}

/// For watches: small, since there are many members and each is an adversary.
pub const WATCH_WINDOWS: Windows = Windows {
    stream: 128 * 1024,
    connection: 512 * 1024,
};
/// For calls.
pub const UNARY_WINDOWS: Windows = Windows {
    stream: 512 * 1024,
    connection: 2 * 1024 * 1024,
};

/// Why no connection came about.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig's server may not be dialled.
    #[error("server {host} is {why}, which the proxy does not connect to")]
    Address {
        /// The host of the kubeconfig.
        host: String,
        /// What is wrong with its address.
        why: &'static str,
    },
    /// The member's certificate is not trusted.
    #[error("the member's certificate is not trusted: {0}")]
    Certificate(String),
    /// The member does not accept our certificate.
    #[error("the member refuses our certificate: {0}")]
    Identity(String),
    /// The member speaks no HTTP/2.
    #[error("no h2 in the TLS handshake")]
    Http2Required,
    /// It cannot be reached.
    #[error("{0}")]
    Unreachable(String),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The member or a middlebox closed it.
    Closed,
    /// Pings were not answered.
    Silent,
}

/// Sends requests, and knows what the member allows.
type Driver = http2::Connection<TokioIo<TlsStream<Tracked>>, Full<Bytes>, TokioExecutor>;

/// A live connection. Dropping the last handle closes it once its streams are done.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    last_read: Arc<LastRead>,
    end: watch::Receiver<Option<End>>,
    driver: Arc<Mutex<Driver>>,
    streams: Arc<Streams>,
    credentials: Arc<Credentials>,
}

impl Connection {
    /// Dials, verifies and shakes hands; bounded by the timeouts of each step.
    pub async fn open(
        credentials: &Arc<Credentials>,
        context: &LinkContext,
        windows: Windows,
    ) -> Result<Self, ConnectError> {
        let tcp = timeout(
            CONNECT_TIMEOUT,
            dial(&credentials.host, credentials.port, &context.addresses),
        )
        .await
        .map_err(|_| unreachable("no connection within 3 s"))??;
        let last_read = Arc::new(LastRead::new());
        let tcp = Tracked {
            inner: tcp,
            last_read: Arc::clone(&last_read),
        };
        let tls = timeout(TLS_TIMEOUT, shake_hands(credentials, tcp))
            .await
            .map_err(|_| unreachable("no TLS handshake within 5 s"))??;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            // More would be refused by a member that allows fewer than is usual.
            .initial_max_send_streams(1)
            .initial_stream_window_size(windows.stream)
            .initial_connection_window_size(windows.connection)
            .max_header_list_size(HEADER_LIST_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(tls))
            .await
            .map_err(|e| unreachable(format!("HTTP/2 handshake: {e}")))?;
        let (ended, end) = watch::channel(None);
        let heard = Arc::clone(&last_read);
        let driver = Arc::new(Mutex::new(connection));
        let task = Arc::clone(&driver);
        let counted = context.metrics.connection();
        tokio::spawn(async move {
            let _counted = counted;
            let result = poll_fn(|cx| locked(&task).poll_unpin(cx)).await;
            // hyper ends the same way for an unanswered ping and for a close, but only the former
            // follows silence.
            let silent = heard.age() >= PING_INTERVAL;
            tracing::debug!(?result, silent, "member connection ended");
            ended.send_replace(Some(if silent { End::Silent } else { End::Closed }));
        });
        Ok(Self {
            sender,
            last_read,
            end,
            driver,
            streams: Arc::default(),
            credentials: Arc::clone(credentials),
        })
    }

    /// A handle to send one request.
    pub fn sender(&self) -> SendRequest<Full<Bytes>> {
        self.sender.clone()
    }

    /// The credentials that it was opened with.
    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    /// Whether new requests may be sent.
    pub fn is_open(&self) -> bool {
        self.end.borrow().is_none() && !self.sender.is_closed()
    }

    /// Room for one more watch: up to 80 % of the streams that the member allows.
    pub fn watch_place(&self) -> Option<WatchPlace> {
        let limit = locked(&self.driver).current_max_send_streams();
        self.streams.enter(limit).then(|| WatchPlace {
            streams: Arc::clone(&self.streams),
        })
    }

    /// How long ago the member's last byte came, ping answers included.
    pub fn silence(&self) -> Duration {
        self.last_read.age()
    }

    /// When the member's last byte came; it outlives the connection.
    pub fn last_read(&self) -> &Arc<LastRead> {
        &self.last_read
    }

    /// Resolves when it has ended.
    pub async fn ended(&self) -> End {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await.map(|end| *end);
        ended.ok().flatten().unwrap_or(End::Closed)
    }
}

fn locked(driver: &Mutex<Driver>) -> MutexGuard<'_, Driver> {
    driver.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many watches a connection carries.
#[derive(Debug, Default)]
struct Streams {
    watches: AtomicUsize,
}

impl Streams {
    /// `limit`: the member's `MAX_CONCURRENT_STREAMS`, 1 before it is known.
    fn enter(&self, limit: usize) -> bool {
        // The rest is for probes, and for watches whose end the member has not seen yet.
        let most = (limit.saturating_mul(4) / 5).max(1);
        let more = |watches: usize| (watches < most).then_some(watches + 1);
        self.watches
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }
}

/// One watch's part of a connection; free again when dropped.
#[derive(Debug)]
pub struct WatchPlace {
    streams: Arc<Streams>,
}

impl Drop for WatchPlace {
    fn drop(&mut self) {
        self.streams.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn unreachable(message: impl Into<String>) -> ConnectError {
    ConnectError::Unreachable(message.into())
}

async fn shake_hands(
    credentials: &Credentials,
    tcp: Tracked,
) -> Result<TlsStream<Tracked>, ConnectError> {
    let connector = TlsConnector::from(Arc::clone(&credentials.tls));
    let tls = connector
        .connect(credentials.server_name.clone(), tcp)
        .await
        .map_err(|e| tls_error(&e))?;
    if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(ConnectError::Http2Required);
    }
    Ok(tls)
}

fn tls_error(error: &io::Error) -> ConnectError {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(why))) => {
            ConnectError::Certificate(why.0.to_string())
        }
        Some(rustls::Error::InvalidCertificate(why)) => ConnectError::Certificate(why.to_string()),
        Some(rustls::Error::NoApplicationProtocol) => ConnectError::Http2Required,
        Some(rustls::Error::AlertReceived(alert)) => match alert {
            rustls::AlertDescription::NoApplicationProtocol => ConnectError::Http2Required,
            alert => ConnectError::Identity(format!("{alert:?}")),
        },
        _ => unreachable(format!("TLS: {error}")),
    }
}

/// When the member's last byte came.
#[derive(Debug)]
pub struct LastRead {
    start: Instant,
    millis: AtomicU64,
}

impl LastRead {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            millis: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn touch(&self) {
        self.millis.store(self.now(), Ordering::Relaxed);
    }

    /// How long ago that was.
    pub fn age(&self) -> Duration {
        let last = self.millis.load(Ordering::Relaxed);
        Duration::from_millis(self.now().saturating_sub(last))
    }
}

/// A TCP stream that notes when bytes arrive.
#[derive(Debug)]
struct Tracked {
    inner: TcpStream,
    last_read: Arc<LastRead>,
}

impl AsyncRead for Tracked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.last_read.touch();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tracked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_take_four_fifths_of_a_connections_streams() {
        for (limit, room) in [(0, 1), (1, 1), (10, 8), (100, 80), (usize::MAX / 2, 1000)] {
            let streams = Arc::new(Streams::default());
            let entered = (0..1000).take_while(|_| streams.enter(limit)).count();
            assert_eq!(entered, room, "of {limit}");
            drop(WatchPlace {
                streams: Arc::clone(&streams),
            });
            assert!(streams.enter(limit), "a place that was left is free");
        }
    }
}
