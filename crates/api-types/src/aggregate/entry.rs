//! The phase of one cluster, from what is known of its Velero object.

use crate::condition::reason;
use crate::phase::EntryPhase;

/// What Velero does for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It backs up.
    Backup,
    /// It restores.
    Restore,
}

/// A phase of a Velero Backup or Restore. Compared exactly: two running phases hold the text
/// `PartiallyFailed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VeleroPhase {
    /// Not begun.
    Waiting,
    /// It runs.
    Running,
    /// Done.
    Completed,
    /// Done, with errors in some items.
    PartiallyFailed,
    /// Failed.
    Failed,
    /// Refused. Velero never tries again.
    FailedValidation,
    /// Being deleted.
    Deleting,
    /// Newer than we are. It counts as running.
    Unknown,
}

impl VeleroPhase {
    /// The phase that a text means.
    pub fn of(text: &str) -> Self {
        match text {
            "" | "New" | "Queued" | "ReadyToStart" => Self::Waiting,
            "InProgress"
            | "WaitingForPluginOperations"
            | "WaitingForPluginOperationsPartiallyFailed"
            | "Finalizing"
            | "FinalizingPartiallyFailed" => Self::Running,
            "Completed" => Self::Completed,
            "PartiallyFailed" => Self::PartiallyFailed,
            "Failed" => Self::Failed,
            "FailedValidation" => Self::FailedValidation,
            "Deleting" => Self::Deleting,
            _ => Self::Unknown,
        }
    }

    /// Whether Velero will not change it any more by itself.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::PartiallyFailed | Self::Failed | Self::FailedValidation
        )
    }
}

/// What is known of an entry's Velero object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// It has not been created yet.
    NotYet,
    /// It is there, with this phase; it may be on its way out.
    Present {
        /// Velero's phase.
        phase: &'a str,
        /// Whether Kubernetes is deleting it.
        deleting: bool,
    },
    /// It was there, and a live look found nothing.
    Gone,
    /// Another cluster answers under the member's name.
    Replaced,
}

/// Phase and reason of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryState {
    /// Its phase.
    pub phase: EntryPhase,
    /// Why; `None` for plain success and progress, and where the caller knows better, as for what has
    /// not been created yet.
    pub reason: Option<&'static str>,
}

/// The state of an entry of a one-time operation. `None` means that it stays as it is: a final entry
/// never changes, except by our own deletion.
pub fn entry_state(
    work: Work,
    before: EntryPhase,
    seen: Seen<'_>,
    own_deletion: bool,
) -> Option<EntryState> {
    let state = |phase, reason| Some(EntryState { phase, reason });
    if own_deletion && !matches!(seen, Seen::Gone | Seen::Replaced | Seen::NotYet) {
        return state(EntryPhase::Deleting, None);
    }
    if before.is_final() || before == EntryPhase::Deleting && own_deletion {
        return None;
    }
    match seen {
        Seen::Replaced => state(EntryPhase::Failed, Some(reason::MEMBER_REPLACED)),
        Seen::Gone => state(EntryPhase::Failed, Some(reason::OBJECT_DISAPPEARED)),
        Seen::NotYet => state(begun_stays_begun(before), None),
        Seen::Present { deleting: true, .. } => state(EntryPhase::Deleting, None),
        Seen::Present { phase, .. } => Some(of_velero(work, before, VeleroPhase::of(phase))),
    }
}

fn of_velero(work: Work, before: EntryPhase, phase: VeleroPhase) -> EntryState {
    let (phase, reason) = match phase {
        VeleroPhase::Waiting => (begun_stays_begun(before), Some(reason::QUEUED)),
        VeleroPhase::Running => (EntryPhase::InProgress, None),
        VeleroPhase::Unknown => (EntryPhase::InProgress, Some(reason::UNKNOWN_PHASE)),
        VeleroPhase::Completed => (EntryPhase::Completed, None),
        VeleroPhase::PartiallyFailed => {
            (EntryPhase::PartiallyFailed, Some(work.partially_failed()))
        }
        VeleroPhase::Failed => (EntryPhase::Failed, Some(work.failed())),
        VeleroPhase::FailedValidation => (EntryPhase::Failed, Some(work.rejected())),
        VeleroPhase::Deleting => (EntryPhase::Deleting, None),
    };
    EntryState { phase, reason }
}

// A member that takes back what it said makes no entry un-begun.
fn begun_stays_begun(before: EntryPhase) -> EntryPhase {
    match before {
        EntryPhase::Pending => EntryPhase::Pending,
        _ => EntryPhase::InProgress,
    }
}

impl Work {
    const fn failed(self) -> &'static str {
        match self {
            Self::Backup => reason::BACKUP_FAILED,
            Self::Restore => reason::RESTORE_FAILED,
        }
    }

    const fn partially_failed(self) -> &'static str {
        match self {
            Self::Backup => reason::BACKUP_PARTIALLY_FAILED,
            Self::Restore => reason::RESTORE_PARTIALLY_FAILED,
        }
    }

    const fn rejected(self) -> &'static str {
        match self {
            Self::Backup => reason::BACKUP_REJECTED,
            Self::Restore => reason::RESTORE_REJECTED,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn present(phase: &str) -> Seen<'_> {
        Seen::Present {
            phase,
            deleting: false,
        }
    }

    fn after(before: EntryPhase, seen: Seen<'_>) -> Option<(EntryPhase, Option<&'static str>)> {
        entry_state(Work::Backup, before, seen, false).map(|state| (state.phase, state.reason))
    }

    #[test]
    fn every_phase_of_velero_has_its_entry_phase() {
        use EntryPhase::{Completed, Deleting, Failed, InProgress, PartiallyFailed, Pending};
        let table = [
            ("", Pending, Some("Queued")),
            ("New", Pending, Some("Queued")),
            ("Queued", Pending, Some("Queued")),
            ("ReadyToStart", Pending, Some("Queued")),
            ("InProgress", InProgress, None),
            ("WaitingForPluginOperations", InProgress, None),
            (
                "WaitingForPluginOperationsPartiallyFailed",
                InProgress,
                None,
            ),
            ("Finalizing", InProgress, None),
            ("FinalizingPartiallyFailed", InProgress, None),
            ("SomethingOf2030", InProgress, Some("UnknownPhase")),
            ("completed", InProgress, Some("UnknownPhase")),
            ("Completed", Completed, None),
            (
                "PartiallyFailed",
                PartiallyFailed,
                Some("BackupPartiallyFailed"),
            ),
            ("Failed", Failed, Some("BackupFailed")),
            ("FailedValidation", Failed, Some("BackupRejected")),
            ("Deleting", Deleting, None),
        ];
        for (velero, phase, reason) in table {
            assert_eq!(
                after(Pending, present(velero)),
                Some((phase, reason)),
                "{velero:?}"
            );
        }
    }

    #[test]
    fn a_restore_fails_with_its_own_reasons() {
        let state = entry_state(
            Work::Restore,
            EntryPhase::Pending,
            present("FailedValidation"),
            false,
        );
        assert_eq!(state.unwrap().reason, Some("RestoreRejected"));
    }

    #[test]
    fn an_object_that_is_gone_before_it_ended_fails_the_entry() {
        assert_eq!(
            after(EntryPhase::InProgress, Seen::Gone),
            Some((EntryPhase::Failed, Some("ObjectDisappeared")))
        );
        assert_eq!(after(EntryPhase::Completed, Seen::Gone), None);
        assert_eq!(
            after(EntryPhase::Pending, Seen::Replaced),
            Some((EntryPhase::Failed, Some("MemberReplaced")))
        );
    }

    #[test]
    fn what_has_begun_is_never_pending_again() {
        assert_eq!(
            after(EntryPhase::InProgress, present("New")),
            Some((EntryPhase::InProgress, Some("Queued")))
        );
    }

    #[test]
    fn our_own_deletion_shows_also_on_a_final_entry() {
        let state = entry_state(
            Work::Backup,
            EntryPhase::Completed,
            present("Completed"),
            true,
        );
        assert_eq!(state.unwrap().phase, EntryPhase::Deleting);
        assert_eq!(
            entry_state(Work::Backup, EntryPhase::Deleting, Seen::Gone, true),
            None
        );
    }

    proptest! {
        #[test]
        fn a_final_entry_never_changes(
            before in prop::sample::select(vec![
                EntryPhase::Completed, EntryPhase::PartiallyFailed, EntryPhase::Failed,
            ]),
            phase in "[A-Za-z]{0,12}|Completed|Failed|New|Deleting",
            deleting in any::<bool>(),
        ) {
            for seen in [Seen::NotYet, Seen::Gone, Seen::Replaced, Seen::Present { phase: &phase, deleting }] {
                prop_assert_eq!(entry_state(Work::Backup, before, seen, false), None);
            }
        }

        #[test]
        fn only_velero_s_own_completed_completes_an_entry(phase in "[A-Za-z]{0,20}|Completed|Completed ") {
            let state = entry_state(Work::Backup, EntryPhase::InProgress, present(&phase), false).unwrap();
            prop_assert_eq!(state.phase == EntryPhase::Completed, phase == "Completed");
        }
    }
}
