use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

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

pub(in crate::aggregate) fn any_phase() -> impl Strategy<Value = EntryPhase> {
    prop::sample::select(vec![
        EntryPhase::Pending,
        EntryPhase::InProgress,
        EntryPhase::Completed,
        EntryPhase::PartiallyFailed,
        EntryPhase::Failed,
        EntryPhase::Deleting,
        EntryPhase::Unknown,
    ])
}

fn any_entry() -> impl Strategy<Value = BackupDetail> {
    // Completed often enough that whole sets of it come up.
    let phase = prop_oneof![3 => Just(EntryPhase::Completed), 2 => any_phase()];
    let reason = prop::option::of(prop::sample::select(vec!["Queued", "Unreachable"]));
    let silence = prop::option::of(0..1000_i64);
    (phase, reason, silence).prop_map(|(phase, reason, silence)| BackupDetail {
        phase,
        reason: reason.map(str::to_owned),
        unreachable_since: silence.map(|s| Time(Timestamp::from_second(NOW - s).unwrap())),
        ..BackupDetail::default()
    })
}

fn any_stored() -> impl Strategy<Value = (Option<Phase>, Option<bool>)> {
    prop::sample::select(vec![
        (None, None),
        (Some(Phase::Pending), None),
        (Some(Phase::InProgress), None),
        (Some(Phase::FailedValidation), None),
        (Some(Phase::FailedValidation), Some(false)),
        (Some(Phase::Completed), Some(true)),
        (Some(Phase::PartiallyFailed), Some(false)),
        (Some(Phase::Failed), Some(false)),
        (Some(Phase::Deleting), Some(true)),
    ])
}

prop_compose! {
    fn any_case()(
        entries in prop::collection::vec(any_entry(), 0..5),
        stored in any_stored(),
        deletion in prop::option::weighted(0.2, prop::sample::select(vec![Deletion::Going, Deletion::Blocked])),
        spec_valid in prop::bool::weighted(0.8),
        fleet_found in any::<bool>(),
        deadline_passed in any::<bool>(),
    ) -> (Vec<BackupDetail>, Operation<'static, BackupDetail>) {
        let operation = Operation {
            stored_phase: stored.0,
            stored_succeeded: stored.1,
            deletion: if stored.0 == Some(Phase::Deleting) { Some(Deletion::Going) } else { deletion },
            spec_valid,
            fleet_found,
            deadline_passed,
            entries: &[],
            now: now(),
        };
        (entries, operation)
    }
}

proptest! {
    #[test]
    fn completed_and_succeeded_mean_that_every_requested_cluster_completed((entries, op) in any_case()) {
        let Some(decision) = decide(&Operation { entries: &entries, ..op }) else { return Ok(()) };
        let truly = !entries.is_empty() && entries.iter().all(|e| e.phase == EntryPhase::Completed);
        if decision.phase == Phase::Completed {
            prop_assert!(truly);
            prop_assert_eq!(decision.succeeded, Some(true));
        }
        if decision.ready == ConditionStatus::True {
            prop_assert_eq!(decision.phase, Phase::Completed);
        }
        if op.deletion.is_none() && decision.succeeded == Some(true) {
            prop_assert!(truly);
        }
    }

    #[test]
    fn an_empty_set_is_never_success((_, op) in any_case()) {
        if let Some(decision) = decide(&Operation { entries: &[], ..op }) {
            prop_assert_ne!(decision.phase, Phase::Completed);
            prop_assert_ne!(decision.ready, ConditionStatus::True);
        }
    }

    #[test]
    fn the_order_of_entries_does_not_matter((entries, op) in any_case(), turn in 0..5_usize) {
        let mut turned = entries.clone();
        if !turned.is_empty() {
            turned.rotate_left(turn % entries.len());
            turned.swap(0, entries.len() / 2);
        }
        let decision = decide(&Operation { entries: &entries, ..op });
        prop_assert_eq!(decision, decide(&Operation { entries: &turned, ..op }));
    }

    #[test]
    fn a_final_state_never_changes_but_for_deletion((entries, op) in any_case()) {
        let decision = decide(&Operation { entries: &entries, ..op });
        if is_final(op.stored_phase, op.stored_succeeded) {
            match op.deletion {
                None => prop_assert_eq!(decision, None),
                Some(_) => {
                    let decision = decision.unwrap();
                    prop_assert_eq!(decision.phase, Phase::Deleting);
                    prop_assert_eq!(decision.succeeded, op.stored_succeeded);
                }
            }
        }
    }

    #[test]
    fn every_decision_is_an_allowed_transition((entries, op) in any_case()) {
        let Some(decision) = decide(&Operation { entries: &entries, ..op }) else { return Ok(()) };
        // Kurator v0.5.0's FailedValidation counts as nothing stored.
        if let Some(from) = op.stored_phase.filter(|phase| *phase != Phase::FailedValidation) {
            prop_assert!(transition_allowed(OperationKind::OneTime, from, decision.phase), "{from:?} {decision:?}");
        }
    }
}
