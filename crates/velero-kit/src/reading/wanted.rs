//! Is a Velero Backup the one that is to be restored, and can it be? Pure.

use std::collections::BTreeSet;

use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::MemberId;
use jiff::Timestamp;

use super::origin::is_made_in;
use crate::identity;
use crate::problem::Problem;

/// How a run is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The Velero Backup of this name.
    Named(String),
    /// The newest one that did not begin after this: the origin cannot be asked, so it is to be found
    /// among what the target sees.
    Newest(Option<Timestamp>),
}

/// The Velero Backup that one cluster is to be restored from, and how it is known to be the right one.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which one.
    pub which: Which,
    /// Kind of the hub object that it was made for: `Backup` or `Migrate`.
    pub kind: &'static str,
    /// Namespace of that.
    pub namespace: String,
    /// Name of that.
    pub name: String,
    /// Uid of that, while the run has not been chosen.
    pub owner_uid: Option<String>,
    /// The members of which one made it.
    pub made_in: BTreeSet<MemberId>,
    /// When it began, once the run has been chosen. It tells where the uid is not known: Velero at times
    /// runs a Backup twice over, and then the bucket has another time than the member.
    pub started: Option<Timestamp>,
}

/// Whether what was found in `place` under the wanted name is the backup that is wanted, and done.
pub fn restorable(
    wanted: &Wanted,
    name: &str,
    place: &ClusterKey,
    found: Option<velero::Backup>,
    now: Timestamp,
) -> Result<velero::Backup, Problem> {
    let cluster = &place.name;
    let absent = |message: String| Err(Problem::new(reason::BACKUP_NOT_FOUND, message));
    let Some(found) = found else {
        return absent(format!(
            "Velero Backup {name} is not in {cluster}: it was deleted, or is not synced yet"
        ));
    };
    if !wanted.is(&found) {
        return absent(format!(
            "Velero Backup {name} in {cluster} is not the one that {} {} made there",
            wanted.kind, wanted.name
        ));
    }
    if found.metadata.deletion_timestamp.is_some() {
        return absent(format!(
            "Velero Backup {name} in {cluster} is being deleted"
        ));
    }
    let (reason, message) = match found.phase() {
        "Completed" | "PartiallyFailed" if found.expiration().is_some_and(|end| end <= now) => (
            reason::BACKUP_EXPIRED,
            format!("Velero Backup {name} in {cluster} is past its ttl"),
        ),
        "Completed" | "PartiallyFailed" => return Ok(found),
        "Deleting" => (
            reason::BACKUP_NOT_FOUND,
            format!("Velero Backup {name} in {cluster} is being deleted"),
        ),
        phase @ ("Failed" | "FailedValidation") => (
            reason::BACKUP_NOT_RESTORABLE,
            format!("Velero Backup {name} in {cluster} is {phase}"),
        ),
        _ => (
            reason::NO_COMPLETED_BACKUP,
            format!("Velero Backup {name} in {cluster} has not ended"),
        ),
    };
    Err(Problem::new(reason, message))
}

/// Whether what is in the way of restoring one run never goes away.
pub fn is_for_good(problem: &Problem) -> bool {
    matches!(
        problem.reason,
        reason::BACKUP_NOT_RESTORABLE | reason::BACKUP_EXPIRED
    )
}

impl Wanted {
    /// Whether this is the backup: by what it says of itself, never by its name alone.
    pub fn is(&self, found: &velero::Backup) -> bool {
        let label = |key: &str| found.metadata.labels.as_ref()?.get(key).map(String::as_str);
        let of_hub = (self.kind, self.namespace.as_str(), self.name.as_str());
        is_made_in(&self.made_in, found)
            && identity::hub_object(&found.metadata) == Some(of_hub)
            && self
                .owner_uid
                .as_deref()
                .is_none_or(|uid| label(labels::OWNER_UID) == Some(uid))
            && self
                .started
                .filter(|_| self.owner_uid.is_none())
                .is_none_or(|started| found.start_timestamp() == Some(started))
    }

    /// Selects the backups of the hub object that were made in one of its members.
    pub fn selector(&self) -> Option<String> {
        let uid = self.owner_uid.as_ref()?;
        let members: Vec<&str> = self.made_in.iter().map(MemberId::as_str).collect();
        Some(format!(
            "{}={uid},{} in ({})",
            labels::OWNER_UID,
            labels::MEMBER,
            members.join(",")
        ))
    }
}

/// Name of the location that a backup lies in.
pub fn location_of(backup: &velero::Backup) -> String {
    backup
        .spec
        .storage_location
        .clone()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| labels::DEFAULT_STORAGE_LOCATION.to_owned())
}

#[cfg(test)]
#[path = "wanted_tests.rs"]
mod tests;
