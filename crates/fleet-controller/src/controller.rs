//! Wiring: what starts a pass, and what becomes of its result. Decides nothing about objects.

mod changes;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use api_types::backup::Backup;
use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::migrate::Migrate;
use api_types::restore::Restore;
use controller_kit::follow::{Intake, follow};
use controller_kit::kind::{HubKind, Kind};
use controller_kit::reconcile::{Observer, Outcome, ReconcileMetrics};
use futures::StreamExt;
use kube::ResourceExt;
use kube::runtime::reflector::store::Writer;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::attached_cluster;
use crate::context::Context;
use crate::error::{Error, settle};
use crate::fleet;
use crate::hub::Hub;
use crate::operation::Operation;

/// Passes at a time over `AttachedClusters`: each writes to another object.
const CLUSTERS: u16 = 16;
/// Passes at a time over Fleets.
const FLEETS: u16 = 4;

/// The writing ends of the stores, before they are followed.
#[derive(Default)]
pub struct Streams {
    fleets: Writer<Fleet>,
    clusters: Writer<AttachedCluster>,
    backups: Writer<Operation<Backup>>,
    restores: Writer<Operation<Restore>>,
    migrates: Writer<Operation<Migrate>>,
    intake: Intake,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

impl Streams {
    /// The reading ends.
    pub fn hub(&self) -> Hub {
        Hub {
            fleets: self.fleets.as_reader(),
            clusters: self.clusters.as_reader(),
            backups: self.backups.as_reader(),
            restores: self.restores.as_reader(),
            migrates: self.migrates.as_reader(),
            intake: self.intake.clone(),
        }
    }
}

/// Runs until `shutdown`; passes under way are finished first.
pub async fn run(
    context: &Arc<Context>,
    streams: Streams,
    metrics: ReconcileMetrics,
    shutdown: CancellationToken,
) {
    let Streams {
        fleets,
        clusters,
        backups,
        restores,
        migrates,
        intake,
    } = streams;
    let mut tasks = JoinSet::new();
    tasks.spawn(follow_operations(
        Arc::clone(context),
        backups,
        intake.clone(),
    ));
    tasks.spawn(follow_operations(
        Arc::clone(context),
        restores,
        intake.clone(),
    ));
    tasks.spawn(follow_operations(
        Arc::clone(context),
        migrates,
        intake.clone(),
    ));
    tasks.spawn(changes::follow_inventory(Arc::clone(context)));
    tasks.spawn(changes::follow_nodes(Arc::clone(context)));
    tasks.spawn(changes::follow_leadership(Arc::clone(context)));

    let (client, hub, triggers) = (&context.writer.client, &context.hub, &context.triggers);
    let told = Arc::clone(context);
    let clusters = Kind {
        objects: follow(client, clusters, intake.clone(), move |change| {
            changes::of_cluster(&told, &change);
        }),
        store: hub.clusters.clone(),
        triggers: triggers.clusters.stream(),
        concurrency: CLUSTERS,
        observer: Observer::new("AttachedCluster", metrics.clone()),
    };
    let told = Arc::clone(context);
    let fleets = Kind {
        objects: follow(client, fleets, intake, move |change| {
            changes::of_fleet(&told, &change);
        }),
        store: hub.fleets.clone(),
        triggers: triggers.fleets.stream(),
        concurrency: FLEETS,
        observer: Observer::new("Fleet", metrics),
    };
    let leadership = &context.writer.leadership;
    let reconcile = |context: Arc<Context>, cluster: Arc<AttachedCluster>| async move {
        let pass = attached_cluster::reconcile(&context, Arc::clone(&cluster));
        guarded(&context.hub, &*cluster, pass).await
    };
    let clusters = clusters.run(context, leadership.clone(), shutdown.clone(), reconcile);
    let reconcile = |context: Arc<Context>, fleet: Arc<Fleet>| async move {
        let pass = fleet::reconcile(&context, Arc::clone(&fleet));
        guarded(&context.hub, &*fleet, pass).await
    };
    let fleets = fleets.run(context, leadership.clone(), shutdown, reconcile);
    tokio::join!(clusters, fleets);
}

/// An operation matters only to what is being deleted and waits for it.
async fn follow_operations<K>(context: Arc<Context>, writer: Writer<Operation<K>>, intake: Intake)
where
    K: kube::Resource<DynamicType = ()> + 'static,
{
    let client = context.writer.client.clone();
    let events = follow(&client, writer, intake, move |change| {
        changes::of_operation(&context, &change);
    });
    pin!(events).for_each(|_| std::future::ready(())).await;
}

/// A pass begins once every store is complete, and not over an object that can no longer be read.
async fn guarded<K: HubKind>(
    hub: &Hub,
    object: &K,
    pass: impl Future<Output = Result<Outcome, Error>>,
) -> Result<Outcome, Error> {
    hub.ready().await;
    readable(hub, object)?;
    settle(pass.await)
}

/// The store keeps the last state of an object that can no longer be read; nothing is done with it.
fn readable<K: HubKind>(hub: &Hub, object: &K) -> Result<(), Error> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    match hub.intake.why::<K>(&namespace, &name) {
        None => Ok(()),
        Some(problem) => Err(Error::Unreadable {
            object: format!("{} {namespace}/{name}", K::kind(&())),
            problem,
        }),
    }
}
