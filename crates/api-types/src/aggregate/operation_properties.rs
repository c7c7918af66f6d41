//! What holds of every aggregate, whatever the entries are.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::*;
use crate::backup::BackupDetail;

const NOW: i64 = 1_800_000_000;

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
            now: Timestamp::from_second(NOW).unwrap(),
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
            if op.deletion.is_none() {
                prop_assert_eq!(decision, None);
            } else {
                let decision = decision.unwrap();
                prop_assert_eq!(decision.phase, Phase::Deleting);
                prop_assert_eq!(decision.succeeded, op.stored_succeeded);
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
