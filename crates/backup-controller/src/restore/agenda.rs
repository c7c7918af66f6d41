//! When to look again at a Restore, for what no watch tells. Pure.

use std::time::Duration;

use api_types::condition::reason;
use api_types::restore::RestoreDetail;
use jiff::Timestamp;

use super::pass::Row;
use super::plan::Next;
use crate::operation::{conclude, sooner, until};
use crate::timings::Timings;

/// The time until the first thing is due that nobody else will tell us about.
pub fn next(
    rows: &[Row],
    details: &[RestoreDetail],
    deadline: Timestamp,
    now: Timestamp,
    timings: &Timings,
) -> Option<Duration> {
    let deadline = until(deadline, now);
    let of_row = |row: &Row| match &row.next {
        Next::Wait(problem)
            if [reason::CONFIG_MAP_NOT_FOUND, reason::BACKUP_NOT_SYNCED]
                .contains(&problem.reason) =>
        {
            Some(timings.look_again)
        }
        Next::Look(_) => Some(row.look_in.unwrap_or(timings.look_again)),
        Next::Retry(_) => Some(timings.retry),
        Next::Choose | Next::Create | Next::Rename | Next::GiveUp(_) => Some(Duration::ZERO),
        Next::Wait(_) => deadline,
        Next::Hold if !row.entry.seen() => deadline,
        _ => None,
    };
    let empty = deadline.filter(|_| rows.is_empty());
    let stalled = conclude::until_stalled(details, now);
    rows.iter().map(of_row).fold(sooner(empty, stalled), sooner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::fixtures::{at, claimed, deadline, problem};

    #[test]
    fn a_look_that_still_holds_is_repeated_when_its_own_time_is_over() {
        let timings = Timings::default();
        let mut row = Row::new(claimed(), Next::Look(problem("BackupNotSynced")));
        let wait = |row: &Row| {
            let rows = std::slice::from_ref(row);
            next(rows, &[], deadline(), at(0), &timings)
        };
        assert_eq!(wait(&row), Some(timings.look_again));
        row.look_in = Some(Duration::from_secs(3));
        assert_eq!(wait(&row), Some(Duration::from_secs(3)));
    }
}
