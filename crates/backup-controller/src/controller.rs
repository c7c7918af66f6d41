//! Wiring: what starts a pass, and what becomes of its result. Decides nothing about objects.

mod fleets;
mod interest;
mod kind;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use api_types::backup::{Backup, BackupStatus};
use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::restore::Restore;
use controller_kit::follow::{Change as HubChange, follow};
use controller_kit::reconcile::Observer;
use controller_kit::trigger::Trigger;
use futures::{StreamExt, future, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use proxy_client::{Change, InventoryChange, MemberResource, MemberWatch, WatchState};
use tokio_util::sync::CancellationToken;
use velero_kit::{identity, location};

use self::kind::Kind;
use crate::context::Context;
use crate::operation::destination::fleet;
use crate::operation::{Operation, State, is_settled, member};
use crate::{backup, locations, plugin, restore};

/// How long the first passes wait for a first view of the members. Without one they say so.
const FIRST_VIEW: Duration = Duration::from_secs(10);

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
        tokio::spawn(follow_inventory(Arc::clone(&ctx))),
        tokio::spawn(follow_members(Arc::clone(&ctx), ctx.backups.clone())),
        tokio::spawn(follow_members(Arc::clone(&ctx), ctx.schedules.clone())),
        tokio::spawn(follow_members(Arc::clone(&ctx), ctx.restores.clone())),
        tokio::spawn(follow_members(Arc::clone(&ctx), ctx.requests.clone())),
        tokio::spawn(follow_locations(Arc::clone(&ctx))),
        tokio::spawn(follow_leadership(Arc::clone(&ctx))),
        tokio::spawn(locations::run(Arc::clone(&ctx))),
    ];
    // A Fleet that is not listed yet must not pass for one that is not there.
    intake.complete(HUB_KINDS - 2).await;
    first_view(&ctx).await;
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

/// Waits a moment for the members' states and objects, so that a restart does not show every
/// cluster as unknown for an instant.
async fn first_view(ctx: &Context) {
    let seen = async {
        ctx.inventory.until(proxy_client::Inventory::synced).await;
        let usable: Vec<ClusterKey> = ctx
            .inventory
            .list()
            .into_iter()
            .filter(|state| state.state.is_usable())
            .map(|state| state.key.clone())
            .collect();
        let answered = |state: WatchState| member::has_answered(&state);
        ctx.backups
            .until(|watch| usable.iter().all(|key| answered(watch.state(key))))
            .await;
        ctx.schedules
            .until(|watch| usable.iter().all(|key| answered(watch.state(key))))
            .await;
        ctx.restores
            .until(|watch| usable.iter().all(|key| answered(watch.state(key))))
            .await;
        ctx.locations
            .until(|watch| usable.iter().all(|key| answered(watch.state(key))))
            .await;
    };
    if tokio::time::timeout(FIRST_VIEW, seen).await.is_err() {
        tracing::warn!("starting without a full view of the members: is cluster-proxy running?");
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

/// Namespace and name of an object that came, went, is being deleted or differs in what matters
/// here; its status does not.
fn moved<K, T>(change: &HubChange<K>, seen: impl Fn(&Arc<K>) -> T) -> Option<(String, String)>
where
    K: kube::Resource,
    T: PartialEq,
{
    let state = |object: &Option<Arc<K>>| {
        object
            .as_ref()
            .map(|object| (object.meta().deletion_timestamp.is_some(), seen(object)))
    };
    if state(&change.old) == state(&change.new) {
        return None;
    }
    let object = change.new.as_ref().or(change.old.as_ref())?;
    Some((object.namespace().unwrap_or_default(), object.name_any()))
}

async fn follow_inventory(ctx: Arc<Context>) {
    let mut changes = ctx.inventory.changes();
    let mut told = false;
    loop {
        let answers = ctx.inventory.lost().is_none();
        let left = ctx.contact.note(answers, ctx.timings.proxy_grace);
        // Nothing else tells that the last states of the members are worth nothing any more.
        if left.is_some_and(|left| left.is_zero()) && !told {
            tracing::warn!("cluster-proxy does not answer: is it running?");
            touch_all(&ctx);
        }
        told = left.is_some_and(|left| left.is_zero());
        let change = match left.filter(|left| !left.is_zero()) {
            Some(left) => match tokio::time::timeout(left, changes.next()).await {
                Ok(change) => change,
                Err(_) => continue,
            },
            None => changes.next().await,
        };
        match change {
            Some(InventoryChange::Cluster(key)) => touch_cluster(&ctx, &key),
            Some(InventoryChange::Resync) => touch_all(&ctx),
            None => return,
        }
    }
}

/// Objects that name their hub object start that one's pass; others start the passes of all objects
/// that work on their member.
async fn follow_members<K: MemberResource>(ctx: Arc<Context>, watch: MemberWatch<K>) {
    let mut changes = watch.changes();
    while let Some(change) = changes.next().await {
        match change {
            Change::Object {
                cluster, old, new, ..
            } => {
                let meta = new.as_deref().or(old.as_deref()).map(kube::Resource::meta);
                touch_owner(&ctx, &cluster, meta);
            }
            Change::Invalid {
                cluster, object, ..
            } => {
                touch_owner(&ctx, &cluster, Some(&object.metadata));
            }
            Change::State { cluster } => touch_cluster(&ctx, &cluster),
            Change::Lagged => touch_all(&ctx),
        }
    }
}

/// Velero writes each location's status twice a minute, on every member: only what somebody waits
/// for starts passes.
async fn follow_locations(ctx: Arc<Context>) {
    let mut changes = ctx.locations.changes();
    while let Some(change) = changes.next().await {
        match change {
            Change::Object {
                cluster, old, new, ..
            } => match location::change(old.as_deref(), new.as_deref()) {
                location::Change::Nothing => {}
                location::Change::Synced => {
                    touch_synced(&ctx, &cluster);
                    fleets::touch(&ctx, &cluster);
                }
                location::Change::Use => touch_cluster(&ctx, &cluster),
            },
            Change::Invalid { cluster, .. } | Change::State { cluster } => {
                touch_cluster(&ctx, &cluster);
            }
            Change::Lagged => touch_all(&ctx),
        }
    }
}

fn touch_owner(ctx: &Context, cluster: &ClusterKey, meta: Option<&ObjectMeta>) {
    let Some((kind, namespace, name)) = meta.and_then(identity::hub_object) else {
        touch_cluster(ctx, cluster);
        return;
    };
    ctx.trigger_owner(kind, namespace, name);
    if kind == BackupStatus::KIND {
        touch_restores_of(ctx, namespace, name);
    }
}

async fn follow_leadership(ctx: Arc<Context>) {
    let mut leadership = ctx.leadership.clone();
    while leadership.changed().await {
        if leadership.is_leader() {
            touch_all(&ctx);
        }
    }
}

/// Starts passes over the unfinished objects that work, or may come to work, on this member.
fn touch_cluster(ctx: &Context, key: &ClusterKey) {
    fleets::touch(ctx, key);
    touch_backups(ctx, |backup| may_work_on(ctx, backup, key));
    touch_restores(ctx, |restore| {
        let source = restore.spec.source_cluster.as_ref();
        interest::may_work_on(restore, key) || source.is_some_and(|source| source.selects(key))
    });
}

/// Starts passes over what waits for Velero to have looked into the bucket: a copy that comes, or
/// the proof that a deleted backup does not come back.
fn touch_synced(ctx: &Context, key: &ClusterKey) {
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

fn touch_all(ctx: &Context) {
    touch_backups(ctx, |_| true);
    touch_restores(ctx, |_| true);
    fleets::touch_all(ctx, |_| true);
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

/// Starts passes over the objects of a store that are not settled, or are being deleted.
fn touch<K: Operation>(store: &Store<K>, trigger: &Trigger<K>, wanted: impl Fn(&K) -> bool) {
    for object in store.state() {
        let settled = object.meta().deletion_timestamp.is_none() && is_settled(&*object);
        if !settled && wanted(&object) {
            trigger.fire(&object.namespace().unwrap_or_default(), &object.name_any());
        }
    }
}
