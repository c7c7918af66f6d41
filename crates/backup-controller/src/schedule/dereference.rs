//! Gathers what a pass needs to know, from local stores: no write and no call to a member.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::backup::{Backup, BackupDetail, BackupStatus, FormerCluster};
use api_types::common::StoragePlace;
use api_types::key::{ClusterKey, ClusterKind};
use jiff::Timestamp;
use kube::ResourceExt;
use velero_kit::identity::{Owner, owner_uid};
use velero_kit::{NAMESPACE, borrowed, location};

use super::Problem;
use super::former::{self, Former, Keep};
use super::plan::{Entry, Facts};
use super::validate::Validated;
use crate::context::Context;
use crate::operation::destination::{self, Requested};
use crate::operation::{entry, member};

/// The clusters that are asked for now, and those that were and may still hold something of ours.
#[derive(Debug)]
pub struct Clusters {
    pub entries: Vec<Entry>,
    pub former: Vec<Former>,
    /// Whether some of `former` have left, or store elsewhere, since just now.
    pub left: bool,
}

impl Clusters {
    /// Why no cluster is begun, if they are more than one status holds. Those that have left count too;
    /// older runs do not, since they go first.
    pub fn too_many(&self) -> Option<Problem> {
        let former = self.former.iter().filter_map(|former| former.key.as_ref());
        let keys = self.entries.iter().map(|entry| &entry.key).chain(former);
        let keys: Vec<&ClusterKey> = keys.collect();
        destination::too_many("Backup", keys.into_iter())
    }
}

/// Gathers both.
pub fn clusters(
    ctx: &Context,
    backup: &Backup,
    spec: &Validated,
    (owner, now): (&Owner, Timestamp),
) -> Clusters {
    let namespace = &owner.namespace;
    let keep = Keep::new(backup, now);
    let status = backup.status.clone().unwrap_or_default();
    let mut stored = stored(namespace, &status);
    let requested = requested(ctx, backup, spec, &stored);
    let mut left: Vec<FormerCluster> = Vec::new();
    let entries: Vec<Entry> = requested
        .into_iter()
        .map(|(key, problem)| {
            let facts = facts(ctx, &key, &spec.location, &owner.uid);
            let known = former::goes_on(problem.as_ref())
                .then(|| stored.remove(&key))
                .flatten();
            let stored = match known {
                Some(known) if is_replaced(&known, &facts) => {
                    left.extend(former::replaced(known, keep));
                    entry::fresh(&key)
                }
                Some(mut known) => {
                    left.extend(former::move_on(&mut known, &facts, keep));
                    known
                }
                None => entry::fresh(&key),
            };
            Entry {
                stored,
                problem,
                stuck: None,
                accepted: ctx.memory.with(&owner.uid, |memory| {
                    let of = memory.clusters.get(&key);
                    of.and_then(|of| of.own.accepted.clone())
                }),
                facts,
                key,
            }
        })
        .collect();
    // What is still in `stored` has left; without a claim nothing of ours was ever made there.
    let claimed = |detail: &BackupDetail| detail.member_uid.is_some();
    let gone = stored.into_values().filter(claimed);
    left.extend(gone.map(|detail| former::of(detail, keep)));
    let has_left = !left.is_empty();
    let former = former::distinct(left.into_iter().chain(status.former_clusters))
        .into_iter()
        .map(|cluster| {
            let key = former::key_of(namespace, &cluster);
            let facts = key
                .as_ref()
                .map(|key| facts(ctx, key, &spec.location, &owner.uid));
            let place = key.as_ref().zip(cluster.storage.as_ref());
            Former {
                shown_in: place.map_or_else(Vec::new, |place| shown_in(ctx, place)),
                current: false,
                cluster,
                key,
                facts,
            }
        })
        .collect();
    Clusters {
        entries,
        former,
        left: has_left,
    }
}

fn stored(namespace: &str, status: &BackupStatus) -> BTreeMap<ClusterKey, BackupDetail> {
    let details = status.backup_details.iter().cloned();
    details
        .filter_map(|detail| Some((entry::key_of(namespace, &detail)?, detail)))
        .collect()
}

/// A cluster that answers as another one than it was: what is known of the former is no news of this,
/// and is remembered apart.
fn is_replaced(stored: &BackupDetail, facts: &Facts) -> bool {
    match (&stored.member_uid, facts.member_uid()) {
        (Some(claimed), Some(answers)) => claimed != answers,
        _ => false,
    }
}

/// The set follows the spec, except that a Fleet which is not there makes nobody leave.
fn requested(
    ctx: &Context,
    backup: &Backup,
    spec: &Validated,
    stored: &BTreeMap<ClusterKey, BackupDetail>,
) -> Requested {
    let namespace = backup.namespace().unwrap_or_default();
    let destination = &backup.spec.destination;
    let mut requested =
        destination::requested(ctx, &namespace, destination, spec.selector.as_ref());
    if !spec.fleet_found {
        for (key, detail) in stored {
            if detail.member_uid.is_some() {
                requested.entry(key.clone()).or_insert(None);
            }
        }
    }
    requested
}

/// What is known about one member now.
pub fn facts(ctx: &Context, key: &ClusterKey, location: &str, owner: &str) -> Facts {
    let schedules = ctx.schedules.state(key);
    let runs = ctx.backups.state(key);
    Facts {
        hub: member::hub_object(ctx, key),
        link: member::link(ctx, key),
        velero: member::served(ctx, key),
        location: ctx.locations.get(key, NAMESPACE, location),
        schedules_live: member::is_live(&schedules),
        schedules: ours(ctx.schedules.list(key), owner),
        runs_known: runs.synced,
        runs_live: member::is_live(&runs),
        runs: ours(ctx.backups.list(key), owner),
    }
}

/// Names of a member's own locations at a place, once Velero has surely looked there.
fn shown_in(ctx: &Context, (key, place): (&ClusterKey, &StoragePlace)) -> Vec<String> {
    let there = ctx.locations.list(key).into_iter();
    let names = there
        .filter(|found| !borrowed::is_borrowed(&found.name_any()))
        .filter(|found| location::is_at(found, place) && ctx.settled.note(key, found));
    names.map(|found| found.name_any()).collect()
}

fn ours<K: kube::Resource>(objects: Vec<Arc<K>>, owner: &str) -> Vec<Arc<K>> {
    let ours = |object: &Arc<K>| owner_uid(object.meta()) == Some(owner);
    objects.into_iter().filter(ours).collect()
}

/// The key of a kind that this version can reach.
pub fn key(namespace: &str, kind: &str, name: &str) -> Option<ClusterKey> {
    let kind = kind.parse::<ClusterKind>().ok()?;
    Some(ClusterKey::new(namespace, kind, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::fixtures::fresh;

    fn clusters(entries: usize, former: usize) -> Clusters {
        let name = |n: usize| format!("kurator-member-of-the-north-{n:05}");
        let left = |n| Former {
            cluster: FormerCluster::default(),
            key: Some(ClusterKey::attached("team-a", name(n))),
            facts: None,
            shown_in: Vec::new(),
            current: false,
        };
        Clusters {
            entries: (0..entries).map(|n| fresh(&name(n))).collect(),
            former: (entries..entries + former).map(left).collect(),
            left: false,
        }
    }

    #[test]
    fn no_cluster_is_begun_beyond_what_one_status_holds_and_those_that_left_count() {
        assert!(clusters(1500, 0).too_many().is_none());
        for (entries, former) in [(2000, 0), (1500, 500)] {
            let problem = clusters(entries, former).too_many().unwrap();
            assert_eq!(problem.reason, "InvalidSpec");
            let said = problem.message;
            assert!(said.starts_with("selects 2000 clusters"), "{said}");
        }
    }
}
