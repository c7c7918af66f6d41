//! backup-controller: one Velero Backup, Schedule or Restore in each member that a Backup or Restore
//! selects, followed to the end.

pub mod args;
pub mod backup;
pub mod context;
pub mod controller;
pub mod locations;
pub mod metrics;
pub mod operation;
pub mod plugin;
pub mod restore;
pub mod schedule;

pub use velero_kit::operation::timings;

use std::sync::Arc;

use api_types::backup::{Backup, BackupStatus};
use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::labels;
use api_types::restore::{Restore, RestoreStatus};
use controller_kit::boot::{self, Names};
use controller_kit::crds::Wanted;
use controller_kit::reconcile::{Observer, ReconcileMetrics};
use controller_kit::trigger::Trigger;
use prometheus_client::registry::Registry;
use proxy_client::Members;
use velero_kit::operation::context::{Given, made_for};
use velero_kit::operation::metrics::Metrics;

use args::Args;
use context::{Context, Own};
use metrics::Stored;
use operation::State as _;

/// What this process is called.
pub const NAMES: Names = Names {
    caller: "backup-controller",
    lease: "kurator-backup-controller",
};

/// Runs the process until a signal ends it.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let Args { common, timings } = args;
    let mut registry = Registry::default();
    let feeds = controller::Feeds::default();
    let stored = Stored {
        backups: feeds.backups.as_reader(),
        restores: feeds.restores.as_reader(),
    };
    registry.register_collector(Box::new(stored));
    let metrics = Metrics::register(&mut registry, &[BackupStatus::KIND, RestoreStatus::KIND]);
    let reconciles = ReconcileMetrics::register(&mut registry);
    let observers = controller::Observers {
        backups: Observer::new("Backup", reconciles.clone()),
        restores: Observer::new("Restore", reconciles.clone()),
        fleets: Observer::new("Fleet", reconciles),
    };

    let serving = boot::serve(NAMES, &common, registry).await?;
    tracing::info!(address = %serving.address, "serving health and metrics");
    let Some(process) = serving.start(&kinds()).await? else {
        return Ok(());
    };

    let members = Members::connect(&common.proxy.proxy_endpoint, NAMES.caller)?;
    let own = own(&feeds, &members);
    let ctx = Arc::new(Context::new(
        &process,
        Given {
            members,
            fleets: feeds.fleets.as_reader(),
            clusters: feeds.clusters.as_reader(),
            metrics,
            timings,
            own,
        },
    ));
    let work = controller::run(ctx, feeds, observers, process.stop.clone());
    process.run(Box::pin(work)).await
}

fn own(feeds: &controller::Feeds, members: &Members) -> Own {
    Own {
        hub_backups: feeds.backups.as_reader(),
        hub_restores: feeds.restores.as_reader(),
        schedules: members.watch(made_for(labels::BACKUP_NAME)),
        backup_trigger: Trigger::default(),
        restore_trigger: Trigger::default(),
        fleet_trigger: Trigger::default(),
        stores: plugin::memory::Stores::default(),
        sweeps: locations::Sweeps::default(),
    }
}

/// The kinds of the hub that are followed.
fn kinds() -> [Wanted; controller::HUB_KINDS] {
    [
        Wanted::of::<Backup>(),
        Wanted::of::<Restore>(),
        Wanted::of::<Fleet>(),
        Wanted::of::<AttachedCluster>(),
    ]
}
