//! What does a Restore read? Pure.

use std::sync::Arc;

use api_types::backup::{Backup, BackupDetail};
use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::{ClusterKey, ClusterKind};
use api_types::phase::EntryPhase;
use api_types::restore::{Restore, SourceCluster};
use jiff::Timestamp;
use kube::ResourceExt;
use velero_kit::point;

use super::Problem;
use crate::operation::{entry, is_settled};

/// The Backup that a Restore names, as the hub has it.
#[derive(Debug, Clone)]
pub struct Source {
    /// Name of the Backup.
    pub name: String,
    /// It, if it is there.
    pub backup: Option<Arc<Backup>>,
    /// The fleet whose clusters are restored, if it is known.
    pub fleet: Option<String>,
    /// The cluster whose backup goes into every target; `None`: each restores its own.
    pub cluster: Option<SourceCluster>,
    /// No run that began later is restored.
    pub not_after: Option<Timestamp>,
}

/// The cluster that a target is restored from, as the hub's Backup knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub cluster: ClusterKey,
    /// The uid of the member that the backup was made in.
    pub member_uid: String,
    /// Where its backups lie, if that was written down.
    pub place: Option<StoragePlace>,
}

/// A backup that may be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub which: Which,
    /// Some items are not in it.
    pub partial: bool,
}

/// How a run is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The Velero Backup of this name.
    Named(String),
    /// The newest one that did not begin after this: the origin cannot be asked, so it is to be found
    /// among what the target sees.
    Newest(Option<Timestamp>),
}

impl Source {
    /// The source of a Restore.
    pub fn new(restore: &Restore, backup: Option<Arc<Backup>>) -> Self {
        let named = restore.spec.destination.as_ref();
        let fleet = named
            .or_else(|| backup.as_ref().map(|backup| &backup.spec.destination))
            .map(|destination| destination.fleet.clone());
        Self {
            name: restore.spec.backup_name.clone(),
            backup,
            fleet,
            cluster: restore.spec.source_cluster.clone(),
            // A time that cannot be read is refused before anything is looked at.
            not_after: restore
                .spec
                .point_in_time
                .as_ref()
                .and_then(|time| time.parse().ok()),
        }
    }

    /// Whether the Backup is being deleted with its data: nothing new may read it.
    pub fn is_going(&self) -> bool {
        self.backup
            .as_deref()
            .is_some_and(crate::backup::goes_with_data)
    }

    /// What keeps every cluster from being restored.
    pub fn obstacle(&self) -> Option<Problem> {
        let name = &self.name;
        let message = match &self.backup {
            None => format!("there is no Backup {name} in this namespace: create it"),
            Some(backup) if backup.metadata.deletion_timestamp.is_some() => {
                format!("Backup {name} is being deleted: nothing new is restored from it")
            }
            Some(backup) => {
                let (of, wanted) = (&backup.spec.destination.fleet, self.fleet.as_ref());
                if wanted.is_none_or(|wanted| wanted == of) {
                    return None;
                }
                format!(
                    "Backup {name} is of Fleet {of}, and this Restore is of Fleet {}: name a \
                     Backup of that fleet",
                    wanted.map_or("", String::as_str)
                )
            }
        };
        Some(Problem::new(reason::BACKUP_NOT_FOUND, message))
    }

    /// The Backup, or why there is none to read.
    fn backup(&self) -> Result<&Backup, Problem> {
        self.backup.as_deref().ok_or_else(|| {
            self.obstacle().unwrap_or_else(|| {
                Problem::new(
                    reason::BACKUP_NOT_FOUND,
                    format!("there is no Backup {}", self.name),
                )
            })
        })
    }

    /// The cluster that `target` is restored from.
    pub fn origin(&self, target: &ClusterKey) -> Result<Origin, Problem> {
        let backup = self.backup()?;
        let key = match &self.cluster {
            Some(named) => of_backup(backup, named, target)?,
            None => target.clone(),
        };
        let (name, cluster) = (&self.name, &key.name);
        let detail = detail(backup, &key);
        // One that has left and is listed again has an entry that knows nothing yet.
        let known = detail.and_then(claimed).or_else(|| former(backup, &key));
        if let Some((member_uid, place)) = known {
            return Ok(Origin {
                member_uid,
                place,
                cluster: key,
            });
        }
        if let Some(detail) = detail {
            return Err(run_of(name, detail).err().unwrap_or_else(|| {
                Problem::new(
                    reason::NO_COMPLETED_BACKUP,
                    format!("Backup {name} has not begun in {cluster} yet"),
                )
            }));
        }
        let status = backup.status.clone().unwrap_or_default();
        let begun = status.start_time.is_some() || !status.backup_details.is_empty();
        let (reason, message) = if begun {
            (
                reason::BACKUP_NOT_FOUND,
                format!("Backup {name} does not cover {cluster}: leave it out of destination"),
            )
        } else if is_settled(backup) {
            (
                reason::BACKUP_NOT_RESTORABLE,
                format!("Backup {name} ended without a backup of any cluster: make a new one"),
            )
        } else {
            (
                reason::NO_COMPLETED_BACKUP,
                format!("Backup {name} has not begun in {cluster} yet"),
            )
        };
        Err(Problem::new(reason, message))
    }

    /// The run of an origin that is to be restored, or why there is none. `seen`: the Velero Backups
    /// that this Backup has there, if its member shows them now.
    pub fn run(
        &self,
        origin: &Origin,
        seen: Option<&[Arc<velero::Backup>]>,
        now: Timestamp,
    ) -> Result<Run, Problem> {
        let backup = self.backup()?;
        if !backup.spec.is_scheduled() {
            let known = detail(backup, &origin.cluster);
            let known = known.ok_or_else(|| {
                Problem::new(
                    reason::BACKUP_NOT_FOUND,
                    format!("Backup {} has no entry any more", self.name),
                )
            })?;
            self.in_time(known)?;
            return run_of(&self.name, known);
        }
        let Some(seen) = seen else {
            return Ok(Run {
                which: Which::Newest(self.not_after),
                partial: false,
            });
        };
        let seen: Vec<&velero::Backup> = seen.iter().map(Arc::as_ref).collect();
        let found = point::newest(&seen, self.not_after, now)
            .map_err(|problem| self.of_cluster(&origin.cluster, &problem))?;
        Ok(Run {
            which: Which::Named(found.name_any()),
            partial: found.phase() == "PartiallyFailed",
        })
    }

    /// A problem with the runs of a cluster, in full.
    fn of_cluster(&self, cluster: &ClusterKey, problem: &Problem) -> Problem {
        Problem::new(
            problem.reason,
            format!(
                "Backup {} in {}: {}",
                self.name, cluster.name, problem.message
            ),
        )
    }

    /// A one-time Backup is one restore point.
    fn in_time(&self, detail: &BackupDetail) -> Result<(), Problem> {
        let status = detail.backup_status_in_cluster.as_ref();
        let begun = status.and_then(|status| status.start_timestamp.as_ref());
        match (self.not_after, begun) {
            (Some(limit), Some(begun)) if begun.0 > limit => Err(Problem::new(
                reason::NO_COMPLETED_BACKUP,
                format!(
                    "Backup {} of {} began {}, after pointInTime: choose a later time or another \
                     Backup",
                    self.name, detail.cluster_name, begun.0
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// The cluster of a Backup that `named` means.
fn of_backup(
    backup: &Backup,
    named: &SourceCluster,
    target: &ClusterKey,
) -> Result<ClusterKey, Problem> {
    let status = backup.status.iter();
    let former = status.flat_map(|status| &status.former_clusters);
    let former = former.filter_map(|former| {
        let kind = former.cluster_kind.parse().ok()?;
        Some(ClusterKey::new(
            &target.namespace,
            kind,
            &former.cluster_name,
        ))
    });
    let mut found: Vec<ClusterKey> = clusters(backup)
        .into_iter()
        .chain(former)
        .filter(|key| named.selects(key))
        .collect();
    found.sort();
    found.dedup();
    match found.len() {
        // As it is named: what the Backup says of it is that it does not cover it.
        0 => Ok(ClusterKey::new(
            &target.namespace,
            named.kind.parse().unwrap_or(ClusterKind::AttachedCluster),
            &named.name,
        )),
        1 => Ok(found.remove(0)),
        _ => Err(Problem::new(
            reason::AMBIGUOUS_CLUSTER,
            format!(
                "the Backup covers two clusters named {}: write the kind in sourceCluster",
                named.name
            ),
        )),
    }
}

/// The entry of a cluster.
fn detail<'a>(backup: &'a Backup, key: &ClusterKey) -> Option<&'a BackupDetail> {
    let details = backup
        .status
        .iter()
        .flat_map(|status| &status.backup_details);
    details
        .into_iter()
        .find(|detail| entry::key_of(&key.namespace, *detail).as_ref() == Some(key))
}

/// The member that an entry was claimed in, and where its runs lie.
fn claimed(detail: &BackupDetail) -> Option<(String, Option<StoragePlace>)> {
    Some((detail.member_uid.clone()?, detail.storage.clone()))
}

/// The same of a cluster that has left.
fn former(backup: &Backup, key: &ClusterKey) -> Option<(String, Option<StoragePlace>)> {
    let former = backup
        .status
        .iter()
        .flat_map(|status| &status.former_clusters);
    former
        .filter(|former| {
            former.cluster_name == key.name
                && former.cluster_kind.parse::<ClusterKind>() == Ok(key.kind)
        })
        .find_map(|former| Some((former.member_uid.clone()?, former.storage.clone())))
}

/// The one run of a one-time Backup.
fn run_of(backup: &str, detail: &BackupDetail) -> Result<Run, Problem> {
    let cluster = &detail.cluster_name;
    let why = detail
        .message
        .as_deref()
        .map_or_else(String::new, |why| format!(": {why}"));
    let (reason, message) = match detail.phase {
        EntryPhase::Completed | EntryPhase::PartiallyFailed => {
            return match detail.backup_name_in_cluster.clone() {
                Some(name) if detail.member_uid.is_some() => Ok(Run {
                    which: Which::Named(name),
                    partial: detail.phase == EntryPhase::PartiallyFailed,
                }),
                _ => Err(Problem::new(
                    reason::BACKUP_NOT_RESTORABLE,
                    format!("Backup {backup} does not say which Velero Backup {cluster} has"),
                )),
            };
        }
        EntryPhase::Failed => (
            reason::BACKUP_NOT_RESTORABLE,
            format!("Backup {backup} failed in {cluster}{why}"),
        ),
        EntryPhase::Deleting => (
            reason::BACKUP_NOT_FOUND,
            format!("Backup {backup} is being deleted in {cluster}"),
        ),
        EntryPhase::Pending | EntryPhase::InProgress | EntryPhase::Unknown => (
            reason::NO_COMPLETED_BACKUP,
            format!("Backup {backup} has not ended in {cluster} yet{why}"),
        ),
    };
    Err(Problem::new(reason, message))
}

/// The keys of the clusters that a Backup has entries for.
pub fn clusters(backup: &Backup) -> Vec<ClusterKey> {
    let namespace = backup.namespace().unwrap_or_default();
    let details = backup
        .status
        .iter()
        .flat_map(|status| &status.backup_details);
    details
        .filter_map(|detail| entry::key_of(&namespace, detail))
        .collect()
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
