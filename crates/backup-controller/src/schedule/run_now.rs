//! One run asked for by annotation: each new value of `kurator.dev/run-now` is acted on once. Pure.

use std::time::Duration;

use api_types::backup::{BackupDetail, BackupStatus};
use api_types::names;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use velero_kit::location;

use super::pass::Row;
use super::plan::{HubObject, Next};

/// A value that was not acted on yet, and the time that names its runs. It waits until some cluster
/// can run it.
pub fn asked(
    value: Option<&str>,
    status: &BackupStatus,
    any_ready: bool,
    now: Timestamp,
) -> Option<(String, Timestamp)> {
    let value = value.filter(|value| !value.is_empty() && any_ready)?;
    if status.last_run_now.as_deref() == Some(value) {
        return None;
    }
    // Two values within a second name two runs.
    let after_last = status
        .last_run_now_time
        .as_ref()
        .and_then(|last| last.0.checked_add(SignedDuration::from_secs(1)).ok());
    Some((
        value.to_owned(),
        after_last.map_or(now, |after| after.max(now)),
    ))
}

/// Whether a cluster could begin a run now: nothing that is being deleted starts one.
pub fn is_ready(row: &Row, location: &str) -> bool {
    matches!(row.next, Next::Keep(_))
        && row.entry.problem.is_none()
        && row.entry.facts.hub == HubObject::Present
        && location::usable(location, row.entry.facts.location.as_deref()).is_ok()
}

/// A run that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    /// When; it names the run.
    pub at: Timestamp,
    /// It is never started later than this.
    pub until: Timestamp,
}

impl Owed {
    /// A run asked for at this time, which may start within `window`.
    pub fn new(at: Timestamp, window: Duration) -> Self {
        let until = at.checked_add(window).unwrap_or(Timestamp::MAX);
        Self { at, until }
    }
}

/// Writes down that the run of a cluster was seen: whoever deletes it gets no second one.
pub fn note(row: &mut Row, asked: Option<Owed>) {
    let Some(asked) = asked else { return };
    // Whatever the Schedule was named when it was made.
    let ending = names::run_name("", asked.at);
    let is_it = |name: &str| name.ends_with(&ending);
    if row.runs.any(is_it) || is_shown(&row.entry.stored, is_it) {
        row.entry.stored.last_run_now_time = Some(Time(asked.at));
    }
}

/// The run that this cluster still owes: never seen yet, and not too late.
pub fn owed(row: &Row, asked: Option<Owed>, now: Timestamp) -> Option<Owed> {
    let made = row.entry.stored.last_run_now_time.as_ref();
    asked.filter(|asked| now <= asked.until && made.is_none_or(|made| made.0 != asked.at))
}

fn is_shown(detail: &BackupDetail, is_it: impl Fn(&str) -> bool) -> bool {
    detail.backup_name_in_cluster.as_deref().is_some_and(&is_it)
        || detail.runs.iter().any(|run| is_it(&run.name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::schedule::fixtures::{SCHEDULE, at, placed, run, schedule};
    use crate::schedule::plan::Entry;

    fn acted_on(value: &str, second: i64) -> BackupStatus {
        BackupStatus {
            last_run_now: Some(value.to_owned()),
            last_run_now_time: Some(Time(at(second))),
            ..BackupStatus::default()
        }
    }

    #[test]
    fn a_value_is_acted_on_once_and_only_when_some_cluster_can_run_it() {
        let none = BackupStatus::default();
        assert_eq!(asked(None, &none, true, at(5)), None);
        assert_eq!(asked(Some(""), &none, true, at(5)), None);
        assert_eq!(asked(Some("a"), &none, false, at(5)), None);
        assert_eq!(
            asked(Some("a"), &none, true, at(5)),
            Some(("a".to_owned(), at(5)))
        );
        assert_eq!(asked(Some("a"), &acted_on("a", 5), true, at(9)), None);
        let next = asked(Some("b"), &acted_on("a", 5), true, at(5));
        assert_eq!(next, Some(("b".to_owned(), at(6))), "in the same second");
    }

    #[test]
    fn a_run_is_owed_until_it_was_seen_or_its_time_is_over() {
        let keep = Next::Keep(Arc::new(schedule()));
        let asked_at = at(100);
        let asked = Some(Owed::new(asked_at, Duration::from_mins(10)));
        let name = names::run_name(SCHEDULE, asked_at);
        let seen = |entry: &Entry| {
            let mut row = Row::new(entry.clone(), keep.clone());
            note(&mut row, asked);
            row
        };
        let owed =
            |entry: &Entry, second| owed(&seen(entry), asked, at(second)).map(|owed| owed.at);

        let mut entry = placed();
        assert_eq!(owed(&entry, 100), Some(asked_at));
        assert_eq!(owed(&entry, 700), Some(asked_at));
        assert_eq!(owed(&entry, 701), None, "too late");

        entry.facts.runs = vec![run(&name, "New", 100)];
        assert_eq!(owed(&entry, 101), None, "it is there");
        entry.stored = seen(&entry).entry.stored;
        entry.facts.runs = vec![run(&format!("{SCHEDULE}-20260102030405"), "New", 110)];
        assert_eq!(owed(&entry, 111), None, "it was there, and a newer one is");
        entry.facts.runs.clear();
        assert_eq!(owed(&entry, 112), None, "both were");

        entry.stored = placed().stored;
        entry.stored.backup_name_in_cluster = Some(name.clone());
        assert_eq!(owed(&entry, 113), None, "as an earlier version shows it");
        entry.stored.backup_name_in_cluster = None;
        entry.stored.runs = vec![api_types::backup::BackupRun {
            name,
            ..Default::default()
        }];
        assert_eq!(owed(&entry, 114), None, "as an earlier version lists it");
    }

    #[test]
    fn a_run_that_was_seen_says_nothing_of_the_next_one() {
        let mut entry = placed();
        entry.stored.last_run_now_time = Some(Time(at(100)));
        let next = Some(Owed::new(at(200), Duration::from_mins(10)));
        let mut row = Row::new(entry, Next::Keep(Arc::new(schedule())));
        note(&mut row, next);
        assert_eq!(row.entry.stored.last_run_now_time, Some(Time(at(100))));
        assert_eq!(owed(&row, next, at(201)), next);
    }
}
