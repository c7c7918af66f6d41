//! The clusters of a Backup, and the members that they were. Pure.

use std::collections::BTreeMap;

use api_types::backup::{Backup, BackupDetail, FormerCluster};
use api_types::key::{ClusterKey, ClusterKind};
use api_types::restore::SourceCluster;
use velero_kit::reading::origin::Member;

use crate::operation::entry;

/// The clusters of a Backup, by their keys: looked up once for each of many targets.
#[derive(Debug, Clone, Default)]
pub struct Index {
    /// Position of each one's entry.
    entries: BTreeMap<ClusterKey, usize>,
    /// Positions of those that have left.
    former: BTreeMap<ClusterKey, Vec<usize>>,
}

impl Index {
    /// The clusters of a Backup of this namespace.
    pub fn new(backup: &Backup, namespace: &str) -> Self {
        let Some(status) = &backup.status else {
            return Self::default();
        };
        let mut index = Self::default();
        for (at, detail) in status.backup_details.iter().enumerate() {
            if let Some(key) = entry::key_of(namespace, detail) {
                index.entries.entry(key).or_insert(at);
            }
        }
        for (at, former) in status.former_clusters.iter().enumerate() {
            if let Ok(kind) = former.cluster_kind.parse::<ClusterKind>() {
                let key = ClusterKey::new(namespace, kind, &former.cluster_name);
                index.former.entry(key).or_default().push(at);
            }
        }
        index
    }

    /// The entry of a cluster.
    pub fn entry<'a>(&self, backup: &'a Backup, key: &ClusterKey) -> Option<&'a BackupDetail> {
        let at = *self.entries.get(key)?;
        backup.status.as_ref()?.backup_details.get(at)
    }

    /// The members that a cluster's name has had, the present one first, each once for each place. One
    /// that has left and is listed again has an entry that knows nothing yet.
    pub fn members(&self, backup: &Backup, key: &ClusterKey) -> Vec<Member> {
        let entry = self.entry(backup, key);
        let present = entry.and_then(|entry| {
            Some(Member {
                uid: entry.member_uid.clone()?,
                place: entry.storage.clone(),
                last: None,
            })
        });
        let former = self.former.get(key).into_iter().flatten();
        let former = former.filter_map(|at| {
            let former: &FormerCluster = backup.status.as_ref()?.former_clusters.get(*at)?;
            Some(Member {
                uid: former.member_uid.clone()?,
                place: former.storage.clone(),
                last: former.expiration_time.as_ref().map(|time| time.0),
            })
        });
        let mut members: Vec<Member> = Vec::new();
        for member in present.into_iter().chain(former) {
            if !members.iter().any(|known| member.is_told_by(known)) {
                members.push(member);
            }
        }
        members
    }

    /// Whether the cluster has an entry that was claimed.
    pub fn is_claimed(&self, backup: &Backup, key: &ClusterKey) -> bool {
        let entry = self.entry(backup, key);
        entry.is_some_and(|entry| entry.member_uid.is_some())
    }

    /// The clusters that `named` means.
    pub fn named(&self, named: &SourceCluster, namespace: &str) -> Vec<ClusterKey> {
        let of = |kind| ClusterKey::new(namespace, kind, &named.name);
        let keys = [ClusterKind::AttachedCluster, ClusterKind::Cluster].map(of);
        let is_known = |key: &ClusterKey| {
            named.selects(key) && (self.entries.contains_key(key) || self.former.contains_key(key))
        };
        keys.into_iter().filter(is_known).collect()
    }
}
