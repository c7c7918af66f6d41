//! Keeps a status below what the hub can store. What a person misses least goes first.

use crate::backup::{BackupStatus, VeleroBackupStatus};
use crate::migrate::MigrateStatus;
use crate::restore::{RestoreDetail, RestoreStatus, VeleroRestoreStatus};
use serde::Serialize;

/// Largest status that is written.
pub const MAX_STATUS_BYTES: usize = 1 << 20;

/// Length that texts are cut to when a status is too large.
const SHORT_TEXT: usize = 128;

/// What an entry takes beside the name of its cluster once it has ended (`api.md` 3.6).
const ENTRY_BYTES: usize = 500;

/// What a status takes beside its entries.
const FRAME_BYTES: usize = 16 << 10;

/// About how many clusters of this kind of name one status can hold, if these are too many.
pub fn too_many<'a>(clusters: impl Iterator<Item = &'a str>) -> Option<usize> {
    let (count, bytes) = clusters.fold((0_usize, 0_usize), |(count, bytes), name| {
        (count + 1, bytes + ENTRY_BYTES + name.len())
    });
    let room = MAX_STATUS_BYTES - FRAME_BYTES;
    (bytes > room).then(|| room / (bytes / count.max(1)).max(1) / 100 * 100)
}

/// Drops older runs, then cuts texts, then drops what Velero says beyond the documented fields, then
/// all that it says but the outcome, then texts, then where the data lies, as far as needed. Phases
/// and claims stay. False when it is too large even so.
pub fn fit_backup(status: &mut BackupStatus) -> bool {
    let steps: [fn(&mut BackupStatus); 6] = [
        |status| {
            for entry in &mut status.backup_details {
                entry.runs.clear();
            }
        },
        |status| {
            for entry in &mut status.backup_details {
                shorten(entry.message.as_mut());
                if let Some(velero) = &mut entry.backup_status_in_cluster {
                    shorten(velero.failure_reason.as_mut());
                    shorten_all(&mut velero.validation_errors);
                }
            }
        },
        |status| {
            let entries = status.backup_details.iter_mut();
            for velero in entries.filter_map(|entry| entry.backup_status_in_cluster.as_mut()) {
                velero.unknown.clear();
                velero
                    .progress
                    .iter_mut()
                    .for_each(|progress| progress.unknown.clear());
                velero
                    .hook_status
                    .iter_mut()
                    .for_each(|hooks| hooks.unknown.clear());
            }
        },
        |status| {
            let entries = status.backup_details.iter_mut();
            for velero in entries.filter_map(|entry| entry.backup_status_in_cluster.as_mut()) {
                // That it is there says that the object was seen.
                *velero = VeleroBackupStatus {
                    phase: velero.phase.take(),
                    expiration: velero.expiration.take(),
                    completion_timestamp: velero.completion_timestamp.take(),
                    ..VeleroBackupStatus::default()
                };
            }
        },
        |status| {
            for entry in &mut status.backup_details {
                entry.message = None;
            }
        },
        |status| {
            for entry in &mut status.backup_details {
                entry.storage = None;
            }
        },
    ];
    fit(status, &steps)
}

/// The same for a Restore.
pub fn fit_restore(status: &mut RestoreStatus) -> bool {
    let steps: [fn(&mut RestoreStatus); 4] = [
        |status| cut_texts(&mut status.restore_details),
        |status| drop_unknown(&mut status.restore_details),
        |status| keep_outcomes(&mut status.restore_details),
        |status| drop_messages(&mut status.restore_details),
    ];
    fit(status, &steps)
}

/// The same for the targets of a Migrate; its one source stays as it is.
pub fn fit_migrate(status: &mut MigrateStatus) -> bool {
    let steps: [fn(&mut MigrateStatus); 4] = [
        |status| cut_texts(&mut status.target_cluster_status),
        |status| drop_unknown(&mut status.target_cluster_status),
        |status| keep_outcomes(&mut status.target_cluster_status),
        |status| drop_messages(&mut status.target_cluster_status),
    ];
    fit(status, &steps)
}

fn cut_texts(entries: &mut [RestoreDetail]) {
    for entry in entries {
        shorten(entry.message.as_mut());
        if let Some(velero) = &mut entry.restore_status_in_cluster {
            shorten(velero.failure_reason.as_mut());
            shorten_all(&mut velero.validation_errors);
        }
    }
}

fn drop_unknown(entries: &mut [RestoreDetail]) {
    let entries = entries.iter_mut();
    for velero in entries.filter_map(|entry| entry.restore_status_in_cluster.as_mut()) {
        velero.unknown.clear();
        velero
            .progress
            .iter_mut()
            .for_each(|progress| progress.unknown.clear());
        velero
            .hook_status
            .iter_mut()
            .for_each(|hooks| hooks.unknown.clear());
    }
}

fn keep_outcomes(entries: &mut [RestoreDetail]) {
    let entries = entries.iter_mut();
    for velero in entries.filter_map(|entry| entry.restore_status_in_cluster.as_mut()) {
        *velero = VeleroRestoreStatus {
            phase: velero.phase.take(),
            ..VeleroRestoreStatus::default()
        };
    }
}

fn drop_messages(entries: &mut [RestoreDetail]) {
    for entry in entries {
        entry.message = None;
    }
}

fn fit<S: Serialize>(status: &mut S, steps: &[fn(&mut S)]) -> bool {
    for step in steps {
        if fits(status) {
            return true;
        }
        step(status);
    }
    fits(status)
}

fn fits<S: Serialize>(status: &S) -> bool {
    serde_json::to_vec(status).is_ok_and(|json| json.len() <= MAX_STATUS_BYTES)
}

fn shorten(text: Option<&mut String>) {
    if let Some(text) = text {
        text.truncate(text.floor_char_boundary(SHORT_TEXT));
    }
}

fn shorten_all(texts: &mut Vec<String>) {
    texts.truncate(1);
    shorten(texts.first_mut());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backup::{BackupDetail, BackupRun};
    use crate::common::StoragePlace;
    use crate::phase::EntryPhase;

    fn status(entries: usize, message: usize, runs: usize, unknown: usize) -> BackupStatus {
        let entry = BackupDetail {
            message: Some("m".repeat(message)),
            backup_status_in_cluster: Some(VeleroBackupStatus {
                unknown: [("odd".to_owned(), json!("u".repeat(unknown)))].into(),
                ..VeleroBackupStatus::default()
            }),
            runs: vec![
                BackupRun {
                    name: "r".repeat(63),
                    ..BackupRun::default()
                };
                runs
            ],
            ..BackupDetail::default()
        };
        BackupStatus {
            backup_details: vec![entry; entries],
            ..BackupStatus::default()
        }
    }

    #[test]
    fn a_status_that_fits_is_left_alone() {
        let before = status(100, 256, 2, 100);
        let mut after = before.clone();
        assert!(fit_backup(&mut after));
        assert_eq!(after, before);
    }

    #[test]
    fn older_runs_go_before_messages_and_messages_before_unknown_fields() {
        let mut by_runs = status(1000, 256, 9, 100);
        assert!(fit_backup(&mut by_runs));
        assert!(by_runs.backup_details[0].runs.is_empty());
        assert_eq!(
            by_runs.backup_details[0].message.as_deref().map(str::len),
            Some(256)
        );

        let mut by_messages = status(1000, 1000, 0, 300);
        assert!(fit_backup(&mut by_messages));
        assert_eq!(
            by_messages.backup_details[0]
                .message
                .as_deref()
                .map(str::len),
            Some(128)
        );
        let velero = by_messages.backup_details[0]
            .backup_status_in_cluster
            .as_ref();
        assert!(!velero.unwrap().unknown.is_empty());

        let mut by_unknown = status(1000, 1000, 0, 2000);
        assert!(fit_backup(&mut by_unknown));
        let velero = by_unknown.backup_details[0]
            .backup_status_in_cluster
            .as_ref();
        assert!(velero.unwrap().unknown.is_empty());
    }

    /// As large as an entry gets that ended badly.
    fn ended(number: usize) -> BackupDetail {
        let velero = json!({
            "phase": "PartiallyFailed", "failureReason": "f".repeat(1000),
            "startTimestamp": "2026-11-23T10:00:00Z", "completionTimestamp": "2026-11-23T10:00:00Z",
            "expiration": "2026-12-23T10:00:00Z", "errors": 3, "warnings": 1,
            "progress": { "totalItems": 12345, "itemsBackedUp": 12345 },
        });
        BackupDetail {
            cluster_name: format!("{number:0>33}"),
            cluster_kind: "AttachedCluster".to_owned(),
            phase: EntryPhase::PartiallyFailed,
            reason: Some("BackupPartiallyFailed".to_owned()),
            message: Some("m".repeat(256)),
            member_uid: Some("u".repeat(36)),
            backup_name_in_cluster: Some("n".repeat(63)),
            storage: Some(StoragePlace {
                endpoint: "e".repeat(60),
                ..StoragePlace::default()
            }),
            backup_status_in_cluster: serde_json::from_value(velero).unwrap(),
            ..BackupDetail::default()
        }
    }

    #[test]
    fn phases_and_claims_are_the_last_that_goes() {
        let mut status = BackupStatus {
            backup_details: (0..2200).map(ended).collect(),
            ..BackupStatus::default()
        };
        assert!(fit_backup(&mut status));
        for (number, kept) in status.backup_details.iter().enumerate() {
            let whole = ended(number);
            assert_eq!(kept.cluster_name, whole.cluster_name);
            assert_eq!((kept.phase, &kept.reason), (whole.phase, &whole.reason));
            assert_eq!(kept.member_uid, whole.member_uid);
            assert_eq!(kept.backup_name_in_cluster, whole.backup_name_in_cluster);
            let velero = kept.backup_status_in_cluster.as_ref().unwrap();
            assert_eq!(velero.phase.as_deref(), Some("PartiallyFailed"));
            assert!(velero.failure_reason.is_none());
        }
    }

    #[test]
    fn a_restore_keeps_its_phases_and_claims_too() {
        let velero = json!({ "phase": "Completed", "failureReason": "f".repeat(1000) });
        let entry = RestoreDetail {
            message: Some("m".repeat(256)),
            member_uid: Some("u".repeat(36)),
            backup_name_in_cluster: Some("b".repeat(63)),
            restore_name_in_cluster: Some("r".repeat(63)),
            restore_status_in_cluster: serde_json::from_value(velero).unwrap(),
            ..RestoreDetail::default()
        };
        let mut status = RestoreStatus {
            restore_details: vec![entry.clone(); 3000],
            ..RestoreStatus::default()
        };
        assert!(fit_restore(&mut status));
        let kept = &status.restore_details[2999];
        assert_eq!(kept.member_uid, entry.member_uid);
        assert_eq!(kept.backup_name_in_cluster, entry.backup_name_in_cluster);
        let velero = kept.restore_status_in_cluster.as_ref().unwrap();
        assert_eq!(velero.phase.as_deref(), Some("Completed"));

        let source = BackupDetail {
            message: Some("m".repeat(256)),
            ..BackupDetail::default()
        };
        let mut status = MigrateStatus {
            source_cluster_status: Some(source.clone()),
            target_cluster_status: vec![entry.clone(); 3000],
            ..MigrateStatus::default()
        };
        assert!(fit_migrate(&mut status));
        assert_eq!(status.source_cluster_status, Some(source));
        assert_eq!(&status.target_cluster_status[2999], kept);
    }

    #[test]
    fn clusters_whose_entries_cannot_all_be_stored_are_too_many() {
        let name = "n".repeat(33);
        let of = |count| too_many(std::iter::repeat_n(name.as_str(), count));
        assert_eq!(of(0), None);
        assert_eq!(of(1900), None);
        assert_eq!(of(2000), Some(1900));
        assert_eq!(of(4096), Some(1900));
    }

    #[test]
    fn too_many_clusters_are_reported() {
        assert!(!fit_backup(&mut status(20_000, 128, 0, 0)));
    }
}
