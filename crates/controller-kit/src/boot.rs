//! A controller's process from its start to its end: telemetry, signals, health and metrics, the hub,
//! the Lease, the kinds that it follows, its work, and the Lease given back.

use std::fmt;
use std::net::SocketAddr;

use anyhow::Context as _;
use kube::Client;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::args::ControllerArgs;
use crate::crds::{self, Wanted};
use crate::event::Events;
use crate::follow::Intake;
use crate::http::{self, Readiness};
use crate::lease::{self, Leadership, LeaseTask};
use crate::{hub, shutdown, telemetry};

/// The readiness check that the hub's objects have been read.
const STORES: &str = "hub-watches";

/// What a process is called.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// By cluster-proxy's policy, in its events and in traces.
    pub caller: &'static str,
    /// Its Lease, unless a flag says otherwise.
    pub lease: &'static str,
}

/// A process that can be asked how it is, and has not looked at the hub yet.
#[derive(Debug)]
pub struct Serving<'a> {
    /// Where health and metrics are served.
    pub address: SocketAddr,
    names: Names,
    args: &'a ControllerArgs,
    readiness: Readiness,
    stop: CancellationToken,
    release: CancellationToken,
    telemetry: telemetry::Guard,
}

/// Sets up telemetry, listens for signals, and serves health and what the registry holds.
pub async fn serve(
    names: Names,
    args: &ControllerArgs,
    registry: Registry,
) -> anyhow::Result<Serving<'_>> {
    let telemetry = telemetry::init(&args.telemetry, names.caller)?;
    let stop = shutdown::on_signal().context("cannot listen for signals")?;
    let release = CancellationToken::new();
    let readiness = Readiness::waiting_for(&[crds::CHECK, STORES]);
    let server = http::serve(
        args.http.http_address,
        readiness.clone(),
        registry,
        release.clone(),
    )
    .await?;
    Ok(Serving {
        address: server.address,
        names,
        args,
        readiness,
        stop,
        release,
        telemetry,
    })
}

impl Serving<'_> {
    /// Finds the hub, seeks the Lease and waits for the kinds that are followed. `None`: it was told
    /// to end before the hub served them, and has ended.
    pub async fn start(self, kinds: &[Wanted]) -> anyhow::Result<Option<Started>> {
        let Self {
            address: _,
            names,
            args,
            readiness,
            stop,
            release,
            telemetry,
        } = self;
        let kubeconfig = args.hub.kubeconfig.as_deref();
        let config = hub::config(kubeconfig).await?;
        let client = hub::client(kubeconfig).await?;
        let (leadership, lease) =
            lease::seek(config, &args.lease, names.lease, release.clone()).await?;
        if !crds::served(&client, kinds, &readiness, &stop).await {
            release.cancel();
            lease.ended().await?;
            return Ok(None);
        }
        let hub_uid = hub::uid(&client).await?;
        let instance = args.lease.lease_identity.clone();
        Ok(Some(Started {
            events: Events::new(client.clone(), names.caller, instance),
            client,
            hub_uid,
            intake: Intake::default(),
            leadership,
            stop,
            kinds: kinds.len(),
            readiness,
            lease,
            release,
            _telemetry: telemetry,
        }))
    }
}

/// A process that can begin to work.
pub struct Started {
    /// The hub.
    pub client: Client,
    /// Uid of the hub's namespace `kube-system`.
    pub hub_uid: String,
    /// Publishes events on hub objects; what waits is published after the work.
    pub events: Events,
    /// How complete the stores of the hub are: the process is ready once it knows of all kinds.
    pub intake: Intake,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// Cancelled when the process is told to end.
    pub stop: CancellationToken,
    kinds: usize,
    readiness: Readiness,
    lease: LeaseTask,
    release: CancellationToken,
    /// The last to be dropped.
    _telemetry: telemetry::Guard,
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started")
            .field("hub_uid", &self.hub_uid)
            .finish_non_exhaustive()
    }
}

impl Started {
    /// Runs the work, which ends by itself once [`stop`](Self::stop) is cancelled, then gives the
    /// Lease back. An error when leadership is lost before.
    pub async fn run(self, work: impl Future<Output = ()>) -> anyhow::Result<()> {
        let filled = ready_when_filled(STORES, self.readiness, self.intake, self.kinds);
        tokio::spawn(filled);
        let work = async {
            work.await;
            self.events.flush().await;
        };
        let work = shutdown::graceful(&self.stop, work);
        Ok(Box::pin(self.lease.around(work, &self.release)).await?)
    }
}

/// Lets a check pass once so many kinds of the hub are known completely.
pub async fn ready_when_filled(
    check: &'static str,
    readiness: Readiness,
    intake: Intake,
    kinds: usize,
) {
    intake.complete(kinds).await;
    readiness.set(check, Ok(()));
}
