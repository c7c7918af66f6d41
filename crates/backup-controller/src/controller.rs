//! Wiring: what starts a pass, and what becomes of its result. Decides nothing about objects.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use api_types::backup::Backup;
use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use controller_kit::follow::{Change as HubChange, follow};
use controller_kit::reconcile::{self, Observer, Outcome};
use futures::{StreamExt, future};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::store::Writer;
use proxy_client::{Change, InventoryChange, MemberResource, MemberWatch};
use tokio_util::sync::CancellationToken;
use velero_kit::identity;

use crate::backup::{self, dereference};
use crate::context::Context;

/// Passes at a time, over different Backups.
const CONCURRENCY: u16 = 16;
/// How long the first passes wait for a first view of the members. Without one they say so.
const FIRST_VIEW: Duration = Duration::from_secs(10);

/// Kinds of the hub that are followed here.
pub const HUB_KINDS: usize = 3;

/// The writing ends of the stores of hub objects.
#[derive(Default)]
pub struct Feeds {
    pub backups: Writer<Backup>,
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
        backups,
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
    let tasks = [
        tokio::spawn(fleets.for_each(|_| future::ready(()))),
        tokio::spawn(clusters.for_each(|_| future::ready(()))),
        tokio::spawn(follow_inventory(Arc::clone(&ctx))),
        tokio::spawn(follow_members(Arc::clone(&ctx), ctx.backups.clone())),
        tokio::spawn(follow_members(Arc::clone(&ctx), ctx.requests.clone())),
        tokio::spawn(follow_members(Arc::clone(&ctx), ctx.locations.clone())),
        tokio::spawn(follow_leadership(Arc::clone(&ctx))),
    ];
    // A Fleet that is not listed yet must not pass for one that is not there.
    intake.complete(HUB_KINDS - 1).await;
    first_view(&ctx).await;
    let on_error = observer.clone();
    let backups = follow(client, backups, intake.clone(), |_| ());
    Controller::for_stream(backups.touched_objects(), ctx.hub_backups.clone())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(ctx.trigger.stream())
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(
            move |object, ctx: Arc<Context>| {
                let observer = observer.clone();
                async move {
                    let pass = pass(&ctx, Arc::clone(&object));
                    observer.observe(&*object, Box::pin(pass)).await
                }
            },
            move |object, error, _| on_error.error_policy(&*object, error),
            Arc::clone(&ctx),
        )
        .for_each(|result| async move { reconcile::report(result) })
        .await;
    for task in tasks {
        task.abort();
    }
}

/// A pass of the replica that leads; the others only watch.
async fn pass(ctx: &Arc<Context>, object: Arc<Backup>) -> Result<Outcome, backup::Error> {
    if ctx.leadership.is_leader() {
        backup::reconcile(ctx, object).await
    } else {
        Ok(Outcome::Done)
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
        ctx.backups
            .until(|watch| {
                usable
                    .iter()
                    .all(|key| dereference::has_answered(&watch.state(key)))
            })
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
    touch(ctx, |backup| {
        backup.namespace().as_deref() == Some(&namespace) && backup.spec.destination.fleet == name
    });
}

fn cluster_changed(ctx: &Context, change: &HubChange<AttachedCluster>) {
    let seen = |cluster: &Arc<AttachedCluster>| (cluster.uid(), cluster.labels().clone());
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
    while let Some(change) = changes.next().await {
        match change {
            InventoryChange::Cluster(key) => touch_cluster(&ctx, &key),
            InventoryChange::Resync => touch(&ctx, |_| true),
        }
    }
}

/// Objects that name their hub object start that one's pass; others, such as locations, start the
/// passes of all Backups that work on their member.
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
            Change::Lagged => touch(&ctx, |_| true),
        }
    }
}

fn touch_owner(ctx: &Context, cluster: &ClusterKey, meta: Option<&ObjectMeta>) {
    match meta.and_then(identity::hub_object) {
        Some(("Backup", namespace, name)) => ctx.trigger.fire(namespace, name),
        Some(_) => {}
        None => touch_cluster(ctx, cluster),
    }
}

async fn follow_leadership(ctx: Arc<Context>) {
    let mut leadership = ctx.leadership.clone();
    while leadership.changed().await {
        if leadership.is_leader() {
            touch(&ctx, |_| true);
        }
    }
}

/// Starts passes over the unfinished Backups that work, or may come to work, on this member.
fn touch_cluster(ctx: &Context, key: &ClusterKey) {
    touch(ctx, |backup| {
        backup.namespace().as_deref() == Some(key.namespace.as_str()) && may_work_on(backup, key)
    });
}

fn may_work_on(backup: &Backup, key: &ClusterKey) -> bool {
    let Some(status) = &backup.status else {
        return true;
    };
    status.start_time.is_none()
        || status
            .backup_details
            .iter()
            .any(|detail| detail.cluster_name == key.name)
}

fn touch(ctx: &Context, wanted: impl Fn(&Backup) -> bool) {
    for backup in ctx.hub_backups.state() {
        let finished = backup.metadata.deletion_timestamp.is_none() && backup::is_settled(&backup);
        if !finished && wanted(&backup) {
            ctx.trigger
                .fire(&backup.namespace().unwrap_or_default(), &backup.name_any());
        }
    }
}
