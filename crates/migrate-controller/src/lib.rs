//! migrate-controller: one Migrate backs up one cluster and restores that into others.

pub mod args;
pub mod context;
pub mod controller;
pub mod metrics;
pub mod migrate;

use std::sync::Arc;

use anyhow::Context as _;
use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::labels;
use api_types::migrate::{Migrate, MigrateStatus};
use controller_kit::crds::{self, Wanted};
use controller_kit::event::Events;
use controller_kit::follow::Intake;
use controller_kit::http::{self, Readiness};
use controller_kit::reconcile::{Observer, ReconcileMetrics};
use controller_kit::trigger::Trigger;
use controller_kit::{hub as kit_hub, lease, shutdown, telemetry};
use prometheus_client::registry::Registry;
use proxy_client::{Members, Selection};
use tokio_util::sync::CancellationToken;
use velero_kit::operation::State as _;
use velero_kit::operation::calls::Slow;
use velero_kit::operation::contact::Contact;
use velero_kit::operation::memory::Memory;
use velero_kit::operation::metrics::Metrics;
use velero_kit::reading::settled::Settled;
use velero_kit::{NAMESPACE, identity};

use args::Args;
use context::{Context, Own};
use metrics::Stored;

/// The name that cluster-proxy's policy knows this process by, and that of its Lease and events.
pub const CALLER: &str = "migrate-controller";

const STORES: &str = "hub-watches";
const LEASE: &str = "kurator-migrate-controller";

/// Runs the process until a signal ends it.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let Args {
        hub,
        proxy,
        http,
        lease,
        telemetry,
        timings,
    } = args;
    let _telemetry = telemetry::init(&telemetry, CALLER)?;
    let stop = shutdown::on_signal().context("cannot listen for signals")?;
    let release = CancellationToken::new();

    let mut registry = Registry::default();
    let feeds = controller::Feeds::default();
    registry.register_collector(Box::new(Stored(feeds.migrates.as_reader())));
    let metrics = Metrics::register(&mut registry, &[MigrateStatus::KIND]);
    let observer = Observer::new("Migrate", ReconcileMetrics::register(&mut registry));
    let readiness = Readiness::waiting_for(&[crds::CHECK, STORES]);
    let server = http::serve(
        http.http_address,
        readiness.clone(),
        registry,
        release.clone(),
    )
    .await?;
    tracing::info!(address = %server.address, "serving health and metrics");

    let config = kit_hub::config(hub.kubeconfig.as_deref()).await?;
    let client = kit_hub::client(hub.kubeconfig.as_deref()).await?;
    let (leadership, lease_task) = lease::seek(config, &lease, LEASE, release.clone()).await?;
    if !crds::served(&client, &kinds(), &readiness, &stop).await {
        release.cancel();
        return Ok(lease_task.ended().await?);
    }

    let hub_uid = kit_hub::uid(&client).await?;
    let members = Members::connect(&proxy.proxy_endpoint, CALLER)?;
    let all = Selection {
        namespace: Some(NAMESPACE.to_owned()),
        ..Selection::default()
    };
    let ours = || Selection {
        labels: Some(identity::selector(labels::MIGRATE_NAME)),
        ..all.clone()
    };
    let ctx = Arc::new(Context {
        inventory: members.inventory(),
        contact: Contact::default(),
        backups: members.watch(ours()),
        restores: members.watch(ours()),
        requests: members.watch(ours()),
        locations: members.watch(all),
        members,
        hub_uid,
        fleets: feeds.fleets.as_reader(),
        clusters: feeds.clusters.as_reader(),
        intake: Intake::default(),
        events: Events::new(client.clone(), CALLER, lease.lease_identity.clone()),
        client,
        metrics,
        timings,
        memory: Memory::default(),
        slow: Slow::default(),
        settled: Settled::default(),
        leadership,
        own: Own {
            migrates: feeds.migrates.as_reader(),
            trigger: Trigger::default(),
        },
    });
    tokio::spawn(ready_when_filled(ctx.intake.clone(), readiness));
    let work = async {
        Box::pin(controller::run(
            Arc::clone(&ctx),
            feeds,
            observer,
            stop.clone(),
        ))
        .await;
        ctx.events.flush().await;
    };
    let work = shutdown::graceful(&stop, work);
    Ok(Box::pin(lease_task.around(work, &release)).await?)
}

/// The kinds of the hub that are followed.
fn kinds() -> [Wanted; controller::HUB_KINDS] {
    [
        Wanted::of::<Migrate>(),
        Wanted::of::<Fleet>(),
        Wanted::of::<AttachedCluster>(),
    ]
}

/// Ready once the hub's objects are known.
async fn ready_when_filled(intake: Intake, readiness: Readiness) {
    intake.complete(controller::HUB_KINDS).await;
    readiness.set(STORES, Ok(()));
}
