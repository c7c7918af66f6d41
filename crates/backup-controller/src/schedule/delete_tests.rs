use api_types::backup::BackupRun;
use api_types::common::StoragePlace;

use super::*;
use crate::backup::fixtures::MEMBER_UID;
use crate::schedule::fixtures::{backup, placed};

fn former(name: &str, uid: &str) -> FormerCluster {
    FormerCluster {
        cluster_name: name.to_owned(),
        cluster_kind: "AttachedCluster".to_owned(),
        member_uid: Some(uid.to_owned()),
        storage: Some(StoragePlace::default()),
        ..FormerCluster::default()
    }
}

#[test]
fn clusters_that_left_are_cleared_too_and_each_once() {
    let mut backup = backup();
    let status = backup.status.get_or_insert_default();
    status.backup_details = vec![placed().stored];
    status.former_clusters = vec![
        former("bergen", "u"),
        former("oslo", MEMBER_UID),
        former("oslo", "an earlier one"),
    ];
    let all = everywhere(&backup);
    let names: Vec<(&str, Option<&str>, bool)> = all
        .iter()
        .map(|holder| {
            let detail = &holder.detail;
            let uid = detail.member_uid.as_deref();
            let stored = detail.storage.is_some();
            (detail.cluster_name.as_str(), uid, stored)
        })
        .collect();
    let expected = [
        ("oslo", Some(MEMBER_UID), false),
        ("bergen", Some("u"), true),
        ("oslo", Some("an earlier one"), true),
        ("oslo", Some(MEMBER_UID), true),
    ];
    assert_eq!(names, expected);
    assert!(all[1..].iter().all(|holder| holder.former.is_some()));
    // Once it is being deleted its entries show them, and it is the same to the next pass.
    let details = all.iter().map(|holder| holder.detail.clone()).collect();
    backup.status.as_mut().unwrap().backup_details = details;
    assert_eq!(everywhere(&backup), all);
}

#[test]
fn of_one_that_cannot_be_asked_only_what_may_still_be_there_is_told() {
    let verdict = |edit: fn(&mut FormerCluster), hub, reason, retain: bool| {
        let mut cluster = former("oslo", "an earlier one");
        edit(&mut cluster);
        let holder = Holder {
            detail: BackupDetail {
                cluster_name: "oslo".to_owned(),
                ..BackupDetail::default()
            },
            former: Some(cluster),
        };
        match lost(&holder, hub, Problem::new(reason, "cut off"), retain) {
            Place::Nothing => None,
            Place::Lost(problem, let_go) => Some((problem.message, let_go)),
            Place::Here(_) => panic!("it cannot be asked"),
        }
    };
    let released: fn(&mut FormerCluster) = |former| former.released = true;
    let (here, gone) = (HubObject::Present, HubObject::Absent);
    let (other, cut) = (reason::MEMBER_REPLACED, reason::DELETION_PENDING);

    // Retained: nothing of a stopped one, the Schedule of another.
    assert_eq!(verdict(released, gone, cut, true), None);
    assert_eq!(verdict(released, here, other, true), None);
    let (message, let_go) = verdict(|_| {}, here, other, true).unwrap();
    assert!(
        let_go && message.contains("its Schedule goes on"),
        "{message}"
    );
    let (message, let_go) = verdict(|_| {}, gone, cut, true).unwrap();
    assert!(
        !let_go && message.contains(labels::FORCE_DELETE),
        "{message}"
    );
    let waits = Some(("cut off".to_owned(), false));
    assert_eq!(verdict(|_| {}, here, cut, true), waits);

    // To be deleted: all is waited for.
    for (hub, reason) in [(gone, cut), (here, other)] {
        let (message, let_go) = verdict(released, hub, reason, false).unwrap();
        assert!(
            !let_go && message.contains(labels::FORCE_DELETE),
            "{message}"
        );
        assert!(message.contains("oslo"), "{message}");
    }
    assert_eq!(verdict(released, here, cut, false), waits);
}

#[test]
fn every_run_of_the_status_must_be_gone() {
    let mut detail = placed().stored;
    assert_eq!(names(&detail), Vec::<String>::new());
    detail.backup_name_in_cluster = Some("new".to_owned());
    detail.runs = vec![BackupRun {
        name: "old".to_owned(),
        ..BackupRun::default()
    }];
    assert_eq!(names(&detail), ["new", "old"]);
}

#[test]
fn a_failed_deletion_of_one_run_is_told_before_those_that_go_on() {
    let look_again = Duration::from_secs(10);
    let wait = |seconds| Step::Wait {
        why: "Velero is deleting the backup".to_owned(),
        again: Duration::from_secs(seconds),
    };
    assert!(all_of(Vec::new(), look_again).waits_for.is_none());
    let going = all_of(
        vec![("a".to_owned(), wait(300)), ("b".to_owned(), wait(3))],
        look_again,
    );
    assert_eq!(going.again, Duration::from_secs(3));
    assert!(
        going
            .waits_for
            .unwrap()
            .message
            .starts_with("2 runs are left; a:")
    );
    let failed = Step::Failed {
        why: "bucket is read-only".to_owned(),
        again: Duration::from_secs(20),
    };
    let steps = vec![("a".to_owned(), wait(300)), ("b".to_owned(), failed)];
    let told = all_of(steps, look_again).waits_for.unwrap();
    assert_eq!(told.reason, "DeletionFailed");
    assert!(told.message.contains("b: bucket is read-only"), "{told:?}");
}

#[test]
fn a_place_of_before_is_cleared_with_its_cluster_and_none_of_them_is_taken_for_empty() {
    let at = |bucket: &str| StoragePlace {
        bucket: bucket.to_owned(),
        ..StoragePlace::default()
    };
    let mut backup = backup();
    let status = backup.status.get_or_insert_default();
    let mut now = placed().stored;
    now.storage = Some(at("new"));
    now.backup_name_in_cluster = Some("newest".to_owned());
    status.backup_details = vec![now];
    let mut before = former("oslo", MEMBER_UID);
    before.storage = Some(at("old"));
    let mut same = before.clone();
    same.storage = Some(at("new"));
    status.former_clusters = vec![before, same];
    let all = everywhere(&backup);
    assert_eq!(all.len(), 2, "{all:?}");
    let of = known(&all, "default");
    assert_eq!(of.storage, Some(&at("new")));
    assert_eq!(of.earlier, [&at("old")]);
    assert_eq!(of.names, ["newest"]);
    let of = known(&all[1..], "default");
    assert_eq!((of.storage, of.names.len()), (Some(&at("old")), 0));
    assert!(of.left, "nobody knows which runs lie there");
}
