//! The entry of one cluster in a status. Pure.

use api_types::backup::BackupDetail;
use api_types::external::velero;
use jiff::Timestamp;

use super::plan::{Entry, Next};
use crate::operation::entry::{self, say, say_being_created};
use crate::operation::outcome::{self, Beside};

/// The entry of one cluster.
pub fn detail(entry: &Entry, next: &Next, now: Timestamp) -> BackupDetail {
    let mut detail = entry.stored.clone();
    if let Next::Final = next {
        return detail;
    }
    entry::wake(&mut detail, &entry.facts.link);
    match next {
        // Its member has just come back: it is not known yet how far it is.
        Next::Hold if entry::is_new(&detail) => say_being_created(&mut detail),
        Next::Final | Next::Confirm | Next::Hold => {}
        Next::Wait(problem) | Next::Retry(problem) => say(&mut detail, problem),
        Next::Claim | Next::Create { .. } | Next::Rename => say_being_created(&mut detail),
        Next::Follow(object) => follow(&mut detail, entry, object),
        Next::Fail(problem) => entry::fail(&mut detail, problem),
    }
    entry::settle(&mut detail, &entry.facts.link, entry.stored.phase, now);
    detail
}

/// What the member's object says.
fn follow(detail: &mut BackupDetail, entry: &Entry, object: &velero::Backup) {
    let beside = Beside {
        stuck: entry.stuck.as_ref(),
        ..Beside::default()
    };
    outcome::of_backup(detail, object, beside);
    outcome::lies_at(detail, object, entry.facts.place());
}

#[cfg(test)]
#[path = "detail_tests.rs"]
mod tests;
