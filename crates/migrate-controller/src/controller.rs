//! Wiring: what starts a pass, and what becomes of its result. Decides nothing about objects.

use std::fmt;
use std::sync::Arc;

use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::migrate::Migrate;
use controller_kit::follow::{Change, follow};
use controller_kit::reconcile::Observer;
use futures::{StreamExt, future};
use kube::ResourceExt;
use kube::runtime::reflector::store::Writer;
use tokio_util::sync::CancellationToken;
use velero_kit::operation::follow::{self as watch, first_view, moved, touch};
use velero_kit::operation::kind::Kind;

use crate::context::Context;
use crate::migrate;

/// Kinds of the hub that are followed here.
pub const HUB_KINDS: usize = 3;

/// The writing ends of the stores of hub objects.
#[derive(Default)]
pub struct Feeds {
    pub migrates: Writer<Migrate>,
    pub fleets: Writer<Fleet>,
    pub clusters: Writer<AttachedCluster>,
}

impl fmt::Debug for Feeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeds").finish_non_exhaustive()
    }
}

/// Runs until `shutdown`; passes under way are finished first.
pub async fn run(ctx: Arc<Context>, feeds: Feeds, observer: Observer, shutdown: CancellationToken) {
    let Feeds {
        migrates,
        fleets,
        clusters,
    } = feeds;
    let (client, intake) = (&ctx.client, &ctx.intake);
    let told = Arc::clone(&ctx);
    let fleets = follow(client, fleets, intake.clone(), move |change| {
        fleet_changed(&told, &change);
    });
    let told = Arc::clone(&ctx);
    let clusters = follow(client, clusters, intake.clone(), move |change| {
        cluster_changed(&told, &change);
    });
    let migrates = follow(client, migrates, intake.clone(), |_| ());
    let tasks = [
        tokio::spawn(fleets.for_each(|_| future::ready(()))),
        tokio::spawn(clusters.for_each(|_| future::ready(()))),
        tokio::spawn(watch::inventory(Arc::clone(&ctx))),
        tokio::spawn(watch::members(Arc::clone(&ctx), ctx.backups.clone())),
        tokio::spawn(watch::members(Arc::clone(&ctx), ctx.restores.clone())),
        tokio::spawn(watch::members(Arc::clone(&ctx), ctx.requests.clone())),
        tokio::spawn(watch::locations(Arc::clone(&ctx))),
        tokio::spawn(watch::leadership(Arc::clone(&ctx))),
    ];
    // A Fleet that is not listed yet must not pass for one that is not there.
    intake.complete(HUB_KINDS - 1).await;
    first_view(&ctx, future::ready(())).await;
    let migrates = Kind {
        objects: migrates,
        store: ctx.migrates.clone(),
        triggers: ctx.trigger.stream(),
        observer,
    };
    let reconcile = |ctx, object| async move { Box::pin(migrate::reconcile(&ctx, object)).await };
    migrates.run(&ctx, shutdown, reconcile).await;
    for task in tasks {
        task.abort();
    }
}

fn fleet_changed(ctx: &Context, change: &Change<Fleet>) {
    let seen = |fleet: &Arc<Fleet>| (fleet.uid(), fleet.metadata.generation);
    let Some((namespace, name)) = moved(change, seen) else {
        return;
    };
    touch(&ctx.migrates, &ctx.trigger, |migrate| {
        let spec = &migrate.spec;
        let fleets = [&spec.source_cluster.fleet, &spec.target_cluster.fleet];
        migrate.namespace().as_deref() == Some(&namespace) && fleets.contains(&&name)
    });
}

fn cluster_changed(ctx: &Context, change: &Change<AttachedCluster>) {
    let seen = |cluster: &Arc<AttachedCluster>| {
        let adopts = cluster.annotations().get(labels::ADOPT_STORE);
        (cluster.uid(), cluster.labels().clone(), adopts.cloned())
    };
    if let Some((namespace, name)) = moved(change, seen) {
        touch_cluster(ctx, &ClusterKey::attached(namespace, name));
    }
}

/// Starts passes over the unfinished Migrates that work, or may come to work, on this member.
pub(crate) fn touch_cluster(ctx: &Context, key: &ClusterKey) {
    touch(&ctx.migrates, &ctx.trigger, |migrate| {
        may_work_on(migrate, key)
    });
}

pub(crate) fn touch_all(ctx: &Context) {
    touch(&ctx.migrates, &ctx.trigger, |_| true);
}

/// Whether a Migrate works on this member, or may come to, since its clusters are not fixed yet. Its
/// targets look for the backup in the source.
fn may_work_on(migrate: &Migrate, key: &ClusterKey) -> bool {
    if migrate.namespace().as_deref() != Some(key.namespace.as_str()) {
        return false;
    }
    let Some(status) = migrate.status.as_ref() else {
        return true;
    };
    let source = status.source_cluster_status.iter();
    let source = source.map(|source| &source.cluster_name);
    let targets = status.target_cluster_status.iter();
    let mut names = source.chain(targets.map(|target| &target.cluster_name));
    status.start_time.is_none() || names.any(|name| *name == key.name)
}
