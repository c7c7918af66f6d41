//! Wiring: what starts a pass, and what becomes of its result. Decides nothing about objects.

mod fleets;
mod interest;

use std::fmt;
use std::sync::Arc;

use api_types::backup::{Backup, BackupStatus};
use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use api_types::restore::Restore;
use controller_kit::follow::{Change as HubChange, follow};
use controller_kit::kind::Kind;
use controller_kit::reconcile::Observer;
use futures::stream;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use tokio_util::sync::CancellationToken;
use velero_kit::operation::follow::{self as watch, answered, first_view, fleet_moved, touch};
use velero_kit::operation::kind;

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
    let mut tasks = watch::start(&ctx, fleets, clusters, |ctx, change| {
        fleet_changed(ctx, change);
        fleets::changed(ctx, change);
    });
    tasks.spawn(watch::members(Arc::clone(&ctx), ctx.schedules.clone()));
    tasks.spawn(locations::run(Arc::clone(&ctx)));
    first_view(&ctx, answered(&ctx, &ctx.schedules)).await;
    let told = Arc::clone(&ctx);
    let backups = Kind {
        objects: follow(&ctx.client, backups, ctx.intake.clone(), move |change| {
            backup_changed(&told, &change);
        }),
        store: ctx.hub_backups.clone(),
        triggers: ctx.backup_trigger.stream(),
        concurrency: kind::CONCURRENCY,
        observer: observers.backups,
    };
    let told = Arc::clone(&ctx);
    let restores = Kind {
        objects: follow(&ctx.client, restores, ctx.intake.clone(), move |change| {
            restore_changed(&told, &change);
        }),
        store: ctx.hub_restores.clone(),
        triggers: ctx.restore_trigger.stream(),
        concurrency: kind::CONCURRENCY,
        observer: observers.restores,
    };
    let fleets = Kind {
        // They are followed above; each change of one fires its trigger.
        objects: stream::pending(),
        store: ctx.fleets.clone(),
        triggers: ctx.fleet_trigger.stream(),
        concurrency: kind::CONCURRENCY,
        observer: observers.fleets,
    };
    let stop = || shutdown.clone();
    tokio::join!(
        kind::run(&ctx, fleets, stop(), |ctx, fleet| async move {
            plugin::reconcile(&ctx, fleet).await
        }),
        kind::run(&ctx, backups, stop(), |ctx, object| async move {
            backup::reconcile(&ctx, object).await
        }),
        kind::run(&ctx, restores, stop(), |ctx, object| async move {
            // A Backup that is not listed yet must not pass for one that is not there.
            ctx.intake.complete(HUB_KINDS).await;
            restore::reconcile(&ctx, object).await
        }),
    );
}

fn fleet_changed(ctx: &Context, change: &HubChange<Fleet>) {
    let Some((namespace, name)) = fleet_moved(change) else {
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
