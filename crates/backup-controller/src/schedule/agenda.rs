//! When to look again at a scheduled Backup, for what no watch tells. Pure.

use std::time::Duration;

use api_types::condition::reason;

use super::pass::Row;
use super::plan::{Next, Terms};
use crate::operation::{sooner, until};
use crate::timings::Timings;

/// The time until the first thing is due that nobody else will tell us about.
pub fn next(rows: &[Row], terms: &Terms<'_>, timings: &Timings) -> Option<Duration> {
    // A time that has passed is nothing to wait for.
    let ahead = |then| until(then, terms.now).filter(|wait| !wait.is_zero());
    let of_row = |row: &Row| match &row.next {
        Next::Retry(_) | Next::Put => Some(row.retry.unwrap_or(timings.retry)),
        Next::Wait(problem) if problem.reason == reason::CONFIG_MAP_NOT_FOUND => {
            Some(timings.look_again)
        }
        Next::Keep(_) if terms.hold.is_some() => Some(timings.look_again),
        Next::Keep(_) if !terms.spec.paused => {
            let missed = row
                .expected(terms)
                .and_then(|from| from.checked_add(timings.run_missed).ok());
            // A missed run is told, and the end of one in progress by a watch; then the present next
            // run is what changes.
            let missed = missed.and_then(ahead);
            missed.or_else(|| ahead(terms.spec.when.next(terms.now)?))
        }
        _ => None,
    };
    rows.iter().map(of_row).fold(None, sooner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::schedule::fixtures::{at, placed, run, schedule, validated, with_terms};
    use velero_kit::problem::Problem;

    fn row(next: Next) -> Row {
        Row::new(placed(), next)
    }

    #[test]
    fn it_looks_again_when_a_due_run_is_missed_and_when_the_one_after_it_is_due() {
        let timings = Timings::default();
        let keep = || [row(Next::Keep(Arc::new(schedule())))];
        let spec = validated();
        with_terms(&spec, 0, None, |terms| {
            let wait = next(&keep(), &terms, &timings).unwrap();
            let first = spec.when.next(at(0)).unwrap();
            let expected = first.duration_since(at(0)).unsigned_abs() + timings.run_missed;
            assert_eq!(wait, expected);
        });
        let late = spec.when.next(at(0)).unwrap().as_second() - at(0).as_second() + 3600;
        with_terms(&spec, late, None, |terms| {
            let wait = next(&keep(), &terms, &timings).unwrap();
            assert_eq!(wait, Duration::from_hours(23));
        });
    }

    #[test]
    fn after_a_long_run_the_missed_one_counts_from_its_end() {
        let (timings, spec) = (Timings::default(), validated());
        let due = spec.when.next(at(0)).unwrap().as_second() - at(0).as_second();
        let looks_in = |phase: &str, second: i64| {
            let mut entry = placed();
            entry.facts.runs = vec![run("a", phase, due + 600)];
            let rows = [Row::new(entry, Next::Keep(Arc::new(schedule())))];
            with_terms(&spec, second, None, |terms| next(&rows, &terms, &timings))
        };
        // It ended a minute after its start.
        let ended = looks_in("Completed", due + 670);
        let ended = ended.map(|wait| wait + Duration::from_secs(10));
        assert_eq!(ended, Some(timings.run_missed));
        // While one is in progress only the next one is to come.
        let busy = looks_in("InProgress", due + 3600);
        assert_eq!(busy, Some(Duration::from_hours(23)));
    }

    #[test]
    fn a_failed_call_is_tried_again_soon_and_a_paused_schedule_waits_for_nothing() {
        let timings = Timings::default();
        let mut spec = validated();
        let problem = || Problem::new(reason::UNREACHABLE, "");
        with_terms(&spec, 0, None, |terms| {
            let rows = [
                row(Next::Keep(Arc::new(schedule()))),
                row(Next::Retry(problem())),
            ];
            assert_eq!(next(&rows, &terms, &timings), Some(timings.retry));
            let mut refused = row(Next::Retry(problem()));
            refused.retry = Some(Duration::from_mins(1));
            let wait = next(&[refused], &terms, &timings);
            assert_eq!(wait, Some(Duration::from_mins(1)));
            assert_eq!(next(&[row(Next::Hold)], &terms, &timings), None);
        });
        spec.paused = true;
        with_terms(&spec, 0, None, |terms| {
            let rows = [row(Next::Keep(Arc::new(schedule())))];
            assert_eq!(next(&rows, &terms, &timings), None);
        });
    }
}
