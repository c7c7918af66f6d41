use api_types::backup::BackupStatus;
use api_types::common::DeletionPolicy;
use api_types::phase::Phase;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::super::fixtures::{MEMBER_UID, RUN, at, backup, key, restore, source};
use super::*;

#[test]
fn only_a_backup_that_has_ended_well_in_the_cluster_is_a_run() {
    let table = [
        (EntryPhase::Completed, Ok(false)),
        (EntryPhase::PartiallyFailed, Ok(true)),
        (EntryPhase::Pending, Err("NoCompletedBackup")),
        (EntryPhase::InProgress, Err("NoCompletedBackup")),
        (EntryPhase::Unknown, Err("NoCompletedBackup")),
        (EntryPhase::Failed, Err("BackupNotRestorable")),
        (EntryPhase::Deleting, Err("BackupNotFound")),
    ];
    for (phase, expected) in table {
        let run = source(Some(backup(phase))).run(&key("oslo"));
        let got = run.as_ref().map(|run| run.partial);
        assert_eq!(got.map_err(|problem| problem.reason), expected, "{phase:?}");
        if let Ok(run) = run {
            assert_eq!(
                (run.name.as_str(), run.member_uid.as_str()),
                (RUN, MEMBER_UID)
            );
        }
    }
}

#[test]
fn a_failed_backup_s_own_words_are_quoted() {
    let mut failed = backup(EntryPhase::Failed);
    failed.status.as_mut().unwrap().backup_details[0].message = Some("no space left".to_owned());
    let problem = source(Some(failed)).run(&key("oslo")).unwrap_err();
    assert!(problem.message.contains("no space left"), "{problem:?}");
}

#[test]
fn a_cluster_that_the_backup_does_not_cover_waits_with_the_reason_for_it() {
    let frozen = source(Some(backup(EntryPhase::Completed)));
    let reason = |source: &Source| source.run(&key("bergen")).unwrap_err().reason;
    assert_eq!(reason(&frozen), "BackupNotFound");

    let mut early = backup(EntryPhase::Completed);
    early.status = Some(BackupStatus::default());
    assert_eq!(reason(&source(Some(early))), "NoCompletedBackup");

    let mut refused = backup(EntryPhase::Completed);
    refused.status = Some(BackupStatus {
        phase: Some(Phase::Failed),
        ..BackupStatus::default()
    });
    assert_eq!(reason(&source(Some(refused))), "BackupNotRestorable");
    assert_eq!(reason(&source(None)), "BackupNotFound");
}

#[test]
fn what_this_version_does_not_do_is_named_before_anything_else() {
    let destination = json!({ "fleet": "production" });
    let elsewhere = restore(json!({
        "sourceCluster": { "name": "bergen" },
        "destination": destination,
    }));
    let earlier = restore(json!({ "pointInTime": "2026-11-23T12:00:00Z" }));
    let latest = restore(json!({}));
    let mut scheduled = backup(EntryPhase::Completed);
    "0 3 * * *".clone_into(&mut scheduled.spec.schedule);
    let table = [
        (&elsewhere, None, "sourceCluster"),
        (&earlier, None, "pointInTime"),
        (&latest, Some(scheduled), "scheduled"),
    ];
    for (restore, backup, word) in table {
        let source = Source::new(restore, backup.map(Arc::new));
        let problem = source.obstacle(restore).unwrap();
        assert_eq!(problem.reason, "NoController");
        assert!(problem.message.contains(word), "{problem:?}");
    }
}

#[test]
fn a_backup_that_is_absent_going_or_of_another_fleet_is_not_found() {
    let plain = restore(json!({}));
    let reason = |restore: &Restore, backup: Option<Backup>| {
        let source = Source::new(restore, backup.map(Arc::new));
        source.obstacle(restore).map(|problem| problem.reason)
    };
    let there = backup(EntryPhase::Completed);
    assert_eq!(reason(&plain, Some(there.clone())), None);
    assert_eq!(reason(&plain, None), Some("BackupNotFound"));
    let mut going = there.clone();
    going.metadata.deletion_timestamp = Some(Time(at(5)));
    assert_eq!(reason(&plain, Some(going)), Some("BackupNotFound"));
    let other = restore(json!({ "destination": { "fleet": "staging" } }));
    assert_eq!(reason(&other, Some(there)), Some("BackupNotFound"));
}

#[test]
fn only_a_backup_that_goes_with_its_data_stops_what_was_chosen() {
    let mut going = backup(EntryPhase::Completed);
    going.metadata.deletion_timestamp = Some(Time(at(5)));
    assert!(!source(Some(going.clone())).is_going());
    going.spec.deletion_policy = DeletionPolicy::Delete;
    assert!(source(Some(going)).is_going());
    assert!(!source(None).is_going());
}

#[test]
fn the_fleet_is_the_destination_s_and_else_the_backup_s() {
    let there = backup(EntryPhase::Completed);
    assert_eq!(source(Some(there)).fleet.as_deref(), Some("production"));
    assert_eq!(source(None).fleet, None);
    let named = restore(json!({ "destination": { "fleet": "staging" } }));
    assert_eq!(Source::new(&named, None).fleet.as_deref(), Some("staging"));
}
