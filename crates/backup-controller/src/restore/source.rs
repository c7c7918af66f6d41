//! What does a Restore read? Pure.

use std::sync::Arc;

use api_types::backup::{Backup, BackupDetail};
use api_types::condition::reason;
use api_types::key::ClusterKey;
use api_types::phase::EntryPhase;
use api_types::restore::Restore;
use kube::ResourceExt;

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
}

/// A backup of one cluster that may be restored, as the hub's Backup shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Name of the Velero Backup.
    pub name: String,
    /// The uid of the member that it was made in.
    pub member_uid: String,
    /// Some items are not in it.
    pub partial: bool,
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
        }
    }

    /// Whether the Backup is being deleted with its data: nothing new may read it.
    pub fn is_going(&self) -> bool {
        self.backup
            .as_deref()
            .is_some_and(crate::backup::goes_with_data)
    }

    /// What keeps every cluster from being restored; what this version does not do comes first, since
    /// it must never do something else instead.
    pub fn obstacle(&self, restore: &Restore) -> Option<Problem> {
        not_served(restore, self.backup.as_deref()).or_else(|| self.missing())
    }

    fn missing(&self) -> Option<Problem> {
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

    /// The backup of one cluster, or why there is none to restore.
    pub fn run(&self, key: &ClusterKey) -> Result<Run, Problem> {
        let problem = |reason, message: String| Err(Problem::new(reason, message));
        let (name, cluster) = (&self.name, &key.name);
        let Some(backup) = &self.backup else {
            return self.missing().map_or_else(
                || {
                    problem(
                        reason::BACKUP_NOT_FOUND,
                        format!("there is no Backup {name}"),
                    )
                },
                Err,
            );
        };
        let status = backup.status.clone().unwrap_or_default();
        let detail = status
            .backup_details
            .iter()
            .find(|detail| entry::key_of(&key.namespace, *detail).as_ref() == Some(key));
        let Some(detail) = detail else {
            return if status.start_time.is_some() {
                problem(
                    reason::BACKUP_NOT_FOUND,
                    format!("Backup {name} does not cover {cluster}: leave it out of destination"),
                )
            } else if is_settled(&**backup) {
                problem(
                    reason::BACKUP_NOT_RESTORABLE,
                    format!("Backup {name} ended without a backup of any cluster: make a new one"),
                )
            } else {
                problem(
                    reason::NO_COMPLETED_BACKUP,
                    format!("Backup {name} has not begun in {cluster} yet"),
                )
            };
        };
        run_of(name, detail)
    }
}

fn run_of(backup: &str, detail: &BackupDetail) -> Result<Run, Problem> {
    let cluster = &detail.cluster_name;
    let why = detail
        .message
        .as_deref()
        .map_or_else(String::new, |why| format!(": {why}"));
    let (reason, message) = match detail.phase {
        EntryPhase::Completed | EntryPhase::PartiallyFailed => {
            let known = detail
                .backup_name_in_cluster
                .clone()
                .zip(detail.member_uid.clone());
            return match known {
                Some((name, member_uid)) => Ok(Run {
                    name,
                    member_uid,
                    partial: detail.phase == EntryPhase::PartiallyFailed,
                }),
                None => Err(Problem::new(
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

/// What this version stores and does not do.
fn not_served(restore: &Restore, backup: Option<&Backup>) -> Option<Problem> {
    let asked = if restore.spec.source_cluster.is_some() {
        "spec.sourceCluster is not served"
    } else if restore.spec.point_in_time.is_some() {
        "spec.pointInTime is not served"
    } else if backup.is_some_and(|backup| backup.spec.is_scheduled()) {
        "the Backup is a scheduled one"
    } else {
        return None;
    };
    Some(Problem::new(
        reason::NO_CONTROLLER,
        format!(
            "this version restores one-time Backups into their own clusters only, and {asked}: \
             nothing is restored"
        ),
    ))
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
