//! The rules that turn what is known into a status. Pure: no client, no clock, no randomness.
//!
//! `entry` judges one cluster, `operation` the whole, `scheduled` a scheduled Backup, `migrate` a
//! Migrate, `summary` counts, `sanitize` copies what a member says about itself, `fit` keeps a status
//! small enough to be stored.

use jiff::Timestamp;

use crate::backup::BackupDetail;
use crate::phase::EntryPhase;
use crate::restore::RestoreDetail;

mod entry;
mod fit;
mod migrate;
mod operation;
mod sanitize;
mod scheduled;
mod summary;

pub use entry::{EntryState, Seen, VeleroPhase, Work, entry_state};
pub use fit::{MAX_STATUS_BYTES, fit_backup, fit_migrate, fit_restore, too_many};
pub use migrate::{Migration, SourceOutcome, decide_migrate, source_outcome};
pub use operation::{
    Decision, Deletion, Motion, Operation, OperationKind, decide, is_final, transition_allowed,
    unreachable_limit,
};
pub use sanitize::{Sanitized, sanitize_backup, sanitize_restore};
pub use scheduled::{Fault, Scheduled, ScheduledCluster, decide_scheduled, refused_schedule};
pub use summary::summarize;

/// One cluster of an operation, as the aggregate sees it.
pub trait Entry {
    /// Its phase.
    fn phase(&self) -> EntryPhase;
    /// Why.
    fn reason(&self) -> Option<&str>;
    /// Since when the cluster has not answered.
    fn unreachable_since(&self) -> Option<Timestamp>;
    /// What Velero has counted.
    fn counts(&self) -> Counts;
}

/// What Velero has counted in one cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Warnings.
    pub warnings: i32,
    /// Errors.
    pub errors: i32,
    /// Items done.
    pub items_done: i32,
    /// Items found so far.
    pub items_total: i32,
}

impl Entry for BackupDetail {
    fn phase(&self) -> EntryPhase {
        self.phase
    }

    fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    fn unreachable_since(&self) -> Option<Timestamp> {
        self.unreachable_since.as_ref().map(|time| time.0)
    }

    fn counts(&self) -> Counts {
        let Some(status) = &self.backup_status_in_cluster else {
            return Counts::default();
        };
        let progress = status.progress.as_ref();
        Counts {
            warnings: status.warnings.unwrap_or(0),
            errors: status.errors.unwrap_or(0),
            items_done: progress.and_then(|p| p.items_backed_up).unwrap_or(0),
            items_total: progress.and_then(|p| p.total_items).unwrap_or(0),
        }
    }
}

impl Entry for RestoreDetail {
    fn phase(&self) -> EntryPhase {
        self.phase
    }

    fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    fn unreachable_since(&self) -> Option<Timestamp> {
        self.unreachable_since.as_ref().map(|time| time.0)
    }

    fn counts(&self) -> Counts {
        let Some(status) = &self.restore_status_in_cluster else {
            return Counts::default();
        };
        let progress = status.progress.as_ref();
        Counts {
            warnings: status.warnings.unwrap_or(0),
            errors: status.errors.unwrap_or(0),
            items_done: progress.and_then(|p| p.items_restored).unwrap_or(0),
            items_total: progress.and_then(|p| p.total_items).unwrap_or(0),
        }
    }
}
