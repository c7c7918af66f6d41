//! What a Backup, Restore or Migrate still needs its Fleet and its clusters for.
//!
//! Only the few fields that decide this are read: a status of a thousand clusters is not kept in
//! memory, and an object that this version cannot decode as a whole still holds what it names.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::marker::PhantomData;

use api_types::key::{ClusterKey, ClusterKind};
use api_types::phase::Phase;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;

/// A Backup, Restore or Migrate, as far as deletion of others has to know it.
#[derive(Deserialize)]
#[serde(bound = "")]
pub struct Operation<K> {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Option<Status>,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    schedule: Option<String>,
    deletion_policy: Option<String>,
    destination: Option<FleetName>,
    source_cluster: Option<Source>,
    target_cluster: Option<FleetName>,
    backup_name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct FleetName {
    #[serde(default)]
    fleet: Option<String>,
}

/// `sourceCluster` is a destination in a Migrate and a single cluster in a Restore.
type Source = FleetName;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<String>,
    backup_details: Option<Vec<Entry>>,
    former_clusters: Option<Vec<Former>>,
    restore_details: Option<Vec<Entry>>,
    #[serde(rename = "sourceClusterStatus")]
    source: Option<Entry>,
    #[serde(rename = "targetClusterStatus")]
    targets: Option<Vec<Entry>>,
}

/// A cluster that a status names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Entry {
    /// Its name.
    pub cluster_name: Option<Box<str>>,
    /// Its kind; not every version has written one.
    pub cluster_kind: Option<Box<str>>,
}

/// A cluster that left a scheduled Backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Former {
    #[serde(flatten)]
    entry: Entry,
    released: bool,
    replaced: bool,
}

impl Status {
    /// The clusters of the one destination: those of now, and former ones that are still worked on.
    fn of_destination(&self) -> impl Iterator<Item = &Entry> {
        let details = [&self.backup_details, &self.restore_details];
        let former = self.former_clusters.iter().flatten();
        let former = former.filter(|former| !former.released && !former.replaced);
        let details = details.into_iter().flatten().flatten();
        details.chain(former.map(|former| &former.entry))
    }

    fn of_targets(&self) -> impl Iterator<Item = &Entry> {
        self.targets.iter().flatten()
    }
}

/// Why an operation still needs what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// It is being deleted, and what it made on clusters goes with it.
    Deleting,
    /// It runs again and again.
    Scheduled,
    /// It has not ended; its phase.
    Unfinished(String),
    /// It has ended, and removes its data when it is deleted.
    DeletesData,
    /// Nobody can tell: the object cannot be read.
    Unreadable,
}

/// An operation that still needs a Fleet or a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its kind.
    pub kind: Cow<'static, str>,
    /// Its name, in the namespace of what it holds.
    pub name: String,
    /// Why.
    pub need: Need,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, name, need } = self;
        write!(f, "{kind} {name} ({need})")
    }
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deleting => f.write_str("being deleted"),
            Self::Scheduled => f.write_str("scheduled"),
            Self::Unfinished(phase) => f.write_str(phase),
            Self::DeletesData => f.write_str("deletionPolicy Delete"),
            Self::Unreadable => f.write_str("cannot be read"),
        }
    }
}

/// A holder and the clusters in which it may have made something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The holder.
    pub holder: Holder,
    /// The clusters of the Fleet in question that its status names.
    pub clusters: Vec<Entry>,
}

impl<K: Resource<DynamicType = ()>> Operation<K> {
    /// Why it still needs its Fleets and clusters; `None` when it has let go of them.
    pub fn need(&self) -> Option<Need> {
        let phase = self
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        let phase = phase
            .filter(|phase| !phase.is_empty())
            .unwrap_or(Phase::Pending.as_str());
        if self.metadata.deletion_timestamp.is_some() {
            Some(Need::Deleting)
        } else if self
            .spec
            .schedule
            .as_deref()
            .is_some_and(|schedule| !schedule.is_empty())
        {
            Some(Need::Scheduled)
        } else if !has_ended(phase) {
            Some(Need::Unfinished(phase.to_owned()))
        } else if self.spec.deletion_policy.as_deref() == Some("Delete") {
            Some(Need::DeletesData)
        } else {
            None
        }
    }

    /// Itself as a holder, while it needs something.
    pub fn holder(&self) -> Option<Holder> {
        Some(Holder {
            kind: K::kind(&()),
            name: self.metadata.name.clone()?,
            need: self.need()?,
        })
    }

    /// The Fleets that its spec names, all in its own namespace.
    pub fn fleets(&self) -> impl Iterator<Item = &str> {
        let Spec {
            destination,
            source_cluster,
            target_cluster,
            ..
        } = &self.spec;
        [destination, source_cluster, target_cluster]
            .into_iter()
            .filter_map(|named| named.as_ref()?.fleet.as_deref())
            .filter(|fleet| !fleet.is_empty())
    }

    /// The Backup whose destination it takes, when it has none of its own.
    pub fn borrowed_from(&self) -> Option<&str> {
        let own = self.spec.destination.is_some();
        self.spec.backup_name.as_deref().filter(|_| !own)
    }

    /// Whether its status names a cluster that it still works on. One that has left may only be
    /// remembered, for what it has stored.
    pub fn names(&self, cluster: &ClusterKey) -> bool {
        let Some(status) = &self.status else {
            return false;
        };
        self.metadata.namespace.as_deref() == Some(&cluster.namespace)
            && status
                .of_destination()
                .chain(status.of_targets())
                .chain(&status.source)
                .any(|entry| entry.means(cluster))
    }

    /// The first `limit` clusters of a Fleet, one that it holds, that its status names and that it
    /// still works on. A Migrate has those of two Fleets.
    pub fn clusters_of(&self, fleet: &str, limit: usize) -> Vec<Entry> {
        let Some(status) = &self.status else {
            return Vec::new();
        };
        let is_its = |named: &Option<FleetName>| {
            named.as_ref().and_then(|named| named.fleet.as_deref()) == Some(fleet)
        };
        let source = status.source.iter();
        let source = source.filter(|_| is_its(&self.spec.source_cluster));
        let targets = status.of_targets();
        let targets = targets.filter(|_| is_its(&self.spec.target_cluster));
        let clusters = status.of_destination().chain(source).chain(targets);
        let clusters: BTreeSet<&Entry> = clusters.collect();
        clusters.into_iter().take(limit).cloned().collect()
    }

    /// Whether another state of it holds the same things for the same reasons.
    pub fn holds_as(&self, other: &Self) -> bool {
        let entries = |operation: &Self| {
            operation.status.clone().map(|status| Status {
                phase: None,
                ..status
            })
        };
        self.need() == other.need() && self.spec == other.spec && entries(self) == entries(other)
    }
}

impl Entry {
    fn means(&self, cluster: &ClusterKey) -> bool {
        let kind = match self.cluster_kind.as_deref() {
            None | Some("") => true,
            Some(kind) => kind.parse() == Ok::<ClusterKind, _>(cluster.kind),
        };
        kind && self.cluster_name.as_deref() == Some(cluster.name.as_str())
    }
}

fn has_ended(phase: &str) -> bool {
    let ends = [
        Phase::Completed,
        Phase::PartiallyFailed,
        Phase::Failed,
        Phase::FailedValidation,
    ];
    ends.into_iter().any(|end| end.as_str() == phase)
}

// By hand: derives would ask the same of `K`.
impl<K> Clone for Operation<K> {
    fn clone(&self) -> Self {
        Self {
            metadata: self.metadata.clone(),
            spec: self.spec.clone(),
            status: self.status.clone(),
            kind: PhantomData,
        }
    }
}

impl<K> Debug for Operation<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operation")
            .field("metadata", &self.metadata)
            .field("spec", &self.spec)
            .field("status", &self.status)
            .finish()
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Operation<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests;
