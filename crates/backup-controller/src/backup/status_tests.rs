use serde_json::json;

use api_types::aggregate;
use api_types::condition::{self, reason};
use api_types::names;
use api_types::phase::EntryPhase;
use api_types::phase::Phase;
use controller_kit::condition::MESSAGE_BYTES;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::delete::Left;
use super::super::fixtures::{
    NAME, OWNER_UID, at, backup, claimed, deadline, detail, down, facts, fresh, holds, in_phase,
    key, object, ready_reason, seen, validated,
};
use super::super::plan::Entry;
use super::*;
use crate::operation::Operation as _;

fn row(entry: Entry, next: Next) -> Row {
    Row::new(entry, next)
}

fn waiting(name: &str, why: &'static str) -> Row {
    row(fresh(name), Next::Wait(Problem::new(why, "it waits")))
}

/// A row of another member than oslo, whose object was seen and is now so.
fn following(name: &str, phase: &str) -> Row {
    let mut entry = seen();
    entry.key = super::super::fixtures::key(name);
    name.clone_into(&mut entry.stored.cluster_name);
    row(entry, Next::Follow(in_phase(phase)))
}

fn computed(backup: &Backup, rows: &[Row], second: i64) -> BackupStatus {
    status(backup, rows, &validated(), at(second))
}

fn first(rows: &[Row]) -> BackupStatus {
    computed(&backup(BackupStatus::default()), rows, 10)
}

fn message(status: &BackupStatus) -> &str {
    let ready = condition::find(&status.conditions, condition::READY).unwrap();
    &ready.message
}

#[test]
fn every_requested_cluster_has_an_entry_with_a_phase_and_a_reason_from_the_first_pass_on() {
    let status = first(&[
        waiting("bergen", reason::VELERO_NOT_INSTALLED),
        waiting("oslo", reason::UNREACHABLE),
    ]);
    let entries: Vec<_> = status
        .backup_details
        .iter()
        .map(|d| (d.cluster_name.as_str(), d.phase, d.reason.as_deref()))
        .collect();
    assert_eq!(
        entries,
        [
            ("bergen", EntryPhase::Pending, Some("VeleroNotInstalled")),
            ("oslo", EntryPhase::Pending, Some("Unreachable")),
        ]
    );
    assert_eq!(status.phase, Some(Phase::Pending));
    assert_eq!(ready_reason(&status), "WaitingForClusters");
    assert_eq!((status.start_time, status.completion_time), (None, None));
    assert_eq!(status.observed_generation, Some(1));
}

#[test]
fn the_common_reason_of_all_entries_is_that_of_the_whole() {
    let status = first(&[
        waiting("bergen", reason::VELERO_NOT_INSTALLED),
        waiting("oslo", reason::VELERO_NOT_INSTALLED),
    ]);
    assert_eq!(ready_reason(&status), "VeleroNotInstalled");
    assert!(message(&status).contains("bergen"), "{}", message(&status));
}

#[test]
fn an_empty_set_waits_and_fails_at_the_deadline_and_is_never_success() {
    let stored = backup(BackupStatus::default());
    let pending = computed(&stored, &[], 10);
    assert_eq!(pending.phase, Some(Phase::Pending));
    assert_eq!(ready_reason(&pending), "NoClusters");
    let spec = Validated {
        fleet_found: false,
        ..validated()
    };
    let status = status(&stored, &[], &spec, at(10));
    assert_eq!(ready_reason(&status), "FleetNotFound");
    assert!(message(&status).contains("production"));
    let failed = computed(&stored, &[], 3600);
    assert_eq!(failed.phase, Some(Phase::Failed));
    assert_eq!(succeeded(&failed), Some(false));
    assert_eq!(failed.completion_time, Some(Time(deadline())));
}

#[test]
fn the_write_that_claims_the_first_member_sets_the_start_time_once() {
    let create = || row(claimed(), Next::Create { expired: false });
    let begun = computed(&backup(BackupStatus::default()), &[create()], 10);
    assert_eq!(begun.start_time, Some(Time(at(10))));
    assert_eq!(begun.phase, Some(Phase::Pending));
    let later = computed(&backup(begun), &[following("oslo", "InProgress")], 20);
    assert_eq!(later.start_time, Some(Time(at(10))));
    assert_eq!(later.phase, Some(Phase::InProgress));
    assert!(holds(&later, "Reconciling") && !holds(&later, "Stalled"));
}

#[test]
fn a_suffixed_name_is_told_while_its_object_is_made() {
    let names = names::candidates(NAME, OWNER_UID, names::MAX_NAME);
    let mut entry = claimed();
    entry.stored.backup_name_in_cluster = Some(names[1].clone());
    let reason_of =
        |entry: Entry, next| first(&[row(entry, next)]).backup_details[0].reason.clone();
    let create = || Next::Create { expired: false };
    assert_eq!(
        reason_of(entry.clone(), create()).as_deref(),
        Some("NameTaken")
    );
    assert_eq!(
        reason_of(claimed(), create()).as_deref(),
        Some("Queued"),
        "the first choice"
    );
    assert_eq!(reason_of(entry, Next::Follow(in_phase("InProgress"))), None);
}

#[test]
fn a_long_name_that_is_always_suffixed_is_not_called_taken() {
    let mut entry = claimed();
    entry.key = super::super::fixtures::key(&"m".repeat(60));
    let full = names::full_name(
        &entry.key.name,
        names::Purpose::Backup,
        "team-a",
        "nightly-shop",
    );
    let names = names::candidates(&full, OWNER_UID, names::MAX_NAME);
    entry.stored.backup_name_in_cluster = Some(names[0].clone());
    let status = first(&[row(entry, Next::Create { expired: false })]);
    assert_eq!(status.backup_details[0].reason.as_deref(), Some("Queued"));
}

#[test]
fn all_completed_is_completed_with_its_times_written_once() {
    let done = |second: i64| {
        object(json!({
            "phase": "Completed",
            "startTimestamp": at(20).to_string(),
            "completionTimestamp": at(second).to_string(),
            "expiration": at(90_000 + second).to_string(),
            "progress": { "totalItems": 7, "itemsBackedUp": 7 },
        }))
    };
    let mut bergen = following("bergen", "Completed");
    bergen.next = Next::Follow(done(30));
    let mut oslo = following("oslo", "Completed");
    oslo.next = Next::Follow(done(25));
    let status = first(&[bergen, oslo]);
    assert_eq!(status.phase, Some(Phase::Completed));
    assert_eq!(succeeded(&status), Some(true));
    assert_eq!(ready_reason(&status), "Completed");
    assert_eq!(status.completion_time, Some(Time(at(10))));
    assert_eq!(status.last_success_time, Some(Time(at(25))));
    assert_eq!(status.expiration_time, Some(Time(at(90_025))));
    assert!(!holds(&status, "Reconciling") && !holds(&status, "Stalled"));
    let summary = status.summary.as_ref().unwrap();
    assert_eq!(
        (summary.display.as_str(), summary.items.as_str()),
        ("2/2", "14/14")
    );

    // Nothing that is seen later changes it.
    let again = computed(&backup(status.clone()), &[following("oslo", "Failed")], 99);
    assert_eq!(again, status);
}

#[test]
fn one_bad_cluster_is_one_bad_entry_and_the_whole_is_partial() {
    let status = first(&[
        following("bergen", "Completed"),
        following("oslo", "Failed"),
    ]);
    assert_eq!(status.phase, Some(Phase::PartiallyFailed));
    assert_eq!(succeeded(&status), Some(false));
    assert_eq!(status.last_success_time, None);
    assert!(holds(&status, "Stalled"));
    assert!(message(&status).starts_with("1 of 2 clusters completed; oslo: "));
    assert_eq!(status.summary.unwrap().display, "1/2");
}

#[test]
fn an_operation_whose_open_clusters_are_all_silent_for_five_minutes_is_stalled() {
    let mut entry = seen();
    entry.facts.link = down(reason::UNREACHABLE, Some(10));
    let rows = [following("bergen", "Completed"), row(entry, Next::Hold)];
    let stored = backup(BackupStatus::default());
    let before = computed(&stored, &rows, 309);
    assert_eq!(ready_reason(&before), "InProgress");
    let after = computed(&stored, &rows, 310);
    assert_eq!(ready_reason(&after), "ClustersUnreachable");
    assert!(holds(&after, "Stalled"));
    assert_eq!(after.phase, Some(Phase::InProgress));
    assert_eq!(after.summary.unwrap().unreachable, 1);
}

#[test]
fn no_progress_in_all_open_clusters_stalls_the_whole_and_in_some_does_not() {
    let still = |name: &str| {
        let mut row = following(name, "InProgress");
        row.entry.stuck = Some(Problem::new(reason::NO_PROGRESS, "nothing moves"));
        row
    };
    let stalled = first(&[following("bergen", "Completed"), still("oslo")]);
    assert_eq!(ready_reason(&stalled), "NoProgress");
    assert!(holds(&stalled, "Stalled"));
    assert_eq!(stalled.phase, Some(Phase::InProgress));
    let moving = first(&[following("bergen", "InProgress"), still("oslo")]);
    assert_eq!(ready_reason(&moving), "InProgress");
    assert!(holds(&moving, "Reconciling"));
}

fn invalid() -> InvalidSpec {
    InvalidSpec {
        field: "policy.ttl",
        problem: "\"10d\" is not a duration".to_owned(),
    }
}

#[test]
fn a_spec_that_can_never_work_ends_at_once_with_the_field_and_the_advice() {
    let meant = [key("bergen"), key("oslo")];
    let status = refused(&backup(BackupStatus::default()), &meant, &invalid(), at(10));
    assert_eq!(status.phase, Some(Phase::FailedValidation));
    assert_eq!(ready_reason(&status), "InvalidSpec");
    assert_eq!(succeeded(&status), Some(false));
    assert_eq!(
        message(&status),
        "spec.policy.ttl: \"10d\" is not a duration: make a new Backup"
    );
    let entries = status.backup_details.iter();
    let entries: Vec<_> = entries
        .map(|entry| {
            (
                entry.cluster_name.as_str(),
                entry.phase,
                entry.reason.as_deref(),
            )
        })
        .collect();
    let invalid_spec = Some("InvalidSpec");
    assert_eq!(
        entries,
        [
            ("bergen", EntryPhase::Failed, invalid_spec),
            ("oslo", EntryPhase::Failed, invalid_spec),
        ]
    );
    let again = refused(&backup(status.clone()), &meant[..1], &invalid(), at(99));
    assert_eq!(again, status);
}

#[test]
fn a_backup_that_has_begun_is_never_failed_by_its_spec() {
    let running = first(&[following("oslo", "InProgress")]);
    let status = refused(
        &backup(running.clone()),
        &[key("bergen")],
        &invalid(),
        at(20),
    );
    assert_eq!(status.phase, Some(Phase::InProgress));
    assert_eq!(succeeded(&status), None);
    assert_eq!(status.backup_details, running.backup_details);
    assert!(message(&status).ends_with(": mend it"));
}

fn left(name: &str, problem: Option<Problem>) -> Left {
    Left::new(detail(name, EntryPhase::Completed), problem)
}

fn pending(text: &str) -> Problem {
    Problem::new(reason::DELETION_PENDING, text)
}

#[test]
fn a_deletion_shows_what_each_cluster_waits_for_and_keeps_the_outcome() {
    let done = first(&[
        following("bergen", "Completed"),
        following("oslo", "Completed"),
    ]);
    let deleted = backup(done.clone());
    let left = [
        left("bergen", None),
        left("oslo", Some(pending("no answer"))),
    ];
    let going = deleting(&deleted, &left, None, false, at(50));
    assert_eq!(going.phase, Some(Phase::Deleting));
    assert_eq!(ready_reason(&going), "Deleting");
    assert_eq!(succeeded(&going), Some(true));
    assert_eq!(going.completion_time, done.completion_time);
    assert_eq!(message(&going), "oslo: no answer");
    let entries: Vec<_> = going
        .backup_details
        .iter()
        .map(|d| (d.phase, d.reason.as_deref()))
        .collect();
    assert_eq!(
        entries,
        [
            (EntryPhase::Deleting, None),
            (EntryPhase::Deleting, Some("DeletionPending"))
        ]
    );
    assert_eq!(
        going.backup_details[0].last_transition_time,
        Some(Time(at(50)))
    );

    let blocked = deleting(&deleted, &left, None, true, at(700));
    assert_eq!(ready_reason(&blocked), "DeletionBlocked");
    assert!(holds(&blocked, "Stalled"));
}

#[test]
fn what_a_forced_deletion_leaves_behind_is_named_and_bounded() {
    let mut open: Vec<Left> = (0..120)
        .map(|n| left(&format!("member-{n}"), Some(pending(&"é".repeat(300)))))
        .collect();
    open[0].detail.backup_name_in_cluster = Some(NAME.to_owned());
    let hub = backup(BackupStatus::default());
    let named = open
        .iter()
        .filter_map(|left| left.leftover(hub.leftover(&left.detail)));
    let status = leftovers(&hub, named.collect(), true, at(50));
    assert_eq!(status.leftovers.len(), 100);
    let first = &status.leftovers[0];
    assert_eq!(
        (first.cluster_name.as_str(), first.name.as_str()),
        ("member-0", NAME)
    );
    assert_eq!(first.kind, "velero.io/Backup");
    assert!(first.message.len() <= MESSAGE_BYTES);
    assert!(message(&status).contains("120 clusters"));
    assert_eq!(status.phase, Some(Phase::Deleting));
}

#[test]
fn only_counts_that_move_may_wait_and_every_other_change_is_written_at_once() {
    let of = |status| {
        let mut row = following("oslo", "InProgress");
        row.next = Next::Follow(object(status));
        first(&[row])
    };
    let at_1 =
        of(json!({ "phase": "InProgress", "progress": { "totalItems": 9, "itemsBackedUp": 1 } }));
    let at_5 = of(json!({
        "phase": "InProgress", "queuePosition": 2, "odd": 1,
        "progress": { "totalItems": 9, "itemsBackedUp": 5 },
    }));
    assert_ne!(at_1, at_5);
    assert!(only_progress(&at_1, &at_5));
    for urgent in [
        json!({ "phase": "Finalizing", "progress": { "totalItems": 9, "itemsBackedUp": 1 } }),
        json!({ "phase": "Completed", "progress": { "totalItems": 9, "itemsBackedUp": 9 } }),
        json!({ "phase": "InProgress", "errors": 1 }),
    ] {
        assert!(!only_progress(&at_1, &of(urgent.clone())), "{urgent}");
    }
}

#[test]
fn a_thousand_clusters_with_all_there_is_to_say_fit_into_a_status() {
    let rows: Vec<Row> = (0..1500)
        .map(|n| {
            let mut row = following(&format!("member-of-a-large-fleet-{n}"), "Failed");
            row.entry.facts = facts();
            row.next = Next::Follow(object(json!({
                "phase": "Failed", "failureReason": "x".repeat(1000), "odd": "y".repeat(1000),
            })));
            row
        })
        .collect();
    let status = first(&rows);
    assert_eq!(status.backup_details.len(), 1500);
    let bytes = serde_json::to_vec(&status).unwrap().len();
    assert!(bytes <= aggregate::MAX_STATUS_BYTES, "{bytes}");
}
