//! Whose backups does a Restore read? Pure.

use std::collections::{BTreeMap, BTreeSet};

use api_types::backup::{Backup, BackupDetail, FormerCluster};
use api_types::common::StoragePlace;
use api_types::external::velero;
use api_types::key::{ClusterKey, ClusterKind};
use api_types::labels;
use api_types::names::MemberId;
use api_types::restore::SourceCluster;
use jiff::Timestamp;
use velero_kit::location;

use crate::operation::entry;

/// The cluster that a target is restored from, as the hub's Backup knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub cluster: ClusterKey,
    /// The members that have borne this name and may have what is restored; the present one at its
    /// present place first.
    pub members: Vec<Member>,
}

/// A member that has backed up, at one place: one that has stored in several is there once for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// The uid of its namespace kube-system.
    pub uid: String,
    /// Where its backups lie, if that was written down.
    pub place: Option<StoragePlace>,
    /// When the last run that is known there is past its ttl, if it stores there no more.
    pub last: Option<Timestamp>,
}

impl Member {
    /// Whether nothing is known beside what `known` says.
    fn is_told_by(&self, known: &Self) -> bool {
        let here = match (&known.place, &self.place) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(one), Some(other)) => location::is_same(one, other),
        };
        known.uid == self.uid && here
    }
}

impl Origin {
    /// Whether a member of this uid is one of it.
    pub fn has(&self, uid: &str) -> bool {
        self.members.iter().any(|member| member.uid == uid)
    }

    /// Whether it is this member and no other.
    pub fn is_only(&self, id: &MemberId) -> bool {
        let mut others = self.made_in().into_iter().filter(|member| member != id);
        !self.members.is_empty() && others.next().is_none()
    }

    /// Whether a run of this member that began later than `found` may lie where it stored before. Of
    /// runs with one ttl, what began later expires later. Of what has not completed, Velero may still
    /// show here what lies there.
    pub fn may_hide_newer(&self, uid: &str, found: &velero::Backup) -> bool {
        let complete = found.phase() == "Completed";
        let later = |last: Timestamp| {
            let ends = found.expiration();
            ends.is_some_and(|ends| last > ends || (last == ends && !complete))
        };
        let mut places = self.members.iter().filter(|member| member.uid == uid);
        places.any(|member| member.last.is_some_and(later))
    }

    /// The same, of the members only that `which` selects.
    #[must_use]
    pub fn narrowed(&self, which: impl Fn(&Member) -> bool) -> Self {
        let members = self.members.iter().filter(|member| which(member));
        Self {
            cluster: self.cluster.clone(),
            members: members.cloned().collect(),
        }
    }

    /// What its members write on their backups.
    pub fn made_in(&self) -> BTreeSet<MemberId> {
        let members = self.members.iter();
        members
            .map(|member| MemberId::from_uid(&member.uid))
            .collect()
    }

    /// The places where its backups lie, as far as they are known, each once.
    pub fn places(&self) -> Vec<&StoragePlace> {
        let known = self
            .members
            .iter()
            .filter_map(|member| member.place.as_ref());
        let mut places: Vec<&StoragePlace> = Vec::new();
        for place in known {
            if !places.iter().any(|other| location::is_same(other, place)) {
                places.push(place);
            }
        }
        places
    }
}

/// Whether one of these members made a backup, by its label.
pub fn is_made_in(made_in: &BTreeSet<MemberId>, backup: &velero::Backup) -> bool {
    let labels = backup.metadata.labels.as_ref();
    let label = labels.and_then(|labels| labels.get(labels::MEMBER));
    label.is_some_and(|label| made_in.iter().any(|member| member.as_str() == label))
}

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
