//! A TCP relay in front of an API server, which can lose the connection in two ways.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
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

/// The way to one API server. It runs on a thread of its own, since a bed outlives the runtime of
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

    /// Where it listens, as the server of a kubeconfig.
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

async fn relay(client: TcpStream, upstream: SocketAddr, mut mode: watch::Receiver<Mode>) {
    if !passes(&mut mode).await {
        client.set_zero_linger().ok();
        return;
    }
    let Ok(server) = TcpStream::connect(upstream).await else {
        client.set_zero_linger().ok();
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let up = tokio::spawn(copy(from_client, to_server, mode.clone()));
    let down = tokio::spawn(copy(from_server, to_client, mode));
    let (Ok(up), Ok(down)) = (up.await, down.await) else {
        return;
    };
    for (end, stream) in [up, down] {
        if end == End::Reset {
            stream.as_ref().set_zero_linger().ok();
        }
    }
}

/// Waits while the relay is cut. False if the connection must be reset.
async fn passes(mode: &mut watch::Receiver<Mode>) -> bool {
    mode.wait_for(|mode| *mode != Mode::Cut)
        .await
        .is_ok_and(|mode| *mode == Mode::Open)
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

/// Copies one direction. Gives the writing half back, so that the whole connection can be reset.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
) -> (End, OwnedWriteHalf) {
    let mut buffer = vec![0; BUFFER];
    loop {
        if !passes(&mut mode).await {
            return (End::Reset, to);
        }
        let read = tokio::select! {
            biased;
            _ = mode.changed() => continue,
            read = from.read(&mut buffer) => read,
        };
        // The mode may have changed while this was read: then it must not pass any more.
        if !passes(&mut mode).await {
            return (End::Reset, to);
        }
        match read {
            Ok(0) => {
                to.shutdown().await.ok();
                return (End::Closed, to);
            }
            Ok(length) => {
                if to.write_all(&buffer[..length]).await.is_err() {
                    return (End::Reset, to);
                }
            }
            Err(_) => return (End::Reset, to),
        }
    }
}
