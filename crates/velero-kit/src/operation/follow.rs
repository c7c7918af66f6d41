//! What starts passes: changes of the members' states and objects, and of the hub's objects.

use std::sync::Arc;
use std::time::Duration;

use api_types::cluster::AttachedCluster;
use api_types::external::velero::BackupStorageLocation;
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use api_types::labels;
use controller_kit::follow::{Change as HubChange, follow};
use controller_kit::trigger::Trigger;
use futures::{StreamExt, future};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use proxy_client::{Change, Inventory, InventoryChange, MemberResource, MemberWatch};
use tokio::task::JoinSet;

use super::context::{Context, Process};
use super::{Operation, is_settled, member};
use crate::{identity, location};

/// Kinds of the hub that every process follows: Fleet and AttachedCluster.
const HUB_KINDS: usize = 2;

/// How long the first passes wait for a first view of the members. Without one they say so.
const FIRST_VIEW: Duration = Duration::from_secs(10);

/// Follows, until the set is dropped, what every process does: each Fleet and AttachedCluster of the
/// hub, the members, what its operations have there, and leadership. `fleet_changed` hears of Fleets.
pub fn start<P: Process>(
    ctx: &Arc<Context<P>>,
    fleets: Writer<Fleet>,
    clusters: Writer<AttachedCluster>,
    fleet_changed: impl Fn(&Context<P>, &HubChange<Fleet>) + Send + 'static,
) -> JoinSet<()> {
    let told = Arc::clone(ctx);
    let fleets = follow(&ctx.client, fleets, ctx.intake.clone(), move |change| {
        fleet_changed(&told, &change);
    });
    let told = Arc::clone(ctx);
    let clusters = follow(&ctx.client, clusters, ctx.intake.clone(), move |change| {
        cluster_changed(&told, &change);
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(fleets.for_each(|_| future::ready(())));
    tasks.spawn(clusters.for_each(|_| future::ready(())));
    tasks.spawn(inventory(Arc::clone(ctx)));
    tasks.spawn(members(Arc::clone(ctx), ctx.backups.clone()));
    tasks.spawn(members(Arc::clone(ctx), ctx.restores.clone()));
    tasks.spawn(members(Arc::clone(ctx), ctx.requests.clone()));
    tasks.spawn(locations(Arc::clone(ctx)));
    tasks.spawn(leadership(Arc::clone(ctx)));
    tasks
}

/// Waits for each Fleet and AttachedCluster of the hub, and a moment for the members' states and
/// objects, so that a restart does not show every cluster as unknown for an instant. `more`: the
/// watches that only this process has, see [`answered`].
pub async fn first_view(ctx: &Context<impl Process>, more: impl Future<Output = ()>) {
    // A Fleet that is not listed yet must not pass for one that is not there. The operations are
    // listed only afterwards, so that these two kinds are the first.
    ctx.intake.complete(HUB_KINDS).await;
    let seen = async {
        answered(ctx, &ctx.backups).await;
        more.await;
        answered(ctx, &ctx.restores).await;
        answered(ctx, &ctx.locations).await;
    };
    if tokio::time::timeout(FIRST_VIEW, seen).await.is_err() {
        tracing::warn!("starting without a full view of the members: is cluster-proxy running?");
    }
}

/// Waits until each member that can be asked has answered a watch.
pub async fn answered<K: MemberResource>(ctx: &Context<impl Process>, watch: &MemberWatch<K>) {
    ctx.inventory.until(Inventory::synced).await;
    let usable: Vec<ClusterKey> = ctx
        .inventory
        .list()
        .into_iter()
        .filter(|state| state.state.is_usable())
        .map(|state| state.key.clone())
        .collect();
    let has_answered = |key| member::has_answered(&watch.state(key));
    watch.until(|_| usable.iter().all(has_answered)).await;
}

/// Namespace and name of a Fleet that came, went, is being deleted or has another spec.
pub fn fleet_moved(change: &HubChange<Fleet>) -> Option<(String, String)> {
    moved(change, |fleet| (fleet.uid(), fleet.metadata.generation))
}

fn cluster_changed<P: Process>(ctx: &Context<P>, change: &HubChange<AttachedCluster>) {
    let seen = |cluster: &Arc<AttachedCluster>| {
        let adopts = cluster.annotations().get(labels::ADOPT_STORE);
        (cluster.uid(), cluster.labels().clone(), adopts.cloned())
    };
    if let Some((namespace, name)) = moved(change, seen) {
        P::touch_cluster(ctx, &ClusterKey::attached(namespace, name));
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

/// Starts passes over the objects of a store that are not settled, or are being deleted.
pub fn touch<K: Operation>(store: &Store<K>, trigger: &Trigger<K>, wanted: impl Fn(&K) -> bool) {
    for object in store.state() {
        let settled = object.meta().deletion_timestamp.is_none() && is_settled(&*object);
        if !settled && wanted(&object) {
            trigger.fire(&object.namespace().unwrap_or_default(), &object.name_any());
        }
    }
}

/// Follows the members' states, and whether cluster-proxy tells them.
async fn inventory<P: Process>(ctx: Arc<Context<P>>) {
    let mut changes = ctx.inventory.changes();
    let mut told = false;
    loop {
        let answers = ctx.inventory.lost().is_none();
        let left = ctx.contact.note(answers, ctx.timings.proxy_grace);
        // Nothing else tells that the last states of the members are worth nothing any more.
        if left.is_some_and(|left| left.is_zero()) && !told {
            tracing::warn!("cluster-proxy does not answer: is it running?");
            P::touch_all(&ctx);
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
            Some(InventoryChange::Cluster(key)) => P::touch_cluster(&ctx, &key),
            Some(InventoryChange::Resync) => P::touch_all(&ctx),
            None => return,
        }
    }
}

/// Objects that name their hub object start that one's pass; others start the passes of all objects
/// that work on their member.
pub async fn members<P: Process, K: MemberResource>(ctx: Arc<Context<P>>, watch: MemberWatch<K>) {
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
            Change::State { cluster } => P::touch_cluster(&ctx, &cluster),
            Change::Lagged => P::touch_all(&ctx),
        }
    }
}

/// Velero writes each location's status twice a minute, on every member: only what somebody waits
/// for starts passes.
async fn locations<P: Process>(ctx: Arc<Context<P>>) {
    let mut changes = ctx.locations.changes();
    let mut tidy = tokio::time::interval(ctx.timings.location_sweep);
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            _ = tidy.tick() => {
                ctx.settled.keep(&ctx.locations.clusters());
                continue;
            }
        };
        let Some(change) = change else { return };
        if let Some(cluster) = settled_in(&ctx, &change) {
            P::touch_cluster(&ctx, cluster);
            continue;
        }
        match change {
            Change::Object {
                cluster, old, new, ..
            } => match location::change(old.as_deref(), new.as_deref()) {
                location::Change::Nothing => {}
                location::Change::Synced => P::touch_synced(&ctx, &cluster),
                location::Change::Use => P::touch_cluster(&ctx, &cluster),
            },
            Change::Invalid { cluster, .. } | Change::State { cluster } => {
                P::touch_cluster(&ctx, &cluster);
            }
            Change::Lagged => P::touch_all(&ctx),
        }
    }
}

/// Takes in when Velero has looked into a location. The cluster, once it is certain of one more what
/// lies there.
fn settled_in<'a>(
    ctx: &Context<impl Process>,
    change: &'a Change<BackupStorageLocation>,
) -> Option<&'a ClusterKey> {
    let Change::Object {
        cluster, key, new, ..
    } = change
    else {
        return None;
    };
    let Some(location) = new else {
        ctx.settled.forget(cluster, &key.name);
        return None;
    };
    ctx.settled.proves(cluster, location).then_some(cluster)
}

fn touch_owner<P: Process>(ctx: &Context<P>, cluster: &ClusterKey, meta: Option<&ObjectMeta>) {
    match meta.and_then(identity::hub_object) {
        Some((kind, namespace, name)) => P::object_changed(ctx, kind, namespace, name),
        None => P::touch_cluster(ctx, cluster),
    }
}

/// A replica that comes to lead looks at everything.
async fn leadership<P: Process>(ctx: Arc<Context<P>>) {
    let mut leadership = ctx.leadership.clone();
    while leadership.changed().await {
        if leadership.is_leader() {
            P::touch_all(&ctx);
        }
    }
}
