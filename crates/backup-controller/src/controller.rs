//! Wiring: what starts a pass, and what becomes of its result. Decides nothing about objects.

mod fleets;
mod interest;

use std::fmt;
use std::sync::Arc;

use api_types::backup::{Backup, BackupStatus};
use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::restore::Restore;
use controller_kit::follow::{Change as HubChange, follow};
use controller_kit::reconcile::Observer;
use futures::{StreamExt, future, stream};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use tokio_util::sync::CancellationToken;
use velero_kit::operation::follow::{self as watch, answered, first_view, moved, touch};
use velero_kit::operation::kind::Kind;

use crate::context::Context;
use crate::operation::State;
use crate::operation::destination::fleet;
use crate::{backup, locations, plugin, restore};

/// Kinds of the hub that are followed here.
pub const HUB_KINDS: usize = 4;

/// The writing ends of the stores of hub objects.
#[derive(Default)]
pub struct Feeds {
    pub backups: Writer<Backup>,
    pub restores: Writer<Restore>,
    pub fleets: Writer<Fleet>,
    pub clusters: Writer<AttachedCluster>,
}

impl fmt::Debug for Feeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeds").finish_non_exhaustive()
    }
}

/// Who reports the passes of each kind.
#[derive(Debug)]
pub struct Observers {
    pub backups: Observer,
    pub restores: Observer,
    /// The storage of Fleets.
    pub fleets: Observer,
}

/// Runs until `shutdown`; passes under way are finished first.
pub async fn run(
    ctx: Arc<Context>,
    feeds: Feeds,
    observers: Observers,
    shutdown: CancellationToken,
) {
    let Feeds {
        backups,
        restores,
        fleets,
        clusters,
    } = feeds;
    let (client, intake) = (&ctx.client, &ctx.intake);
    let told = Arc::clone(&ctx);
    let fleets = follow(client, fleets, intake.clone(), move |change| {
        fleet_changed(&told, &change);
        fleets::changed(&told, &change);
    });
    let told = Arc::clone(&ctx);
    let clusters = follow(client, clusters, intake.clone(), move |change| {
        cluster_changed(&told, &change);
        fleets::cluster_changed(&told, &change);
    });
    let told = Arc::clone(&ctx);
    let backups = follow(client, backups, intake.clone(), move |change| {
        backup_changed(&told, &change);
    });
    let told = Arc::clone(&ctx);
    let restores = follow(client, restores, intake.clone(), move |change| {
        restore_changed(&told, &change);
    });
    let tasks = [
        tokio::spawn(fleets.for_each(|_| future::ready(()))),
        tokio::spawn(clusters.for_each(|_| future::ready(()))),
        tokio::spawn(watch::inventory(Arc::clone(&ctx))),
        tokio::spawn(watch::members(Arc::clone(&ctx), ctx.backups.clone())),
        tokio::spawn(watch::members(Arc::clone(&ctx), ctx.schedules.clone())),
        tokio::spawn(watch::members(Arc::clone(&ctx), ctx.restores.clone())),
        tokio::spawn(watch::members(Arc::clone(&ctx), ctx.requests.clone())),
        tokio::spawn(watch::locations(Arc::clone(&ctx))),
        tokio::spawn(watch::leadership(Arc::clone(&ctx))),
        tokio::spawn(locations::run(Arc::clone(&ctx))),
    ];
    // A Fleet that is not listed yet must not pass for one that is not there.
    intake.complete(HUB_KINDS - 2).await;
    first_view(&ctx, answered(&ctx, &ctx.schedules)).await;
    let backups = Kind {
        objects: backups,
        store: ctx.hub_backups.clone(),
        triggers: ctx.backup_trigger.stream(),
        observer: observers.backups,
    };
    let restores = Kind {
        objects: restores,
        store: ctx.hub_restores.clone(),
        triggers: ctx.restore_trigger.stream(),
        observer: observers.restores,
    };
    let fleets = Kind {
        // They are followed above; each change of one fires its trigger.
        objects: stream::pending(),
        store: ctx.fleets.clone(),
        triggers: ctx.fleet_trigger.stream(),
        observer: observers.fleets,
    };
    tokio::join!(
        fleets.run(&ctx, shutdown.clone(), |ctx, fleet| async move {
            plugin::reconcile(&ctx, fleet).await
        }),
        backups.run(&ctx, shutdown.clone(), |ctx, object| async move {
            backup::reconcile(&ctx, object).await
        }),
        restores.run(&ctx, shutdown, |ctx, object| async move {
            // Nor must a Backup that is not listed yet.
            ctx.intake.complete(HUB_KINDS).await;
            restore::reconcile(&ctx, object).await
        }),
    );
    for task in tasks {
        task.abort();
    }
}

fn fleet_changed(ctx: &Context, change: &HubChange<Fleet>) {
    let seen = |fleet: &Arc<Fleet>| (fleet.uid(), fleet.metadata.generation);
    let Some((namespace, name)) = moved(change, seen) else {
        return;
    };
    touch_backups(ctx, |backup| {
        backup.namespace().as_deref() == Some(&namespace) && backup.spec.destination.fleet == name
    });
    touch_restores(ctx, |restore| {
        let destination = restore.spec.destination.as_ref();
        restore.namespace().as_deref() == Some(&namespace)
            && destination.is_none_or(|destination| destination.fleet == name)
    });
}

/// What becomes of a Backup concerns the Restores of it.
fn backup_changed(ctx: &Context, change: &HubChange<Backup>) {
    if let Some(backup) = change.new.as_ref().or(change.old.as_ref()) {
        let namespace = backup.namespace().unwrap_or_default();
        touch_restores_of(ctx, &namespace, &backup.name_any());
    }
}

/// What becomes of a Restore concerns the Backup that waits for it.
fn restore_changed(ctx: &Context, change: &HubChange<Restore>) {
    let Some(restore) = change.new.as_ref().or(change.old.as_ref()) else {
        return;
    };
    locations::restore_changed(ctx, restore);
    let namespace = restore.namespace().unwrap_or_default();
    let name = &restore.spec.backup_name;
    let backup = ctx
        .hub_backups
        .get(&ObjectRef::new(name).within(&namespace));
    if backup.is_some_and(|backup| backup.metadata.deletion_timestamp.is_some()) {
        ctx.backup_trigger.fire(&namespace, name);
    }
}

fn cluster_changed(ctx: &Context, change: &HubChange<AttachedCluster>) {
    let seen = |cluster: &Arc<AttachedCluster>| {
        let adopts = cluster.annotations().get(labels::ADOPT_STORE);
        (cluster.uid(), cluster.labels().clone(), adopts.cloned())
    };
    if let Some((namespace, name)) = moved(change, seen) {
        touch_cluster(ctx, &ClusterKey::attached(namespace, name));
    }
}

/// Starts passes over the unfinished objects that work, or may come to work, on this member.
pub(crate) fn touch_cluster(ctx: &Context, key: &ClusterKey) {
    fleets::touch(ctx, key);
    touch_backups(ctx, |backup| may_work_on(ctx, backup, key));
    touch_restores(ctx, |restore| {
        let source = restore.spec.source_cluster.as_ref();
        interest::may_work_on(restore, key) || source.is_some_and(|source| source.selects(key))
    });
}

/// Starts passes over what waits for Velero to have looked into the bucket: a copy that comes, or
/// the proof that a deleted backup does not come back.
pub(crate) fn touch_synced(ctx: &Context, key: &ClusterKey) {
    fleets::touch(ctx, key);
    touch_backups(ctx, |backup| {
        backup.metadata.deletion_timestamp.is_some() && may_work_on(ctx, backup, key)
    });
    touch_restores(ctx, |restore| interest::awaits_sync(restore, key));
}

fn may_work_on(ctx: &Context, backup: &Backup, key: &ClusterKey) -> bool {
    let destination = &backup.spec.destination;
    let fleet = || fleet(ctx, &key.namespace, &destination.fleet);
    interest::backup_may_work_on(backup, key, fleet)
}

pub(crate) fn touch_all(ctx: &Context) {
    touch_backups(ctx, |_| true);
    touch_restores(ctx, |_| true);
    fleets::touch_all(ctx, |_| true);
}

/// An object on a member that is of this hub object has changed.
pub(crate) fn object_changed(ctx: &Context, kind: &str, namespace: &str, name: &str) {
    ctx.trigger_owner(kind, namespace, name);
    if kind == BackupStatus::KIND {
        touch_restores_of(ctx, namespace, name);
    }
}

fn touch_restores_of(ctx: &Context, namespace: &str, backup: &str) {
    touch_restores(ctx, |restore| {
        restore.namespace().as_deref() == Some(namespace) && restore.spec.backup_name == backup
    });
}

fn touch_backups(ctx: &Context, wanted: impl Fn(&Backup) -> bool) {
    touch(&ctx.hub_backups, &ctx.backup_trigger, wanted);
}

fn touch_restores(ctx: &Context, wanted: impl Fn(&Restore) -> bool) {
    touch(&ctx.hub_restores, &ctx.restore_trigger, wanted);
}
