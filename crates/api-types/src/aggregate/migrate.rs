//! The phase and the conditions of a whole Migrate.

use jiff::Timestamp;

use crate::aggregate::operation::{
    completed, deleting, failed, is_final, silent_for_long, unfinished,
};
use crate::aggregate::{Decision, Deletion, Entry, Motion};
use crate::backup::BackupDetail;
use crate::condition::reason;
use crate::migrate::PartialFailure;
use crate::phase::{EntryPhase, Phase};
use crate::restore::RestoreDetail;

/// All that the aggregate of a Migrate is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Migration<'a> {
    /// The phase in the stored status.
    pub stored_phase: Option<Phase>,
    /// The condition `Succeeded` in the stored status.
    pub stored_succeeded: Option<bool>,
    /// Set while the object is being deleted.
    pub deletion: Option<Deletion>,
    /// False when the spec can never work.
    pub spec_valid: bool,
    /// What to do when the source backup is only partial.
    pub partial_failure: PartialFailure,
    /// The entry of the source.
    pub source: &'a BackupDetail,
    /// One entry for each target, in any order.
    pub targets: &'a [RestoreDetail],
    /// Why there is no target: `FleetNotFound` or `NoClusters`. It matters only while there is none.
    pub no_targets: &'static str,
    /// Why nothing new begins: `Cancelled`, or `DeadlineExceeded` once the time to begin is over.
    pub stopped: Option<&'static str>,
    /// The time of this pass.
    pub now: Timestamp,
}

/// What the source's backup means for the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceOutcome {
    /// It has not ended.
    Open,
    /// It may be restored.
    Usable,
    /// It never will be.
    Lost,
}

/// Whether the targets may begin, by the source's entry.
pub fn source_outcome(source: &BackupDetail, partial: PartialFailure) -> SourceOutcome {
    match (source.phase, partial) {
        (EntryPhase::Completed, _) | (EntryPhase::PartiallyFailed, PartialFailure::Continue) => {
            SourceOutcome::Usable
        }
        (EntryPhase::Failed, _) | (EntryPhase::PartiallyFailed, PartialFailure::Stop) => {
            SourceOutcome::Lost
        }
        _ => SourceOutcome::Open,
    }
}

/// The aggregate (`api.md` 3.5). `None` means that the stored phase and conditions stay: they are
/// final. The phase never goes back, whatever members take back of what they said.
pub fn decide_migrate(of: &Migration<'_>) -> Option<Decision> {
    if let Some(deletion) = of.deletion {
        return Some(deleting(deletion, of.stored_succeeded));
    }
    if is_final(of.stored_phase, of.stored_succeeded) {
        return None;
    }
    let begun = matches!(
        of.stored_phase,
        Some(Phase::BackupInProgress | Phase::RestoreInProgress)
    );
    if !of.spec_valid && !begun {
        return Some(failed(Phase::FailedValidation, reason::INVALID_SPEC));
    }
    if of.targets.is_empty() && !of.source.phase.is_final() {
        return Some(match of.stopped {
            Some(_) if begun => source_runs(of),
            Some(reason::CANCELLED) => failed(Phase::Failed, reason::CANCELLED),
            Some(_) => failed(Phase::Failed, of.no_targets),
            None => at_least(of, Phase::Pending, of.no_targets),
        });
    }
    Some(match source_outcome(of.source, of.partial_failure) {
        SourceOutcome::Open => source_runs(of),
        // Every target has ended with it.
        SourceOutcome::Lost => failed(Phase::Failed, cause_of_failure(of)),
        SourceOutcome::Usable if of.targets.iter().any(|target| !target.phase.is_final()) => {
            targets_run(of)
        }
        SourceOutcome::Usable => outcome(of),
    })
}

fn source_runs(of: &Migration<'_>) -> Decision {
    let source = std::slice::from_ref(of.source);
    let (phase, why) = match of.source.phase {
        EntryPhase::Pending => (Phase::Pending, reason::SOURCE_NOT_READY),
        _ => (Phase::BackupInProgress, reason::BACKUP_IN_PROGRESS),
    };
    // One that was not claimed has the deadline.
    let begun = phase != Phase::Pending || of.source.member_uid.is_some();
    if begun && silent_for_long(source, of.now) {
        let why = reason::CLUSTERS_UNREACHABLE;
        return unfinished(reached(of, phase), why, Motion::Stalled);
    }
    at_least(of, phase, why)
}

fn targets_run(of: &Migration<'_>) -> Decision {
    let (reason, motion) = if silent_for_long(of.targets, of.now) {
        (reason::CLUSTERS_UNREACHABLE, Motion::Stalled)
    } else {
        (reason::RESTORE_IN_PROGRESS, Motion::Reconciling)
    };
    unfinished(Phase::RestoreInProgress, reason, motion)
}

fn outcome(of: &Migration<'_>) -> Decision {
    let all = |phase| of.targets.iter().all(|target| target.phase == phase);
    if of.targets.is_empty() {
        failed(Phase::Failed, of.no_targets)
    } else if all(EntryPhase::Failed) {
        failed(Phase::Failed, cause_of_failure(of))
    } else if all(EntryPhase::Completed) && of.source.phase == EntryPhase::Completed {
        completed()
    } else {
        failed(Phase::PartiallyFailed, reason::PARTIALLY_FAILED)
    }
}

/// Why nothing was migrated anywhere.
fn cause_of_failure(of: &Migration<'_>) -> &'static str {
    if of.targets.is_empty() {
        return match of.source.reason() {
            Some(reason::CANCELLED) => reason::CANCELLED,
            Some(reason::DEADLINE_EXCEEDED) => of.no_targets,
            _ => reason::SOURCE_BACKUP_FAILED,
        };
    }
    let common = |word: &&str| {
        of.targets
            .iter()
            .all(|target| target.reason() == Some(*word))
    };
    let words = [reason::CANCELLED, reason::DEADLINE_EXCEEDED];
    if let Some(word) = words.into_iter().find(common) {
        return word;
    }
    match source_outcome(of.source, of.partial_failure) {
        SourceOutcome::Lost => reason::SOURCE_BACKUP_FAILED,
        _ => reason::FAILED,
    }
}

fn at_least(of: &Migration<'_>, phase: Phase, reason: &str) -> Decision {
    unfinished(reached(of, phase), reason, Motion::Reconciling)
}

/// The phase, or the stored one if that is further.
fn reached(of: &Migration<'_>, phase: Phase) -> Phase {
    let rank = |phase| match phase {
        Phase::BackupInProgress => 1,
        Phase::RestoreInProgress => 2,
        _ => 0,
    };
    match of.stored_phase {
        Some(stored) if rank(stored) > rank(phase) => stored,
        _ => phase,
    }
}

#[cfg(test)]
#[path = "migrate_tests.rs"]
mod tests;
