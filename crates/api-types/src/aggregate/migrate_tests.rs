use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::*;
use crate::aggregate::operation::properties::any_phase;
use crate::aggregate::{OperationKind, transition_allowed};
use crate::condition::ConditionStatus;

const NOW: i64 = 10_000;

fn source(phase: EntryPhase) -> BackupDetail {
    BackupDetail {
        phase,
        ..BackupDetail::default()
    }
}

fn target(phase: EntryPhase, reason: Option<&str>) -> RestoreDetail {
    RestoreDetail {
        phase,
        reason: reason.map(str::to_owned),
        ..RestoreDetail::default()
    }
}

fn of<'a>(source: &'a BackupDetail, targets: &'a [RestoreDetail]) -> Migration<'a> {
    Migration {
        stored_phase: None,
        stored_succeeded: None,
        deletion: None,
        spec_valid: true,
        partial_failure: PartialFailure::Stop,
        source,
        targets,
        no_targets: reason::NO_CLUSTERS,
        stopped: None,
        now: Timestamp::from_second(NOW).unwrap(),
    }
}

fn says(of: &Migration<'_>) -> (Phase, String, Motion, Option<bool>) {
    let decision = decide_migrate(of).unwrap();
    let ready = decision.phase == Phase::Completed;
    assert_eq!(decision.ready, ConditionStatus::from(ready));
    (
        decision.phase,
        decision.reason,
        decision.motion,
        decision.succeeded,
    )
}

/// How the object moves in this phase, and whether it has succeeded.
fn ends(phase: Phase) -> (Motion, Option<bool>) {
    match phase {
        Phase::Completed => (Motion::Still, Some(true)),
        Phase::Failed | Phase::PartiallyFailed => (Motion::Stalled, Some(false)),
        _ => (Motion::Reconciling, None),
    }
}

#[test]
fn the_phase_follows_the_source_and_then_the_targets() {
    use EntryPhase::{Completed, Deleting, Failed, InProgress, PartiallyFailed, Pending};
    let [run, back] = [Phase::RestoreInProgress, Phase::BackupInProgress];
    let partial = Phase::PartiallyFailed;
    let table: [(EntryPhase, &[EntryPhase], Phase, &str); 13] = [
        (Pending, &[Pending], Phase::Pending, "SourceNotReady"),
        (InProgress, &[Pending], back, "BackupInProgress"),
        (Deleting, &[Pending], back, "BackupInProgress"),
        (InProgress, &[Failed], back, "BackupInProgress"),
        (Failed, &[Failed], Phase::Failed, "SourceBackupFailed"),
        (
            PartiallyFailed,
            &[Failed],
            Phase::Failed,
            "SourceBackupFailed",
        ),
        (Completed, &[Pending, Completed], run, "RestoreInProgress"),
        (Completed, &[Failed, InProgress], run, "RestoreInProgress"),
        (
            Completed,
            &[Completed, Completed],
            Phase::Completed,
            "Completed",
        ),
        (Completed, &[Completed, Failed], partial, "PartiallyFailed"),
        (Completed, &[PartiallyFailed], partial, "PartiallyFailed"),
        (Completed, &[Failed, Failed], Phase::Failed, "Failed"),
        (Completed, &[], Phase::Failed, "NoClusters"),
    ];
    for (of_source, phases, phase, reason) in table {
        let targets: Vec<_> = phases.iter().map(|phase| target(*phase, None)).collect();
        let (motion, succeeded) = ends(phase);
        assert_eq!(
            says(&of(&source(of_source), &targets)),
            (phase, reason.to_owned(), motion, succeeded),
            "{of_source:?} {phases:?}"
        );
    }
}

#[test]
fn a_partial_source_goes_on_only_where_that_is_asked_for_and_never_ends_completed() {
    let partial = source(EntryPhase::PartiallyFailed);
    let pending = [target(EntryPhase::Pending, None)];
    let done = [target(EntryPhase::Completed, None)];
    let go_on = |targets| Migration {
        partial_failure: PartialFailure::Continue,
        ..of(&partial, targets)
    };
    assert_eq!(says(&go_on(&pending)).0, Phase::RestoreInProgress);
    assert_eq!(says(&go_on(&done)).0, Phase::PartiallyFailed);
    assert_eq!(says(&of(&partial, &done)).0, Phase::Failed);
}

#[test]
fn what_was_cancelled_or_late_says_so() {
    use EntryPhase::{Completed, Failed, InProgress};
    let cancelled = target(EntryPhase::Failed, Some("Cancelled"));
    let late = target(EntryPhase::Failed, Some("DeadlineExceeded"));
    let done = target(EntryPhase::Completed, None);
    let running = target(EntryPhase::InProgress, None);
    let table = [
        (Failed, vec![cancelled.clone()], Phase::Failed, "Cancelled"),
        (
            Failed,
            vec![late.clone()],
            Phase::Failed,
            "DeadlineExceeded",
        ),
        (
            Completed,
            vec![cancelled.clone()],
            Phase::Failed,
            "Cancelled",
        ),
        (
            Completed,
            vec![cancelled.clone(), late.clone()],
            Phase::Failed,
            "Failed",
        ),
        (
            Completed,
            vec![cancelled.clone(), done],
            Phase::PartiallyFailed,
            "PartiallyFailed",
        ),
        // What runs is awaited.
        (
            InProgress,
            vec![cancelled.clone()],
            Phase::BackupInProgress,
            "BackupInProgress",
        ),
        (
            Completed,
            vec![cancelled, running],
            Phase::RestoreInProgress,
            "RestoreInProgress",
        ),
    ];
    for (of_source, targets, phase, reason) in table {
        let of_source = source(of_source);
        let migration = Migration {
            stopped: Some(reason::CANCELLED),
            ..of(&of_source, &targets)
        };
        let (said, why, ..) = says(&migration);
        assert_eq!((said, why.as_str()), (phase, reason), "{targets:?}");
    }
}

#[test]
fn without_targets_it_waits_with_the_reason_and_fails_with_it_in_the_end() {
    let pending = source(EntryPhase::Pending);
    let waits = of(&pending, &[]);
    assert_eq!(says(&waits).0, Phase::Pending);
    assert_eq!(says(&waits).1, "NoClusters");
    let table = [
        (reason::DEADLINE_EXCEEDED, "FleetNotFound"),
        (reason::CANCELLED, "Cancelled"),
    ];
    for (stopped, expected) in table {
        let over = Migration {
            stopped: Some(stopped),
            no_targets: reason::FLEET_NOT_FOUND,
            ..waits
        };
        let (phase, why, ..) = says(&over);
        assert_eq!((phase, why.as_str()), (Phase::Failed, expected));
    }
}

#[test]
fn five_minutes_of_silence_where_it_matters_are_told() {
    let silent = |since: i64| Some(Time(Timestamp::from_second(NOW - since).unwrap()));
    let quiet = |since, phase| RestoreDetail {
        unreachable_since: silent(since),
        ..target(phase, None)
    };
    let mut backed_up = source(EntryPhase::Completed);
    // The source is not needed any more.
    backed_up.unreachable_since = silent(4000);
    let table = [
        (
            vec![quiet(300, EntryPhase::InProgress)],
            "ClustersUnreachable",
        ),
        (
            vec![quiet(299, EntryPhase::InProgress)],
            "RestoreInProgress",
        ),
        (
            vec![
                quiet(300, EntryPhase::InProgress),
                target(EntryPhase::Pending, None),
            ],
            "RestoreInProgress",
        ),
        (
            vec![
                quiet(300, EntryPhase::Pending),
                target(EntryPhase::Failed, None),
            ],
            "ClustersUnreachable",
        ),
    ];
    for (targets, expected) in table {
        assert_eq!(says(&of(&backed_up, &targets)).1, expected, "{targets:?}");
    }
    let mut running = source(EntryPhase::InProgress);
    running.unreachable_since = silent(300);
    let pending = [target(EntryPhase::Pending, None)];
    let (phase, why, motion, _) = says(&of(&running, &pending));
    assert_eq!(phase, Phase::BackupInProgress);
    assert_eq!(
        (why.as_str(), motion),
        ("ClustersUnreachable", Motion::Stalled)
    );
    // Nobody knows whether its backup was made.
    let mut claimed = source(EntryPhase::Pending);
    claimed.unreachable_since = silent(300);
    let (_, why, motion, _) = says(&of(&claimed, &pending));
    assert_eq!(
        (why.as_str(), motion),
        ("SourceNotReady", Motion::Reconciling)
    );
    claimed.member_uid = Some("kube-system".to_owned());
    let (phase, why, motion, _) = says(&of(&claimed, &pending));
    assert_eq!(phase, Phase::Pending);
    assert_eq!(
        (why.as_str(), motion),
        ("ClustersUnreachable", Motion::Stalled)
    );
}

#[test]
fn a_spec_that_can_never_work_ends_only_what_has_not_begun() {
    let (pending, targets) = (source(EntryPhase::Pending), []);
    let invalid = Migration {
        spec_valid: false,
        ..of(&pending, &targets)
    };
    assert_eq!(says(&invalid).0, Phase::FailedValidation);
    let running = source(EntryPhase::InProgress);
    let begun = Migration {
        source: &running,
        stored_phase: Some(Phase::BackupInProgress),
        ..invalid
    };
    assert_eq!(says(&begun).0, Phase::BackupInProgress);
}

fn any_target() -> impl Strategy<Value = RestoreDetail> {
    let phase = prop_oneof![3 => Just(EntryPhase::Completed), 2 => Just(EntryPhase::Failed), 2 => any_phase()];
    let word = prop::option::of(prop::sample::select(vec![
        "Cancelled",
        "DeadlineExceeded",
        "SourceNotReady",
    ]));
    (phase, word).prop_map(|(phase, word)| target(phase, word))
}

fn any_stored() -> impl Strategy<Value = (Option<Phase>, Option<bool>)> {
    prop::sample::select(vec![
        (None, None),
        (Some(Phase::Pending), None),
        (Some(Phase::BackupInProgress), None),
        (Some(Phase::RestoreInProgress), None),
        (Some(Phase::FailedValidation), Some(false)),
        (Some(Phase::Completed), Some(true)),
        (Some(Phase::PartiallyFailed), Some(false)),
        (Some(Phase::Failed), Some(false)),
    ])
}

proptest! {
    #[test]
    fn whatever_the_entries_say_the_phase_tells_no_lie_and_never_goes_back(
        of_source in any_phase(),
        targets in prop::collection::vec(any_target(), 0..4),
        stored in any_stored(),
        carries_on in any::<bool>(),
        spec_valid in prop::bool::weighted(0.9),
        stopped in prop::option::of(prop::sample::select(vec![reason::CANCELLED, reason::DEADLINE_EXCEEDED])),
        deleted in prop::bool::weighted(0.1),
    ) {
        let of_source = source(of_source);
        let migration = Migration {
            stored_phase: stored.0,
            stored_succeeded: stored.1,
            deletion: deleted.then_some(Deletion::Going),
            spec_valid,
            partial_failure: if carries_on { PartialFailure::Continue } else { PartialFailure::Stop },
            stopped,
            ..of(&of_source, &targets)
        };
        let Some(decision) = decide_migrate(&migration) else {
            prop_assert!(is_final(stored.0, stored.1));
            return Ok(());
        };
        if deleted {
            prop_assert_eq!(decision.phase, Phase::Deleting);
            prop_assert_eq!(decision.succeeded, stored.1);
            return Ok(());
        }
        let truly = of_source.phase == EntryPhase::Completed
            && !targets.is_empty()
            && targets.iter().all(|target| target.phase == EntryPhase::Completed);
        prop_assert!(decision.phase != Phase::Completed || truly);
        prop_assert_eq!(decision.succeeded == Some(true), decision.phase == Phase::Completed);
        prop_assert_eq!(decision.ready == ConditionStatus::True, decision.phase == Phase::Completed);
        let ended = decision.phase.is_final() || decision.phase == Phase::FailedValidation;
        prop_assert_eq!(decision.succeeded.is_some(), ended);
        if let Some(from) = stored.0 {
            prop_assert!(
                transition_allowed(OperationKind::Migrate, from, decision.phase),
                "{from:?} {decision:?}"
            );
        }
    }
}
