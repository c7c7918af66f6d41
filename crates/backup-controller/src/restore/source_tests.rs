use api_types::backup::{BackupStatus, FormerCluster};
use api_types::common::DeletionPolicy;
use api_types::phase::Phase;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::super::fixtures::{MEMBER_UID, RUN, at, backup, key, member, origin, restore, source};
use super::*;

fn run_in(source: &Source, target: &str) -> Result<Run, Problem> {
    let origin = source.origin(&key(target))?;
    source.run(&origin, None, at(0)).map(|(_, run)| run)
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
    let oslo = member(MEMBER_UID, Some("fleet-backups"));
    stored.status.as_mut().unwrap().backup_details[0].storage = oslo.place.clone();
    let named = from(
        json!({ "sourceCluster": { "name": "oslo" } }),
        stored.clone(),
    );
    for target in ["bergen", "oslo"] {
        let origin = named.origin(&key(target)).unwrap();
        assert_eq!(origin.cluster.name, "oslo");
        assert_eq!(origin.members, std::slice::from_ref(&oslo));
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

fn former(name: &str, uid: &str, bucket: &str) -> FormerCluster {
    FormerCluster {
        cluster_name: name.to_owned(),
        cluster_kind: "AttachedCluster".to_owned(),
        member_uid: Some(uid.to_owned()),
        storage: member(uid, Some(bucket)).place,
        ..FormerCluster::default()
    }
}

fn members(scheduled: Backup) -> Result<Vec<Member>, &'static str> {
    let named = from(json!({ "sourceCluster": { "name": "oslo" } }), scheduled);
    let origin = named.origin(&key("bergen"));
    let origin = origin.map_err(|problem| problem.reason)?;
    assert_eq!(origin.cluster, key("oslo"));
    Ok(origin.members)
}

#[test]
fn a_cluster_that_has_left_a_scheduled_backup_is_still_a_source() {
    let mut left = scheduled();
    let status = left.status.as_mut().unwrap();
    status.backup_details.clear();
    status.former_clusters = vec![former("oslo", MEMBER_UID, "a")];
    let found = vec![member(MEMBER_UID, Some("a"))];
    assert_eq!(members(left.clone()).unwrap(), found);

    // Listed by name and out of the Fleet, or back and not reached yet: an entry that was not claimed.
    let mut listed = left;
    let status = listed.status.as_mut().unwrap();
    status.backup_details = vec![crate::backup::fixtures::detail("oslo", EntryPhase::Pending)];
    assert_eq!(members(listed.clone()).unwrap(), found);
    let own = from(json!({}), listed.clone()).origin(&key("oslo"));
    assert_eq!(own.unwrap().members, found);
    listed.status.as_mut().unwrap().former_clusters[0].cluster_name = "turku".to_owned();
    assert_eq!(members(listed), Err("NoCompletedBackup"));
}

/// Oslo, claimed anew, that has stored at another place before; and two that bore its name before.
fn rebuilt() -> Backup {
    let mut rebuilt = scheduled();
    let status = rebuilt.status.as_mut().unwrap();
    status.backup_details[0].storage = member("", Some("a")).place;
    status.former_clusters = vec![
        former("oslo", "the first", "a"),
        former("oslo", "the second", "b"),
        former("oslo", MEMBER_UID, "b"),
        former("turku", "another", "a"),
    ];
    rebuilt
}

#[test]
fn every_cluster_that_bore_the_name_is_a_source_of_a_schedule_s_runs() {
    let expected = [
        member(MEMBER_UID, Some("a")),
        member("the first", Some("a")),
        member("the second", Some("b")),
        member(MEMBER_UID, Some("b")),
    ];
    let found = members(rebuilt()).unwrap();
    assert_eq!(found, expected);
    let origin = Origin {
        cluster: key("oslo"),
        members: found,
    };
    assert_eq!(origin.places().len(), 2, "each place once");
    assert_eq!(origin.made_in().len(), 3);
    // Each cluster's own backup is its own, wherever it lies, and a backup that ran once is of one
    // member.
    let own = from(json!({}), rebuilt()).origin(&key("oslo")).unwrap();
    assert_eq!(own.members, [expected[0].clone(), expected[3].clone()]);
    let mut once = rebuilt();
    once.spec.schedule.clear();
    assert_eq!(members(once).unwrap(), expected[..1]);
}

#[test]
fn the_runs_of_the_cluster_that_answers_come_first_and_those_before_it_are_looked_for() {
    let named = |spec: serde_json::Value| {
        let mut spec = spec;
        spec["sourceCluster"] = json!({ "name": "oslo" });
        from(spec, rebuilt())
    };
    let seen = [run_at(100, "Completed"), run_at(200, "PartiallyFailed")];
    let chosen = |source: &Source, seen: Option<(&str, &[Arc<velero::Backup>])>| {
        let origin = source.origin(&key("bergen")).unwrap();
        let (origin, run) = source.run(&origin, seen, at(400)).unwrap();
        let uids = origin.members.into_iter().map(|member| member.uid);
        (uids.collect::<Vec<_>>().join(", "), run.which)
    };
    let newest = named(json!({}));
    assert_eq!(
        chosen(&newest, Some((MEMBER_UID, &seen))),
        (
            format!("{MEMBER_UID}, {MEMBER_UID}"),
            Which::Named("nightly-100".to_owned())
        )
    );
    let before = format!("the first, the second, {MEMBER_UID}");
    assert_eq!(
        chosen(&newest, Some((MEMBER_UID, &[]))),
        (before.clone(), Which::Newest(None))
    );
    let earlier = named(json!({ "pointInTime": at(50).to_string() }));
    assert_eq!(
        chosen(&earlier, Some((MEMBER_UID, &seen))),
        (before.clone(), Which::Newest(Some(at(50))))
    );
    // Nobody answers: any of them may have the newest.
    assert_eq!(
        chosen(&newest, None),
        (format!("{MEMBER_UID}, {before}"), Which::Newest(None))
    );
}

#[test]
fn a_newer_run_at_a_place_of_before_is_looked_for_unless_it_would_have_gone_first() {
    let own = from(json!({}), rebuilt());
    let chosen = |last: Option<i64>, expiration: i64| {
        let mut origin = own.origin(&key("oslo")).unwrap();
        origin.members[1].last = last.map(at);
        let mut run = (*run_at(100, "Completed")).clone();
        run.status["expiration"] = json!(at(expiration).to_string());
        let seen = [Arc::new(run)];
        let (origin, run) = own
            .run(&origin, Some((MEMBER_UID, &seen)), at(400))
            .unwrap();
        assert_eq!(origin.members.len(), 2);
        run.which
    };
    let here = Which::Named("nightly-100".to_owned());
    assert_eq!(chosen(Some(900), 1000), here, "all of it was before");
    assert_eq!(chosen(Some(1100), 1000), Which::Newest(None));
    assert_eq!(chosen(None, 1000), here, "it would be shown");
}

fn run_at(start: i64, phase: &str) -> Arc<velero::Backup> {
    let object = json!({
        "metadata": { "name": format!("nightly-{start}") },
        "status": { "phase": phase, "startTimestamp": at(start).to_string() },
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn scheduled() -> Backup {
    let mut scheduled = backup(EntryPhase::Completed);
    "0 3 * * *".clone_into(&mut scheduled.spec.schedule);
    scheduled
}

#[test]
fn of_a_schedule_the_newest_run_in_time_is_restored() {
    let seen = [
        run_at(100, "Completed"),
        run_at(200, "PartiallyFailed"),
        run_at(300, "Completed"),
    ];
    let chosen = |spec: serde_json::Value, seen: Option<&[Arc<velero::Backup>]>| {
        let seen = seen.map(|seen| (MEMBER_UID, seen));
        let found = from(spec, scheduled()).run(&origin(), seen, at(400));
        found.map(|(_, run)| run)
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

#[test]
fn what_a_member_had_stored_is_a_cluster_s_own_once_it_has_taken_over_the_store() {
    let mut nightly = scheduled();
    let former = FormerCluster {
        cluster_name: "oslo".to_owned(),
        cluster_kind: "AttachedCluster".to_owned(),
        member_uid: Some("former".to_owned()),
        ..FormerCluster::default()
    };
    nightly.status.as_mut().unwrap().former_clusters = vec![former];
    let mut source = from(json!({}), nightly);
    let uids = |source: &Source| -> Vec<String> {
        let origin = source.origin(&key("oslo")).unwrap();
        origin.members.into_iter().map(|of| of.uid).collect()
    };
    assert_eq!(uids(&source), [MEMBER_UID]);
    let id = api_types::names::MemberId::from_uid;
    source.adopted.insert(key("oslo"), [id("another")].into());
    assert_eq!(uids(&source), [MEMBER_UID]);
    source.adopted.insert(key("oslo"), [id("former")].into());
    assert_eq!(uids(&source), [MEMBER_UID, "former"]);
}
