//! When to look again at a Backup, for what no watch tells. Pure.

use std::time::Duration;

use api_types::backup::BackupDetail;
use api_types::condition::reason;
use jiff::Timestamp;

use super::pass::Row;
use super::plan::Next;
use super::{sooner, status};
use crate::timings::Timings;

/// The time until the first thing is due that nobody else will tell us about.
pub fn next(
    rows: &[Row],
    details: &[BackupDetail],
    deadline: Timestamp,
    now: Timestamp,
    timings: &Timings,
) -> Option<Duration> {
    // A time that has passed is nothing to wait for.
    let until = |then: Timestamp| Duration::try_from(then.duration_since(now)).ok();
    let of_row = |row: &Row| match &row.next {
        Next::Wait(problem) if problem.reason == reason::CONFIG_MAP_NOT_FOUND => {
            Some(timings.look_again)
        }
        Next::Retry(_) => Some(timings.retry),
        Next::Rename | Next::Create { .. } => Some(Duration::ZERO),
        Next::Wait(_) => until(deadline),
        Next::Hold if !row.entry.seen() => until(deadline),
        _ => None,
    };
    let stalled = |detail: &BackupDetail| {
        let since = detail.unreachable_since.as_ref()?;
        until(since.0.checked_add(status::unreachable_limit()).ok()?)
            .filter(|wait| !wait.is_zero() && !detail.phase.is_final())
    };
    let empty = rows.is_empty().then(|| until(deadline)).flatten();
    rows.iter()
        .map(of_row)
        .chain(details.iter().map(stalled))
        .fold(empty, sooner)
}

#[cfg(test)]
#[path = "agenda_tests.rs"]
mod tests;
