//! The whole status, computed from what is known. Pure.

use api_types::aggregate::{EntryState, Seen, Work, entry_state, sanitize_restore};
use api_types::condition::reason;
use api_types::external::velero;
use api_types::names;
use api_types::phase::EntryPhase;
use api_types::restore::{Restore, RestoreDetail, RestoreStatus};
use controller_kit::condition::MESSAGE_BYTES;
use controller_kit::text::truncate;
use jiff::Timestamp;
use velero_kit::classify;

use super::pass::Row;
use super::plan::{Entry, Next};
use super::results::Results;
use super::source::Source;
use super::validate::Validated;
use super::{Problem, apply};
use crate::operation::conclude::{self, Frame};
use crate::operation::entry::{self, say, say_trouble, waiting_message};

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
            let full = apply::full_name(&owner, &row.entry.key);
            if let Some(taken) = name_taken(&full, &owner.uid, row) {
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
fn name_taken(full: &str, owner_uid: &str, row: &Row) -> Option<Problem> {
    let name = row.entry.claimed_name()?;
    let Next::Create = row.next else {
        return None;
    };
    let candidates = names::candidates(full, owner_uid, names::MAX_NAME);
    let first = candidates.first().filter(|first| *first != name)?;
    Some(Problem::new(
        reason::NAME_TAKEN,
        format!(
            "{first} is held by another owner in {}: the restore is named {name}",
            row.entry.key.name
        ),
    ))
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
        Next::Hold if detail.phase == EntryPhase::Pending && detail.reason.is_none() => {
            say_being_created(&mut detail);
        }
        Next::Final | Next::Confirm | Next::Hold => {}
        Next::Wait(problem) | Next::Look(problem) | Next::Retry(problem) => {
            say(&mut detail, problem);
        }
        // Said with the choice already, so that its event tells it.
        Next::Create if is_partial(entry) => say(&mut detail, &of_partial(entry)),
        Next::Claim | Next::Choose | Next::Create | Next::GiveUp(_) => {
            say_being_created(&mut detail);
        }
        Next::Follow(object) => follow(&mut detail, entry, object),
        Next::Fail(problem) => {
            detail.phase = EntryPhase::Failed;
            say(&mut detail, problem);
        }
    }
    entry::settle(&mut detail, &entry.facts.link, entry.stored.phase, now);
    detail
}

fn say_being_created(detail: &mut RestoreDetail) {
    let note = Problem::new(reason::QUEUED, "the Velero Restore is being created");
    say(detail, &note);
}

/// What the member's object says.
fn follow(detail: &mut RestoreDetail, entry: &Entry, object: &velero::Restore) {
    let seen = Seen::Present {
        phase: object.phase(),
        deleting: object.metadata.deletion_timestamp.is_some(),
    };
    let Some(state) = entry_state(Work::Restore, entry.stored.phase, seen, false) else {
        return;
    };
    let copy = sanitize_restore(&object.status);
    let name = object.metadata.name.clone().unwrap_or_default();
    // A final entry never changes, so it is final only with all that it will say.
    let awaited = entry.results == Results::Awaited && state.phase.is_final();
    let state = if awaited {
        EntryState {
            phase: EntryPhase::InProgress,
            reason: None,
        }
    } else {
        state
    };
    let lines: &[String] = match &entry.results {
        Results::Lines(lines) => lines,
        Results::None | Results::Awaited => &[],
    };
    detail.phase = state.phase;
    detail.reason = state.reason.map(str::to_owned);
    detail.message = classify::restore_failure_message(&name, &copy.status, lines)
        .filter(|_| !awaited)
        .or_else(|| waiting_message(object.phase(), state.reason))
        .map(|text| truncate(&text, MESSAGE_BYTES));
    if state.phase == EntryPhase::Failed
        && let Some(finer) = classify::restore_failure_reason(&copy.status)
    {
        detail.reason = Some(finer.to_owned());
    }
    let plain = matches!(detail.reason.as_deref(), None | Some(reason::QUEUED));
    if plain && is_partial(entry) {
        say(detail, &of_partial(entry));
    }
    say_trouble(detail, &copy.invalid, entry.stuck.as_ref());
    detail.restore_status_in_cluster = Some(copy.status);
    detail.restore_name_in_cluster = Some(name);
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
