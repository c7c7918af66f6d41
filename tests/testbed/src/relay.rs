//! A TCP relay in front of an API server, which can lose the connection in two ways.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

const BUFFER: usize = 16 * 1024;
const REBIND: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    Cut,
    Refuse,
}

/// The way to one server. It runs on a thread of its own, since a bed outlives the runtime of
/// the test that started it.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Relay {
    pub(crate) fn start(ip: Ipv4Addr, port: u16, upstream: SocketAddr) -> Result<Self> {
        let address = SocketAddr::from((ip, port));
        let listener = std::net::TcpListener::bind(address)
            .with_context(|| format!("cannot listen on {address}"))?;
        listener
            .set_nonblocking(true)
            .context("cannot set up a relay")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot make a runtime for a relay")?;
        let (mode, changes) = watch::channel(Mode::Open);
        std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || runtime.block_on(serve(listener, address, upstream, changes)))
            .context("cannot start a thread for a relay")?;
        Ok(Self { address, mode })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as the server of a kubeconfig.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// From now on nothing passes and nothing is closed, as when a network is partitioned: open
    /// connections fall silent, new ones are accepted and never answered.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// From now on new connections are refused; open ones are reset.
    pub fn refuse(&self) {
        self.mode.send_replace(Mode::Refuse);
    }

    /// All is well again. What was held back by [`Relay::cut`] goes on where it stopped.
    pub fn heal(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

/// Ends when the [`Relay`] is dropped.
async fn serve(
    listener: std::net::TcpListener,
    address: SocketAddr,
    upstream: SocketAddr,
    mut mode: watch::Receiver<Mode>,
) {
    let mut listener = TcpListener::from_std(listener).ok();
    let mut connections = JoinSet::new();
    loop {
        let now = *mode.borrow_and_update();
        if now == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        tokio::select! {
            changed = mode.changed() => if changed.is_err() { return },
            accepted = accept(listener.as_ref()) => if let Some(client) = accepted {
                connections.spawn(relay(client, upstream, mode.clone()));
            },
            Some(_) = connections.join_next() => {}
            // A port can be taken for a moment after it was given up.
            () = tokio::time::sleep(REBIND), if listener.is_none() && now != Mode::Refuse => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(client, _)| client),
        None => std::future::pending().await,
    }
}

async fn relay(mut client: TcpStream, upstream: SocketAddr, mode: watch::Receiver<Mode>) {
    // Closing a connection that does not linger resets it.
    if let Ok(mut server) = connect(upstream, mode.clone()).await {
        client.set_nodelay(true).ok();
        server.set_nodelay(true).ok();
        if forward(&mut client, &mut server, mode).await.is_ok() {
            return;
        }
        server.set_zero_linger().ok();
    }
    client.set_zero_linger().ok();
}

/// The connection must be reset.
struct Reset;

impl From<std::io::Error> for Reset {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

async fn connect(
    upstream: SocketAddr,
    mut mode: watch::Receiver<Mode>,
) -> Result<TcpStream, Reset> {
    pass(&mut mode).await?;
    Ok(TcpStream::connect(upstream).await?)
}

async fn forward(
    client: &mut TcpStream,
    server: &mut TcpStream,
    mode: watch::Receiver<Mode>,
) -> Result<(), Reset> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let up = copy(from_client, to_server, mode.clone());
    let down = copy(from_server, to_client, mode);
    tokio::try_join!(up, down).map(|_| ())
}

/// Copies one direction until its source closes.
async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut mode: watch::Receiver<Mode>,
) -> Result<(), Reset> {
    let mut buffer = vec![0; BUFFER];
    loop {
        pass(&mut mode).await?;
        let length = tokio::select! {
            biased;
            _ = mode.changed() => continue,
            read = from.read(&mut buffer) => read?,
        };
        // The mode may have changed while this was read: then it must not pass any more.
        pass(&mut mode).await?;
        if length == 0 {
            return Ok(to.shutdown().await?);
        }
        to.write_all(&buffer[..length]).await?;
    }
}

/// Waits while the relay is cut.
async fn pass(mode: &mut watch::Receiver<Mode>) -> Result<(), Reset> {
    match mode.wait_for(|mode| *mode != Mode::Cut).await.as_deref() {
        Ok(Mode::Open) => Ok(()),
        _ => Err(Reset),
    }
}
