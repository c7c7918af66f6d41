use api_types::condition;
use api_types::phase::{EntryPhase, Phase};
use controller_kit::condition::MESSAGE_BYTES;
use serde_json::json;

use super::super::fixtures::{
    at, backup, chosen, claimed, deadline, down, fresh, object, problem, restore, seen, source,
    validated,
};
use super::super::results::Results;
use super::*;

const NOW: i64 = 100;

fn after(entry: &Entry, next: &Next) -> RestoreDetail {
    detail(entry, next, at(NOW))
}

fn whole(restore: &Restore, rows: &[Row], source: &Source, second: i64) -> RestoreStatus {
    status(restore, rows, (&validated(), source, true), at(second))
}

fn ready(status: &RestoreStatus) -> (&str, &str) {
    let ready = condition::find(&status.conditions, condition::READY).unwrap();
    (&ready.reason, &ready.message)
}

#[test]
fn velero_s_status_is_copied_and_its_phase_translated() {
    let table = [
        ("", EntryPhase::Pending, Some("Queued")),
        ("InProgress", EntryPhase::InProgress, None),
        ("Finalizing", EntryPhase::InProgress, None),
        ("Completed", EntryPhase::Completed, None),
        (
            "PartiallyFailed",
            EntryPhase::PartiallyFailed,
            Some("RestorePartiallyFailed"),
        ),
        ("Failed", EntryPhase::Failed, Some("RestoreFailed")),
        (
            "FailedValidation",
            EntryPhase::Failed,
            Some("RestoreRejected"),
        ),
        ("Later", EntryPhase::InProgress, Some("UnknownPhase")),
    ];
    for (phase, expected, reason) in table {
        let velero = object(json!({ "phase": phase, "progress": { "itemsRestored": 2 } }));
        let detail = after(&chosen(), &Next::Follow(velero));
        assert_eq!(
            (detail.phase, detail.reason.as_deref()),
            (expected, reason),
            "{phase}"
        );
        let copy = detail.restore_status_in_cluster.unwrap();
        assert_eq!(copy.progress.unwrap().items_restored, Some(2));
        assert_eq!(detail.message.is_some(), reason.is_some(), "{phase}");
    }
}

#[test]
fn a_partial_source_is_named_from_the_start_to_the_end() {
    let mut entry = chosen();
    entry.run.as_mut().unwrap().partial = true;
    let running = after(
        &entry,
        &Next::Follow(object(json!({ "phase": "InProgress" }))),
    );
    assert_eq!(running.reason.as_deref(), Some("BackupPartiallyFailed"));

    // Also when the Backup is gone meanwhile.
    entry.stored = running;
    entry.run = Err(problem("BackupNotFound"));
    let done = after(
        &entry,
        &Next::Follow(object(json!({ "phase": "Completed" }))),
    );
    assert_eq!(done.phase, EntryPhase::Completed);
    assert_eq!(done.reason.as_deref(), Some("BackupPartiallyFailed"));
    entry.stored = done;
    let status = whole(
        &restore(json!({})),
        &[Row::new(entry, Next::Final)],
        &source(Some(backup(EntryPhase::PartiallyFailed))),
        NOW,
    );
    assert_eq!(status.phase, Some(Phase::Completed));
    assert!(ready(&status).1.contains("PartiallyFailed"), "{status:?}");
}

#[test]
fn what_went_wrong_is_final_only_with_its_message() {
    let mut entry = seen();
    let ended = json!({ "phase": "PartiallyFailed", "errors": 2, "warnings": 1 });
    let next = Next::Follow(object(ended));
    entry.results = Results::Awaited;
    let awaited = after(&entry, &next);
    assert_eq!(awaited.phase, EntryPhase::InProgress);
    assert_eq!((&awaited.reason, &awaited.message), (&None, &None));
    // What Velero says is shown at once all the same.
    let copy = awaited.restore_status_in_cluster.clone().unwrap();
    assert_eq!(copy.phase.as_deref(), Some("PartiallyFailed"));
    assert_eq!(copy.errors, Some(2));

    entry.stored = awaited;
    let line = "error restoring pods/shop/web: quota exceeded".to_owned();
    let long = "x".repeat(300);
    let table = [
        (Results::Lines(vec![line.clone()].into()), line.as_str()),
        (Results::Lines(vec![line.clone(), long].into()), "; xxx"),
        (Results::None, "see `velero restore describe"),
    ];
    for (results, expected) in table {
        entry.results = results;
        let done = after(&entry, &next);
        assert_eq!(done.phase, EntryPhase::PartiallyFailed);
        assert_eq!(done.reason.as_deref(), Some("RestorePartiallyFailed"));
        let message = done.message.unwrap();
        assert!(message.starts_with("2 errors, 1 warnings: "), "{message}");
        assert!(message.contains(expected), "{message}");
        assert!(message.len() <= MESSAGE_BYTES, "{message}");
    }
}

#[test]
fn a_member_that_falls_silent_keeps_what_was_known() {
    let mut entry = seen();
    entry.facts.link = down("Unreachable", Some(60));
    let detail = after(&entry, &Next::Hold);
    assert_eq!(detail.phase, EntryPhase::InProgress);
    assert_eq!(detail.reason.as_deref(), Some("Unreachable"));
    assert!(detail.unreachable_since.is_some());
    assert!(detail.restore_status_in_cluster.is_some());
    entry.stored = detail;
    entry.facts.link = crate::backup::fixtures::up();
    let detail = after(&entry, &Next::Hold);
    assert_eq!((detail.reason, detail.unreachable_since), (None, None));
}

#[test]
fn claimed_fields_are_repeated_whatever_comes() {
    let entry = chosen();
    let nexts = [
        Next::Wait(problem("ConfigMapNotFound")),
        Next::Look(problem("StorageLocationUnavailable")),
        Next::Retry(problem("Unreachable")),
        Next::Create,
        Next::Hold,
        Next::Follow(object(json!({ "phase": "Completed" }))),
        Next::Fail(problem("ObjectDisappeared")),
    ];
    for next in nexts {
        let detail = after(&entry, &next);
        assert_eq!(detail.member_uid, entry.stored.member_uid, "{next:?}");
        assert_eq!(
            detail.restore_name_in_cluster,
            entry.stored.restore_name_in_cluster
        );
        assert_eq!(
            detail.backup_name_in_cluster,
            entry.stored.backup_name_in_cluster
        );
        assert_eq!(detail.backup_time, entry.stored.backup_time);
    }
}

#[test]
fn the_set_is_frozen_with_the_first_claim() {
    let source = source(Some(backup(EntryPhase::Completed)));
    let waiting = Row::new(fresh(), Next::Wait(problem("Unreachable")));
    let status = whole(&restore(json!({})), &[waiting], &source, NOW);
    assert_eq!(
        (status.phase, &status.start_time),
        (Some(Phase::Pending), &None)
    );
    assert_eq!(ready(&status).0, "Unreachable");
    let claimed = Row::new(claimed(), Next::Choose);
    let status = whole(&restore(json!({})), &[claimed], &source, NOW);
    assert!(status.start_time.is_some());
    assert_eq!(status.restore_details[0].reason.as_deref(), Some("Queued"));
}

#[test]
fn without_a_cluster_the_whole_says_what_is_missing_and_fails_in_the_end() {
    let status = whole(&restore(json!({})), &[], &source(None), NOW);
    assert_eq!(status.phase, Some(Phase::Pending));
    let (reason, message) = ready(&status);
    assert_eq!(reason, "BackupNotFound");
    assert!(message.contains("nightly-shop"), "{message}");
    let late = deadline().duration_since(at(0)).as_secs();
    let status = whole(&restore(json!({})), &[], &source(None), late);
    assert_eq!(status.phase, Some(Phase::Failed));
    assert_eq!(ready(&status).0, "BackupNotFound");
}

#[test]
fn another_name_than_the_first_choice_is_said() {
    let mut entry = chosen();
    let first = entry.stored.restore_name_in_cluster.clone().unwrap();
    entry.stored.restore_name_in_cluster = Some(format!("{first}-0123456789"));
    let source = source(Some(backup(EntryPhase::Completed)));
    let status = whole(
        &restore(json!({})),
        &[Row::new(entry, Next::Create)],
        &source,
        NOW,
    );
    let detail = &status.restore_details[0];
    assert_eq!(detail.reason.as_deref(), Some("NameTaken"));
    assert!(
        detail.message.as_ref().unwrap().contains(&first),
        "{detail:?}"
    );
}

#[test]
fn a_partial_run_of_a_schedule_is_told_with_its_choice_and_while_velero_has_not_begun() {
    let mut entry = chosen();
    entry.run.as_mut().unwrap().partial = true;
    let detail = after(&entry, &Next::Create);
    assert_eq!(detail.reason.as_deref(), Some("BackupPartiallyFailed"));
    // A newer run, which is whole, is another matter.
    entry.stored = detail;
    entry.run.as_mut().unwrap().partial = false;
    for phase in ["", "InProgress", "Completed"] {
        entry.stored = after(&entry, &Next::Follow(object(json!({ "phase": phase }))));
        let reason = entry.stored.reason.as_deref();
        assert_eq!(reason, Some("BackupPartiallyFailed"), "{phase}");
    }
}
