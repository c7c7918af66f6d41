use api_types::condition::reason;
use api_types::phase::EntryPhase;
use controller_kit::condition::MESSAGE_BYTES;
use serde_json::json;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::Problem;
use super::super::fixtures::{
    NAME, at, claimed, down, fresh, in_phase, location, object, seen, up,
};
use super::*;

const NOW: i64 = 100;

fn after(entry: &Entry, next: &Next) -> BackupDetail {
    detail(entry, next, at(NOW))
}

/// Phase and reason.
fn shown(detail: &BackupDetail) -> (EntryPhase, Option<&str>) {
    (detail.phase, detail.reason.as_deref())
}

fn followed(phase: &str) -> BackupDetail {
    after(&seen(), &Next::Follow(in_phase(phase)))
}

#[test]
fn a_velero_backup_is_copied_with_its_phase_reason_and_place() {
    use EntryPhase::{Completed, Deleting, Failed, InProgress, PartiallyFailed};
    let table = [
        ("InProgress", InProgress, None),
        ("FinalizingPartiallyFailed", InProgress, None),
        ("Completed", Completed, None),
        (
            "PartiallyFailed",
            PartiallyFailed,
            Some("BackupPartiallyFailed"),
        ),
        ("Failed", Failed, Some("BackupFailed")),
        ("FailedValidation", Failed, Some("BackupRejected")),
        ("Deleting", Deleting, None),
        ("SomethingOf2030", InProgress, Some("UnknownPhase")),
    ];
    for (velero, phase, reason) in table {
        let detail = followed(velero);
        assert_eq!(shown(&detail), (phase, reason), "{velero}");
        let copy = detail.backup_status_in_cluster.unwrap();
        assert_eq!(copy.phase.as_deref(), Some(velero));
        assert_eq!(detail.backup_name_in_cluster.as_deref(), Some(NAME));
        assert_eq!(detail.storage.unwrap().bucket, "fleet-backups");
    }
    let waiting = after(&claimed(), &Next::Follow(in_phase("New")));
    assert_eq!(shown(&waiting), (EntryPhase::Pending, Some("Queued")));
}

#[test]
fn velero_s_words_about_a_failure_are_quoted_and_bounded() {
    let failed = |status| after(&seen(), &Next::Follow(object(status)));
    let refused = failed(json!({
        "phase": "FailedValidation", "validationErrors": ["no such location", "é".repeat(400)],
    }));
    let message = refused.message.unwrap();
    assert!(message.contains("no such location"), "{message}");
    assert!(message.len() <= MESSAGE_BYTES, "{message}");
    let restarted = failed(json!({
        "phase": "Failed",
        "failureReason": "found a backup with status \"InProgress\" during the server starting",
    }));
    assert_eq!(restarted.reason.as_deref(), Some("VeleroRestarted"));
}

#[test]
fn a_place_that_was_recorded_stays_although_the_location_changes() {
    let mut entry = seen();
    entry.stored.storage = Some(velero_kit::location::storage(&location("Available")));
    let mut moved = api_types::external::velero::BackupStorageLocation::clone(&location(""));
    moved.spec.object_storage.bucket = "another".to_owned();
    entry.facts.location = Some(std::sync::Arc::new(moved));
    let detail = after(&entry, &Next::Follow(in_phase("InProgress")));
    assert_eq!(detail.storage.unwrap().bucket, "fleet-backups");
    // Velero looks when it begins.
    for waits in ["", "New", "Queued"] {
        let detail = after(&entry, &Next::Follow(in_phase(waits)));
        assert_eq!(detail.storage.unwrap().bucket, "another", "{waits:?}");
    }
    assert!(entry.has_moved());
    entry.stored.storage = entry.facts.place();
    assert!(!entry.has_moved());
}

#[test]
fn an_answer_that_cannot_be_read_is_told_beside_what_can() {
    let odd = |status| shown_of(&after(&seen(), &Next::Follow(object(status))));
    let invalid = Some("MemberAnswerInvalid".to_owned());
    assert_eq!(
        odd(json!({ "phase": "InProgress", "errors": "many" })),
        (EntryPhase::InProgress, invalid.clone())
    );
    assert_eq!(
        odd(json!({ "phase": 5 })),
        (EntryPhase::InProgress, invalid.clone())
    );
    assert_eq!(
        odd(json!({ "phase": "Completed", "errors": "many" })),
        (EntryPhase::Completed, invalid)
    );
    // Why it failed matters more.
    assert_eq!(
        odd(json!({ "phase": "Failed", "errors": "many" })),
        (EntryPhase::Failed, Some("BackupFailed".to_owned()))
    );
}

fn shown_of(detail: &BackupDetail) -> (EntryPhase, Option<String>) {
    (detail.phase, detail.reason.clone())
}

#[test]
fn a_member_cannot_make_a_message_longer_than_it_may_be() {
    let long = "p".repeat(5000);
    let detail = followed(&long);
    assert_eq!(detail.reason.as_deref(), Some("UnknownPhase"));
    assert!(detail.message.unwrap().len() <= MESSAGE_BYTES);
    let wordy = Problem::new(reason::ACCESS_DENIED, "é".repeat(5000));
    for next in [Next::Wait(wordy.clone()), Next::Retry(wordy.clone())] {
        let detail = after(&fresh("oslo"), &next);
        assert!(detail.message.unwrap().len() <= MESSAGE_BYTES);
    }
}

#[test]
fn silence_is_told_only_while_the_backup_runs() {
    let mut entry = seen();
    entry.stuck = Some(Problem::new(reason::VELERO_NOT_RESPONDING, "no answer"));
    let running = after(&entry, &Next::Follow(in_phase("InProgress")));
    assert_eq!(
        shown(&running),
        (EntryPhase::InProgress, Some("VeleroNotResponding"))
    );
    let done = after(&entry, &Next::Follow(in_phase("Completed")));
    assert_eq!(shown(&done), (EntryPhase::Completed, None));
}

#[test]
fn each_decision_shows_in_the_entry_and_never_makes_what_runs_pending() {
    let problem = || Problem::new(reason::ACCESS_DENIED, "no");
    let table = [
        (Next::Wait(problem()), Some("AccessDenied")),
        (Next::Retry(problem()), Some("AccessDenied")),
        (Next::Claim, Some("Queued")),
        (Next::Create { expired: false }, Some("Queued")),
        (Next::Rename, Some("Queued")),
        (Next::Hold, Some("Queued")),
    ];
    for (next, reason) in table {
        assert_eq!(
            shown(&after(&claimed(), &next)),
            (EntryPhase::Pending, reason),
            "{next:?}"
        );
        assert_eq!(after(&seen(), &next).phase, EntryPhase::InProgress);
    }
    let failed = after(&seen(), &Next::Fail(problem()));
    assert_eq!(shown(&failed), (EntryPhase::Failed, Some("AccessDenied")));
}

#[test]
fn claimed_fields_are_repeated_whatever_comes_next() {
    let problem = || Problem::new(reason::UNREACHABLE, "no");
    let mut entry = seen();
    entry.stored.storage = Some(velero_kit::location::storage(&location("Available")));
    for next in [
        Next::Final,
        Next::Wait(problem()),
        Next::Retry(problem()),
        Next::Create { expired: true },
        Next::Confirm,
        Next::Follow(in_phase("Completed")),
        Next::Hold,
        Next::Fail(problem()),
    ] {
        for link in [up(), down(reason::UNREACHABLE, None)] {
            entry.facts.link = link;
            let detail = after(&entry, &next);
            assert_eq!(detail.member_uid, entry.stored.member_uid);
            assert_eq!(
                detail.backup_name_in_cluster,
                entry.stored.backup_name_in_cluster
            );
            assert_eq!(detail.storage, entry.stored.storage);
            assert!(detail.backup_status_in_cluster.is_some());
        }
    }
}

#[test]
fn a_final_entry_is_written_back_as_it_is() {
    let mut entry = seen();
    entry.stored.phase = EntryPhase::Failed;
    entry.stored.reason = Some("BackupFailed".to_owned());
    entry.stored.unreachable_since = Some(Time(at(3)));
    entry.stored.last_transition_time = Some(Time(at(5)));
    entry.facts.link = down(reason::UNREACHABLE, Some(50));
    assert_eq!(after(&entry, &Next::Final), entry.stored);
}

#[test]
fn a_member_that_falls_silent_keeps_what_was_last_known_and_says_since_when() {
    let mut entry = seen();
    entry.stored.storage = Some(velero_kit::location::storage(&location("Available")));
    entry.facts.link = down(reason::UNREACHABLE, Some(60));
    let silent = after(&entry, &Next::Hold);
    assert_eq!(
        shown(&silent),
        (EntryPhase::InProgress, Some("Unreachable"))
    );
    assert_eq!(silent.unreachable_since, Some(Time(at(60))));
    assert!(silent.backup_status_in_cluster.is_some());

    // Since when it is silent does not move while it is.
    entry.stored = silent;
    entry.facts.link = down(reason::UNREACHABLE, Some(90));
    let still = after(&entry, &Next::Follow(in_phase("InProgress")));
    assert_eq!(still, entry.stored);

    entry.facts.link = up();
    let back = after(&entry, &Next::Follow(in_phase("InProgress")));
    assert_eq!(shown(&back), (EntryPhase::InProgress, None));
    assert_eq!((back.message, back.unreachable_since), (None, None));
}

#[test]
fn every_overlay_goes_when_the_member_is_back_and_gives_way_to_what_is_said_now() {
    for reason in [reason::UNREACHABLE, reason::CREDENTIALS_INVALID] {
        let mut entry = seen();
        entry.facts.link = down(reason, None);
        entry.stored = after(&entry, &Next::Hold);
        assert_eq!(entry.stored.reason.as_deref(), Some(reason));
        assert_eq!(entry.stored.unreachable_since, Some(Time(at(NOW))));
        entry.facts.link = up();
        let held = after(&entry, &Next::Hold);
        assert_eq!(shown(&held), (EntryPhase::InProgress, None));
        assert_eq!((held.message, held.unreachable_since), (None, None));

        let retry = Next::Retry(Problem::new(reason::UNREACHABLE, "it timed out"));
        let failed = after(&entry, &retry);
        assert_eq!(failed.reason.as_deref(), Some("Unreachable"));
        assert_eq!(failed.message.as_deref(), Some("it timed out"));
    }
}

#[test]
fn an_unclaimed_entry_says_first_what_keeps_it_from_beginning() {
    let mut entry = fresh("oslo");
    entry.facts.link = down(reason::UNREACHABLE, Some(60));
    let left = Problem::new(reason::CLUSTER_NOT_IN_FLEET, "not a member");
    let detail = after(&entry, &Next::Wait(left));
    assert_eq!(
        shown(&detail),
        (EntryPhase::Pending, Some("ClusterNotInFleet"))
    );
    assert_eq!(detail.unreachable_since, None);
    let silent = Problem::new(reason::UNREACHABLE, "no answer");
    let detail = after(&entry, &Next::Wait(silent));
    assert_eq!(detail.unreachable_since, Some(Time(at(60))));
}

#[test]
fn an_entry_that_ends_while_its_member_is_silent_is_no_longer_unreachable() {
    let mut entry = seen();
    entry.facts.link = down(reason::UNREACHABLE, Some(60));
    entry.stored.unreachable_since = Some(Time(at(60)));
    let done = after(&entry, &Next::Follow(in_phase("Completed")));
    assert_eq!(shown(&done), (EntryPhase::Completed, None));
    assert_eq!(done.unreachable_since, None);
}

#[test]
fn the_transition_time_moves_with_the_phase_only() {
    let mut entry = seen();
    entry.stored.last_transition_time = Some(Time(at(5)));
    let same = after(&entry, &Next::Follow(in_phase("Finalizing")));
    assert_eq!(same.last_transition_time, Some(Time(at(5))));
    let done = after(&entry, &Next::Follow(in_phase("Completed")));
    assert_eq!(done.last_transition_time, Some(Time(at(NOW))));
    let first = after(&fresh("oslo"), &Next::Claim);
    assert_eq!(first.last_transition_time, Some(Time(at(NOW))));
}

#[test]
fn while_cluster_proxy_is_silent_an_entry_that_has_begun_says_so_and_since_when() {
    let mut entry = seen();
    entry.facts.link = crate::operation::member::proxy_silent(at(60));
    entry.facts.objects_synced = false;
    for next in [Next::Hold, Next::Follow(in_phase("InProgress"))] {
        let detail = detail(&entry, &next, at(90));
        assert_eq!(detail.reason.as_deref(), Some("ProxyNotResponding"));
        assert_eq!(detail.unreachable_since, Some(Time(at(60))));
        let mut back = entry.clone();
        back.stored = detail;
        back.facts.link = up();
        let detail = super::detail(&back, &Next::Hold, at(91));
        assert_eq!((detail.reason, detail.unreachable_since), (None, None));
    }
}
