//! Who needs what in one namespace: by what the watches have brought, or by what the hub itself shows.
//!
//! A watch may be behind, or broken without our knowing. Nothing else says so, and a finalizer that
//! goes too early takes the credentials away from an operation that runs. So the hub is asked itself
//! before one goes.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use api_types::backup::Backup;
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use api_types::migrate::Migrate;
use api_types::restore::Restore;
use kube::api::ListParams;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::claim;
use crate::error::Error;
use crate::operation::{Begun, Entry, Holder, Need, Operation};

/// Objects that are read at a time: a status may have 1 MiB.
const PAGE: u32 = 50;
/// How long the hub may take for them.
const PAGE_TIMEOUT: Duration = Duration::from_secs(15);

/// All Backups, Restores and Migrates of a namespace.
#[derive(Clone, Debug, Default)]
pub struct Operations {
    /// The Backups.
    pub backups: Vec<Arc<Operation<Backup>>>,
    /// The Restores.
    pub restores: Vec<Arc<Operation<Restore>>>,
    /// The Migrates.
    pub migrates: Vec<Arc<Operation<Migrate>>>,
    /// Those that cannot be read: each may need anything.
    pub unreadable: Vec<Holder>,
}

impl Operations {
    /// Those that still need a Fleet.
    pub fn needing_fleet(&self, fleet: &str) -> Vec<Holder> {
        let naming = self.backups.iter().filter(|backup| names(backup, fleet));
        let naming: BTreeSet<String> = naming.map(|backup| backup.name_any()).collect();
        let borrows = |backup: &str| naming.contains(backup);
        self.holders(&Wanted {
            backup: &|operation| names(operation, fleet),
            restore: &|operation| {
                names(operation, fleet) || operation.borrowed_from().is_some_and(borrows)
            },
            migrate: &|operation| names(operation, fleet),
        })
    }

    /// What holders of a Fleet have begun on its clusters: of the first `limit` holders, and of each
    /// the first `limit` clusters.
    pub fn begun(&self, fleet: &str, holders: &[Holder], limit: usize) -> Vec<Begun> {
        let clusters = |holder: &Holder| -> Vec<Entry> {
            let of_backup = find(&self.backups, holder).map(|of| of.clusters_of(fleet, limit));
            let of_restore = || find(&self.restores, holder).map(|of| of.clusters_of(fleet, limit));
            let of_migrate = || find(&self.migrates, holder).map(|of| of.clusters_of(fleet, limit));
            let found = of_backup.or_else(of_restore).or_else(of_migrate);
            found.unwrap_or_default()
        };
        let begun = holders.iter().take(limit).map(|holder| Begun {
            holder: holder.clone(),
            clusters: clusters(holder),
        });
        begun.collect()
    }

    /// Those that still need a cluster.
    pub fn needing_cluster(&self, cluster: &ClusterKey) -> Vec<Holder> {
        self.holders(&Wanted {
            backup: &|operation| operation.names(cluster),
            restore: &|operation| operation.names(cluster),
            migrate: &|operation| operation.names(cluster),
        })
    }

    fn holders(&self, wanted: &Wanted<'_>) -> Vec<Holder> {
        let mut holders = needing(&self.backups, wanted.backup);
        holders.extend(needing(&self.restores, wanted.restore));
        holders.extend(needing(&self.migrates, wanted.migrate));
        holders.extend(self.unreadable.iter().cloned());
        holders.sort_by(|one, other| (&one.kind, &one.name).cmp(&(&other.kind, &other.name)));
        holders
    }
}

/// Which operations are meant.
struct Wanted<'a> {
    backup: &'a dyn Fn(&Operation<Backup>) -> bool,
    restore: &'a dyn Fn(&Operation<Restore>) -> bool,
    migrate: &'a dyn Fn(&Operation<Migrate>) -> bool,
}

fn names<K: Resource<DynamicType = ()>>(operation: &Operation<K>, fleet: &str) -> bool {
    operation.fleets().any(|named| named == fleet)
}

fn find<'a, K: Resource<DynamicType = ()>>(
    operations: &'a [Arc<Operation<K>>],
    holder: &Holder,
) -> Option<&'a Operation<K>> {
    let of_kind = K::kind(&()) == holder.kind;
    let mut operations = operations.iter().filter(|_| of_kind);
    let found = operations.find(|operation| operation.meta().name.as_ref() == Some(&holder.name));
    found.map(AsRef::as_ref)
}

fn needing<K: Resource<DynamicType = ()>>(
    operations: &[Arc<Operation<K>>],
    wanted: &dyn Fn(&Operation<K>) -> bool,
) -> Vec<Holder> {
    let wanted = operations.iter().filter(|operation| wanted(operation));
    wanted.filter_map(|operation| operation.holder()).collect()
}

/// What the hub itself shows of a namespace.
#[derive(Debug)]
pub struct Seen {
    operations: Operations,
    fleets: Vec<Arc<Fleet>>,
    unreadable_fleets: Vec<Holder>,
}

impl Seen {
    /// The operations that still need a Fleet.
    pub fn holders_of_fleet(&self, fleet: &str) -> Vec<Holder> {
        self.operations.needing_fleet(fleet)
    }

    /// What these have begun on the Fleet's clusters, see [`Operations::begun`].
    pub fn begun(&self, fleet: &str, holders: &[Holder], limit: usize) -> Vec<Begun> {
        self.operations.begun(fleet, holders, limit)
    }

    /// What still needs a cluster, for people.
    pub fn holders_of_cluster(&self, cluster: &ClusterKey) -> Vec<String> {
        let listing = self.fleets.iter().filter(|f| claim::lists(f, cluster));
        let fleets = listing.map(|fleet| format!("Fleet {}", fleet.name_any()));
        let operations = self.operations.needing_cluster(cluster);
        let holders = self.unreadable_fleets.iter().chain(&operations);
        fleets.chain(holders.map(ToString::to_string)).collect()
    }

    async fn list(client: &Client, namespace: &str) -> Result<Self, Error> {
        let mut operations = Operations::default();
        let unreadable = &mut operations.unreadable;
        operations.backups = list(client, namespace, unreadable).await?;
        operations.restores = list(client, namespace, unreadable).await?;
        operations.migrates = list(client, namespace, unreadable).await?;
        let mut unreadable_fleets = Vec::new();
        Ok(Self {
            operations,
            fleets: list(client, namespace, &mut unreadable_fleets).await?,
            unreadable_fleets,
        })
    }
}

/// Looks at the hub, one at a time. When many objects go together, those that wait share one.
#[derive(Debug, Default)]
pub struct Looks(Mutex<Option<Look>>);

#[derive(Debug)]
struct Look {
    namespace: String,
    began: Instant,
    seen: Arc<Seen>,
}

impl Looks {
    /// What the hub shows of a namespace, by a look that began after `since`.
    ///
    /// # Errors
    /// When the hub does not show it: nobody may be taken for gone then.
    pub async fn after(
        &self,
        since: Instant,
        client: &Client,
        namespace: &str,
    ) -> Result<Arc<Seen>, Error> {
        let mut last = self.0.lock().await;
        if let Some(look) = &*last
            && look.namespace == namespace
            && look.began >= since
        {
            return Ok(Arc::clone(&look.seen));
        }
        let began = Instant::now();
        let seen = Arc::new(Seen::list(client, namespace).await?);
        *last = Some(Look {
            namespace: namespace.to_owned(),
            began,
            seen: Arc::clone(&seen),
        });
        Ok(seen)
    }
}

/// Reads one kind, page by page. What cannot be read is told apart.
async fn list<K>(
    client: &Client,
    namespace: &str,
    unreadable: &mut Vec<Holder>,
) -> Result<Vec<Arc<K>>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let api = Api::<DeserializeGuard<K>>::namespaced(client.clone(), namespace);
    let failed = |source| Error::Unlisted {
        kind: K::kind(&()).into_owned(),
        namespace: namespace.to_owned(),
        source,
    };
    let mut page = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let listed = timeout(PAGE_TIMEOUT, api.list(&page)).await;
        let listed = match listed.map_err(|_| failed(None))? {
            // With the type all objects of it went.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
            listed => listed.map_err(|error| failed(Some(Box::new(error))))?,
        };
        for object in listed.items {
            let name = object.name_any();
            match object.0 {
                Ok(mut object) => {
                    object.meta_mut().managed_fields = None;
                    found.push(Arc::new(object));
                }
                Err(_) => unreadable.push(unread::<K>(name)),
            }
        }
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}

/// An object that cannot be read, as a holder.
pub(crate) fn unread<K: Resource<DynamicType = ()>>(name: String) -> Holder {
    Holder {
        kind: K::kind(&()),
        name,
        need: Need::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixture::{NAMESPACE, fleet};

    fn operation<K: Resource<DynamicType = ()>>(
        name: &str,
        mut object: Value,
    ) -> Arc<Operation<K>> {
        object["metadata"] = json!({"name": name, "namespace": NAMESPACE});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_fleet_is_needed_by_who_names_it_and_by_a_restore_of_a_backup_that_does() {
        let seen = Operations {
            backups: vec![operation(
                "done",
                json!({"spec": {"destination": {"fleet": "north"}}, "status": {"phase": "Completed"}}),
            )],
            restores: vec![operation("again", json!({"spec": {"backupName": "done"}}))],
            migrates: vec![operation(
                "move",
                json!({"spec": {"targetCluster": {"fleet": "south"}}}),
            )],
            unreadable: vec![unread::<Backup>("odd".to_owned())],
        };
        let holders = |fleet: &str| -> Vec<String> {
            let holders = seen.needing_fleet(fleet);
            holders.iter().map(ToString::to_string).collect()
        };
        let odd = "Backup odd (cannot be read)";
        assert_eq!(holders("north"), [odd, "Restore again (Pending)"]);
        assert_eq!(holders("south"), [odd, "Migrate move (Pending)"]);
        assert_eq!(holders("west"), [odd]);
    }

    #[test]
    fn a_cluster_is_needed_by_fleets_that_list_it_and_by_what_cannot_be_read() {
        let entry = json!({"clusterName": "bergen", "clusterKind": "AttachedCluster"});
        let status = json!({"phase": "InProgress", "backupDetails": [entry]});
        let seen = Seen {
            operations: Operations {
                backups: vec![operation("nightly", json!({"status": status}))],
                ..Operations::default()
            },
            fleets: vec![Arc::new(fleet(
                "north",
                "2026-01-01T00:00:00Z",
                &["bergen"],
            ))],
            unreadable_fleets: vec![unread::<Fleet>("odd".to_owned())],
        };
        let holders = |name: &str| seen.holders_of_cluster(&ClusterKey::attached(NAMESPACE, name));
        let odd = "Fleet odd (cannot be read)";
        assert_eq!(
            holders("bergen"),
            ["Fleet north", odd, "Backup nightly (InProgress)"]
        );
        assert_eq!(holders("hamar"), [odd]);
    }
}
