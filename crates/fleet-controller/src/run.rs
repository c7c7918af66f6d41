//! The process: what is started, in which order, and how it ends.

use std::sync::Arc;

use anyhow::Context as _;
use api_types::backup::Backup;
use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::migrate::Migrate;
use api_types::restore::Restore;
use controller_kit::args::ControllerArgs;
use controller_kit::boot;
use controller_kit::crds::{self, Wanted};
use controller_kit::event::Events;
use controller_kit::http::{self, Readiness};
use controller_kit::reconcile::ReconcileMetrics;
use controller_kit::{hub, lease, shutdown};
use kube::Client;
use prometheus_client::registry::Registry;
use proxy_client::Members;
use tokio_util::sync::CancellationToken;

use crate::CALLER;
use crate::args::Args;
use crate::context::{Context, MemberView, Triggers, Writer};
use crate::controller::{self, Streams};
use crate::hub::KINDS;
use crate::memory::Memory;
use crate::operations::Looks;

/// The readiness check that the hub's objects have been read.
const CACHES: &str = "caches";

/// Runs until `shutdown` is cancelled, or until leadership is lost, which is an error.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Args { common, timings } = args;
    let ControllerArgs {
        hub,
        proxy,
        http,
        lease,
        telemetry: _,
    } = common;
    let config = hub::config(hub.kubeconfig.as_deref()).await?;
    let client = Client::try_from(config.clone()).context("no client for the hub")?;
    let members = Members::connect(&proxy.proxy_endpoint, CALLER)?;
    let readiness = Readiness::waiting_for(&[crds::CHECK, CACHES]);
    let mut registry = Registry::default();
    let metrics = ReconcileMetrics::register(&mut registry);
    let ended = CancellationToken::new();
    let server = http::serve(
        http.http_address,
        readiness.clone(),
        registry,
        ended.clone(),
    )
    .await?;
    tracing::info!(address = %server.address, proxy = %proxy.proxy_endpoint, "serving health and metrics");
    let (leadership, lease) = lease::seek(config, &lease, CALLER, ended.clone()).await?;

    let streams = Streams::default();
    let context = Arc::new(Context {
        triggers: Triggers::default(),
        hub: streams.hub(),
        looks: Looks::default(),
        members: MemberView::new(&members),
        writer: Writer {
            events: Events::new(client.clone(), CALLER, None),
            client,
            leadership,
        },
        memory: Memory::default(),
        timings,
    });
    let work = Box::pin(work(&context, streams, readiness, metrics, &shutdown));
    lease
        .around(shutdown::graceful(&shutdown, work), &ended)
        .await
        .context("leadership ended")?;
    server
        .ended()
        .await
        .context("health and metrics server failed")
}

async fn work(
    context: &Arc<Context>,
    streams: Streams,
    readiness: Readiness,
    metrics: ReconcileMetrics,
    shutdown: &CancellationToken,
) {
    if !crds::served(&context.writer.client, &kinds(), &readiness, shutdown).await {
        return;
    }
    let intake = context.hub.intake.clone();
    let filled = boot::ready_when_filled(CACHES, readiness, intake, KINDS);
    tokio::spawn(filled);
    let passes = controller::run(context, streams, metrics, shutdown.clone());
    Box::pin(passes).await;
    context.writer.events.flush().await;
}

/// The kinds of the hub that are followed.
fn kinds() -> [Wanted; KINDS] {
    [
        Wanted::of::<Fleet>(),
        Wanted::of::<AttachedCluster>(),
        Wanted::of::<Backup>(),
        Wanted::of::<Restore>(),
        Wanted::of::<Migrate>(),
    ]
}
