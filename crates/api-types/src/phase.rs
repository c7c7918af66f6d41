//! The phases of our own kinds. The schemas have no enum of them: one would only stop our own
//! controllers from writing the truth.

use serde::{Deserialize, Serialize};

/// Phase of one cluster in a Backup, Restore or Migrate.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum EntryPhase {
    /// Nothing has started.
    #[default]
    Pending,
    /// Velero works on it.
    InProgress,
    /// It completed.
    Completed,
    /// Some items failed.
    PartiallyFailed,
    /// It failed, or never began and never will.
    Failed,
    /// It is being deleted.
    Deleting,
    /// Written by a newer version.
    #[serde(other)]
    Unknown,
}

impl EntryPhase {
    /// Whether an entry of a one-time operation stays so for ever.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::PartiallyFailed | Self::Failed)
    }

    /// As the status has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Completed => "Completed",
            Self::PartiallyFailed => "PartiallyFailed",
            Self::Failed => "Failed",
            Self::Deleting => "Deleting",
            Self::Unknown => "Unknown",
        }
    }
}

/// Phase of a whole Backup, Restore or Migrate.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Phase {
    /// Nothing has started anywhere.
    #[default]
    Pending,
    /// The spec can never work.
    FailedValidation,
    /// It runs.
    InProgress,
    /// Migrate: the source is being backed up.
    BackupInProgress,
    /// Migrate: the targets are being restored.
    RestoreInProgress,
    /// Every cluster that was asked for completed.
    Completed,
    /// Some clusters or items failed.
    PartiallyFailed,
    /// Every cluster failed.
    Failed,
    /// Scheduled Backup: it runs by its schedule.
    Scheduled,
    /// Scheduled Backup: no run is started.
    Paused,
    /// It is being deleted.
    Deleting,
    /// Written by a newer version.
    #[serde(other)]
    Unknown,
}

impl Phase {
    /// Whether a one-time operation in this phase stays so for ever. `FailedValidation` does too
    /// once the condition `Succeeded` is False; that is for the aggregate to know.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::PartiallyFailed | Self::Failed)
    }

    /// As the status has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::FailedValidation => "FailedValidation",
            Self::InProgress => "InProgress",
            Self::BackupInProgress => "BackupInProgress",
            Self::RestoreInProgress => "RestoreInProgress",
            Self::Completed => "Completed",
            Self::PartiallyFailed => "PartiallyFailed",
            Self::Failed => "Failed",
            Self::Scheduled => "Scheduled",
            Self::Paused => "Paused",
            Self::Deleting => "Deleting",
            Self::Unknown => "Unknown",
        }
    }
}

/// Phase of a Fleet.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum FleetPhase {
    /// It has no clusters, or nobody has looked yet.
    #[default]
    Pending,
    /// Some member or plugin is not ready yet.
    Running,
    /// A plugin failed, or something is asked for that is not offered.
    Failed,
    /// Every member and every plugin is ready.
    Ready,
    /// It is being deleted.
    Terminating,
    /// A step of the deletion failed or makes no progress; it is tried again.
    TerminateFailed,
    /// The last thing written before the object goes.
    TerminateSucceeded,
    /// Written by a newer version.
    #[serde(other)]
    Unknown,
}

/// Phase of a Fleet plugin, and of one cluster of it. Sorted from good to bad: the phase of a plugin
/// is the greatest of its clusters'.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum PluginPhase {
    /// It works.
    Ready,
    /// It works, with warnings.
    Degraded,
    /// Nothing has been done yet.
    #[default]
    Pending,
    /// It is being installed.
    Installing,
    /// It is being removed.
    Removing,
    /// It failed.
    Failed,
    /// Written by a newer version.
    #[serde(other)]
    Unknown,
}
