//! The entry of one cluster in a status, and what it means for the whole. Pure.

use std::time::Duration;

use api_types::aggregate::{Fault, ScheduledCluster, Seen, Work, entry_state};
use api_types::backup::BackupDetail;
use api_types::condition::reason;
use api_types::external::velero;
use api_types::names::{self, Purpose};
use api_types::phase::EntryPhase;
use controller_kit::condition::MESSAGE_BYTES;
use controller_kit::text::truncate;
use jiff::Timestamp;
use velero_kit::location;

use super::Problem;
use super::history::Runs;
use super::pass::Row;
use super::plan::{Entry, Facts, Link, Next, Terms};
use crate::operation::entry::{self, say, waiting_message};
use crate::operation::objects;

/// An entry, and what it means for the whole.
#[derive(Debug)]
pub struct Shown {
    pub detail: BackupDetail,
    pub cluster: ScheduledCluster,
}

/// How an entry is to be shown.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Runs that have ended to list beside the newest.
    pub older: usize,
    /// A run that is due and has not appeared for this long was missed.
    pub run_missed: Duration,
}

/// An entry with the runs as last seen.
pub fn follow(stored: &BackupDetail, facts: &Facts, runs: &Runs, older: usize) -> BackupDetail {
    let mut detail = stored.clone();
    entry::wake(&mut detail, &facts.link);
    if detail.member_uid.is_some() && facts.runs_known {
        if facts.runs_live && runs.has_lost(&detail) {
            detail.phase = EntryPhase::Failed;
        }
        runs.write(&mut detail, older);
    }
    detail
}

/// Ends an entry: says whether its member is silent, and dates a change.
pub fn date(detail: &mut BackupDetail, stored: &BackupDetail, facts: &Facts, now: Timestamp) {
    entry::overlay_link(detail, &facts.link, now);
    entry::transition(detail, stored.phase, now);
}

/// The entry of one cluster.
pub fn show(row: &Row, terms: &Terms<'_>, view: View) -> Shown {
    let entry = &row.entry;
    let facts = &entry.facts;
    let mut detail = follow(&entry.stored, facts, &row.runs, view.older);
    let mut faults = Vec::new();
    match &row.next {
        Next::Hold => faults.extend(remembered(&detail)),
        Next::Wait(problem) | Next::Retry(problem) => {
            say(&mut detail, problem);
            faults.push(if problem.reason == reason::SCHEDULE_REJECTED {
                Fault::Rejected
            } else {
                Fault::Waiting
            });
        }
        Next::Claim | Next::Put => {
            say(
                &mut detail,
                &Problem::new(reason::QUEUED, "the Velero Schedule is being written"),
            );
            faults.push(Fault::Waiting);
        }
        Next::Keep(schedule) => {
            // Where it has stored before is never overwritten, but remembered first: `former::move_on`.
            if let Some(place) = facts.location.as_deref().map(location::storage)
                && detail
                    .storage
                    .as_ref()
                    .is_none_or(|known| location::is_same(known, &place))
            {
                detail.storage = Some(place);
            }
            let found = trouble(&detail, schedule, (row, terms, view));
            match (name_taken(entry, schedule, terms), found.first()) {
                (Some(taken), _) => say(&mut detail, &taken),
                (None, Some((_, problem))) => say(&mut detail, problem),
                (None, None) => say_how_it_goes(&mut detail, row, terms),
            }
            faults.extend(found.into_iter().map(|(fault, _)| fault));
        }
    }
    if detail
        .consecutive_failures
        .is_some_and(|failures| failures > 0)
    {
        faults.push(Fault::Failing);
    }
    if terms.spec.paused {
        // It is judged by whether it is there; what its last run came to is still told.
        faults.retain(|fault| !matches!(fault, Fault::Failing | Fault::Missed));
    }
    date(&mut detail, &entry.stored, facts, terms.now);
    if matches!(facts.link, Link::Down { .. }) {
        faults.push(Fault::Unreachable);
    }
    Shown {
        cluster: ScheduledCluster {
            placed: is_placed(row, &detail),
            fault: faults.into_iter().min(),
        },
        detail,
    }
}

/// What to say of a Schedule that is seen for the first time, and has another name than its first
/// choice. Where its runs are stored is written down with it.
fn name_taken(entry: &Entry, schedule: &velero::Schedule, terms: &Terms<'_>) -> Option<Problem> {
    if entry.stored.storage.is_some() {
        return None;
    }
    let full = objects::full_name(terms.owner, Purpose::Backup, &entry.key);
    let names = names::candidates(&full, &terms.owner.uid, names::MAX_SCHEDULE_NAME);
    let name = schedule.metadata.name.as_deref().unwrap_or_default();
    let first = names.first().filter(|first| *first != name)?;
    Some(Problem::new(
        reason::NAME_TAKEN,
        format!(
            "{first} is held by another owner in {}: the Schedule is named {name}",
            entry.key.name
        ),
    ))
}

/// What was last known to be wrong, while nothing newer is.
fn remembered(detail: &BackupDetail) -> Option<Fault> {
    match detail.reason.as_deref()? {
        reason::SCHEDULE_REJECTED => Some(Fault::Rejected),
        reason::RUN_MISSED => Some(Fault::Missed),
        // Counted as a failure, or nothing wrong.
        reason::RUN_FAILED
        | reason::WAITING_FOR_FIRST_RUN
        | reason::NAME_TAKEN
        | reason::QUEUED
        | reason::UNKNOWN_PHASE => None,
        _ => Some(Fault::Waiting),
    }
}

/// Whether the cluster has a Schedule, as far as is known.
fn is_placed(row: &Row, detail: &BackupDetail) -> bool {
    match &row.next {
        Next::Keep(_) => true,
        // Where its runs are stored is written down once it has one.
        Next::Hold => detail.storage.is_some(),
        Next::Claim => false,
        Next::Wait(_) | Next::Retry(_) | Next::Put => row.entry.facts.schedule().is_some(),
    }
}

/// What is wrong in a cluster that has its Schedule, the most important first.
fn trouble(
    detail: &BackupDetail,
    schedule: &velero::Schedule,
    (row, terms, view): (&Row, &Terms<'_>, View),
) -> Vec<(Fault, Problem)> {
    let name = &row.entry.key.name;
    let held = terms.hold.map(|hold| (Fault::Waiting, hold.clone()));
    let rejected = (schedule.phase() == "FailedValidation").then(|| {
        let why = schedule.validation_errors().join("; ");
        let text = format!("Velero in {name} refuses the schedule: {why}");
        (
            Fault::Rejected,
            Problem::new(reason::SCHEDULE_REJECTED, text),
        )
    });
    let stuck = row.entry.stuck.clone().map(|stuck| (Fault::Waiting, stuck));
    let failures = detail.consecutive_failures.unwrap_or(0);
    let failing = (failures > 0).then(|| {
        let why = row.runs.failure().unwrap_or_else(|| {
            let run = detail.backup_name_in_cluster.as_deref().unwrap_or_default();
            format!("run {run} did not complete")
        });
        let text = if failures > 1 {
            format!("{failures} runs in a row did not complete; {why}")
        } else {
            why
        };
        (Fault::Failing, Problem::new(reason::RUN_FAILED, text))
    });
    let missed = missed(row, terms, view.run_missed).map(|due| {
        let text = format!("the run due at {due} has not appeared in {name}: look at Velero there");
        (Fault::Missed, Problem::new(reason::RUN_MISSED, text))
    });
    let all = [rejected, held, stuck, failing, missed];
    all.into_iter().flatten().collect()
}

/// The time at which a run was due that should be there by now.
fn missed(row: &Row, terms: &Terms<'_>, patience: Duration) -> Option<Timestamp> {
    let expected = row.expected(terms).filter(|_| !terms.spec.paused)?;
    let waited = Duration::try_from(terms.now.duration_since(expected)).ok()?;
    row.due(terms).filter(|_| waited > patience)
}

/// Nothing is wrong: what the newest run does, or when the first one is due.
fn say_how_it_goes(detail: &mut BackupDetail, row: &Row, terms: &Terms<'_>) {
    (detail.reason, detail.message) = (None, None);
    if let Some(run) = row.runs.unfinished() {
        let phase = run.phase();
        let seen = Seen::Present {
            phase,
            deleting: false,
        };
        let state = entry_state(Work::Backup, EntryPhase::Pending, seen, false);
        let why = state.and_then(|state| state.reason);
        detail.reason = why.map(str::to_owned);
        detail.message = waiting_message(phase, why).map(|text| truncate(&text, MESSAGE_BYTES));
    } else if detail.backup_name_in_cluster.is_none() {
        let text = match row.due(terms).filter(|_| !terms.spec.paused) {
            Some(due) => format!("the first run is due at {due}; Velero looks once a minute"),
            None => "there was no run yet, and the schedule is paused".to_owned(),
        };
        say(detail, &Problem::new(reason::WAITING_FOR_FIRST_RUN, text));
    }
}

#[cfg(test)]
#[path = "detail_tests.rs"]
mod tests;
