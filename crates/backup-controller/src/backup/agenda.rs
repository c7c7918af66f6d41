//! When to look again at a Backup, for what no watch tells. Pure.

use std::time::Duration;

use api_types::backup::BackupDetail;
use api_types::condition::reason;
use jiff::Timestamp;

use super::pass::Row;
use super::plan::Next;
use crate::operation::{conclude, sooner, until};
use crate::timings::Timings;

/// The time until the first thing is due that nobody else will tell us about.
pub fn next(
    rows: &[Row],
    details: &[BackupDetail],
    deadline: Timestamp,
    now: Timestamp,
    timings: &Timings,
) -> Option<Duration> {
    let deadline = until(deadline, now);
    let of_row = |row: &Row| match &row.next {
        Next::Wait(problem) if problem.reason == reason::CONFIG_MAP_NOT_FOUND => {
            Some(timings.look_again)
        }
        Next::Retry(_) => Some(timings.retry),
        Next::Rename | Next::Create { .. } => Some(Duration::ZERO),
        Next::Wait(_) => deadline,
        Next::Hold if !row.entry.seen() => deadline,
        _ => None,
    };
    let empty = deadline.filter(|_| rows.is_empty());
    let stalled = conclude::until_stalled(details, now);
    rows.iter().map(of_row).fold(sooner(empty, stalled), sooner)
}

#[cfg(test)]
#[path = "agenda_tests.rs"]
mod tests;
