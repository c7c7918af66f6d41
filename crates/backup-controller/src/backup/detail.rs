//! The entry of one cluster in a status. Pure.

use api_types::aggregate::{Seen, Work, entry_state, sanitize_backup};
use api_types::backup::BackupDetail;
use api_types::condition::reason;
use api_types::external::velero;
use api_types::phase::EntryPhase;
use controller_kit::condition::MESSAGE_BYTES;
use controller_kit::text::truncate;
use jiff::Timestamp;
use velero_kit::{classify, location};

use super::Problem;
use super::plan::{Entry, Next};
use crate::operation::entry::{self, say, say_trouble, waiting_message};

/// The entry of one cluster.
pub fn detail(entry: &Entry, next: &Next, now: Timestamp) -> BackupDetail {
    let mut detail = entry.stored.clone();
    if let Next::Final = next {
        return detail;
    }
    entry::wake(&mut detail, &entry.facts.link);
    match next {
        // Its member has just come back: it is not known yet how far it is.
        Next::Hold if detail.phase == EntryPhase::Pending && detail.reason.is_none() => {
            say_being_created(&mut detail);
        }
        Next::Final | Next::Confirm | Next::Hold => {}
        Next::Wait(problem) | Next::Retry(problem) => say(&mut detail, problem),
        Next::Claim | Next::Create { .. } | Next::Rename => say_being_created(&mut detail),
        Next::Follow(object) => follow(&mut detail, entry, object),
        Next::Fail(problem) => {
            detail.phase = EntryPhase::Failed;
            say(&mut detail, problem);
        }
    }
    entry::settle(&mut detail, &entry.facts.link, entry.stored.phase, now);
    detail
}

/// What the member's object says.
fn follow(detail: &mut BackupDetail, entry: &Entry, object: &velero::Backup) {
    let seen = Seen::Present {
        phase: object.phase(),
        deleting: object.metadata.deletion_timestamp.is_some(),
    };
    let Some(state) = entry_state(Work::Backup, entry.stored.phase, seen, false) else {
        return;
    };
    let copy = sanitize_backup(&object.status);
    let name = object.metadata.name.clone().unwrap_or_default();
    detail.phase = state.phase;
    detail.reason = state.reason.map(str::to_owned);
    detail.message = classify::failure_message(&name, &copy.status)
        .or_else(|| waiting_message(object.phase(), state.reason))
        .map(|text| truncate(&text, MESSAGE_BYTES));
    if state.phase == EntryPhase::Failed
        && let Some(finer) = classify::failure_reason(&copy.status)
    {
        detail.reason = Some(finer.to_owned());
    }
    say_trouble(detail, &copy.invalid, entry.stuck.as_ref());
    detail.backup_status_in_cluster = Some(copy.status);
    detail.backup_name_in_cluster = Some(name);
    if detail.storage.is_none() {
        detail.storage = entry.facts.location.as_deref().map(location::storage);
    }
}

fn say_being_created(detail: &mut BackupDetail) {
    let note = Problem::new(reason::QUEUED, "the Velero Backup is being created");
    say(detail, &note);
}

#[cfg(test)]
#[path = "detail_tests.rs"]
mod tests;
