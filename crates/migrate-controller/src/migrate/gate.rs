//! What the source's entry means for the targets. Pure.

use api_types::aggregate::{SourceOutcome, source_outcome};
use api_types::backup::BackupDetail;
use api_types::condition::reason;
use api_types::phase::EntryPhase;
use jiff::Timestamp;
use velero_kit::problem::Problem;

use super::facts::Terms;

/// What the source's backup means for the targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It has not begun.
    Shut,
    /// It was claimed, and has not ended.
    Coming,
    /// It may be restored.
    Open(Run),
    /// It never will be, and what targets that have not begun fail with.
    Lost(Problem),
}

/// The backup that is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Name of the Velero Backup.
    pub name: String,
    /// When Velero began.
    pub started: Option<Timestamp>,
    /// Some items are not in it.
    pub partial: bool,
}

/// What the source's entry means for the targets.
pub fn gate(source: &BackupDetail, terms: &Terms) -> Gate {
    match source_outcome(source, terms.partial_failure) {
        SourceOutcome::Open if source.member_uid.is_some() => Gate::Coming,
        SourceOutcome::Open => Gate::Shut,
        SourceOutcome::Lost => Gate::Lost(lost(source)),
        SourceOutcome::Usable => Gate::Open(Run {
            name: source.backup_name_in_cluster.clone().unwrap_or_default(),
            started: source
                .backup_status_in_cluster
                .as_ref()
                .and_then(|status| status.start_timestamp.as_ref())
                .map(|time| time.0),
            partial: source.phase == EntryPhase::PartiallyFailed,
        }),
    }
}

/// What targets fail with that have lost their source.
fn lost(source: &BackupDetail) -> Problem {
    let name = &source.cluster_name;
    let cause = source
        .message
        .as_deref()
        .unwrap_or("see the source's entry");
    if source.phase == EntryPhase::PartiallyFailed {
        return Problem::new(
            reason::SOURCE_BACKUP_PARTIALLY_FAILED,
            format!(
                "the backup of {name} is only partial: mend it, or go on with it in a new Migrate \
                 with policy.partialFailure: Continue; {cause}"
            ),
        );
    }
    match source.reason.as_deref() {
        Some(reason::CANCELLED) => Problem::new(reason::CANCELLED, cause),
        Some(reason::DEADLINE_EXCEEDED) => Problem::new(reason::DEADLINE_EXCEEDED, cause),
        _ => Problem::new(
            reason::SOURCE_BACKUP_FAILED,
            format!("there is no backup of {name} to restore: {cause}"),
        ),
    }
}
