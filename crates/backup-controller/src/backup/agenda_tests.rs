use api_types::phase::EntryPhase;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::Problem;
use super::super::fixtures::{at, claimed, deadline, detail, fresh, in_phase, seen};
use super::super::plan::Entry;
use super::*;

fn seconds(rows: &[Row], details: &[BackupDetail], now: i64) -> Option<u64> {
    let due = next(rows, details, deadline(), at(now), &Timings::default());
    due.map(|due| due.as_secs())
}

fn of(entry: Entry, what: Next, now: i64) -> Option<u64> {
    seconds(&[Row::new(entry, what)], &[], now)
}

fn wait(why: &'static str) -> Next {
    Next::Wait(Problem::new(why, "it waits"))
}

#[test]
fn each_decision_is_looked_at_again_when_something_may_be_due_that_no_watch_tells() {
    let create = Next::Create { expired: false };
    let failed = Problem::new(reason::UNREACHABLE, "it timed out");
    assert_eq!(
        of(fresh("oslo"), wait(reason::UNREACHABLE), 600),
        Some(3000)
    );
    assert_eq!(
        of(fresh("oslo"), wait(reason::CONFIG_MAP_NOT_FOUND), 600),
        Some(10)
    );
    assert_eq!(of(claimed(), Next::Retry(failed), 600), Some(2));
    assert_eq!(of(claimed(), create, 600), Some(0));
    assert_eq!(of(claimed(), Next::Hold, 600), Some(3000));
    assert_eq!(of(seen(), Next::Hold, 600), None);
    assert_eq!(of(seen(), Next::Follow(in_phase("New")), 600), None);
    assert_eq!(of(seen(), Next::Final, 600), None);
}

#[test]
fn a_deadline_that_is_over_is_nothing_to_wait_for() {
    assert_eq!(of(seen(), wait(reason::VELERO_NOT_INSTALLED), 3601), None);
    assert_eq!(seconds(&[], &[], 3601), None);
}

#[test]
fn an_empty_set_is_looked_at_again_at_the_deadline() {
    assert_eq!(seconds(&[], &[], 600), Some(3000));
}

#[test]
fn a_silent_cluster_is_looked_at_again_when_it_has_been_so_for_five_minutes() {
    let mut silent = detail("oslo", EntryPhase::InProgress);
    silent.unreachable_since = Some(Time(at(500)));
    let row = || Row::new(seen(), Next::Hold);
    assert_eq!(
        seconds(&[row()], std::slice::from_ref(&silent), 600),
        Some(200)
    );
    assert_eq!(seconds(&[row()], std::slice::from_ref(&silent), 800), None);
    silent.phase = EntryPhase::Failed;
    assert_eq!(seconds(&[row()], &[silent], 600), None);
}

#[test]
fn the_soonest_of_all_counts() {
    let failed = Problem::new(reason::UNREACHABLE, "it timed out");
    let rows = [
        Row::new(fresh("bergen"), wait(reason::UNREACHABLE)),
        Row::new(claimed(), Next::Retry(failed)),
        Row::new(seen(), Next::Follow(in_phase("New"))),
    ];
    assert_eq!(seconds(&rows, &[], 600), Some(2));
}
