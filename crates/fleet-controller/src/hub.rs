//! What the hub holds, from local stores: who lists whom, who needs what.

use std::fmt::{self, Debug};
use std::sync::Arc;

use api_types::backup::Backup;
use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use api_types::migrate::Migrate;
use api_types::restore::Restore;
use api_types::{labels, names};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};

use crate::claim;
use crate::fleet::members::Object;
use crate::operation::{Begun, Holder, Operation};
use crate::operations::{Operations, unread};
use controller_kit::follow::Intake;

/// How many kinds are stored.
pub const KINDS: usize = 5;

/// Stores of all kinds that matter here. Clones share them.
#[derive(Clone)]
pub struct Hub {
    /// Fleets.
    pub fleets: Store<Fleet>,
    /// `AttachedClusters`.
    pub clusters: Store<AttachedCluster>,
    /// Backups, as far as they hold something.
    pub backups: Store<Operation<Backup>>,
    /// Restores, as far as they hold something.
    pub restores: Store<Operation<Restore>>,
    /// Migrates, as far as they hold something.
    pub migrates: Store<Operation<Migrate>>,
    /// How complete they are, and what of them cannot be read.
    pub intake: Intake,
}

impl Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("intake", &self.intake)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Waits until every store holds all there is. A decision before that would take what is not
    /// listed yet for gone.
    pub async fn ready(&self) {
        self.intake.complete(KINDS).await;
    }

    /// All Fleets of a namespace.
    pub fn fleets_in(&self, namespace: &str) -> Vec<Arc<Fleet>> {
        in_namespace(&self.fleets, namespace)
    }

    /// All `AttachedClusters` of a namespace.
    pub fn clusters_in(&self, namespace: &str) -> Vec<Arc<AttachedCluster>> {
        in_namespace(&self.clusters, namespace)
    }

    /// The Fleets that list a cluster, terminating ones included.
    pub fn fleets_listing(&self, cluster: &ClusterKey) -> Vec<Arc<Fleet>> {
        let mut fleets = self.fleets_in(&cluster.namespace);
        fleets.retain(|fleet| claim::lists(fleet, cluster));
        fleets
    }

    /// An AttachedCluster.
    pub fn attached(&self, key: &ClusterKey) -> Object {
        let object = ObjectRef::new(&key.name).within(&key.namespace);
        match self
            .intake
            .why::<AttachedCluster>(&key.namespace, &key.name)
        {
            Some(why) => Object::Unreadable(why),
            None => self
                .clusters
                .get(&object)
                .map_or(Object::Absent, Object::Present),
        }
    }

    /// The `AttachedClusters` that carry a Fleet's label.
    pub fn labelled(&self, namespace: &str, fleet: &str) -> Vec<String> {
        let value = names::label_value(fleet);
        let mut names: Vec<String> = self
            .clusters_in(namespace)
            .iter()
            .filter(|cluster| cluster.labels().get(labels::FLEET_NAME) == Some(&value))
            .map(|cluster| cluster.name_any())
            .collect();
        names.sort();
        names
    }

    /// The operations that still need a Fleet, as far as the watches have brought them.
    pub fn holders_of_fleet(&self, fleet: &Fleet) -> Vec<Holder> {
        let namespace = fleet.namespace().unwrap_or_default();
        self.operations(&namespace).needing_fleet(&fleet.name_any())
    }

    /// What holders of a Fleet have begun on its clusters, as far as the watches have brought it; at
    /// most `limit` holders and clusters of each.
    pub fn begun(&self, fleet: &Fleet, holders: &[Holder], limit: usize) -> Vec<Begun> {
        let namespace = fleet.namespace().unwrap_or_default();
        self.operations(&namespace)
            .begun(&fleet.name_any(), holders, limit)
    }

    /// What beside readable Fleets still needs a cluster, as far as the watches have brought it, for
    /// people.
    pub fn holders_of_cluster(&self, cluster: &ClusterKey) -> Vec<String> {
        let fleets = unreadable::<Fleet>(&self.intake, &cluster.namespace);
        let operations = self.operations(&cluster.namespace).needing_cluster(cluster);
        fleets
            .into_iter()
            .chain(operations)
            .map(|holder| holder.to_string())
            .collect()
    }

    /// The operations of a namespace.
    fn operations(&self, namespace: &str) -> Operations {
        let intake = &self.intake;
        let mut unread = unreadable::<Backup>(intake, namespace);
        unread.extend(unreadable::<Restore>(intake, namespace));
        unread.extend(unreadable::<Migrate>(intake, namespace));
        Operations {
            backups: in_namespace(&self.backups, namespace),
            restores: in_namespace(&self.restores, namespace),
            migrates: in_namespace(&self.migrates, namespace),
            unreadable: unread,
        }
    }
}

fn unreadable<K: Resource<DynamicType = ()>>(intake: &Intake, namespace: &str) -> Vec<Holder> {
    let names = intake.all::<K>(namespace).into_iter();
    names.map(unread::<K>).collect()
}

fn in_namespace<K>(store: &Store<K>, namespace: &str) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let mut objects = store.state();
    objects.retain(|object| object.meta().namespace.as_deref() == Some(namespace));
    objects
}
