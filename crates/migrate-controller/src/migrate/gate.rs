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
    /// When it is past its ttl.
    pub expires: Option<Timestamp>,
    /// Some items are not in it.
    pub partial: bool,
}

/// What the source's entry means for the targets.
pub fn gate(source: &BackupDetail, terms: &Terms) -> Gate {
    match source_outcome(source, terms.partial_failure) {
        SourceOutcome::Open if source.member_uid.is_some() => Gate::Coming,
        SourceOutcome::Open => Gate::Shut,
        SourceOutcome::Lost => Gate::Lost(lost(source)),
        SourceOutcome::Usable => Gate::Open(run(source)),
    }
}

fn run(source: &BackupDetail) -> Run {
    let status = source.backup_status_in_cluster.as_ref();
    let began = status.and_then(|status| status.start_timestamp.as_ref());
    let expires = status.and_then(|status| status.expiration.as_ref());
    Run {
        name: source.backup_name_in_cluster.clone().unwrap_or_default(),
        started: began.map(|time| time.0),
        expires: expires.map(|time| time.0),
        partial: source.phase == EntryPhase::PartiallyFailed,
    }
}

/// Why nothing new is restored from a backup any more.
pub(super) fn expired(source: &str, gate: &Gate, now: Timestamp) -> Option<Problem> {
    let Gate::Open(run) = gate else { return None };
    let end = run.expires.filter(|end| *end <= now)?;
    Some(Problem::new(
        reason::BACKUP_EXPIRED,
        format!(
            "the backup of {source} is past its ttl since {end}: make a new Migrate, with a longer \
             policy.ttl"
        ),
    ))
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
                "the backup of {name} is only partial: mend what failed and make a new Migrate, or \
                 one with policy.partialFailure: Continue; {cause}"
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
