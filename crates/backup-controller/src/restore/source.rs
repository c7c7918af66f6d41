//! What does a Restore read? Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api_types::backup::{Backup, BackupDetail};
use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::{ClusterKey, ClusterKind};
use api_types::names::MemberId;
use api_types::phase::EntryPhase;
use api_types::restore::{Restore, SourceCluster};
use jiff::Timestamp;
use kube::ResourceExt;
use velero_kit::point;

use super::index::Index;
pub use super::origin::{Member, Origin};
pub use super::wanted::Which;
use super::{Problem, place};
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
    /// The members whose stores a cluster has taken over.
    pub adopted: BTreeMap<ClusterKey, BTreeSet<MemberId>>,
    /// No run that began later is restored.
    pub not_after: Option<Timestamp>,
    /// The clusters of the Backup.
    index: Index,
}

/// A backup that may be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub which: Which,
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
        let namespace = restore.namespace().unwrap_or_default();
        let index = backup.as_ref().map(|backup| Index::new(backup, &namespace));
        Self {
            index: index.unwrap_or_default(),
            name: restore.spec.backup_name.clone(),
            backup,
            fleet,
            cluster: restore.spec.source_cluster.clone(),
            adopted: BTreeMap::new(),
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

    /// Whether the Backup is there and was made once, not by a schedule.
    pub fn is_once(&self) -> bool {
        let backup = self.backup.as_deref();
        backup.is_some_and(|backup| !backup.spec.is_scheduled())
    }

    /// Whether the Backup is not on the hub, and a cluster is named whose runs are restored all the
    /// same, as they say of themselves whose they are.
    pub fn is_lost(&self) -> bool {
        self.backup.is_none() && self.cluster.is_some() && self.fleet.is_some()
    }

    /// What keeps every cluster from being restored.
    pub fn obstacle(&self) -> Option<Problem> {
        let name = &self.name;
        let message = match &self.backup {
            None if self.is_lost() => return None,
            None => format!(
                "there is no Backup {name} in this namespace: create it, or name in sourceCluster \
                 whose stored runs of it are to be restored"
            ),
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

    /// The cluster that `target` is restored from. One that is named has all members that its name
    /// has had; else a cluster restores its own backup, wherever it has stored, and not a former one's
    /// whose store it has not taken over.
    pub fn origin(&self, target: &ClusterKey) -> Result<Origin, Problem> {
        if let Some(named) = self.cluster.as_ref().filter(|_| self.is_lost()) {
            return Ok(Origin {
                cluster: as_named(named, target),
                members: vec![place::nameless(None)],
            });
        }
        let backup = self.backup()?;
        let key = match &self.cluster {
            Some(named) => self.of_backup(named, target)?,
            None => target.clone(),
        };
        let mut members = self.index.members(backup, &key);
        if self.index.is_claimed(backup, &key)
            && !(self.cluster.is_some() && backup.spec.is_scheduled())
        {
            let own = members.first().map(|member| member.uid.clone());
            if !backup.spec.is_scheduled() {
                let mut first = true;
                members.retain(|member| {
                    std::mem::take(&mut first) || Some(&member.uid) != own.as_ref()
                });
            }
            members.retain(|member| {
                Some(&member.uid) == own.as_ref() || self.is_adopted(&key, &member.uid)
            });
        }
        if members.is_empty() {
            return Err(self.nowhere(backup, &key));
        }
        Ok(Origin {
            cluster: key,
            members,
        })
    }

    /// Whether a cluster has taken over the store of the member with this uid.
    pub fn is_adopted(&self, key: &ClusterKey, uid: &str) -> bool {
        let adopted = self.adopted.get(key);
        adopted.is_some_and(|adopted| adopted.contains(&MemberId::from_uid(uid)))
    }

    /// Why there is no member that has backed up under this name.
    fn nowhere(&self, backup: &Backup, key: &ClusterKey) -> Problem {
        let (name, cluster) = (&self.name, &key.name);
        let not_yet = || {
            Problem::new(
                reason::NO_COMPLETED_BACKUP,
                format!("Backup {name} has not begun in {cluster} yet"),
            )
        };
        if let Some(detail) = self.index.entry(backup, key) {
            return run_of(name, detail).err().unwrap_or_else(not_yet);
        }
        let begun = backup
            .status
            .as_ref()
            .is_some_and(|status| status.start_time.is_some() || !status.backup_details.is_empty());
        if begun {
            return Problem::new(
                reason::BACKUP_NOT_FOUND,
                format!("Backup {name} does not cover {cluster}: leave it out of destination"),
            );
        }
        if is_settled(backup) {
            return Problem::new(
                reason::BACKUP_NOT_RESTORABLE,
                format!("Backup {name} ended without a backup of any cluster: make a new one"),
            );
        }
        not_yet()
    }

    /// The cluster of the Backup that `named` means.
    fn of_backup(&self, named: &SourceCluster, target: &ClusterKey) -> Result<ClusterKey, Problem> {
        let mut found = self.index.named(named, &target.namespace);
        match found.len() {
            // As it is named: what the Backup says of it is that it does not cover it.
            0 => Ok(as_named(named, target)),
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

    /// The run of an origin that is to be restored and the members that may have made it, or why
    /// there is none. `seen`: the uid of the member that answers, and the Velero Backups that this
    /// Backup has there, if it shows them now.
    ///
    /// The runs that the member which answers shows come first; where none of them will do, or a
    /// newer one may lie where that member stored before, the newest is looked for on the target.
    pub fn run(
        &self,
        origin: &Origin,
        seen: Option<(&str, &[Arc<velero::Backup>])>,
        now: Timestamp,
    ) -> Result<(Origin, Run), Problem> {
        let newest = Run {
            which: Which::Newest(self.not_after),
            partial: false,
        };
        if self.is_lost() {
            return Ok((origin.clone(), newest));
        }
        let backup = self.backup()?;
        if !backup.spec.is_scheduled() {
            let known = self.index.entry(backup, &origin.cluster);
            let known = known.ok_or_else(|| {
                Problem::new(
                    reason::BACKUP_NOT_FOUND,
                    format!("Backup {} has no entry any more", self.name),
                )
            })?;
            self.in_time(known)?;
            return Ok((origin.clone(), run_of(&self.name, known)?));
        }
        let Some((uid, seen)) = seen else {
            return Ok((origin.clone(), newest));
        };
        let seen: Vec<&velero::Backup> = seen.iter().map(Arc::as_ref).collect();
        let present = origin.members.iter().find(|member| member.uid == uid);
        match point::newest(&seen, self.not_after, now) {
            Ok(found) if origin.may_hide_newer(uid, found) => {
                Ok((origin.narrowed(|member| member.uid == uid), newest))
            }
            Ok(found) => {
                let run = Run {
                    which: Which::Named(found.name_any()),
                    partial: found.phase() == "PartiallyFailed",
                };
                Ok((origin.narrowed(|member| member.uid == uid), run))
            }
            Err(problem) => {
                let before = origin.narrowed(|member| Some(member) != present);
                if before.members.is_empty() {
                    return Err(self.of_cluster(&origin.cluster, &problem));
                }
                Ok((before, newest))
            }
        }
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

/// The cluster of this name, where nothing else says of which kind it is.
fn as_named(named: &SourceCluster, target: &ClusterKey) -> ClusterKey {
    let kind = named.kind.parse().unwrap_or(ClusterKind::AttachedCluster);
    ClusterKey::new(&target.namespace, kind, &named.name)
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
