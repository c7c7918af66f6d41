//! Wiring: what starts a pass, and what becomes of its result. Decides nothing about objects.

use std::sync::Arc;
use std::time::Duration;

use api_types::backup::Backup;
use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use controller_kit::reconcile::{self, Observer, Outcome};
use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::watcher::{self, Event};
use proxy_client::{Change, InventoryChange, MemberResource, MemberWatch};
use tokio_util::sync::CancellationToken;
use velero_kit::identity;

use crate::backup::{self, dereference};
use crate::context::Context;
use crate::hub;

/// Passes at a time, over different Backups.
const CONCURRENCY: u16 = 16;
/// How long the first passes wait for a first view of the members. Without one they say so.
const FIRST_VIEW: Duration = Duration::from_secs(10);

/// The streams of hub objects that start passes; polling them keeps their stores up to date.
#[derive(Debug)]
pub struct HubStreams<B, F, C> {
    pub backups: B,
    pub fleets: F,
    pub clusters: C,
}

/// Runs until `shutdown`; passes under way are finished first.
pub async fn run<B, F, C>(
    ctx: Arc<Context>,
    hub: HubStreams<B, F, C>,
    observer: Observer,
    shutdown: CancellationToken,
) where
    B: Stream<Item = Result<Event<Backup>, watcher::Error>> + Send + 'static,
    F: Stream<Item = Result<Event<Fleet>, watcher::Error>> + Send + 'static,
    C: Stream<Item = Result<Event<AttachedCluster>, watcher::Error>> + Send + 'static,
{
    let tasks = [
        tokio::spawn(follow_fleets(Arc::clone(&ctx), hub.fleets)),
        tokio::spawn(follow_clusters(Arc::clone(&ctx), hub.clusters)),
        tokio::spawn(follow_inventory(Arc::clone(&ctx))),
        tokio::spawn(follow_members(Arc::clone(&ctx), ctx.backups.clone())),
        tokio::spawn(follow_members(Arc::clone(&ctx), ctx.requests.clone())),
        tokio::spawn(follow_members(Arc::clone(&ctx), ctx.locations.clone())),
        tokio::spawn(follow_leadership(Arc::clone(&ctx))),
    ];
    first_view(&ctx).await;
    let on_error = observer.clone();
    Controller::for_stream(hub.backups.touched_objects(), ctx.hub_backups.clone())
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

async fn follow_fleets(
    ctx: Arc<Context>,
    fleets: impl Stream<Item = Result<Event<Fleet>, watcher::Error>>,
) {
    let mut fleets = std::pin::pin!(fleets);
    while let Some(event) = fleets.next().await {
        let Some((namespace, name)) = changed("Fleet", &event) else {
            continue;
        };
        touch(&ctx, |backup| {
            backup.namespace().as_deref() == Some(&namespace)
                && backup.spec.destination.fleet == name
        });
    }
}

async fn follow_clusters(
    ctx: Arc<Context>,
    clusters: impl Stream<Item = Result<Event<AttachedCluster>, watcher::Error>>,
) {
    let mut clusters = std::pin::pin!(clusters);
    while let Some(event) = clusters.next().await {
        let Some((namespace, name)) = changed("AttachedCluster", &event) else {
            continue;
        };
        touch_cluster(&ctx, &ClusterKey::attached(namespace, name));
    }
}

fn changed<K: kube::Resource>(
    kind: &str,
    event: &Result<Event<K>, watcher::Error>,
) -> Option<(String, String)> {
    match event {
        Ok(event) => hub::subject(event),
        Err(error) => {
            tracing::warn!(kind, %error, "the hub's watch broke off and is taken up again");
            None
        }
    }
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
        Some(("Backup", namespace, name)) => ctx.trigger.backup(namespace, name),
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
                .backup(&backup.namespace().unwrap_or_default(), &backup.name_any());
        }
    }
}
