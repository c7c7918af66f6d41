//! Which objects does a change on a member concern? Pure.

use api_types::backup::Backup;
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use api_types::restore::Restore;
use kube::ResourceExt;

use crate::operation::{Detail, Operation, State};

/// Whether an object works on this member, or may come to, since its clusters are not fixed yet.
pub(super) fn may_work_on<K: Operation>(object: &K, key: &ClusterKey) -> bool {
    if object.namespace().as_deref() != Some(key.namespace.as_str()) {
        return false;
    }
    object.state().is_none_or(|status| {
        !status.is_frozen() || {
            let mut details = status.details().iter();
            details.any(|detail| detail.cluster_name() == key.name)
        }
    })
}

/// The same of a Backup. The clusters of a scheduled one are never fixed, so each member of the
/// namespace would concern it for ever: it is asked which ones it has, had, or may get. `fleet` finds
/// the Fleet of its destination; one that comes later starts a pass by itself.
pub(super) fn backup_may_work_on<F: AsRef<Fleet>>(
    backup: &Backup,
    key: &ClusterKey,
    fleet: impl FnOnce() -> Option<F>,
) -> bool {
    if !may_work_on(backup, key) || !backup.spec.is_scheduled() {
        return may_work_on(backup, key);
    }
    let Some(status) = &backup.status else {
        return true;
    };
    let has = status.backup_details.iter().map(|now| &now.cluster_name);
    let had = status.former_clusters.iter().map(|old| &old.cluster_name);
    let destination = &backup.spec.destination;
    has.chain(had).any(|name| *name == key.name)
        || destination.clusters.iter().any(|of| of.selects(key))
        || fleet().is_some_and(|fleet| {
            let mut members = fleet.as_ref().spec.clusters.iter();
            members.any(|member| member.selects(key))
        })
}

/// Whether a Restore has still to find its backup in this member, which Velero's next look into the
/// bucket may bring there.
pub(super) fn awaits_sync(restore: &Restore, key: &ClusterKey) -> bool {
    let waits = restore.status.as_ref().is_none_or(|status| {
        let mut details = status.restore_details.iter();
        status.start_time.is_none()
            || details.any(|detail| {
                let begun = detail.restore_status_in_cluster.is_some();
                detail.cluster_name == key.name && !begun && !detail.phase.is_final()
            })
    });
    waits && may_work_on(restore, key)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use api_types::backup::{BackupStatus, FormerCluster};
    use api_types::fleet::FleetSpec;
    use api_types::phase::EntryPhase;
    use api_types::restore::{RestoreDetail, RestoreSpec, RestoreStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::backup::fixtures::{at, attached, backup, detail, key};

    fn none() -> Option<Arc<Fleet>> {
        None
    }

    fn scheduled(status: BackupStatus) -> Backup {
        let mut backup = backup(status);
        "0 3 * * *".clone_into(&mut backup.spec.schedule);
        backup
    }

    #[test]
    fn a_scheduled_backup_is_concerned_by_clusters_that_it_has_had_or_may_get() {
        let mut nightly = scheduled(BackupStatus::default());
        let oslo = key("oslo");
        assert!(!backup_may_work_on(&nightly, &oslo, none));

        let fleet = |name: &str| {
            let spec = FleetSpec {
                clusters: vec![attached(name)],
                ..FleetSpec::default()
            };
            Some(Arc::new(Fleet::new("production", spec)))
        };
        assert!(backup_may_work_on(&nightly, &oslo, || fleet("oslo")));
        assert!(!backup_may_work_on(&nightly, &oslo, || fleet("bergen")));

        nightly.spec.destination.clusters = vec![attached("oslo")];
        assert!(backup_may_work_on(&nightly, &oslo, none));

        let has = scheduled(BackupStatus {
            backup_details: vec![detail("oslo", EntryPhase::Pending)],
            ..BackupStatus::default()
        });
        assert!(backup_may_work_on(&has, &oslo, none));
        assert!(!backup_may_work_on(&has, &key("bergen"), none));

        let had = scheduled(BackupStatus {
            former_clusters: vec![FormerCluster {
                cluster_name: "oslo".to_owned(),
                cluster_kind: "AttachedCluster".to_owned(),
                ..FormerCluster::default()
            }],
            ..BackupStatus::default()
        });
        assert!(backup_may_work_on(&had, &oslo, none));

        let unseen = Backup {
            status: None,
            ..nightly
        };
        assert!(backup_may_work_on(&unseen, &key("bergen"), none));
        let mut elsewhere = oslo;
        "team-b".clone_into(&mut elsewhere.namespace);
        assert!(!backup_may_work_on(&had, &elsewhere, none));
    }

    #[test]
    fn a_backup_that_runs_once_is_concerned_by_all_until_its_clusters_are_fixed() {
        let mut once = backup(BackupStatus {
            backup_details: vec![detail("oslo", EntryPhase::Pending)],
            ..BackupStatus::default()
        });
        assert!(backup_may_work_on(&once, &key("bergen"), none));
        once.status.as_mut().unwrap().start_time = Some(Time(at(0)));
        assert!(!backup_may_work_on(&once, &key("bergen"), none));
        assert!(backup_may_work_on(&once, &key("oslo"), none));
    }

    #[test]
    fn a_restore_waits_for_a_sync_until_its_object_is_seen_there() {
        let spec: RestoreSpec =
            serde_json::from_value(serde_json::json!({ "backupName": "nightly-shop" })).unwrap();
        let mut restore = Restore::new("shop-again", spec);
        restore.metadata.namespace = Some("team-a".to_owned());
        assert!(awaits_sync(&restore, &key("oslo")), "nothing is known yet");

        let waiting = RestoreDetail {
            cluster_name: "oslo".to_owned(),
            member_uid: Some("claimed".to_owned()),
            ..RestoreDetail::default()
        };
        let mut with = |details: Vec<RestoreDetail>, name: &str| {
            restore.status = Some(RestoreStatus {
                start_time: Some(Time(at(0))),
                restore_details: details,
                ..RestoreStatus::default()
            });
            awaits_sync(&restore, &key(name))
        };
        assert!(with(vec![waiting.clone()], "oslo"));
        assert!(!with(vec![waiting.clone()], "bergen"));
        let begun = RestoreDetail {
            restore_status_in_cluster: Some(api_types::restore::VeleroRestoreStatus::default()),
            ..waiting.clone()
        };
        assert!(!with(vec![begun], "oslo"));
        let failed = RestoreDetail {
            phase: EntryPhase::Failed,
            ..waiting
        };
        assert!(!with(vec![failed], "oslo"));
    }
}
