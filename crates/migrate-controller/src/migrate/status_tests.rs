//! The status of a Migrate that goes on.

use std::slice;

use api_types::condition::{READY, STALLED, find};
use api_types::migrate::PartialFailure;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::super::facts::{Readable, Seen};
use super::super::fixtures::{at, backup, down, problem, source, target, terms};
use super::super::look::{claimed_source, look, restoring, says};
use super::*;

#[test]
fn every_cluster_has_an_entry_from_the_first_pass_on() {
    let mut waiting = source();
    waiting.member.problem = Some(problem("ClusterNotFound"));
    let status = look(
        None,
        &waiting,
        &[target("bergen"), target("turku")],
        &terms(),
    );
    assert_eq!(status.phase, Some(Phase::Pending));
    assert_eq!(status.step.as_deref(), Some("Backup"));
    assert_eq!(
        (&status.start_time, &status.completion_time),
        (&None, &None)
    );
    assert_eq!(status.deadline_time, Some(Time(terms().deadline)));
    let of_source = status.source_cluster_status.as_ref().unwrap();
    assert_eq!(of_source.reason.as_deref(), Some("ClusterNotFound"));
    let targets = &status.target_cluster_status;
    assert_eq!(targets.len(), 2);
    assert!(
        targets
            .iter()
            .all(|of| of.reason.as_deref() == Some("SourceNotReady"))
    );
    assert_eq!(status.summary.as_ref().unwrap().display, "0/2");
    says(
        &status,
        &[
            ("Ready", "False", "SourceNotReady"),
            ("Reconciling", "True", "SourceNotReady"),
            ("sourceReady", "False", "SourceNotReady"),
        ],
    );
    let ready = find(&status.conditions, READY).unwrap();
    assert!(
        ready.message.contains("the matter is ClusterNotFound"),
        "{ready:?}"
    );
}

#[test]
fn the_claim_sets_the_start_and_freezes_it() {
    let first = look(
        None,
        &claimed_source(Seen::NotShown),
        &[target("bergen")],
        &terms(),
    );
    assert_eq!(first.start_time, Some(Time(at(60))));
    let later = Terms {
        now: at(90),
        ..terms()
    };
    let running = claimed_source(Seen::Present(backup("InProgress")));
    let next = look(Some(first), &running, &[target("bergen")], &later);
    assert_eq!(next.start_time, Some(Time(at(60))));
    assert_eq!(next.phase, Some(Phase::BackupInProgress));
    assert_eq!(next.step.as_deref(), Some("Backup"));
    says(
        &next,
        &[
            ("Ready", "False", "BackupInProgress"),
            ("Reconciling", "True", "BackupInProgress"),
            ("sourceReady", "False", "BackupInProgress"),
        ],
    );
}

#[test]
fn the_source_is_ready_once_its_backup_may_be_restored_and_not_before() {
    let carry_on = Terms {
        partial_failure: PartialFailure::Continue,
        ..terms()
    };
    let table = [
        ("New", terms(), "False", "SourceNotReady", Phase::Pending),
        (
            "Finalizing",
            terms(),
            "False",
            "BackupInProgress",
            Phase::BackupInProgress,
        ),
        (
            "FinalizingPartiallyFailed",
            carry_on.clone(),
            "False",
            "BackupInProgress",
            Phase::BackupInProgress,
        ),
        (
            "Completed",
            terms(),
            "True",
            "BackupCompleted",
            Phase::RestoreInProgress,
        ),
        (
            "PartiallyFailed",
            carry_on,
            "True",
            "BackupPartiallyFailed",
            Phase::RestoreInProgress,
        ),
        (
            "PartiallyFailed",
            terms(),
            "False",
            "BackupPartiallyFailed",
            Phase::Failed,
        ),
        ("Failed", terms(), "False", "SourceNotReady", Phase::Failed),
        (
            "FailedValidation",
            terms(),
            "False",
            "SourceNotReady",
            Phase::Failed,
        ),
    ];
    for (velero, terms, holds, why, phase) in table {
        let source = claimed_source(Seen::Present(backup(velero)));
        let status = look(None, &source, &[target("bergen")], &terms);
        assert_eq!(status.phase, Some(phase), "{velero}");
        let ready = find(&status.conditions, SOURCE_READY).unwrap();
        let told = (format!("{:?}", ready.status), ready.reason.as_str());
        assert_eq!(told, (holds.to_owned(), why), "{velero}");
        let ended = phase == Phase::Failed;
        let succeeded = conclude::succeeded(&status.conditions);
        assert_eq!(succeeded, ended.then_some(false), "{velero}");
        assert_eq!(status.completion_time.is_some(), ended);
    }
}

#[test]
fn the_step_tells_transfer_from_restore() {
    let done = claimed_source(Seen::Present(backup("Completed")));
    let mut waiting = target("turku");
    waiting.member.link = down();
    let transfer = look(None, &done, &[target("bergen"), waiting.clone()], &terms());
    assert_eq!(transfer.step.as_deref(), Some("Transfer"));
    let restore = look(None, &done, &[restoring("New"), waiting.clone()], &terms());
    assert_eq!(restore.step.as_deref(), Some("Restore"));
    let some = look(None, &done, &[restoring("Completed"), waiting], &terms());
    assert_eq!(some.step.as_deref(), Some("Restore"));
    let all = look(None, &done, &[restoring("Completed")], &terms());
    assert_eq!(all.step.as_deref(), Some("Done"));
}

#[test]
fn progress_counts_the_items_of_the_backup_and_of_all_restores() {
    let counted = |done: i32, total: i32, key: &str| json!({ "phase": "InProgress", "progress": { "totalItems": total, key: done } });
    let with = |mut of: api_types::external::velero::Backup, status: Value| {
        of.status = status;
        std::sync::Arc::new(of)
    };
    let running = |done| {
        let object = backup("InProgress");
        let object = api_types::external::velero::Backup::clone(&object);
        claimed_source(Seen::Present(with(
            object,
            counted(done, 50, "itemsBackedUp"),
        )))
    };
    let none = look(
        None,
        &claimed_source(Seen::NotShown),
        &[target("bergen")],
        &terms(),
    );
    assert_eq!(none.progress, None);
    let half = look(None, &running(25), &[target("bergen")], &terms());
    assert_eq!(half.progress.as_deref(), Some("25%"));
    let two = look(
        None,
        &running(50),
        &[target("bergen"), target("turku")],
        &terms(),
    );
    assert_eq!(two.progress.as_deref(), Some("33%"));
    let done = claimed_source(Seen::Present(backup("Completed")));
    let all = look(None, &done, &[restoring("Completed")], &terms());
    assert_eq!(all.progress.as_deref(), Some("100%"));
    // What never began is not done.
    let mut late = target("turku");
    late.member.link = down();
    let late_terms = Terms {
        now: terms().deadline,
        ..terms()
    };
    let ended = look(None, &running(50), &[late], &late_terms);
    assert_eq!(ended.progress.as_deref(), Some("50%"));
}

#[test]
fn what_moves_no_more_is_stalled() {
    let mut stuck = claimed_source(Seen::Present(backup("InProgress")));
    stuck.stuck = Some(problem("NoProgress"));
    let status = look(None, &stuck, &[target("bergen")], &terms());
    assert_eq!(
        find(&status.conditions, STALLED).unwrap().reason,
        "NoProgress"
    );
    let done = claimed_source(Seen::Present(backup("Completed")));
    let mut of_target = restoring("InProgress");
    of_target.stuck = Some(problem("NoProgress"));
    let one = look(None, &done, slice::from_ref(&of_target), &terms());
    assert_eq!(find(&one.conditions, STALLED).unwrap().reason, "NoProgress");
    let mut other = target("turku");
    other.readable = Readable::No(problem("BackupNotSynced"));
    let both = look(None, &done, &[of_target, other], &terms());
    assert!(find(&both.conditions, STALLED).is_none());
}
