use api_types::backup::{Backup, BackupStatus};

use super::*;
use crate::operation::fixtures::{MEMBER_UID, at, backup, deadline, detail};

/// Of generation 1.
fn completed() -> Backup {
    let mut oslo = detail("oslo", EntryPhase::Completed);
    oslo.member_uid = Some(MEMBER_UID.to_owned());
    let frame = Frame {
        fleet: "production",
        fleet_found: true,
        deadline: deadline(),
        empty: None,
    };
    let new = backup(BackupStatus::default());
    backup(whole(&new, vec![oslo], &frame, at(10)))
}

fn generations(status: &BackupStatus) -> Vec<Option<i64>> {
    let of_conditions = status
        .conditions
        .iter()
        .map(|condition| condition.observed_generation);
    of_conditions.chain([status.observed_generation]).collect()
}

#[test]
fn an_outcome_comes_to_speak_of_the_newest_spec_and_changes_in_nothing_else() {
    let mut object = completed();
    assert_eq!(observed(&object), None);

    object.metadata.generation = Some(2);
    let mut seen = observed(&object).unwrap();
    assert_eq!(
        generations(&seen),
        [Some(2); 3],
        "Ready, Succeeded, the whole"
    );
    seen.observed_generation = Some(1);
    for condition in &mut seen.conditions {
        condition.observed_generation = Some(1);
    }
    assert_eq!(Some(&seen), object.state());
}

#[test]
fn the_outcome_of_what_is_being_deleted_speaks_of_that_generation_too() {
    let mut object = completed();
    object.metadata.generation = Some(2);
    let deleting = deleting(&object, &[], None, false, at(20));
    let outcome = condition::find(&deleting.conditions, SUCCEEDED).unwrap();
    assert_eq!(outcome.observed_generation, Some(2));
    assert_eq!(outcome.status, ConditionStatus::True);
    assert_eq!(outcome.last_transition_time, Time(at(10)));
}

#[test]
fn what_kurator_left_behind_is_not_written_anew() {
    let stored = BackupStatus {
        phase: Some(Phase::Completed),
        ..BackupStatus::default()
    };
    assert_eq!(observed(&backup(stored)), None);
}
