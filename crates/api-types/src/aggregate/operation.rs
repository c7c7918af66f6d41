//! The phase and the conditions of a whole one-time Backup or Restore.

use jiff::{SignedDuration, Timestamp};

use crate::aggregate::Entry;
use crate::condition::{ConditionStatus, reason};
use crate::phase::{EntryPhase, Phase};

/// How long every cluster that is not done must be silent before the operation counts as stalled.
pub const fn unreachable_limit() -> SignedDuration {
    SignedDuration::from_mins(5)
}

/// All that the aggregate of a one-time operation is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a, E> {
    /// The phase in the stored status.
    pub stored_phase: Option<Phase>,
    /// The condition `Succeeded` in the stored status.
    pub stored_succeeded: Option<bool>,
    /// Set while the object is being deleted.
    pub deletion: Option<Deletion>,
    /// False when the spec can never work.
    pub spec_valid: bool,
    /// Whether the Fleet exists. It matters only while there are no entries.
    pub fleet_found: bool,
    /// Whether the time to begin is over. Entries that have not begun by then are failed before; this
    /// is about an empty set.
    pub deadline_passed: bool,
    /// One entry for each cluster that is asked for, in any order.
    pub entries: &'a [E],
    /// The time of this pass.
    pub now: Timestamp,
}

/// How a deletion goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It goes on.
    Going,
    /// It has made no progress for ten minutes.
    Blocked,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// Nothing: it is done. Neither condition is set.
    Still,
    /// Work goes on, or something is awaited that may come by itself: `Reconciling`.
    Reconciling,
    /// Nothing, until somebody acts: `Stalled`.
    Stalled,
}

/// What the status has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The phase.
    pub phase: Phase,
    /// Status of the condition `Ready`.
    pub ready: ConditionStatus,
    /// Reason of `Ready`, and of `Reconciling` or `Stalled`.
    pub reason: String,
    /// Which of `Reconciling` and `Stalled` is present.
    pub motion: Motion,
    /// The condition `Succeeded`; `None` while it is absent.
    pub succeeded: Option<bool>,
}

/// Whether a stored status never changes again, but for deletion.
pub fn is_final(phase: Option<Phase>, succeeded: Option<bool>) -> bool {
    match phase {
        // Kurator v0.5.0 could leave this phase behind without meaning it for ever.
        Some(Phase::FailedValidation) => succeeded == Some(false),
        Some(phase) => phase.is_final(),
        None => false,
    }
}

/// The aggregate. `None` means that the stored phase and conditions stay: they are final.
pub fn decide<E: Entry>(operation: &Operation<'_, E>) -> Option<Decision> {
    let Operation { entries, .. } = *operation;
    if let Some(deletion) = operation.deletion {
        return Some(deleting(deletion, operation.stored_succeeded));
    }
    if is_final(operation.stored_phase, operation.stored_succeeded) {
        return None;
    }
    let begun = operation.stored_phase == Some(Phase::InProgress);
    if !operation.spec_valid && !begun {
        return Some(failed(Phase::FailedValidation, reason::INVALID_SPEC));
    }
    let waiting = |reason: &str| {
        // A phase never goes back, even when a member takes back what it said.
        let phase = if begun {
            Phase::InProgress
        } else {
            Phase::Pending
        };
        unfinished(phase, reason, Motion::Reconciling)
    };
    if entries.is_empty() {
        let why = if operation.fleet_found {
            reason::NO_CLUSTERS
        } else {
            reason::FLEET_NOT_FOUND
        };
        return Some(if operation.deadline_passed {
            failed(Phase::Failed, why)
        } else {
            waiting(why)
        });
    }
    let all = |phase| entries.iter().all(|entry| entry.phase() == phase);
    if all(EntryPhase::Pending) {
        return Some(waiting(common_reason(entries)));
    }
    if entries.iter().any(|entry| !entry.phase().is_final()) {
        let silent = silent_for_long(entries, operation.now);
        return Some(if silent {
            unfinished(
                Phase::InProgress,
                reason::CLUSTERS_UNREACHABLE,
                Motion::Stalled,
            )
        } else {
            unfinished(Phase::InProgress, reason::IN_PROGRESS, Motion::Reconciling)
        });
    }
    Some(if all(EntryPhase::Completed) {
        completed()
    } else if all(EntryPhase::Failed) {
        failed(Phase::Failed, reason::FAILED)
    } else {
        failed(Phase::PartiallyFailed, reason::PARTIALLY_FAILED)
    })
}

pub(super) fn deleting(deletion: Deletion, succeeded: Option<bool>) -> Decision {
    let (reason, motion) = match deletion {
        Deletion::Going => (reason::DELETING, Motion::Reconciling),
        Deletion::Blocked => (reason::DELETION_BLOCKED, Motion::Stalled),
    };
    Decision {
        succeeded,
        ..unfinished(Phase::Deleting, reason, motion)
    }
}

pub(super) fn completed() -> Decision {
    Decision {
        phase: Phase::Completed,
        ready: ConditionStatus::True,
        reason: reason::COMPLETED.to_owned(),
        motion: Motion::Still,
        succeeded: Some(true),
    }
}

pub(super) fn failed(phase: Phase, reason: &str) -> Decision {
    Decision {
        phase,
        ready: ConditionStatus::False,
        reason: reason.to_owned(),
        motion: Motion::Stalled,
        succeeded: Some(false),
    }
}

pub(super) fn unfinished(phase: Phase, reason: &str, motion: Motion) -> Decision {
    Decision {
        phase,
        ready: ConditionStatus::False,
        reason: reason.to_owned(),
        motion,
        succeeded: None,
    }
}

fn common_reason<E: Entry>(entries: &[E]) -> &str {
    let first = entries.first().and_then(Entry::reason);
    match first {
        Some(common) if entries.iter().all(|entry| entry.reason() == first) => common,
        _ => reason::WAITING_FOR_CLUSTERS,
    }
}

pub(super) fn silent_for_long<E: Entry>(entries: &[E], now: Timestamp) -> bool {
    let mut unfinished = entries.iter().filter(|entry| !entry.phase().is_final());
    unfinished.all(|entry| {
        let silence = entry
            .unreachable_since()
            .map(|since| now.duration_since(since));
        silence.is_some_and(|silence| silence >= unreachable_limit())
    })
}

/// The kinds of operation, which differ in the ways that their phase may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// A one-time Backup or a Restore.
    OneTime,
    /// A scheduled Backup.
    Scheduled,
    /// A Migrate.
    Migrate,
}

/// Whether a stored phase may become another one. Steps may be skipped, since a pass sees only what is
/// there when it looks; none may be taken back.
pub fn transition_allowed(kind: OperationKind, from: Phase, to: Phase) -> bool {
    use Phase::{
        BackupInProgress, Completed, Deleting, Failed, FailedValidation, InProgress,
        PartiallyFailed, Paused, Pending, RestoreInProgress, Scheduled,
    };
    if from == to || to == Deleting {
        return true;
    }
    if from.is_final() || from == Deleting {
        return false;
    }
    match kind {
        OperationKind::OneTime => match from {
            Pending => matches!(
                to,
                FailedValidation | InProgress | Completed | PartiallyFailed | Failed
            ),
            InProgress => to.is_final(),
            _ => false,
        },
        OperationKind::Scheduled => {
            let free = |phase| matches!(phase, Pending | Scheduled | Paused | FailedValidation);
            free(from) && free(to)
        }
        OperationKind::Migrate => match from {
            Pending => {
                matches!(to, FailedValidation | BackupInProgress | RestoreInProgress)
                    || to.is_final()
            }
            BackupInProgress => to == RestoreInProgress || to.is_final(),
            RestoreInProgress => to.is_final(),
            _ => false,
        },
    }
}

#[cfg(test)]
#[path = "operation_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "operation_properties.rs"]
pub(super) mod properties;
