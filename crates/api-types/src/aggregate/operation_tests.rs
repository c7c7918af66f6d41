use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::backup::BackupDetail;

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn entry(phase: EntryPhase) -> BackupDetail {
    BackupDetail {
        phase,
        ..BackupDetail::default()
    }
}

fn waiting(reason: &str) -> BackupDetail {
    BackupDetail {
        reason: Some(reason.to_owned()),
        ..BackupDetail::default()
    }
}

fn silent(phase: EntryPhase, seconds: i64) -> BackupDetail {
    BackupDetail {
        unreachable_since: Some(Time(Timestamp::from_second(NOW - seconds).unwrap())),
        reason: Some("Unreachable".to_owned()),
        ..entry(phase)
    }
}

fn operation(entries: &[BackupDetail]) -> Operation<'_, BackupDetail> {
    Operation {
        stored_phase: None,
        stored_succeeded: None,
        deletion: None,
        spec_valid: true,
        fleet_found: true,
        deadline_passed: false,
        entries,
        now: now(),
    }
}

fn decided(entries: &[BackupDetail]) -> Decision {
    decide(&operation(entries)).unwrap()
}

#[track_caller]
fn assert_decision(
    decision: &Decision,
    phase: Phase,
    reason: &str,
    motion: Motion,
    succeeded: Option<bool>,
) {
    assert_eq!((decision.phase, decision.reason.as_str()), (phase, reason));
    assert_eq!((decision.motion, decision.succeeded), (motion, succeeded));
    assert_eq!(
        decision.ready,
        ConditionStatus::from(phase == Phase::Completed)
    );
}

#[test]
fn all_completed_is_completed() {
    let decision = decided(&[entry(EntryPhase::Completed), entry(EntryPhase::Completed)]);
    assert_decision(
        &decision,
        Phase::Completed,
        "Completed",
        Motion::Still,
        Some(true),
    );
}

#[test]
fn all_failed_is_failed_and_any_mix_is_partial() {
    use EntryPhase::{Completed, Failed, PartiallyFailed};
    let failed = decided(&[entry(Failed), entry(Failed)]);
    assert_decision(
        &failed,
        Phase::Failed,
        "Failed",
        Motion::Stalled,
        Some(false),
    );
    for mix in [
        [Completed, Failed],
        [PartiallyFailed, Failed],
        [Completed, PartiallyFailed],
    ] {
        let decision = decided(&mix.map(entry));
        assert_decision(
            &decision,
            Phase::PartiallyFailed,
            "PartiallyFailed",
            Motion::Stalled,
            Some(false),
        );
    }
}

#[test]
fn one_cluster_that_is_not_done_keeps_the_whole_in_progress() {
    let decision = decided(&[entry(EntryPhase::Completed), entry(EntryPhase::Pending)]);
    assert_decision(
        &decision,
        Phase::InProgress,
        "InProgress",
        Motion::Reconciling,
        None,
    );
}

#[test]
fn before_any_has_begun_it_is_pending_with_the_common_reason() {
    let same = decided(&[waiting("VeleroNotInstalled"), waiting("VeleroNotInstalled")]);
    assert_decision(
        &same,
        Phase::Pending,
        "VeleroNotInstalled",
        Motion::Reconciling,
        None,
    );
    let mixed = decided(&[waiting("VeleroNotInstalled"), waiting("Unreachable")]);
    assert_decision(
        &mixed,
        Phase::Pending,
        "WaitingForClusters",
        Motion::Reconciling,
        None,
    );
}

#[test]
fn an_empty_set_waits_and_fails_at_the_deadline() {
    let mut op = operation(&[]);
    let decision = decide(&op).unwrap();
    assert_decision(
        &decision,
        Phase::Pending,
        "NoClusters",
        Motion::Reconciling,
        None,
    );
    op.fleet_found = false;
    let decision = decide(&op).unwrap();
    assert_decision(
        &decision,
        Phase::Pending,
        "FleetNotFound",
        Motion::Reconciling,
        None,
    );
    op.deadline_passed = true;
    let decision = decide(&op).unwrap();
    assert_decision(
        &decision,
        Phase::Failed,
        "FleetNotFound",
        Motion::Stalled,
        Some(false),
    );
}

#[test]
fn it_stalls_once_all_that_is_left_has_been_silent_for_five_minutes() {
    let entries = [
        entry(EntryPhase::Completed),
        silent(EntryPhase::InProgress, 300),
    ];
    assert_decision(
        &decided(&entries),
        Phase::InProgress,
        "ClustersUnreachable",
        Motion::Stalled,
        None,
    );
    let entries = [
        entry(EntryPhase::Completed),
        silent(EntryPhase::InProgress, 299),
    ];
    assert_decision(
        &decided(&entries),
        Phase::InProgress,
        "InProgress",
        Motion::Reconciling,
        None,
    );
    let entries = [
        entry(EntryPhase::InProgress),
        silent(EntryPhase::InProgress, 999),
    ];
    assert_decision(
        &decided(&entries),
        Phase::InProgress,
        "InProgress",
        Motion::Reconciling,
        None,
    );
}

#[test]
fn a_spec_that_can_never_work_ends_it_before_it_begins() {
    let mut op = operation(&[]);
    op.spec_valid = false;
    let decision = decide(&op).unwrap();
    assert_decision(
        &decision,
        Phase::FailedValidation,
        "InvalidSpec",
        Motion::Stalled,
        Some(false),
    );
}

#[test]
fn failed_validation_is_final_only_with_our_own_condition() {
    let mut op = operation(&[]);
    op.stored_phase = Some(Phase::FailedValidation);
    assert!(decide(&op).is_some());
    op.stored_succeeded = Some(false);
    assert_eq!(decide(&op), None);
}

#[test]
fn deletion_keeps_the_outcome_and_shows_when_it_is_blocked() {
    let entries = [entry(EntryPhase::Completed)];
    let mut op = operation(&entries);
    op.stored_phase = Some(Phase::Completed);
    op.stored_succeeded = Some(true);
    op.deletion = Some(Deletion::Going);
    let decision = decide(&op).unwrap();
    assert_decision(
        &decision,
        Phase::Deleting,
        "Deleting",
        Motion::Reconciling,
        Some(true),
    );
    op.deletion = Some(Deletion::Blocked);
    let decision = decide(&op).unwrap();
    assert_decision(
        &decision,
        Phase::Deleting,
        "DeletionBlocked",
        Motion::Stalled,
        Some(true),
    );
}

#[test]
fn all_pairs_of_phases_go_only_the_ways_that_are_allowed() {
    use Phase::{
        BackupInProgress, Completed, Deleting, Failed, FailedValidation, InProgress,
        PartiallyFailed, Paused, Pending, RestoreInProgress, Scheduled,
    };
    let all = [
        Pending,
        FailedValidation,
        InProgress,
        BackupInProgress,
        RestoreInProgress,
        Completed,
        PartiallyFailed,
        Failed,
        Scheduled,
        Paused,
        Deleting,
    ];
    let one_time: &[(Phase, &[Phase])] = &[
        (
            Pending,
            &[
                FailedValidation,
                InProgress,
                Completed,
                PartiallyFailed,
                Failed,
            ],
        ),
        (InProgress, &[Completed, PartiallyFailed, Failed]),
    ];
    let scheduled: &[(Phase, &[Phase])] = &[
        (Pending, &[Scheduled, Paused, FailedValidation]),
        (Scheduled, &[Pending, Paused, FailedValidation]),
        (Paused, &[Pending, Scheduled, FailedValidation]),
        (FailedValidation, &[Pending, Scheduled, Paused]),
    ];
    let migrate: &[(Phase, &[Phase])] = &[
        (
            Pending,
            &[
                FailedValidation,
                BackupInProgress,
                RestoreInProgress,
                Completed,
                PartiallyFailed,
                Failed,
            ],
        ),
        (
            BackupInProgress,
            &[RestoreInProgress, Completed, PartiallyFailed, Failed],
        ),
        (RestoreInProgress, &[Completed, PartiallyFailed, Failed]),
    ];
    let kinds = [
        (OperationKind::OneTime, one_time),
        (OperationKind::Scheduled, scheduled),
        (OperationKind::Migrate, migrate),
    ];
    for (kind, ways) in kinds {
        for from in all {
            for to in all {
                let listed = ways
                    .iter()
                    .any(|(start, ends)| *start == from && ends.contains(&to));
                let expected = from == to || to == Deleting || listed;
                assert_eq!(
                    transition_allowed(kind, from, to),
                    expected,
                    "{kind:?}: {from:?} -> {to:?}"
                );
            }
        }
    }
}
