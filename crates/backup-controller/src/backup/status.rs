//! The whole status, computed from what is known. Pure.

use api_types::backup::{Backup, BackupStatus};
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::names::Purpose;
use jiff::Timestamp;

use super::Problem;
use super::detail::detail;
use super::pass::Row;
use super::plan::Next;
use super::validate::{InvalidSpec, Validated};
use crate::operation::conclude::{self, Frame};
pub use crate::operation::conclude::{deleting, leftovers, now, only_progress, unreachable_limit};
use crate::operation::entry::say;
use crate::operation::objects;

/// The status of a Backup that is not being deleted.
pub fn status(backup: &Backup, rows: &[Row], spec: &Validated, now: Timestamp) -> BackupStatus {
    let details = rows
        .iter()
        .map(|row| {
            let mut detail = detail(&row.entry, &row.next, now);
            if let Some(taken) = name_taken(backup, row) {
                say(&mut detail, &taken);
            }
            detail
        })
        .collect();
    let frame = Frame {
        fleet: &backup.spec.destination.fleet,
        fleet_found: spec.fleet_found,
        deadline: spec.deadline,
        empty: None,
    };
    conclude::whole(backup, details, &frame, now)
}

/// What to say of an object that is about to be created under another name than its first choice.
fn name_taken(backup: &Backup, row: &Row) -> Option<Problem> {
    let name = row.entry.claimed_name()?;
    let Next::Create { expired: false } = row.next else {
        return None;
    };
    let owner = super::owner(backup);
    objects::other_name(&owner, Purpose::Backup, &row.entry.key, ("backup", name))
}

/// The status of a Backup whose spec can never work; `meant`: the clusters that it asks for.
pub fn refused(
    backup: &Backup,
    meant: &[ClusterKey],
    invalid: &InvalidSpec,
    now: Timestamp,
) -> BackupStatus {
    conclude::refused(backup, meant, &invalid.to_string(), now)
}

/// The condition `Succeeded`, if it is there.
pub fn succeeded(status: &BackupStatus) -> Option<bool> {
    conclude::succeeded(&status.conditions)
}

/// Whether Velero will not change this object any more.
pub fn velero_is_done(object: &velero::Backup) -> bool {
    conclude::velero_is_done(object.phase())
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
