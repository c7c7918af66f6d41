use std::sync::Arc;

use api_types::aggregate::Fault;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::backup::fixtures::down;
use crate::schedule::fixtures::{
    at, claimed, fresh, placed, run, schedule, validated, view, with_terms,
};
use crate::schedule::plan::Entry;

fn row(entry: Entry, next: Next) -> Row {
    Row::new(entry, next)
}

fn kept(edit: impl FnOnce(&mut Entry)) -> Row {
    let mut entry = placed();
    edit(&mut entry);
    let live = Arc::clone(&entry.facts.schedules[0]);
    row(entry, Next::Keep(live))
}

fn shown_at(row: &Row, second: i64) -> Shown {
    with_terms(&validated(), second, None, |terms| {
        show(row, &terms, view())
    })
}

fn said(shown: &Shown) -> (&str, &str) {
    let detail = &shown.detail;
    (
        detail.reason.as_deref().unwrap_or_default(),
        detail.message.as_deref().unwrap_or_default(),
    )
}

#[test]
fn before_the_first_run_the_entry_says_when_it_is_due() {
    let shown = shown_at(&kept(|_| {}), 10);
    assert_eq!(shown.detail.phase, EntryPhase::Pending);
    let due = validated().when.next(at(0)).unwrap().to_string();
    let (reason, message) = said(&shown);
    assert_eq!(reason, "WaitingForFirstRun");
    assert!(message.contains(&due), "{message}");
    assert_eq!((shown.cluster.placed, shown.cluster.fault), (true, None));
    assert_eq!(shown.detail.storage.unwrap().bucket, "fleet-backups");
}

#[test]
fn a_run_that_goes_on_or_completed_needs_no_words() {
    for phase in ["InProgress", "Completed"] {
        let shown = shown_at(&kept(|e| e.facts.runs = vec![run("a", phase, 5)]), 100);
        assert_eq!(said(&shown), ("", ""), "{phase}");
        assert_eq!(shown.detail.phase.as_str(), phase);
        assert_eq!(shown.cluster.fault, None, "{phase}");
    }
    let shown = shown_at(&kept(|e| e.facts.runs = vec![run("a", "New", 5)]), 100);
    assert_eq!(said(&shown).0, "Queued");
    assert_eq!(shown.cluster.fault, None);
}

#[test]
fn a_failed_run_is_told_until_the_next_one_completes() {
    let failed = || vec![run("a", "Completed", 5), run("b", "PartiallyFailed", 100)];
    let shown = shown_at(&kept(|e| e.facts.runs = failed()), 200);
    assert_eq!(shown.detail.phase, EntryPhase::PartiallyFailed);
    assert_eq!(said(&shown).0, "RunFailed");
    assert!(said(&shown).1.contains("velero backup logs b"), "{shown:?}");
    assert_eq!(shown.cluster.fault, Some(Fault::Failing));

    let next = || [failed(), vec![run("c", "InProgress", 300)]].concat();
    let shown = shown_at(&kept(|e| e.facts.runs = next()), 310);
    assert_eq!(shown.detail.phase, EntryPhase::InProgress);
    assert_eq!(said(&shown).0, "RunFailed", "that is still the last result");
    assert_eq!(shown.cluster.fault, Some(Fault::Failing));

    let well = || [failed(), vec![run("c", "Completed", 300)]].concat();
    let shown = shown_at(&kept(|e| e.facts.runs = well()), 400);
    assert_eq!((said(&shown).0, shown.cluster.fault), ("", None));
}

/// Seconds from the fixtures' creation to the first due run.
fn due() -> i64 {
    validated().when.next(at(0)).unwrap().as_second() - at(0).as_second()
}

#[test]
fn a_due_run_that_does_not_appear_was_missed() {
    let patience = 300;
    let shown = shown_at(&kept(|_| {}), due() + patience);
    assert_eq!(said(&shown).0, "WaitingForFirstRun");
    let shown = shown_at(&kept(|_| {}), due() + patience + 1);
    assert_eq!(said(&shown).0, "RunMissed");
    assert_eq!(shown.cluster.fault, Some(Fault::Missed));

    // Velero starts none while another is in progress, and only then.
    let table = [
        ("", None),
        ("New", None),
        ("InProgress", None),
        ("Queued", Some(Fault::Missed)),
        ("ReadyToStart", Some(Fault::Missed)),
        ("WaitingForPluginOperations", Some(Fault::Missed)),
        ("FinalizingPartiallyFailed", Some(Fault::Missed)),
    ];
    for (phase, fault) in table {
        let busy = kept(|e| e.facts.runs = vec![run("a", phase, due() - 10)]);
        let shown = shown_at(&busy, due() + patience + 1);
        assert_eq!(shown.cluster.fault, fault, "{phase:?}");
    }
    // It has started the one that was due.
    let mut live = schedule();
    live.status = json!({ "phase": "Enabled", "lastBackup": at(due() + 30) });
    let started = row(placed(), Next::Keep(Arc::new(live)));
    assert_eq!(shown_at(&started, due() + patience + 1).cluster.fault, None);
}

#[test]
fn a_run_that_was_due_during_a_long_one_is_expected_after_its_end() {
    let patience = 300;
    // It ended a minute after its start, and that an hour after the next one was due.
    let end = due() + 3600 + 60;
    let long = || kept(|e| e.facts.runs = vec![run("a", "Completed", due() + 3600)]);
    assert_eq!(shown_at(&long(), end + patience).cluster.fault, None);
    let shown = shown_at(&long(), end + patience + 1);
    assert_eq!(said(&shown).0, "RunMissed");
    let was_due = validated().when.next(at(0)).unwrap().to_string();
    assert!(said(&shown).1.contains(&was_due), "{shown:?}");

    // One that left no time of its end was seen to go out of the way.
    let mut freed = kept(|e| e.facts.runs = vec![run("a", "Finalizing", due() - 10)]);
    freed.free_since = Some(at(end));
    assert_eq!(shown_at(&freed, end + patience).cluster.fault, None);
    let shown = shown_at(&freed, end + patience + 1);
    assert_eq!(shown.cluster.fault, Some(Fault::Missed));

    // A member whose clock is ahead hides no missed run.
    let ahead = kept(|e| e.facts.runs = vec![run("a", "Completed", due() + 100_000)]);
    let shown = shown_at(&ahead, due() + patience + 1);
    assert_eq!(shown.cluster.fault, Some(Fault::Missed));
}

#[test]
fn pausing_takes_nothing_back_of_what_the_last_run_came_to() {
    let failing = || kept(|e| e.facts.runs = vec![run("a", "Failed", 5)]);
    let before = shown_at(&failing(), 100).detail;
    let mut spec = validated();
    spec.paused = true;
    let paused = |row: &Row| with_terms(&spec, 200, None, |terms| show(row, &terms, view()));
    let mut row = failing();
    row.entry.stored = before.clone();
    let after = paused(&row);
    assert_eq!(after.detail, before);
    assert_eq!((said(&after).0, after.cluster.fault), ("RunFailed", None));
    assert_eq!(after.detail.phase, EntryPhase::Failed);

    // Nor does a member whose watch begins anew, or that falls silent.
    let mut entry = row.entry.clone();
    entry.facts.schedules_live = false;
    let blind = paused(&self::row(entry, Next::Hold));
    assert_eq!((said(&blind).0, blind.cluster.fault), ("RunFailed", None));
}

#[test]
fn a_paused_schedule_is_judged_by_being_there() {
    let mut spec = validated();
    spec.paused = true;
    let failing = kept(|e| e.facts.runs = vec![run("a", "Failed", 5)]);
    for (row, second) in [(&failing, 10), (&kept(|_| {}), due() + 3600)] {
        let shown = with_terms(&spec, second, None, |terms| show(row, &terms, view()));
        assert_eq!((shown.cluster.placed, shown.cluster.fault), (true, None));
    }
    let quiet = with_terms(&spec, 10, None, |terms| show(&kept(|_| {}), &terms, view()));
    assert!(said(&quiet).1.contains("paused"), "{quiet:?}");
}

#[test]
fn velero_s_refusal_is_quoted() {
    let mut live = schedule();
    live.status =
        json!({ "phase": "FailedValidation", "validationErrors": ["invalid schedule: x"] });
    let shown = shown_at(&row(placed(), Next::Keep(Arc::new(live))), 10);
    assert_eq!(said(&shown).0, "ScheduleRejected");
    assert!(said(&shown).1.contains("invalid schedule: x"), "{shown:?}");
    assert_eq!(shown.cluster.fault, Some(Fault::Rejected));
}

#[test]
fn a_silent_member_keeps_what_was_last_known_and_says_so() {
    let mut entry = placed();
    entry.facts.runs = vec![run("a", "Completed", 5)];
    let before = shown_at(
        &kept(|e| e.facts.runs = vec![run("a", "Completed", 5)]),
        100,
    )
    .detail;
    entry.stored = before.clone();
    entry.facts.link = down("Unreachable", Some(150));
    let silent = shown_at(&row(entry.clone(), Next::Hold), 200);
    assert_eq!(said(&silent).0, "Unreachable");
    assert_eq!(silent.detail.unreachable_since, Some(Time(at(150))));
    assert_eq!(silent.detail.phase, EntryPhase::Completed);
    assert_eq!(silent.detail.last_success_time, before.last_success_time);
    assert_eq!(
        silent.detail.last_transition_time,
        before.last_transition_time
    );
    assert_eq!(silent.cluster.fault, Some(Fault::Unreachable));
    assert!(silent.cluster.placed);

    // After a restart of ours nothing is known of it but what is stored.
    entry.facts.runs.clear();
    entry.facts.schedules.clear();
    (entry.facts.runs_known, entry.facts.schedules_live) = (false, false);
    let stored = shown_at(&row(entry, Next::Hold), 200);
    assert_eq!(stored.detail, silent.detail);
    assert_eq!(stored.cluster, silent.cluster);
}

#[test]
fn a_watch_that_begins_anew_makes_nothing_well() {
    let table = [
        (None, None),
        (Some(reason::WAITING_FOR_FIRST_RUN), None),
        (Some(reason::SCHEDULE_REJECTED), Some(Fault::Rejected)),
        (Some(reason::RUN_MISSED), Some(Fault::Missed)),
        (Some(reason::VELERO_NOT_RESPONDING), Some(Fault::Waiting)),
    ];
    for (reason, fault) in table {
        let mut entry = placed();
        entry.stored.reason = reason.map(str::to_owned);
        entry.facts.schedules_live = false;
        let shown = shown_at(&row(entry.clone(), Next::Hold), 200);
        assert_eq!(shown.cluster.fault, fault, "{reason:?}");
        assert_eq!(shown.detail.reason, entry.stored.reason);
    }
}

#[test]
fn a_failing_cluster_that_falls_silent_is_still_failing() {
    let failed = kept(|e| e.facts.runs = vec![run("a", "Failed", 5)]);
    let mut entry = placed();
    entry.stored = shown_at(&failed, 100).detail;
    entry.facts.link = down("Unreachable", None);
    let silent = shown_at(&row(entry, Next::Hold), 200);
    assert_eq!(said(&silent).0, "Unreachable");
    assert_eq!(
        silent.cluster.fault,
        Some(Fault::Failing),
        "the worse of two"
    );
}

#[test]
fn a_cluster_without_a_schedule_says_what_it_waits_for() {
    let problem = Problem::new(reason::VELERO_NOT_INSTALLED, "install Velero");
    let waits = shown_at(&row(fresh("oslo"), Next::Wait(problem)), 10);
    assert_eq!(said(&waits), ("VeleroNotInstalled", "install Velero"));
    assert_eq!(waits.detail.phase, EntryPhase::Pending);
    assert_eq!(
        (waits.cluster.placed, waits.cluster.fault),
        (false, Some(Fault::Waiting))
    );

    let written = shown_at(&row(claimed(), Next::Put), 10);
    assert_eq!(said(&written).0, "Queued");
    assert!(!written.cluster.placed);
    let repaired = shown_at(&row(placed(), Next::Put), 10);
    assert!(repaired.cluster.placed, "it has one, if not the right one");
}

#[test]
fn a_missing_config_map_is_told_of_a_cluster_that_has_its_schedule() {
    let missing = Problem::new(reason::CONFIG_MAP_NOT_FOUND, "create it");
    let shown = with_terms(&validated(), 10, Some(&missing), |terms| {
        show(&kept(|_| {}), &terms, view())
    });
    assert_eq!(said(&shown), ("ConfigMapNotFound", "create it"));
    assert_eq!(
        (shown.cluster.placed, shown.cluster.fault),
        (true, Some(Fault::Waiting))
    );
}

#[test]
fn the_run_that_was_just_made_is_shown_at_once() {
    let mut with_run = kept(|_| {});
    with_run.runs.add(Some(run("now", "", 10)));
    let shown = shown_at(&with_run, 10);
    assert_eq!(shown.detail.backup_name_in_cluster.as_deref(), Some("now"));
    assert_eq!(said(&shown).0, "Queued");
}

#[test]
fn a_change_of_the_phase_is_dated() {
    let first = shown_at(
        &kept(|e| e.facts.runs = vec![run("a", "InProgress", 5)]),
        10,
    )
    .detail;
    let mut later = kept(|e| e.facts.runs = vec![run("a", "Completed", 5)]);
    later.entry.stored = first.clone();
    let second = shown_at(&later, 70).detail;
    let moved = |detail: &BackupDetail| detail.last_transition_time.clone().unwrap().0;
    assert_eq!(
        moved(&second).duration_since(moved(&first)),
        SignedDuration::from_secs(60)
    );
}

#[test]
fn where_earlier_runs_lie_is_not_overwritten_by_what_is_only_shown() {
    let stored_at = |prefix: &str| {
        let row = kept(|entry| {
            let mut place = location::storage(entry.facts.location.as_deref().unwrap());
            prefix.clone_into(&mut place.prefix);
            entry.stored.storage = Some(place);
        });
        shown_at(&row, 10).detail.storage.unwrap().prefix
    };
    assert_eq!(stored_at("elsewhere"), "elsewhere");
    assert_eq!(stored_at("team-a/oslo/"), "team-a/oslo", "the same place");
}
