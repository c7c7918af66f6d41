//! One run asked for by annotation: each new value of `kurator.dev/run-now` is acted on once. Pure.

use std::time::Duration;

use api_types::backup::{BackupDetail, BackupStatus};
use api_types::names;
use jiff::{SignedDuration, Timestamp};
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

/// The run that this cluster still owes: not made yet, and not too late.
pub fn owed(row: &Row, asked: Option<Owed>, now: Timestamp) -> Option<Owed> {
    let asked = asked?;
    let Next::Keep(schedule) = &row.next else {
        return None;
    };
    let name = names::run_name(schedule.metadata.name.as_deref()?, asked.at);
    let made = is_shown(&row.entry.stored, &name) || row.runs.has(&name);
    (now <= asked.until && !made).then_some(asked)
}

fn is_shown(detail: &BackupDetail, name: &str) -> bool {
    detail.backup_name_in_cluster.as_deref() == Some(name)
        || detail.runs.iter().any(|run| run.name == name)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
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
        let owed = |entry: &Entry, second| {
            let row = Row::new(entry.clone(), keep.clone());
            owed(&row, asked, at(second)).map(|owed| owed.at)
        };

        let mut entry = placed();
        assert_eq!(owed(&entry, 100), Some(asked_at));
        assert_eq!(owed(&entry, 700), Some(asked_at));
        assert_eq!(owed(&entry, 701), None, "too late");

        entry.facts.runs = vec![run(&name, "New", 100)];
        assert_eq!(owed(&entry, 101), None, "it is there");
        entry.facts.runs.clear();
        entry.stored.backup_name_in_cluster = Some(name.clone());
        assert_eq!(owed(&entry, 102), None, "it was there");
        entry.stored.backup_name_in_cluster = None;
        entry.stored.runs = vec![api_types::backup::BackupRun {
            name,
            ..Default::default()
        }];
        assert_eq!(owed(&entry, 103), None, "it was there");
        let silent = Row::new(placed(), Next::Hold);
        assert_eq!(super::owed(&silent, asked, at(101)), None);
    }
}
