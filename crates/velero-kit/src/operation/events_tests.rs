use api_types::backup::{BackupDetail, BackupStatus};
use api_types::condition::{Condition, ConditionStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::operation::fixtures::{at, detail};

fn status(phase: Phase, why: &str) -> BackupStatus {
    BackupStatus {
        phase: Some(phase),
        conditions: vec![Condition {
            type_: condition::READY.to_owned(),
            status: ConditionStatus::False,
            last_transition_time: Time(at(0)),
            reason: why.to_owned(),
            message: "a sentence".to_owned(),
            observed_generation: None,
            severity: String::new(),
        }],
        ..BackupStatus::default()
    }
}

fn whole(before: &BackupStatus, after: &BackupStatus) -> Option<(Severity, &'static str)> {
    of_whole(before, after).map(|event| (event.severity, event.reason))
}

#[test]
fn each_change_of_phase_is_one_event_and_no_change_is_none() {
    use Severity::{Normal, Warning};
    let table = [
        (
            Phase::InProgress,
            "InProgress",
            Some((Normal, "InProgress")),
        ),
        (Phase::Completed, "Completed", Some((Normal, "Completed"))),
        (
            Phase::PartiallyFailed,
            "PartiallyFailed",
            Some((Warning, "PartiallyFailed")),
        ),
        (Phase::Failed, "Failed", Some((Warning, "Failed"))),
        (
            Phase::FailedValidation,
            "InvalidSpec",
            Some((Warning, "InvalidSpec")),
        ),
        (
            Phase::FailedValidation,
            "ScheduleRejected",
            Some((Warning, "ScheduleRejected")),
        ),
        (Phase::Scheduled, "Scheduled", Some((Normal, "Scheduled"))),
        (Phase::Scheduled, "RunsFailing", Some((Normal, "Scheduled"))),
        (Phase::Paused, "Paused", Some((Normal, "Paused"))),
        (Phase::Deleting, "Deleting", Some((Normal, "Deleting"))),
        (Phase::Pending, "WaitingForClusters", None),
        (Phase::Pending, "NoClusters", Some((Warning, "NoClusters"))),
    ];
    for (phase, why, expected) in table {
        let after = status(phase, why);
        let nothing = BackupStatus::default();
        assert_eq!(whole(&nothing, &after), expected, "{phase:?} {why}");
        assert_eq!(whole(&after, &after), None, "{phase:?} {why}");
    }
}

#[test]
fn a_new_reason_within_a_phase_is_an_event_only_where_somebody_must_act() {
    let pending = status(Phase::Pending, "FleetNotFound");
    let empty = status(Phase::Pending, "NoClusters");
    assert_eq!(
        whole(&pending, &empty),
        Some((Severity::Warning, "NoClusters"))
    );
    assert_eq!(whole(&empty, &pending), None);
    let going = status(Phase::Deleting, "Deleting");
    let blocked = status(Phase::Deleting, "DeletionBlocked");
    assert_eq!(
        whole(&going, &blocked),
        Some((Severity::Warning, "DeletionBlocked"))
    );
    assert_eq!(whole(&blocked, &blocked), None);
    assert_eq!(whole(&blocked, &going), None);
    let running = status(Phase::InProgress, "InProgress");
    let silent = status(Phase::InProgress, "ClustersUnreachable");
    assert_eq!(whole(&running, &silent), None);
}

#[test]
fn an_event_of_the_whole_says_what_ready_says() {
    let event = of_whole(&BackupStatus::default(), &status(Phase::Failed, "Failed")).unwrap();
    assert_eq!(event.note, "a sentence");
    assert_eq!(event.action, "Backup");
}

fn entry(phase: EntryPhase, why: Option<&str>) -> BackupDetail {
    BackupDetail {
        reason: why.map(str::to_owned),
        message: why.map(|why| format!("because of {why}")),
        ..detail("oslo", phase)
    }
}

fn of_entries(before: &[BackupDetail], after: &[BackupDetail]) -> Vec<(&'static str, String)> {
    let with = |details: &[BackupDetail]| BackupStatus {
        backup_details: details.to_vec(),
        ..BackupStatus::default()
    };
    of_clusters(Some("default"), &with(before), &with(after))
        .into_iter()
        .map(|event| {
            assert_eq!(event.severity, Severity::Warning);
            (event.reason, event.note)
        })
        .collect()
}

#[test]
fn a_cluster_that_fails_falls_silent_or_needs_another_name_is_one_event() {
    use EntryPhase::{Completed, Failed, InProgress, PartiallyFailed, Pending};
    let table = [
        (Pending, Some("Queued"), None),
        (Pending, Some("VeleroNotInstalled"), None),
        (InProgress, None, None),
        (Completed, None, None),
        (InProgress, Some("Unreachable"), Some("Unreachable")),
        (Pending, Some("NameTaken"), Some("NameTaken")),
        (Failed, Some("BackupFailed"), Some("Failed")),
        (Failed, Some("MemberReplaced"), Some("Failed")),
        (
            Failed,
            Some("StartDeadlineExceeded"),
            Some("StartDeadlineExceeded"),
        ),
        (
            PartiallyFailed,
            Some("BackupPartiallyFailed"),
            Some("PartiallyFailed"),
        ),
    ];
    for (phase, why, expected) in table {
        let after = [entry(phase, why)];
        let events = of_entries(&[], &after);
        let reasons: Vec<_> = events.iter().map(|(reason, _)| *reason).collect();
        assert_eq!(reasons, Vec::from_iter(expected), "{phase:?} {why:?}");
        assert_eq!(of_entries(&after, &after), [], "{phase:?} {why:?}");
        for (_, note) in events {
            assert_eq!(note, format!("oslo: because of {}", why.unwrap()));
        }
    }
}

#[test]
fn entries_are_compared_by_cluster_not_by_place() {
    let oslo = entry(EntryPhase::Failed, Some("BackupFailed"));
    let bergen = detail("bergen", EntryPhase::InProgress);
    let before = [oslo.clone()];
    assert_eq!(of_entries(&before, &[bergen, oslo]), []);
}

#[test]
fn the_run_that_is_restored_is_told_once() {
    use api_types::restore::{RestoreDetail, RestoreStatus};
    let with = |run: Option<&str>| RestoreStatus {
        restore_details: vec![RestoreDetail {
            cluster_name: "oslo".to_owned(),
            backup_name_in_cluster: run.map(str::to_owned),
            source_cluster_name: Some("oslo".to_owned()),
            ..RestoreDetail::default()
        }],
        ..RestoreStatus::default()
    };
    let told = |before: &RestoreStatus, after: &RestoreStatus| {
        let events = of_clusters(Some("default"), before, after);
        let told = events
            .into_iter()
            .map(|event| (event.reason, event.action, event.note));
        told.collect::<Vec<_>>()
    };
    let note = "oslo: restores a-run of oslo".to_owned();
    assert_eq!(
        told(&with(None), &with(Some("a-run"))),
        [("BackupSelected", "Restore", note)]
    );
    assert!(told(&with(Some("a-run")), &with(Some("a-run"))).is_empty());
    assert!(told(&with(None), &with(None)).is_empty());
}

#[test]
fn each_failed_run_of_a_schedule_is_one_event() {
    let entry = |run: &str, phase, reason: Option<&str>| BackupDetail {
        backup_name_in_cluster: Some(run.to_owned()),
        phase,
        reason: reason.map(str::to_owned),
        ..BackupDetail::default()
    };
    let told = |before: &BackupDetail, after: &BackupDetail| {
        of_cluster::<BackupStatus, _>(Some(before), after).map(|event| event.reason)
    };
    let well = entry("run-1", EntryPhase::Completed, None);
    let failed = entry("run-2", EntryPhase::PartiallyFailed, Some("RunFailed"));
    let next = entry("run-3", EntryPhase::InProgress, Some("RunFailed"));
    let again = entry("run-3", EntryPhase::PartiallyFailed, Some("RunFailed"));
    let missed = entry("run-1", EntryPhase::Completed, Some("RunMissed"));
    assert_eq!(told(&well, &failed), Some("RunFailed"));
    assert_eq!(told(&failed, &failed), None);
    assert_eq!(told(&failed, &next), None);
    assert_eq!(told(&next, &again), Some("RunFailed"));
    assert_eq!(told(&failed, &again), Some("RunFailed"), "it was quick");
    assert_eq!(told(&again, &well), None);
    let waits = entry(
        "run-2",
        EntryPhase::PartiallyFailed,
        Some("VeleroNotInstalled"),
    );
    assert_eq!(told(&failed, &waits), None, "no run has failed");
    assert_eq!(told(&well, &missed), Some("RunMissed"));
}

#[test]
fn a_source_that_becomes_ready_is_told_once() {
    let migrate = |holds: bool| {
        let ready = Condition {
            type_: condition::SOURCE_READY.to_owned(),
            status: holds.into(),
            last_transition_time: Time(at(0)),
            reason: "BackupCompleted".to_owned(),
            message: "the backup of oslo is completed".to_owned(),
            observed_generation: None,
            severity: String::new(),
        };
        api_types::migrate::MigrateStatus {
            conditions: vec![ready],
            ..Default::default()
        }
    };
    let told = |before, after| {
        let event = milestone(&migrate(before), &migrate(after))?;
        Some((event.severity, event.reason, event.note))
    };
    let note = "the backup of oslo is completed".to_owned();
    let expected = (Severity::Normal, "SourceReady", note);
    assert_eq!(told(false, true), Some(expected));
    assert_eq!(told(true, true), None);
    assert_eq!(told(false, false), None);
}

#[test]
fn what_becomes_of_a_migrate_s_source_and_targets_is_told_by_its_own_words() {
    use EntryPhase::{Completed, Failed, InProgress, PartiallyFailed, Pending};
    use api_types::migrate::MigrateStatus;
    use api_types::restore::RestoreDetail;
    let of = |source: Option<(EntryPhase, &str)>, target: (EntryPhase, &str)| {
        let known = |why: &str| Some(why.to_owned()).filter(|why| !why.is_empty());
        MigrateStatus {
            source_cluster_status: source.map(|(phase, why)| entry(phase, known(why).as_deref())),
            target_cluster_status: vec![RestoreDetail {
                cluster_name: "bergen".to_owned(),
                backup_name_in_cluster: Some("a-run".to_owned()),
                phase: target.0,
                reason: known(target.1),
                ..RestoreDetail::default()
            }],
            ..MigrateStatus::default()
        }
    };
    let told = |before: &MigrateStatus, after: &MigrateStatus| {
        let events = of_clusters(Some("team-a"), before, after).into_iter();
        let told = events.map(|event| {
            let about = event.related.and_then(|related| related.name);
            format!("{} {}", about.unwrap_or_default(), event.reason)
        });
        told.collect::<Vec<_>>()
    };
    let begun = of(Some((InProgress, "")), (Pending, "SourceNotReady"));
    let first = told(&MigrateStatus::default(), &begun);
    assert!(first.is_empty(), "{first:?}");
    let table = [
        ((Completed, ""), (InProgress, ""), vec![]),
        (
            (InProgress, "Unreachable"),
            (Pending, "ApiVersionNotServed"),
            vec!["oslo Unreachable", "bergen ApiVersionNotServed"],
        ),
        (
            (Failed, "BackupFailed"),
            (Failed, "SourceBackupFailed"),
            vec!["oslo SourceBackupFailed", "bergen SourceBackupFailed"],
        ),
        (
            (PartiallyFailed, "BackupPartiallyFailed"),
            (Pending, "SourceBackupPartiallyFailed"),
            vec!["oslo SourceBackupPartiallyFailed"],
        ),
        (
            (Failed, "DeadlineExceeded"),
            (Failed, "Cancelled"),
            vec!["oslo DeadlineExceeded", "bergen Cancelled"],
        ),
        (
            (Failed, "NameTaken"),
            (Failed, "RestoreFailed"),
            vec!["oslo NameTaken", "bergen Failed"],
        ),
    ];
    for (source, target, expected) in table {
        let after = of(Some(source), target);
        assert_eq!(told(&begun, &after), expected, "{source:?} {target:?}");
        assert!(told(&after, &after).is_empty(), "{source:?} {target:?}");
    }
}

#[test]
fn a_migrate_that_fails_says_by_what_in_one_word() {
    for why in ["Cancelled", "DeadlineExceeded", "SourceBackupFailed"] {
        let event = whole(&BackupStatus::default(), &status(Phase::Failed, why));
        assert_eq!(event, Some((Severity::Warning, why)));
    }
}
