//! Which passes does a change start?

use std::sync::Arc;

use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::key::{ClusterKey, ClusterKind};
use api_types::{condition, labels, names};
use controller_kit::follow::Change;
use futures::StreamExt;
use kube::ResourceExt;
use proxy_client::{Change as MemberChange, InventoryChange};

use crate::claim;
use crate::context::Context;
use crate::operation::Operation;

/// A Fleet matters to its clusters, to those it had, and to the Fleets it may share clusters with.
pub(super) fn of_fleet(context: &Context, change: &Change<Fleet>) {
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
pub(super) fn of_cluster(context: &Context, change: &Change<AttachedCluster>) {
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
pub(super) fn of_operation<K>(context: &Context, change: &Change<Operation<K>>)
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

/// A member is in another state.
pub(super) async fn follow_inventory(context: Arc<Context>) {
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
pub(super) async fn follow_nodes(context: Arc<Context>) {
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
pub(super) async fn follow_leadership(context: Arc<Context>) {
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
