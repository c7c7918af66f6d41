//! How far a Migrate is, in two words for its columns. Pure.

use api_types::aggregate::{Decision, Entry as _, SourceOutcome, source_outcome};
use api_types::migrate::{MigrateStatus, PartialFailure};
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::RestoreDetail;

/// What is done now: `Backup`, `Transfer`, `Restore` or `Done`.
pub(super) fn step(status: &MigrateStatus, decision: &Decision) -> &'static str {
    if decision.succeeded.is_some() {
        return "Done";
    }
    // Whether a partial one may be restored is told by the phase that the rest has.
    let usable = status.source_cluster_status.as_ref().is_some_and(|source| {
        source_outcome(source, PartialFailure::Continue) == SourceOutcome::Usable
    });
    if !usable {
        "Backup"
    } else if status.target_cluster_status.iter().any(has_begun) {
        "Restore"
    } else {
        "Transfer"
    }
}

/// Whether there was a Velero Restore.
fn has_begun(target: &RestoreDetail) -> bool {
    target.restore_status_in_cluster.is_some()
}

/// The part of all items of the backup and the restores that is done, such as `66%`; `None` while
/// Velero has counted none. A restore that has not begun is taken to have as many as the backup.
pub(super) fn progress(status: &MigrateStatus) -> Option<String> {
    if status.phase == Some(Phase::Completed) {
        return Some("100%".to_owned());
    }
    let backup = status.source_cluster_status.as_ref()?.counts();
    let mut done = i64::from(backup.items_done);
    let mut total = i64::from(backup.items_total);
    for target in &status.target_cluster_status {
        let counts = target.counts();
        if counts.items_total > 0 {
            done += i64::from(counts.items_done);
            total += i64::from(counts.items_total);
        } else if target.phase == EntryPhase::Completed {
            done += i64::from(backup.items_done);
            total += i64::from(backup.items_done);
        } else {
            total += i64::from(backup.items_total);
        }
    }
    // Only what has completed is all done.
    let percent = done
        .max(0)
        .saturating_mul(100)
        .checked_div(total)?
        .clamp(0, 99);
    Some(format!("{percent}%"))
}
