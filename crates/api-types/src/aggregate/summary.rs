//! Counts over all entries.

use crate::aggregate::Entry;
use crate::common::Summary;
use crate::phase::EntryPhase;

/// The counts of a status. What is being deleted, and what a newer version wrote, counts as running,
/// so that the five counts always add up to the total.
pub fn summarize<E: Entry>(entries: &[E]) -> Summary {
    let mut summary = Summary {
        total: i32::try_from(entries.len()).unwrap_or(i32::MAX),
        ..Summary::default()
    };
    let mut completed_and_reachable = 0;
    for entry in entries {
        let reachable = entry.unreachable_since().is_none();
        summary.unreachable += i32::from(!reachable);
        let count = match entry.phase() {
            EntryPhase::Pending => &mut summary.pending,
            EntryPhase::Completed => {
                completed_and_reachable += i32::from(reachable);
                &mut summary.completed
            }
            EntryPhase::PartiallyFailed => &mut summary.partially_failed,
            EntryPhase::Failed => &mut summary.failed,
            EntryPhase::InProgress | EntryPhase::Deleting | EntryPhase::Unknown => {
                &mut summary.in_progress
            }
        };
        *count += 1;
        let counts = entry.counts();
        summary.warnings = summary.warnings.saturating_add(counts.warnings);
        summary.errors = summary.errors.saturating_add(counts.errors);
        summary.items_done += i64::from(counts.items_done);
        summary.items_total += i64::from(counts.items_total);
    }
    summary.display = format!("{completed_and_reachable}/{}", summary.total);
    if summary.items_total > 0 {
        summary.items = format!("{}/{}", summary.items_done, summary.items_total);
    }
    summary
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use proptest::prelude::*;

    use super::*;
    use crate::aggregate::operation::properties::any_phase;
    use crate::backup::{BackupDetail, VeleroBackupProgress, VeleroBackupStatus};

    fn entry(phase: EntryPhase, done: i32, total: i32) -> BackupDetail {
        BackupDetail {
            phase,
            backup_status_in_cluster: Some(VeleroBackupStatus {
                warnings: Some(2),
                progress: Some(VeleroBackupProgress {
                    total_items: Some(total),
                    items_backed_up: Some(done),
                    ..VeleroBackupProgress::default()
                }),
                ..VeleroBackupStatus::default()
            }),
            ..BackupDetail::default()
        }
    }

    #[test]
    fn a_summary_counts_clusters_and_items() {
        let mut silent = entry(EntryPhase::InProgress, 5, 30);
        silent.unreachable_since = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        let summary = summarize(&[entry(EntryPhase::Completed, 40, 60), silent]);
        assert_eq!(
            (summary.total, summary.completed, summary.in_progress),
            (2, 1, 1)
        );
        assert_eq!((summary.unreachable, summary.warnings), (1, 4));
        assert_eq!(summary.display, "1/2");
        assert_eq!(summary.items, "45/90");
    }

    #[test]
    fn nothing_is_zero_of_zero_with_blank_items() {
        let summary = summarize::<BackupDetail>(&[]);
        assert_eq!(summary.display, "0/0");
        assert_eq!(summary.items, "");
    }

    #[test]
    fn a_completed_cluster_that_is_unreachable_is_not_displayed_as_done() {
        let mut silent = entry(EntryPhase::Completed, 1, 1);
        silent.unreachable_since = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(summarize(&[silent]).display, "0/1");
    }

    proptest! {
        #[test]
        fn the_five_counts_add_up_to_the_total(phases in prop::collection::vec(any_phase(), 0..40)) {
            let entries: Vec<BackupDetail> = phases.into_iter().map(|phase| entry(phase, 0, 0)).collect();
            let s = summarize(&entries);
            prop_assert_eq!(s.pending + s.in_progress + s.completed + s.partially_failed + s.failed, s.total);
        }
    }
}
