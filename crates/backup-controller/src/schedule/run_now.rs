//! One run asked for by annotation: each new value of `kurator.dev/run-now` is acted on once. Pure.

use std::time::Duration;

use api_types::backup::{BackupDetail, BackupStatus};
use api_types::names;
use jiff::{SignedDuration, Timestamp};
use velero_kit::location;

use super::pass::Row;
use super::plan::Next;

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

/// Whether a cluster could begin a run now.
pub fn is_ready(row: &Row, location: &str) -> bool {
    matches!(row.next, Next::Keep(_))
        && location::usable(location, row.entry.facts.location.as_deref()).is_ok()
}

/// The run that this cluster still owes: asked for at `time`, not made yet, and not too late.
pub fn owed(
    row: &Row,
    time: Option<Timestamp>,
    now: Timestamp,
    window: Duration,
) -> Option<Timestamp> {
    let time = time?;
    let Next::Keep(schedule) = &row.next else {
        return None;
    };
    let late = Duration::try_from(now.duration_since(time)).is_ok_and(|passed| passed > window);
    let name = names::run_name(schedule.metadata.name.as_deref()?, time);
    let made = is_shown(&row.entry.stored, &name) || row.runs.has(&name);
    (!late && !made).then_some(time)
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
        let window = Duration::from_mins(10);
        let asked_at = at(100);
        let name = names::run_name(SCHEDULE, asked_at);
        let owed = |entry: &Entry, second| {
            let row = Row::new(entry.clone(), keep.clone());
            owed(&row, Some(asked_at), at(second), window)
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
        assert_eq!(super::owed(&silent, Some(asked_at), at(101), window), None);
    }
}
