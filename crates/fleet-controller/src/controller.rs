//! Wiring: what starts a pass, and what becomes of its result. Decides nothing about objects.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use api_types::backup::Backup;
use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::key::{ClusterKey, ClusterKind};
use api_types::migrate::Migrate;
use api_types::restore::Restore;
use api_types::{condition, labels, names};
use controller_kit::reconcile::{self, Observer, Outcome, ReconcileMetrics};
use futures::{Stream, StreamExt};
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::{Store, store::Writer};
use kube::runtime::watcher::{self, Event};
use proxy_client::{Change as MemberChange, InventoryChange};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::attached_cluster;
use crate::claim;
use crate::context::Context;
use crate::error::{Error, settle};
use crate::fleet;
use crate::hub::Hub;
use crate::operation::Operation;
use controller_kit::follow::{Change, Intake, follow};

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
    tasks.spawn(follow_inventory(Arc::clone(context)));
    tasks.spawn(follow_nodes(Arc::clone(context)));
    tasks.spawn(follow_leadership(Arc::clone(context)));

    let (client, hub, triggers) = (&context.writer.client, &context.hub, &context.triggers);
    let told = Arc::clone(context);
    let clusters = follow(client, clusters, intake.clone(), move |change| {
        cluster_changed(&told, &change);
    });
    let clusters = controller(clusters, &hub.clusters, CLUSTERS)
        .reconcile_on(triggers.clusters.stream())
        .graceful_shutdown_on(shutdown.clone().cancelled_owned());
    let told = Arc::clone(context);
    let fleets = follow(client, fleets, intake, move |change| {
        fleet_changed(&told, &change);
    });
    let fleets = controller(fleets, &hub.fleets, FLEETS)
        .reconcile_on(triggers.fleets.stream())
        .graceful_shutdown_on(shutdown.cancelled_owned());

    let of_clusters = Observer::new("AttachedCluster", metrics.clone());
    let of_fleets = Observer::new("Fleet", metrics);
    tokio::join!(
        drive(
            clusters,
            context,
            of_clusters,
            |context, object| async move { attached_cluster::reconcile(&context, object).await }
        ),
        drive(fleets, context, of_fleets, |context, object| async move {
            fleet::reconcile(&context, object).await
        }),
    );
}

/// What a kind must be to be driven.
trait Driven: kube::Resource<DynamicType = ()> + Clone + fmt::Debug + Send + Sync + 'static {}
impl<K> Driven for K where
    K: kube::Resource<DynamicType = ()> + Clone + fmt::Debug + Send + Sync + 'static
{
}

fn controller<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    store: &Store<K>,
    concurrency: u16,
) -> Controller<K>
where
    K: Driven + serde::de::DeserializeOwned,
{
    Controller::for_stream(events.touched_objects(), store.clone())
        .with_config(Config::default().concurrency(concurrency))
}

/// Runs the passes of one kind. Only the leader's passes do anything, and none before every store
/// is complete.
async fn drive<K, F, Fut>(
    controller: Controller<K>,
    context: &Arc<Context>,
    observer: Observer,
    pass: F,
) where
    K: Driven + serde::de::DeserializeOwned,
    F: Fn(Arc<Context>, Arc<K>) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome, Error>> + Send + 'static,
{
    let policy = observer.clone();
    let reconcile = move |object: Arc<K>, context: Arc<Context>| {
        let observer = observer.clone();
        async move {
            let guarded = async {
                if !context.writer.leadership.is_leader() {
                    return Ok(Outcome::Done);
                }
                context.hub.ready().await;
                readable(&context.hub, &*object)?;
                settle(pass(Arc::clone(&context), Arc::clone(&object)).await)
            };
            observer.observe(&*object, guarded).await
        }
    };
    controller
        .run(
            reconcile,
            move |object, error, _| policy.error_policy(&*object, error),
            Arc::clone(context),
        )
        .for_each(|result| async move { reconcile::report(result) })
        .await;
}

/// The store keeps the last state of an object that can no longer be read; nothing is done with it.
fn readable<K: Driven>(hub: &Hub, object: &K) -> Result<(), Error> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    match hub.intake.why::<K>(&namespace, &name) {
        None => Ok(()),
        Some(problem) => Err(Error::Unreadable {
            object: format!("{} {namespace}/{name}", K::kind(&())),
            problem,
        }),
    }
}

/// A Fleet matters to its clusters, to those it had, and to the Fleets it may share clusters with.
fn fleet_changed(context: &Context, change: &Change<Fleet>) {
    let Change {
        namespace, name, ..
    } = change;
    if change.new.is_none() {
        context.memory.forget_fleet(namespace, name);
    }
    if change.unreadable {
        fire_terminating(context, namespace);
    }
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && wants_the_same(old, new)
    {
        return;
    }
    let (hub, triggers) = (&context.hub, &context.triggers);
    for state in [&change.old, &change.new].into_iter().flatten() {
        let listed = state
            .spec
            .clusters
            .iter()
            .filter_map(|entry| entry.fleet_member(namespace));
        for cluster in listed.filter(|cluster| cluster.kind == ClusterKind::AttachedCluster) {
            triggers.clusters.fire(namespace, &cluster.name);
        }
    }
    for cluster in hub.labelled(namespace, name) {
        triggers.clusters.fire(namespace, &cluster);
    }
    for cluster in hub.clusters_in(namespace) {
        let claimed_by = cluster
            .status
            .as_ref()
            .and_then(|status| status.fleet.as_ref());
        if claimed_by == Some(name) {
            triggers.clusters.fire(namespace, &cluster.name_any());
        }
    }
    for rival in hub
        .fleets_in(namespace)
        .iter()
        .filter(|rival| rival.name_any() != *name)
    {
        triggers.fleets.fire(namespace, &rival.name_any());
    }
}

fn wants_the_same(old: &Fleet, new: &Fleet) -> bool {
    let (old, new) = (&old.metadata, &new.metadata);
    old.uid == new.uid
        && old.generation == new.generation
        && old.deletion_timestamp == new.deletion_timestamp
        && old.finalizers == new.finalizers
        && old.annotations == new.annotations
}

/// An AttachedCluster matters to the Fleets that list it, and to the one whose label it carries.
fn cluster_changed(context: &Context, change: &Change<AttachedCluster>) {
    let key = ClusterKey::attached(&change.namespace, &change.name);
    if change.new.is_none() {
        context.memory.forget_cluster(&key);
    }
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && !change.unreadable
        && shows_the_same(old, new)
    {
        return;
    }
    let labels: Vec<String> = [&change.old, &change.new]
        .into_iter()
        .flatten()
        .filter_map(|state| state.labels().get(labels::FLEET_NAME).cloned())
        .collect();
    for fleet in context.hub.fleets_in(&key.namespace) {
        let name = fleet.name_any();
        if claim::lists(&fleet, &key) || labels.contains(&names::label_value(&name)) {
            context.triggers.fleets.fire(&key.namespace, &name);
        }
    }
}

fn shows_the_same(old: &AttachedCluster, new: &AttachedCluster) -> bool {
    let shown = |cluster: &AttachedCluster| {
        let status = cluster.status.as_ref();
        let conditions = status.map_or(&[][..], |status| &status.conditions);
        let ready = condition::find(conditions, condition::READY);
        (
            status.is_some_and(|status| status.ready),
            ready.map(|ready| (ready.reason.clone(), ready.message.clone())),
            cluster.labels().get(labels::FLEET_NAME).cloned(),
        )
    };
    old.metadata.uid == new.metadata.uid && shown(old) == shown(new)
}

/// An operation matters only to what is being deleted and waits for it.
async fn follow_operations<K>(context: Arc<Context>, writer: Writer<Operation<K>>, intake: Intake)
where
    K: kube::Resource<DynamicType = ()> + 'static,
{
    let client = context.writer.client.clone();
    let events = follow(&client, writer, intake, move |change| {
        operation_changed(&context, &change);
    });
    pin!(events).for_each(|_| std::future::ready(())).await;
}

fn operation_changed<K>(context: &Context, change: &Change<Operation<K>>)
where
    K: kube::Resource<DynamicType = ()> + 'static,
{
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && !change.unreadable
        && old.holds_as(new)
    {
        return;
    }
    fire_terminating(context, &change.namespace);
}

/// Whatever is being deleted in a namespace, and may wait for something there.
fn fire_terminating(context: &Context, namespace: &str) {
    let (hub, triggers) = (&context.hub, &context.triggers);
    for cluster in hub.clusters_in(namespace) {
        if cluster.metadata.deletion_timestamp.is_some() {
            triggers.clusters.fire(namespace, &cluster.name_any());
        }
    }
    for fleet in hub.fleets_in(namespace) {
        if fleet.metadata.deletion_timestamp.is_some() {
            triggers.fleets.fire(namespace, &fleet.name_any());
            for cluster in hub.labelled(namespace, &fleet.name_any()) {
                triggers.clusters.fire(namespace, &cluster);
            }
        }
    }
}

async fn follow_inventory(context: Arc<Context>) {
    let mut changes = context.members.inventory.changes();
    while let Some(change) = changes.next().await {
        match change {
            InventoryChange::Cluster(key) => {
                fire_cluster(&context, &key);
                fire_fleets_of(&context, &key);
            }
            InventoryChange::Resync => {
                fire_clusters(&context);
                fire_fleets_with_foreign(&context);
            }
        }
    }
}

/// Only how many nodes there are matters, not what becomes of each.
async fn follow_nodes(context: Arc<Context>) {
    let mut changes = context.members.nodes.changes();
    while let Some(change) = changes.next().await {
        match change {
            MemberChange::Object {
                old: Some(_),
                new: Some(_),
                ..
            }
            | MemberChange::Invalid { .. } => {}
            MemberChange::Object { cluster, .. } | MemberChange::State { cluster } => {
                fire_cluster(&context, &cluster);
            }
            MemberChange::Lagged => fire_clusters(&context),
        }
    }
}

/// What a new leader's predecessor may have left undone.
async fn follow_leadership(context: Arc<Context>) {
    let mut leadership = context.writer.leadership.clone();
    while leadership.changed().await {
        fire_clusters(&context);
        for fleet in context.hub.fleets.state() {
            let namespace = fleet.namespace().unwrap_or_default();
            context.triggers.fleets.fire(&namespace, &fleet.name_any());
        }
    }
}

fn fire_cluster(context: &Context, key: &ClusterKey) {
    if key.kind == ClusterKind::AttachedCluster {
        context.triggers.clusters.fire(&key.namespace, &key.name);
    }
}

/// Of a member that is no object of ours, its Fleets hear at once; of ours, by its status.
fn fire_fleets_of(context: &Context, key: &ClusterKey) {
    if key.kind == ClusterKind::AttachedCluster {
        return;
    }
    for fleet in context.hub.fleets_listing(key) {
        let name = fleet.name_any();
        context.triggers.fleets.fire(&key.namespace, &name);
    }
}

fn fire_fleets_with_foreign(context: &Context) {
    for fleet in context.hub.fleets.state() {
        let namespace = fleet.namespace().unwrap_or_default();
        let members = fleet.spec.clusters.iter();
        let mut keys = members.filter_map(|entry| entry.fleet_member(&namespace));
        if keys.any(|key| key.kind != ClusterKind::AttachedCluster) {
            context.triggers.fleets.fire(&namespace, &fleet.name_any());
        }
    }
}

fn fire_clusters(context: &Context) {
    for cluster in context.hub.clusters.state() {
        let namespace = cluster.namespace().unwrap_or_default();
        context
            .triggers
            .clusters
            .fire(&namespace, &cluster.name_any());
    }
}
