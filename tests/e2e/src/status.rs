//! What a test asks of a Backup's status.

use api_types::backup::{Backup, BackupDetail};
use api_types::condition::{self, Condition, ConditionStatus};
use api_types::phase::Phase;

/// The entry of the cluster called `cluster`, if there is one.
pub fn entry<'a>(backup: &'a Backup, cluster: &str) -> Option<&'a BackupDetail> {
    let details = &backup.status.as_ref()?.backup_details;
    details.iter().find(|detail| detail.cluster_name == cluster)
}

/// The reason in the entry of a cluster; empty when there is none.
pub fn reason<'a>(backup: &'a Backup, cluster: &str) -> &'a str {
    entry(backup, cluster)
        .and_then(|entry| entry.reason.as_deref())
        .unwrap_or_default()
}

/// Whether the Backup is in this phase.
pub fn is_phase(backup: &Backup, phase: Phase) -> bool {
    backup
        .status
        .as_ref()
        .is_some_and(|status| status.phase == Some(phase))
}

fn find<'a>(backup: &'a Backup, type_: &str) -> Option<&'a Condition> {
    condition::find(&backup.status.as_ref()?.conditions, type_)
}

/// The status of a condition, if it is there.
pub fn condition_status(backup: &Backup, type_: &str) -> Option<ConditionStatus> {
    find(backup, type_).map(|condition| condition.status)
}

/// The reason of a condition; empty when there is none.
pub fn condition_reason<'a>(backup: &'a Backup, type_: &str) -> &'a str {
    find(backup, type_)
        .map(|condition| condition.reason.as_str())
        .unwrap_or_default()
}

/// Whether the outcome of a one-time Backup is known.
pub fn is_succeeded_known(backup: &Backup) -> bool {
    find(backup, condition::SUCCEEDED).is_some()
}
