//! Copies of another member's Velero Backups: Velero's sync makes one a minute late, we make one at
//! once where nothing is lost by it (`DESIGN.md` 6).

use api_types::external::velero::{self, BackupRecord};
use api_types::labels;
use api_types::names::velero_label_value;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use proxy_client::{Error, ListOptions, MemberApi, MemberResource};
use serde_json::json;

use crate::NAMESPACE;
use crate::borrowed::apply_where_it_is;

/// Whether a backup, as its own member has it now, may be copied as far as it says so itself: it has
/// ended well and has no snapshots, whose records only Velero's sync brings. What it does not say is
/// asked with [`has_volumes`].
pub fn is_plain(record: &BackupRecord) -> bool {
    matches!(record.phase(), "Completed" | "PartiallyFailed")
        && record.metadata.deletion_timestamp.is_none()
        && record.csi_snapshots_attempted() == 0
}

/// Whether any object of this type belongs to the backup, by a live list on its own member. A type
/// that is not served has none.
///
/// # Errors
/// When the member does not answer.
pub async fn has_volumes<K: MemberResource>(
    api: &MemberApi<K>,
    backup: &str,
) -> Result<bool, Error> {
    let of_backup = ListOptions {
        labels: Some(format!(
            "{}={}",
            labels::VELERO_BACKUP_NAME,
            velero_label_value(backup)
        )),
        limit: Some(1),
        ..ListOptions::default()
    };
    match api.list(&of_backup).await {
        Ok(found) => Ok(!found.is_empty()),
        Err(Error::NotServed(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The copy to make on a target, in a location for reading of this name, as Velero's sync would but for
/// the label of the location: by that a sync finds what it removes at its end, which is all that was
/// not in the bucket yet when it began. It gets that label later, see [`hand_over`].
pub fn build(record: &BackupRecord, location: &str) -> BackupRecord {
    let meta = &record.metadata;
    let mut labels = meta.labels.clone().unwrap_or_default();
    labels.remove(labels::VELERO_STORAGE_LOCATION);
    labels.insert(labels::COPIED_INTO.to_owned(), velero_label_value(location));
    let mut spec = record.spec.clone();
    spec["storageLocation"] = json!(location);
    BackupRecord {
        metadata: ObjectMeta {
            name: meta.name.clone(),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(labels),
            annotations: meta.annotations.clone(),
            ..ObjectMeta::default()
        },
        spec,
        status: record.status.clone(),
    }
}

/// Whether Velero's syncs do not see a copy of ours yet.
pub fn is_unseen(copy: &velero::Backup) -> bool {
    let labels = copy.labels();
    labels.contains_key(labels::COPIED_INTO)
        && !labels.contains_key(labels::VELERO_STORAGE_LOCATION)
}

/// Gives a copy of ours to Velero's syncs, as one of theirs: they remove it once its backup is not in
/// the bucket any more, and bring another one that has its name. For when none is under way that has
/// begun before the copy was made. One that has gone meanwhile is not made again.
///
/// # Errors
/// When the member does not answer or refuses.
pub async fn hand_over(
    api: &MemberApi<velero::Backup>,
    copy: &velero::Backup,
    manager: &str,
) -> Result<(), Error> {
    let location = copy.labels().get(labels::COPIED_INTO);
    let body = json!({ "metadata": {
        "uid": copy.metadata.uid,
        "labels": { labels::VELERO_STORAGE_LOCATION: location },
    }});
    let name = copy.name_any();
    apply_where_it_is(api, &name, &body, manager)
        .await
        .map(drop)
}

/// Whether Velero's own sync has brought all that belongs to a copy: a backup's volume records come
/// after it, and the location's time of sync after both.
pub fn is_complete(copy: &impl Resource, location: &velero::BackupStorageLocation) -> bool {
    let made = copy.meta().creation_timestamp.as_ref();
    made.zip(location.last_synced_time())
        .is_some_and(|(made, synced)| synced >= made.0)
}

/// Whether Velero has looked at all there is in a location since it is there.
pub fn is_synced(location: &velero::BackupStorageLocation) -> bool {
    is_complete(location, location)
}

/// The label that tells where a Backup lies: ours on a copy of ours, else Velero's.
fn location(meta: &ObjectMeta) -> Option<&String> {
    let labels = meta.labels.as_ref()?;
    let ours = labels.get(labels::COPIED_INTO);
    ours.or_else(|| labels.get(labels::VELERO_STORAGE_LOCATION))
}

/// Whether a Backup lies in the location of this name.
pub fn lies_in(meta: &ObjectMeta, name: &str) -> bool {
    location(meta) == Some(&velero_label_value(name))
}

/// Name of the borrowed location that a copy lies in, if it lies in one.
pub fn borrowed_from(copy: &velero::Backup) -> Option<&str> {
    let name = location(&copy.metadata)?;
    crate::borrowed::is_borrowed(name).then_some(name.as_str())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::Value;

    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn record(status: Value) -> BackupRecord {
        let mut object = json!({
            "metadata": {
                "name": "oslo-backup-team-a-shop",
                "namespace": "velero",
                "uid": "b-1",
                "resourceVersion": "17",
                "finalizers": ["someone.example.org"],
                "labels": { "kurator.dev/owner-uid": "o", "velero.io/storage-location": "default" },
                "annotations": { "kurator.dev/hub-object": "Backup/team-a/shop" },
            },
            "spec": { "storageLocation": "default", "ofALaterVersion": { "kept": true } },
        });
        object["status"] = status;
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn only_a_backup_that_has_ended_and_has_no_snapshots_is_copied() {
        let table = [
            (json!({ "phase": "Completed" }), true),
            (json!({ "phase": "PartiallyFailed" }), true),
            (
                json!({ "phase": "Completed", "csiVolumeSnapshotsAttempted": 0 }),
                true,
            ),
            (
                json!({ "phase": "Completed", "csiVolumeSnapshotsAttempted": 1 }),
                false,
            ),
            (json!({ "phase": "FinalizingPartiallyFailed" }), false),
            (json!({ "phase": "Failed" }), false),
            (json!({ "phase": "Deleting" }), false),
            (json!({}), false),
        ];
        for (status, expected) in table {
            assert_eq!(is_plain(&record(status.clone())), expected, "{status}");
        }
        let mut going = record(json!({ "phase": "Completed" }));
        going.metadata.deletion_timestamp = Some(at(1));
        assert!(!is_plain(&going));
    }

    #[test]
    fn a_copy_is_what_velero_s_sync_would_make_but_for_what_that_removes_it_by() {
        let status = json!({ "phase": "Completed", "formatVersion": "1.1.0" });
        let copy = serde_json::to_value(build(&record(status), "kurator-from-0123456789")).unwrap();
        let expected = json!({
            "apiVersion": "velero.io/v1",
            "kind": "Backup",
            "metadata": {
                "name": "oslo-backup-team-a-shop",
                "namespace": "velero",
                "labels": {
                    "kurator.dev/copied-into": "kurator-from-0123456789",
                    "kurator.dev/owner-uid": "o",
                },
                "annotations": { "kurator.dev/hub-object": "Backup/team-a/shop" },
            },
            "spec": {
                "storageLocation": "kurator-from-0123456789",
                "ofALaterVersion": { "kept": true },
            },
            "status": { "phase": "Completed", "formatVersion": "1.1.0" },
        });
        assert_eq!(copy, expected);
    }

    #[test]
    fn a_copy_is_complete_once_its_location_was_synced_after_it_was_made() {
        let mut location = velero::BackupStorageLocation::default();
        let mut copy = velero::Backup::default();
        copy.metadata.creation_timestamp = Some(at(100));
        location.metadata.creation_timestamp = Some(at(90));
        assert!(!is_complete(&copy, &location) && !is_synced(&location));
        for (synced, complete) in [(99, false), (100, true), (160, true)] {
            location.status = json!({ "lastSyncedTime": at(synced).0.to_string() });
            assert_eq!(is_complete(&copy, &location), complete, "{synced}");
            assert!(is_synced(&location));
        }
        // A location that was made anew under the same name has a time of its own.
        location.metadata.creation_timestamp = Some(at(200));
        assert!(!is_synced(&location));
        copy.metadata.creation_timestamp = None;
        assert!(!is_complete(&copy, &location));
    }

    #[test]
    fn a_copy_tells_which_location_it_lies_in() {
        let record = build(&record(json!({})), "kurator-from-0123456789");
        assert!(lies_in(&record.metadata, "kurator-from-0123456789"));
        assert!(!lies_in(&record.metadata, "default"));
        let mut copy = velero::Backup {
            metadata: record.metadata,
            ..velero::Backup::default()
        };
        assert_eq!(borrowed_from(&copy), Some("kurator-from-0123456789"));
        let velero = |name: &str| {
            let label = (labels::VELERO_STORAGE_LOCATION.to_owned(), name.to_owned());
            Some([label].into())
        };
        copy.metadata.labels = velero("kurator-from-0123456789");
        assert_eq!(borrowed_from(&copy), Some("kurator-from-0123456789"));
        assert!(lies_in(&copy.metadata, "kurator-from-0123456789"));
        copy.metadata.labels = velero("default");
        assert_eq!(borrowed_from(&copy), None);
    }

    #[test]
    fn only_a_copy_of_ours_without_velero_s_label_is_unseen_by_its_syncs() {
        let of = |labels: Value| -> velero::Backup {
            serde_json::from_value(json!({ "metadata": { "name": "b", "labels": labels } }))
                .unwrap()
        };
        let (ours, velero) = (labels::COPIED_INTO, labels::VELERO_STORAGE_LOCATION);
        assert!(is_unseen(&of(json!({ ours: "kurator-from-0123456789" }))));
        let both = json!({ ours: "kurator-from-0123456789", velero: "kurator-from-0123456789" });
        assert!(!is_unseen(&of(both)));
        assert!(!is_unseen(&of(json!({ velero: "default" }))));
    }
}
