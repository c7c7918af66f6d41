//! The whole status, computed from what is known. Pure.

use api_types::condition::reason;
use api_types::external::velero;
use api_types::names::Purpose;
use api_types::restore::{Restore, RestoreDetail, RestoreStatus};
use jiff::Timestamp;
use velero_kit::identity::Owner;

use super::Problem;
use super::pass::Row;
use super::plan::{Entry, Next};
use super::source::Source;
use super::validate::Validated;
use crate::operation::conclude::{self, Frame};
use crate::operation::entry::{self, say, say_being_created};
use crate::operation::objects;
use crate::operation::outcome::{self, Beside};

/// The status of a Restore that is not being deleted; `fleet_found`: its Fleet is there, as far as
/// one is known.
pub fn status(
    restore: &Restore,
    rows: &[Row],
    (spec, source, fleet_found): (&Validated, &Source, bool),
    now: Timestamp,
) -> RestoreStatus {
    let owner = super::owner(restore, source);
    let details = rows
        .iter()
        .map(|row| {
            let mut detail = detail(&row.entry, &row.next, now);
            if let Some(taken) = name_taken(&owner, row) {
                say(&mut detail, &taken);
            }
            detail
        })
        .collect();
    let frame = Frame {
        fleet: source.fleet.as_deref().unwrap_or_default(),
        fleet_found,
        deadline: spec.deadline,
        empty: source.obstacle(),
    };
    conclude::whole(restore, details, &frame, now)
}

/// What to say of an object that is about to be created under another name than its first choice.
fn name_taken(owner: &Owner, row: &Row) -> Option<Problem> {
    let name = row.entry.claimed_name()?;
    let Next::Create = row.next else {
        return None;
    };
    objects::other_name(owner, Purpose::Restore, &row.entry.key, ("restore", name))
}

/// The entry of one cluster.
pub fn detail(entry: &Entry, next: &Next, now: Timestamp) -> RestoreDetail {
    let mut detail = entry.stored.clone();
    if let Next::Final = next {
        return detail;
    }
    entry::wake(&mut detail, &entry.facts.link);
    match next {
        // Its member has just come back: it is not known yet how far it is.
        Next::Hold if entry::is_new(&detail) => say_being_created(&mut detail),
        Next::Final | Next::Confirm | Next::Hold => {}
        Next::Wait(problem) | Next::Look(problem) | Next::Retry(problem) => {
            say(&mut detail, problem);
        }
        // Said with the choice already, so that its event tells it.
        Next::Create if is_partial(entry) => say(&mut detail, &of_partial(entry)),
        Next::Claim | Next::Choose | Next::Create | Next::Rename | Next::GiveUp(_) => {
            say_being_created(&mut detail);
        }
        Next::Follow(object) => follow(&mut detail, entry, object),
        Next::Fail(problem) => entry::fail(&mut detail, problem),
    }
    entry::settle(&mut detail, &entry.facts.link, entry.stored.phase, now);
    detail
}

/// What the member's object says.
fn follow(detail: &mut RestoreDetail, entry: &Entry, object: &velero::Restore) {
    let partial = is_partial(entry).then(|| of_partial(entry));
    let beside = Beside {
        stuck: entry.stuck.as_ref(),
        results: Some(&entry.results),
        caveat: partial.as_ref(),
    };
    outcome::of_restore(detail, object, beside);
}

/// Whether the backup that is restored is only partial. Once said it stays said, should the Backup go.
fn is_partial(entry: &Entry) -> bool {
    entry.run.as_ref().is_ok_and(|run| run.partial)
        || entry.stored.reason.as_deref() == Some(reason::BACKUP_PARTIALLY_FAILED)
}

fn of_partial(entry: &Entry) -> Problem {
    Problem::new(
        reason::BACKUP_PARTIALLY_FAILED,
        format!(
            "restored from a backup that is only PartiallyFailed: what failed in {} is not in it",
            entry
                .stored
                .source_cluster_name
                .as_deref()
                .unwrap_or(&entry.key.name)
        ),
    )
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
