use serde_json::json;

use super::*;
use crate::fixtures::{at, velero_backup};

const UID: &str = "0b7e6c1a";

pub(super) fn backup(phase: &str) -> velero::Backup {
    let mut backup = velero_backup("oslo-backup-default-shop", json!({ "phase": phase }));
    backup.metadata.uid = Some(UID.to_owned());
    backup
}

pub(super) fn request(number: u32, phase: &str, errors: &[&str]) -> velero::DeleteBackupRequest {
    let name = request_name(UID, number);
    let mut request =
        velero::DeleteBackupRequest::new(&name, velero::DeleteBackupRequestSpec::default());
    request.status = json!({ "phase": phase, "errors": errors });
    request
}

/// The looks at one Backup, one after the other.
#[derive(Default)]
struct Looks(Memory);

impl Looks {
    fn look(
        &mut self,
        second: i64,
        backup: Option<&velero::Backup>,
        request: Option<&velero::DeleteBackupRequest>,
        synced: Option<i64>,
    ) -> Step {
        let seen = Observed {
            backup,
            request,
            last_synced: synced.map(at),
        };
        next(&mut self.0, seen, at(second))
    }
}

pub(super) fn waits(step: &Step) -> bool {
    matches!(step, Step::Wait { .. })
}

#[test]
fn each_phase_of_a_backup_without_a_request_has_its_first_step() {
    let asked = Step::Request { number: 0 };
    let table = [
        ("Completed", Some(&asked)),
        ("PartiallyFailed", Some(&asked)),
        ("Failed", Some(&Step::DeletePlainly)),
        ("FailedValidation", Some(&Step::DeletePlainly)),
        ("", Some(&Step::DeletePlainly)),
        ("New", Some(&Step::DeletePlainly)),
        ("Queued", Some(&Step::DeletePlainly)),
        ("ReadyToStart", Some(&Step::DeletePlainly)),
        ("InProgress", None),
        ("WaitingForPluginOperations", None),
        ("WaitingForPluginOperationsPartiallyFailed", None),
        ("Finalizing", None),
        ("FinalizingPartiallyFailed", None),
        ("SomethingOf2030", None),
        ("Deleting", None),
    ];
    for (phase, expected) in table {
        let step = Looks::default().look(0, Some(&backup(phase)), None, None);
        match expected {
            Some(expected) => assert_eq!(&step, expected, "{phase:?}"),
            None => assert!(waits(&step), "{phase:?}: {step:?}"),
        }
    }
}

#[test]
fn a_backup_that_kubernetes_is_removing_is_awaited_whatever_its_phase() {
    for phase in ["Completed", "Failed", "InProgress"] {
        let mut going = backup(phase);
        going.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
        assert!(
            waits(&Looks::default().look(0, Some(&going), None, None)),
            "{phase}"
        );
    }
}

#[test]
fn backup_and_request_seen_and_gone_are_the_proof() {
    let mut looks = Looks::default();
    let done = backup("Completed");
    assert_eq!(
        looks.look(0, Some(&done), None, Some(0)),
        Step::Request { number: 0 }
    );
    assert!(waits(&looks.look(
        1,
        Some(&done),
        Some(&request(0, "New", &[])),
        Some(0)
    )));
    let deleting = backup("Deleting");
    let working = request(0, "InProgress", &[]);
    assert!(waits(&looks.look(
        2,
        Some(&deleting),
        Some(&working),
        Some(0)
    )));
    assert!(waits(&looks.look(3, None, Some(&working), Some(0))));
    assert_eq!(looks.look(4, None, None, Some(0)), Step::Done);
}

#[test]
fn a_backup_that_is_absent_from_the_first_look_needs_a_whole_sync_of_its_location() {
    let mut looks = Looks::default();
    assert!(waits(&looks.look(0, None, None, Some(0))));
    assert!(waits(&looks.look(30, None, None, Some(0))));
    // That sync may have begun, and found the Backup there, before it went.
    assert!(waits(&looks.look(31, None, None, Some(30))));
    assert!(waits(&looks.look(60, None, None, Some(30))));
    assert_eq!(looks.look(91, None, None, Some(90)), Step::Done);
}

#[test]
fn a_location_that_was_never_synced_proves_nothing_and_its_second_sync_does() {
    let mut looks = Looks::default();
    assert!(waits(&looks.look(0, None, None, None)));
    assert!(waits(&looks.look(90, None, None, None)));
    assert!(waits(&looks.look(120, None, None, Some(100))));
    assert_eq!(looks.look(180, None, None, Some(160)), Step::Done);

    let mut gone = Looks::default();
    assert!(waits(&gone.look(0, None, None, Some(0))));
    assert!(waits(&gone.look(90, None, None, None)));
    assert!(waits(&gone.look(120, None, None, Some(0))));
}

#[test]
fn a_backup_that_comes_back_between_two_looks_starts_the_wait_for_a_sync_anew() {
    let mut looks = Looks::default();
    assert!(waits(&looks.look(0, None, None, Some(0))));
    assert!(waits(&looks.look(
        1,
        Some(&backup("InProgress")),
        None,
        Some(60)
    )));
    assert!(waits(&looks.look(2, None, None, Some(60))));
    assert!(waits(&looks.look(3, None, None, Some(120))));
    assert_eq!(looks.look(4, None, None, Some(180)), Step::Done);
}

#[test]
fn a_failed_backup_that_velero_brings_back_from_the_bucket_is_requested() {
    let mut looks = Looks::default();
    let failed = backup("Failed");
    assert_eq!(
        looks.look(0, Some(&failed), None, Some(0)),
        Step::DeletePlainly
    );
    // It changed before it could be deleted: the same object is deleted again.
    assert_eq!(
        looks.look(1, Some(&failed), None, Some(0)),
        Step::DeletePlainly
    );
    assert!(waits(&looks.look(2, None, None, Some(0))));
    let mut anew = backup("Failed");
    anew.metadata.uid = Some("another".to_owned());
    assert_eq!(
        looks.look(60, Some(&anew), None, Some(0)),
        Step::Request { number: 0 }
    );
}

#[test]
fn errors_are_quoted_and_the_request_is_made_again_after_a_growing_and_bounded_wait() {
    let mut looks = Looks::default();
    let done = backup("Completed");
    let mut now = 0;
    let mut pauses = Vec::new();
    for number in 0..9 {
        let refused = request(number, "Processed", &["still in progress", "no location"]);
        let Step::Failed { why, again } = looks.look(now, Some(&done), Some(&refused), None) else {
            panic!("request {number} has errors");
        };
        assert_eq!(why, "still in progress; no location");
        let pause = i64::try_from(again.as_secs()).unwrap();
        let early = looks.look(now + pause - 1, Some(&done), Some(&refused), None);
        assert_eq!(
            early,
            Step::Failed {
                why,
                again: Duration::from_secs(1)
            }
        );
        now += pause;
        assert_eq!(
            looks.look(now, Some(&done), Some(&refused), None),
            Step::Request { number: number + 1 }
        );
        pauses.push(pause);
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300, 300, 300]);
}

#[test]
fn a_request_that_does_not_move_for_five_minutes_is_made_again_with_the_next_number() {
    let mut looks = Looks::default();
    let done = backup("Completed");
    for phase in ["", "New", "InProgress"] {
        let stuck = request(4, phase, &[]);
        assert!(
            waits(&looks.look(0, Some(&done), Some(&stuck), None)),
            "{phase:?}"
        );
        assert!(
            waits(&looks.look(299, Some(&done), Some(&stuck), None)),
            "{phase:?}"
        );
        assert_eq!(
            looks.look(300, Some(&done), Some(&stuck), None),
            Step::Request { number: 5 },
            "{phase:?}"
        );
    }
}

#[test]
fn a_request_that_moves_gets_its_five_minutes_anew() {
    let mut looks = Looks::default();
    let done = backup("Completed");
    assert!(waits(&looks.look(
        0,
        Some(&done),
        Some(&request(0, "New", &[])),
        None
    )));
    let moved = request(0, "InProgress", &[]);
    assert!(waits(&looks.look(299, Some(&done), Some(&moved), None)));
    assert!(waits(&looks.look(598, Some(&done), Some(&moved), None)));
}

#[test]
fn a_request_that_vanished_beside_its_backup_proves_nothing_later() {
    let mut looks = Looks::default();
    let done = backup("Completed");
    looks.look(0, Some(&done), Some(&request(2, "New", &[])), Some(0));
    assert_eq!(
        looks.look(1, Some(&done), None, Some(0)),
        Step::Request { number: 3 }
    );
    // Somebody else removed the Backup before the new request was there.
    assert!(waits(&looks.look(2, None, None, Some(0))));
}

#[test]
fn a_request_that_failed_is_no_proof_when_the_backup_vanishes_afterwards() {
    let mut looks = Looks::default();
    let refused = request(0, "Processed", &["no location"]);
    looks.look(0, Some(&backup("Completed")), Some(&refused), Some(0));
    assert!(waits(&looks.look(1, None, None, Some(0))));
    assert!(waits(&looks.look(61, None, None, Some(60))));
    assert_eq!(looks.look(121, None, None, Some(120)), Step::Done);
}

#[test]
fn a_request_made_too_late_and_refused_does_not_hold_up_a_deletion_that_a_sync_proves() {
    let mut looks = Looks::default();
    looks.look(
        0,
        Some(&backup("Completed")),
        Some(&request(0, "New", &[])),
        Some(0),
    );
    let refused = request(1, "Processed", &["backup not found"]);
    assert!(waits(&looks.look(1, None, Some(&refused), Some(0))));
    assert!(waits(&looks.look(61, None, Some(&refused), Some(60))));
    assert_eq!(looks.look(121, None, Some(&refused), Some(120)), Step::Done);
}

#[test]
fn a_backup_left_deleting_without_a_request_is_asked_for_after_five_minutes() {
    let mut looks = Looks::default();
    let deleting = backup("Deleting");
    assert!(waits(&looks.look(0, Some(&deleting), None, None)));
    assert!(waits(&looks.look(299, Some(&deleting), None, None)));
    assert_eq!(
        looks.look(300, Some(&deleting), None, None),
        Step::Request { number: 0 }
    );
}

#[test]
fn a_request_seen_in_between_starts_the_five_minutes_of_a_left_backup_anew() {
    let mut looks = Looks::default();
    let deleting = backup("Deleting");
    looks.look(0, Some(&deleting), None, None);
    looks.look(
        10,
        Some(&deleting),
        Some(&request(0, "InProgress", &[])),
        None,
    );
    assert!(waits(&looks.look(305, Some(&deleting), None, None)));
}

#[test]
fn a_request_s_number_is_read_back_from_its_name() {
    assert_eq!(request_number(&request_name("6f1c-1f6e", 12)), Some(12));
    assert_eq!(request_number("made-by-hand"), None);
    let hostile = request(u32::MAX, "New", &[]);
    let mut looks = Looks::default();
    looks.look(0, Some(&backup("Completed")), Some(&hostile), None);
    let step = looks.look(300, Some(&backup("Completed")), Some(&hostile), None);
    assert_eq!(step, Step::Request { number: u32::MAX });
}

#[test]
fn a_request_that_was_made_proves_the_deletion_when_both_are_gone_at_the_next_look() {
    let mut looks = Looks::default();
    let step = looks.look(0, Some(&backup("Completed")), None, Some(0));
    assert_eq!(step, Step::Request { number: 0 });
    // Its creation failed: nothing is proved.
    assert!(waits(&looks.look(1, None, None, Some(0))));

    let mut looks = Looks::default();
    looks.look(0, Some(&backup("Completed")), None, Some(0));
    looks.0.requested();
    assert_eq!(looks.look(1, None, None, Some(0)), Step::Done);
}

#[test]
fn a_plainly_deleted_backup_is_not_gone_by_the_end_of_a_sync_that_may_have_found_it() {
    let mut looks = Looks::default();
    let failed = backup("Failed");
    assert_eq!(
        looks.look(59, Some(&failed), None, Some(0)),
        Step::DeletePlainly
    );
    assert!(waits(&looks.look(60, None, None, Some(0))));
    // The sync that was under way when it was deleted.
    assert!(waits(&looks.look(61, None, None, Some(61))));
    let mut back = backup("Failed");
    back.metadata.uid = Some("another".to_owned());
    assert_eq!(
        looks.look(119, Some(&back), None, Some(61)),
        Step::Request { number: 0 }
    );
}
