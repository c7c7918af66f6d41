use api_types::backup::{Backup, BackupDetail, BackupStatus};
use api_types::phase::{EntryPhase, Phase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};

use super::*;
use crate::operation::fixtures::{at, backup, detail};

const OSLO: &str = "oslo cannot be reached";

type Lefts = Vec<Left<BackupDetail>>;

fn left(detail: BackupDetail, why: &str) -> Lefts {
    let problem = Problem::new(reason::DELETION_PENDING, why);
    vec![Left::new(detail, Some(problem))]
}

fn write(manager: &str, subresource: &str, second: i64) -> ManagedFieldsEntry {
    ManagedFieldsEntry {
        manager: Some(manager.to_owned()),
        subresource: Some(subresource.to_owned()),
        time: Some(Time(at(second))),
        ..ManagedFieldsEntry::default()
    }
}

/// A Backup whose status has said since second 20 that its deletion waits for oslo, as the hub gives
/// it back.
fn waiting_for_oslo(blocked: bool) -> Backup {
    let left = left(detail("oslo", EntryPhase::Completed), OSLO);
    let new = backup(BackupStatus::default());
    let mut object = backup(conclude::deleting(&new, &left, None, blocked, at(20)));
    object.metadata.managed_fields = Some(vec![
        write("kubectl", "status", 90),
        write(labels::BACKUP_MANAGER, "", 80),
        write(labels::BACKUP_MANAGER, "status", 20),
    ]);
    object
}

/// Since when a process that was started at second 100 says that it waits for this.
fn since(object: &Backup, why: &str) -> Option<Timestamp> {
    let entries = object.status.clone().unwrap_or_default().backup_details;
    let left = left(entries[0].clone(), why);
    let going = conclude::deleting(object, &left, None, false, at(100));
    stood_still_since(object, &going, labels::BACKUP_MANAGER)
}

#[test]
fn after_a_restart_a_deletion_has_waited_since_its_status_was_last_written() {
    assert_eq!(since(&waiting_for_oslo(false), OSLO), Some(at(20)));
}

#[test]
fn a_deletion_that_waits_for_something_else_begins_to_wait_now() {
    for blocked in [false, true] {
        let before = waiting_for_oslo(blocked);
        assert_eq!(since(&before, "Velero is deleting the backup"), None);
    }
}

#[test]
fn a_deletion_that_was_blocked_stays_so_while_nothing_changes() {
    assert_eq!(since(&waiting_for_oslo(true), OSLO), Some(Timestamp::MIN));
}

#[test]
fn an_object_that_was_not_being_deleted_has_waited_for_nothing() {
    let mut before = waiting_for_oslo(false);
    let status = before.status.as_mut().unwrap();
    status.phase = Some(Phase::Completed);
    assert_eq!(since(&before, OSLO), None);
}

#[test]
fn only_a_cluster_that_answers_is_known_to_be_another_one() {
    let up = |uid: &str| Link::Up {
        member_uid: uid.to_owned(),
    };
    let down = Link::Down {
        problem: Problem::new(reason::UNREACHABLE, OSLO),
        since: None,
    };
    let table = [
        (up("rebuilt"), Some("claimed"), true),
        (up("claimed"), Some("claimed"), false),
        (up("rebuilt"), None, false),
        (down.clone(), Some("claimed"), false),
        (down, None, false),
    ];
    for (link, claimed, expected) in table {
        assert_eq!(is_another(&link, claimed), expected, "{link:?} {claimed:?}");
    }
}

#[test]
fn what_is_let_go_with_a_former_cluster_asks_for_nothing() {
    let oslo = detail("oslo", EntryPhase::Completed);
    let replaced = Problem::new(reason::MEMBER_REPLACED, "bring it back, or force it");
    let told = let_go(replaced, &oslo);
    assert_eq!(
        (told.reason, told.message.as_str()),
        (
            "MemberReplaced",
            "another cluster answers as oslo: it lies with the former one"
        )
    );
    let unreachable = Problem::new(reason::DELETION_PENDING, OSLO);
    assert_eq!(let_go(unreachable, &oslo).message, OSLO);
}
