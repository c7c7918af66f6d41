//! Keeps a status below what the hub can store. What a person misses least goes first.

use crate::backup::BackupStatus;
use crate::restore::RestoreStatus;
use serde::Serialize;

/// Largest status that is written.
pub const MAX_STATUS_BYTES: usize = 1 << 20;

/// Length that texts are cut to when a status is too large.
const SHORT_TEXT: usize = 128;

/// Drops older runs, then cuts texts, then drops what Velero says beyond the documented fields, as
/// far as needed. False when it is too large even so.
pub fn fit_backup(status: &mut BackupStatus) -> bool {
    let steps: [fn(&mut BackupStatus); 3] = [
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
    ];
    fit(status, &steps)
}

/// The same for a Restore.
pub fn fit_restore(status: &mut RestoreStatus) -> bool {
    let steps: [fn(&mut RestoreStatus); 2] = [
        |status| {
            for entry in &mut status.restore_details {
                shorten(entry.message.as_mut());
                if let Some(velero) = &mut entry.restore_status_in_cluster {
                    shorten(velero.failure_reason.as_mut());
                    shorten_all(&mut velero.validation_errors);
                }
            }
        },
        |status| {
            let entries = status.restore_details.iter_mut();
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
        },
    ];
    fit(status, &steps)
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
    use crate::backup::{BackupDetail, BackupRun, VeleroBackupStatus};

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

    #[test]
    fn too_many_clusters_are_reported() {
        assert!(!fit_backup(&mut status(20_000, 128, 0, 0)));
    }
}
