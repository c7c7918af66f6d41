//! migrate-controller: one Migrate backs up one cluster and restores that into others.

pub mod args;
pub mod context;
pub mod controller;
pub mod metrics;
pub mod migrate;

use std::sync::Arc;

use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::migrate::{Migrate, MigrateStatus};
use controller_kit::boot::{self, Names};
use controller_kit::crds::Wanted;
use controller_kit::reconcile::{Observer, ReconcileMetrics};
use controller_kit::trigger::Trigger;
use prometheus_client::registry::Registry;
use proxy_client::Members;
use velero_kit::operation::State as _;
use velero_kit::operation::context::Given;
use velero_kit::operation::metrics::Metrics;

use args::Args;
use context::{Context, Own};
use metrics::Stored;

/// What this process is called.
pub const NAMES: Names = Names {
    caller: "migrate-controller",
    lease: "kurator-migrate-controller",
};

/// Runs the process until a signal ends it.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let Args { common, timings } = args;
    let mut registry = Registry::default();
    let feeds = controller::Feeds::default();
    registry.register_collector(Box::new(Stored(feeds.migrates.as_reader())));
    let metrics = Metrics::register(&mut registry, &[MigrateStatus::KIND]);
    let observer = Observer::new("Migrate", ReconcileMetrics::register(&mut registry));

    let serving = boot::serve(NAMES, &common, registry).await?;
    tracing::info!(address = %serving.address, "serving health and metrics");
    let Some(process) = serving.start(&kinds()).await? else {
        return Ok(());
    };

    let ctx = Arc::new(Context::new(
        &process,
        Given {
            members: Members::connect(&common.proxy.proxy_endpoint, NAMES.caller)?,
            fleets: feeds.fleets.as_reader(),
            clusters: feeds.clusters.as_reader(),
            metrics,
            timings,
            own: Own {
                migrates: feeds.migrates.as_reader(),
                trigger: Trigger::default(),
            },
        },
    ));
    let work = controller::run(ctx, feeds, observer, process.stop.clone());
    process.run(Box::pin(work)).await
}

/// The kinds of the hub that are followed.
fn kinds() -> [Wanted; 3] {
    [
        Wanted::of::<Migrate>(),
        Wanted::of::<Fleet>(),
        Wanted::of::<AttachedCluster>(),
    ]
}
