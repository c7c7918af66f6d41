use api_types::backup::BackupStatus;
use api_types::common::DeletionPolicy;
use api_types::phase::Phase;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::super::fixtures::{MEMBER_UID, RUN, at, backup, key, origin, restore, source};
use super::*;

fn run_in(source: &Source, target: &str) -> Result<Run, Problem> {
    let origin = source.origin(&key(target))?;
    source.run(&origin, None, at(0))
}

#[test]
fn only_a_backup_that_has_ended_well_in_the_cluster_is_a_run() {
    let table = [
        (EntryPhase::Completed, Ok(false)),
        (EntryPhase::PartiallyFailed, Ok(true)),
        (EntryPhase::Pending, Err("NoCompletedBackup")),
        (EntryPhase::InProgress, Err("NoCompletedBackup")),
        (EntryPhase::Unknown, Err("NoCompletedBackup")),
        (EntryPhase::Failed, Err("BackupNotRestorable")),
        (EntryPhase::Deleting, Err("BackupNotFound")),
    ];
    for (phase, expected) in table {
        let source = source(Some(backup(phase)));
        assert_eq!(source.origin(&key("oslo")).unwrap(), origin(), "{phase:?}");
        let run = run_in(&source, "oslo");
        let got = run.as_ref().map(|run| run.partial);
        assert_eq!(got.map_err(|problem| problem.reason), expected, "{phase:?}");
        if let Ok(run) = run {
            assert_eq!(run.which, Which::Named(RUN.to_owned()));
        }
    }
}

#[test]
fn a_failed_backup_s_own_words_are_quoted() {
    let mut failed = backup(EntryPhase::Failed);
    failed.status.as_mut().unwrap().backup_details[0].message = Some("no space left".to_owned());
    let problem = run_in(&source(Some(failed)), "oslo").unwrap_err();
    assert!(problem.message.contains("no space left"), "{problem:?}");
}

#[test]
fn a_cluster_that_the_backup_does_not_cover_waits_with_the_reason_for_it() {
    let frozen = source(Some(backup(EntryPhase::Completed)));
    let reason = |source: &Source| source.origin(&key("bergen")).unwrap_err().reason;
    assert_eq!(reason(&frozen), "BackupNotFound");

    let mut early = backup(EntryPhase::Completed);
    early.status = Some(BackupStatus::default());
    assert_eq!(reason(&source(Some(early))), "NoCompletedBackup");

    let mut refused = backup(EntryPhase::Completed);
    refused.status = Some(BackupStatus {
        phase: Some(Phase::Failed),
        ..BackupStatus::default()
    });
    assert_eq!(reason(&source(Some(refused))), "BackupNotRestorable");
    assert_eq!(reason(&source(None)), "BackupNotFound");

    let mut unclaimed = backup(EntryPhase::Failed);
    unclaimed.status.as_mut().unwrap().backup_details[0].member_uid = None;
    let problem = source(Some(unclaimed)).origin(&key("oslo")).unwrap_err();
    assert_eq!(problem.reason, "BackupNotRestorable");
}

fn from(spec: serde_json::Value, backup: Backup) -> Source {
    let mut spec = spec;
    spec["destination"] = json!({ "fleet": "production" });
    Source::new(&restore(spec), Some(Arc::new(backup)))
}

#[test]
fn every_target_is_restored_from_the_cluster_that_is_named() {
    let mut stored = backup(EntryPhase::Completed);
    let place = StoragePlace {
        bucket: "fleet-backups".to_owned(),
        ..StoragePlace::default()
    };
    stored.status.as_mut().unwrap().backup_details[0].storage = Some(place.clone());
    let named = from(
        json!({ "sourceCluster": { "name": "oslo" } }),
        stored.clone(),
    );
    for target in ["bergen", "oslo"] {
        let origin = named.origin(&key(target)).unwrap();
        assert_eq!(
            (origin.cluster.name.as_str(), &origin.place),
            ("oslo", &Some(place.clone()))
        );
        assert_eq!(origin.member_uid, MEMBER_UID);
    }
    let absent = from(
        json!({ "sourceCluster": { "name": "turku" } }),
        stored.clone(),
    );
    assert_eq!(
        absent.origin(&key("bergen")).unwrap_err().reason,
        "BackupNotFound"
    );

    // Two of one name are told apart by their kind.
    let details = &mut stored.status.as_mut().unwrap().backup_details;
    let mut twin = details[0].clone();
    twin.cluster_kind = "Cluster".to_owned();
    details.push(twin);
    let ambiguous = from(
        json!({ "sourceCluster": { "name": "oslo" } }),
        stored.clone(),
    );
    assert_eq!(
        ambiguous.origin(&key("bergen")).unwrap_err().reason,
        "AmbiguousCluster"
    );
    let exact = json!({ "sourceCluster": { "name": "oslo", "kind": "Cluster" } });
    let origin = from(exact, stored).origin(&key("bergen")).unwrap();
    assert_eq!(origin.cluster.kind, ClusterKind::Cluster);
}

#[test]
fn a_cluster_that_has_left_a_scheduled_backup_is_still_a_source() {
    let left = || {
        let mut scheduled = scheduled();
        let status = scheduled.status.as_mut().unwrap();
        status.backup_details.clear();
        status.former_clusters = vec![api_types::backup::FormerCluster {
            cluster_name: "oslo".to_owned(),
            cluster_kind: "AttachedCluster".to_owned(),
            member_uid: Some(MEMBER_UID.to_owned()),
            storage: Some(StoragePlace::default()),
        }];
        scheduled
    };
    let origin = |scheduled: Backup| {
        let named = from(json!({ "sourceCluster": { "name": "oslo" } }), scheduled);
        named.origin(&key("bergen"))
    };
    let found = origin(left()).unwrap();
    assert_eq!(
        (found.member_uid.as_str(), &found.place),
        (MEMBER_UID, &Some(StoragePlace::default()))
    );

    // Listed by name and out of the Fleet, or back and not reached yet: an entry that was not claimed.
    let mut listed = left();
    let status = listed.status.as_mut().unwrap();
    status.backup_details = vec![crate::backup::fixtures::detail("oslo", EntryPhase::Pending)];
    assert_eq!(origin(listed.clone()), Ok(found));
    listed.status.as_mut().unwrap().former_clusters[0].cluster_name = "turku".to_owned();
    assert_eq!(origin(listed).unwrap_err().reason, "NoCompletedBackup");

    // Claimed again, be it in another member: that is the cluster.
    let mut back = left();
    let status = back.status.as_mut().unwrap();
    status.backup_details = vec![crate::backup::fixtures::detail("oslo", EntryPhase::Pending)];
    status.backup_details[0].member_uid = Some("another".to_owned());
    assert_eq!(origin(back).unwrap().member_uid, "another");
}

fn scheduled() -> Backup {
    let mut scheduled = backup(EntryPhase::Completed);
    "0 3 * * *".clone_into(&mut scheduled.spec.schedule);
    scheduled
}

#[test]
fn of_a_schedule_the_newest_run_in_time_is_restored() {
    let run_at = |start: i64, phase: &str| {
        let object = json!({
            "metadata": { "name": format!("nightly-{start}") },
            "status": { "phase": phase, "startTimestamp": at(start).to_string() },
        });
        Arc::new(serde_json::from_value::<velero::Backup>(object).unwrap())
    };
    let seen = [
        run_at(100, "Completed"),
        run_at(200, "PartiallyFailed"),
        run_at(300, "Completed"),
    ];
    let chosen = |spec: serde_json::Value, seen: Option<&[Arc<velero::Backup>]>| {
        from(spec, scheduled()).run(&origin(), seen, at(400))
    };
    let named = |start: i64, partial: bool| {
        Ok(Run {
            which: Which::Named(format!("nightly-{start}")),
            partial,
        })
    };
    assert_eq!(chosen(json!({}), Some(&seen)), named(300, false));
    let earlier = json!({ "pointInTime": at(250).to_string() });
    assert_eq!(chosen(earlier.clone(), Some(&seen)), named(100, false));
    assert_eq!(chosen(earlier.clone(), Some(&seen[1..])), named(200, true));
    let problem = chosen(json!({ "pointInTime": at(50).to_string() }), Some(&seen)).unwrap_err();
    assert_eq!(problem.reason, "NoCompletedBackup");
    assert!(problem.message.contains("oslo"), "{problem:?}");
    // Nobody can tell from here.
    let open = Run {
        which: Which::Newest(Some(at(250))),
        partial: false,
    };
    assert_eq!(chosen(earlier, None), Ok(open));
}

#[test]
fn a_one_time_backup_is_a_restore_point_only_after_its_start() {
    let mut stored = backup(EntryPhase::Completed);
    let status = json!({ "startTimestamp": at(100).to_string() });
    stored.status.as_mut().unwrap().backup_details[0].backup_status_in_cluster =
        Some(serde_json::from_value(status).unwrap());
    let reason = |second: i64| {
        let spec = json!({ "pointInTime": at(second).to_string() });
        run_in(&from(spec, stored.clone()), "oslo")
            .err()
            .map(|problem| problem.reason)
    };
    assert_eq!(reason(100), None);
    assert_eq!(reason(99), Some("NoCompletedBackup"));
}

#[test]
fn a_backup_that_is_absent_going_or_of_another_fleet_is_not_found() {
    let plain = restore(json!({}));
    let reason = |restore: &Restore, backup: Option<Backup>| {
        let source = Source::new(restore, backup.map(Arc::new));
        source.obstacle().map(|problem| problem.reason)
    };
    let there = backup(EntryPhase::Completed);
    assert_eq!(reason(&plain, Some(there.clone())), None);
    assert_eq!(reason(&plain, None), Some("BackupNotFound"));
    let mut going = there.clone();
    going.metadata.deletion_timestamp = Some(Time(at(5)));
    assert_eq!(reason(&plain, Some(going)), Some("BackupNotFound"));
    let other = restore(json!({ "destination": { "fleet": "staging" } }));
    assert_eq!(reason(&other, Some(there)), Some("BackupNotFound"));
}

#[test]
fn only_a_backup_that_goes_with_its_data_stops_what_was_chosen() {
    let mut going = backup(EntryPhase::Completed);
    going.metadata.deletion_timestamp = Some(Time(at(5)));
    assert!(!source(Some(going.clone())).is_going());
    going.spec.deletion_policy = DeletionPolicy::Delete;
    assert!(source(Some(going)).is_going());
    assert!(!source(None).is_going());
}

#[test]
fn the_fleet_is_the_destination_s_and_else_the_backup_s() {
    let there = backup(EntryPhase::Completed);
    assert_eq!(source(Some(there)).fleet.as_deref(), Some("production"));
    assert_eq!(source(None).fleet, None);
    let named = restore(json!({ "destination": { "fleet": "staging" } }));
    assert_eq!(Source::new(&named, None).fleet.as_deref(), Some("staging"));
}
