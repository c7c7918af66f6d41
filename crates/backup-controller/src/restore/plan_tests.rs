use serde_json::json;

use super::super::fixtures::{
    MEMBER_UID, chosen, claimed, down, fresh, member as member_of, object, origin, problem, seen,
    short, terms,
};
use super::*;
use api_types::phase::EntryPhase;

fn next(entry: &Entry, second: i64) -> String {
    short(&plan(entry, &terms(second)))
}

#[test]
fn an_entry_goes_from_claim_to_choice_to_object() {
    assert_eq!(next(&fresh(), 1), "Claim");
    assert_eq!(next(&claimed(), 1), "Choose");
    assert_eq!(next(&chosen(), 1), "Create");
    let mut running = seen();
    running.facts.objects = vec![object(json!({ "phase": "InProgress" }))];
    assert_eq!(next(&running, 1), "Follow InProgress");
    running.stored.phase = EntryPhase::Completed;
    assert_eq!(next(&running, 9999), "Final");
}

/// It was seen while its results were read, so the entry is not final yet.
#[test]
fn a_restore_that_was_seen_at_its_end_ended_so_whatever_becomes_of_it() {
    let mut ended = seen();
    let status = json!({ "phase": "PartiallyFailed", "errors": 2 });
    ended.stored.restore_status_in_cluster = Some(serde_json::from_value(status.clone()).unwrap());
    assert_eq!(next(&ended, 1), "Follow PartiallyFailed");
    let Next::Follow(object) = plan(&ended, &terms(1)) else {
        panic!("{ended:?}");
    };
    assert_eq!(object.status, status);
    assert_eq!(object.metadata.name, ended.stored.restore_name_in_cluster);

    ended.facts.link = down("Unreachable", Some(60));
    assert_eq!(next(&ended, 1), "Follow PartiallyFailed");
    // It may be there, and so may its results.
    ended.facts.link = crate::backup::fixtures::up();
    ended.facts.objects_synced = false;
    assert_eq!(next(&ended, 1), "Hold");
}

#[test]
fn each_obstacle_keeps_it_from_beginning_and_from_choosing() {
    type Hinder = fn(&mut Entry);
    let table: [(Hinder, &str); 8] = [
        (
            |entry| entry.problem = Some(problem("ClusterNotInFleet")),
            "ClusterNotInFleet",
        ),
        (
            |entry| entry.facts.hub = HubObject::Absent,
            "ClusterNotFound",
        ),
        (
            |entry| entry.run = Err(problem("NoCompletedBackup")),
            "NoCompletedBackup",
        ),
        (
            |entry| entry.facts.link = down("Unreachable", None),
            "Unreachable",
        ),
        (
            |entry| {
                entry.origin = Ok(Origin {
                    members: vec![member_of("a former cluster", None)],
                    ..origin()
                });
            },
            "MemberReplaced",
        ),
        (
            |entry| entry.facts.velero = Served::No,
            "VeleroNotInstalled",
        ),
        (|entry| entry.facts.velero = Served::Refused, "AccessDenied"),
        (
            |entry| entry.facts.velero = Served::Unknown,
            "WaitingForClusters",
        ),
    ];
    for (hinder, reason) in table {
        for mut entry in [fresh(), claimed()] {
            hinder(&mut entry);
            assert_eq!(next(&entry, 1), format!("Wait {reason}"));
            // Nothing was created yet, so the deadline needs no look at the member.
            assert_eq!(next(&entry, 3600), "Fail StartDeadlineExceeded");
        }
    }
}

#[test]
fn what_can_never_be_restored_ends_the_entry_at_once() {
    let table = [
        ("BackupNotRestorable", true, "Fail BackupNotRestorable"),
        ("BackupExpired", true, "Fail BackupExpired"),
        // The next run of a schedule can be.
        ("BackupNotRestorable", false, "Wait BackupNotRestorable"),
        ("BackupExpired", false, "Wait BackupExpired"),
        ("NoCompletedBackup", true, "Wait NoCompletedBackup"),
        ("BackupNotFound", true, "Wait BackupNotFound"),
    ];
    for (reason, once, expected) in table {
        let terms = Terms { once, ..terms(1) };
        for mut entry in [fresh(), claimed()] {
            entry.run = Err(problem(reason));
            assert_eq!(short(&plan(&entry, &terms)), expected, "{once}");
            (entry.origin, entry.run) = (Err(problem(reason)), Err(problem(reason)));
            assert_eq!(short(&plan(&entry, &terms)), expected, "{once}");
        }
        // What is chosen is looked at in its own cluster.
        let mut entry = chosen();
        entry.run = Err(problem(reason));
        assert_eq!(short(&plan(&entry, &terms)), "Create");
    }
}

#[test]
fn a_look_that_shows_what_never_changes_ends_the_entry_too() {
    let waits = |reason| NotNow::Waits(problem(reason));
    let table = [
        ("BackupExpired", true, "Fail BackupExpired"),
        ("BackupExpired", false, "Look BackupExpired"),
        ("BackupNotRestorable", true, "Fail BackupNotRestorable"),
        ("BackupNotSynced", true, "Look BackupNotSynced"),
    ];
    for (reason, once, expected) in table {
        assert_eq!(short(&looked(waits(reason), once)), expected);
    }
    // A chosen run is the only one, and may have been begun with by a former process.
    let again = |reason| short(&looked_again(waits(reason)));
    assert_eq!(again("BackupExpired"), "GiveUp BackupExpired");
    assert_eq!(again("BackupNotRestorable"), "GiveUp BackupNotRestorable");
    assert_eq!(again("BackupNotFound"), "Look BackupNotFound");
    let failed = NotNow::Failed(problem("BackupExpired"));
    assert_eq!(short(&looked_again(failed)), "Retry BackupExpired");
}

#[test]
fn what_holds_for_all_comes_first_and_the_config_map_last() {
    let missing = problem("BackupNotFound");
    let hold = problem("ConfigMapNotFound");
    let terms = Terms {
        source: Some(&missing),
        hold: Some(&hold),
        ..terms(1)
    };
    let mut entry = fresh();
    entry.problem = Some(problem("ClusterNotInFleet"));
    assert_eq!(short(&plan(&entry, &terms)), "Wait BackupNotFound");
    let terms = Terms {
        source: None,
        ..terms
    };
    for entry in [fresh(), claimed(), chosen()] {
        assert_eq!(short(&plan(&entry, &terms)), "Wait ConfigMapNotFound");
    }
}

#[test]
fn a_chosen_run_is_restored_whatever_becomes_of_backup_and_fleet() {
    let missing = problem("BackupNotFound");
    let mut entry = chosen();
    entry.problem = Some(problem("ClusterNotInFleet"));
    entry.run = Err(problem("BackupNotFound"));
    let terms = Terms {
        source: Some(&missing),
        ..terms(1)
    };
    assert_eq!(short(&plan(&entry, &terms)), "Create");
}

#[test]
fn past_the_deadline_or_while_its_backup_goes_nothing_is_created_any_more() {
    assert_eq!(next(&chosen(), 3600), "GiveUp StartDeadlineExceeded");
    let going = Terms {
        going: true,
        ..terms(1)
    };
    assert_eq!(short(&plan(&chosen(), &going)), "GiveUp BackupNotFound");
    let mut running = seen();
    running.facts.objects = vec![object(json!({ "phase": "InProgress" }))];
    assert_eq!(short(&plan(&running, &going)), "Follow InProgress");
}

#[test]
fn what_cannot_be_seen_is_never_created_nor_taken_for_gone() {
    for mut entry in [chosen(), seen()] {
        entry.facts.link = down("Unreachable", Some(0));
        assert_eq!(next(&entry, 9999), "Hold");
    }
    let mut running = seen();
    running.facts.objects = vec![object(json!({ "phase": "InProgress" }))];
    for (mut entry, unsynced, at_the_end) in [
        (chosen(), "Hold", "GiveUp StartDeadlineExceeded"),
        (seen(), "Hold", "Confirm"),
        (running, "Follow InProgress", "Confirm"),
    ] {
        entry.facts.objects_synced = false;
        assert_eq!(next(&entry, 1), unsynced);
        assert_eq!(next(&entry, 3600), unsynced);
        entry.facts.velero = Served::No;
        assert_eq!(next(&entry, 1), "Wait VeleroNotInstalled");
        assert_eq!(next(&entry, 3600), at_the_end);
        entry.facts.velero = Served::Refused;
        assert_eq!(next(&entry, 3600), "Wait AccessDenied");
    }
    assert_eq!(next(&seen(), 1), "Confirm");
}

#[test]
fn another_cluster_under_the_name_ends_a_claimed_entry() {
    for mut entry in [claimed(), chosen(), seen()] {
        entry.facts.link = Link::Up {
            member_uid: format!("not {MEMBER_UID}"),
        };
        assert_eq!(next(&entry, 1), "Fail MemberReplaced");
    }
}

#[test]
fn each_answer_of_the_member_has_its_consequence() {
    let created = || Applied::Present(Box::new((*object(json!({ "phase": "New" }))).clone()));
    let give_up = Next::GiveUp(problem("StartDeadlineExceeded"));
    let table = [
        (Next::Create, created(), Some("Follow New")),
        (give_up.clone(), created(), Some("Follow New")),
        (Next::Create, Applied::Taken, None),
        (Next::Create, Applied::Absent, Some("Retry Unreachable")),
        (
            Next::Create,
            Applied::Failed(problem("AccessDenied")),
            Some("Retry AccessDenied"),
        ),
        (
            give_up.clone(),
            Applied::Absent,
            Some("Fail StartDeadlineExceeded"),
        ),
        (give_up, Applied::Taken, Some("Fail StartDeadlineExceeded")),
        (
            Next::Confirm,
            Applied::Absent,
            Some("Fail ObjectDisappeared"),
        ),
        (
            Next::Confirm,
            Applied::Taken,
            Some("Fail ObjectDisappeared"),
        ),
    ];
    for (asked, applied, expected) in table {
        let got = answered(&chosen(), &asked, applied);
        assert_eq!(got.as_ref().map(short).as_deref(), expected, "{asked:?}");
    }
}

#[test]
fn what_velero_refused_before_it_saw_what_is_there_is_tried_again_after_a_while() {
    let refused_early = || {
        object(json!({
            "phase": "FailedValidation",
            "validationErrors": ["The BSL default is unavailable, cannot retrieve the backup"],
        }))
    };
    let mut refused = seen();
    refused.facts.objects = vec![refused_early()];
    assert_eq!(next(&refused, 1), "Retry StorageLocationUnavailable");
    let mut rested = refused.clone();
    rested.rested = true;
    // The next name is only created before the deadline.
    assert_eq!(
        (next(&rested, 1), next(&rested, 3600)),
        ("Rename".into(), "Rename".into())
    );
    for entry in [refused, rested] {
        let mut silent = entry.clone();
        silent.facts.link = down("Unreachable", Some(0));
        assert_eq!(next(&silent, 1), "Hold");
        let mut unsynced = entry;
        unsynced.facts.objects_synced = false;
        assert_eq!(next(&unsynced, 1), "Hold");
        unsynced.facts.velero = Served::No;
        assert_eq!(next(&unsynced, 1), "Wait VeleroNotInstalled");
    }
    for asked in [Next::Create, Next::Confirm] {
        let present = Applied::Present(Box::new(velero::Restore::clone(&refused_early())));
        let said = answered(&chosen(), &asked, present);
        let said = said.as_ref().map(short);
        assert_eq!(said.as_deref(), Some("Retry StorageLocationUnavailable"));
    }
    let mut invalid = chosen();
    let status = json!({ "phase": "FailedValidation", "validationErrors": ["no such policy"] });
    invalid.facts.objects = vec![object(status)];
    assert_eq!(next(&invalid, 1), "Follow FailedValidation");
}

#[test]
fn the_last_cause_is_quoted_when_it_is_too_late() {
    let mut entry = fresh();
    entry.run = Err(problem("NoCompletedBackup"));
    let Next::Fail(why) = plan(&entry, &terms(3600)) else {
        panic!("it goes on");
    };
    assert!(why.message.contains("something is in the way"), "{why:?}");
}

#[test]
fn another_member_s_backup_is_read_where_it_is_asked_for_and_known_to_lie() {
    let mut entry = fresh();
    let foreign = |bucket| {
        Ok(Origin {
            members: vec![member_of("of another cluster", bucket)],
            ..origin()
        })
    };
    let asked = Terms {
        elsewhere: true,
        ..terms(1)
    };
    entry.origin = foreign(Some("fleet-backups"));
    assert_eq!(short(&plan(&entry, &asked)), "Claim");
    assert_eq!(next(&entry, 1), "Wait MemberReplaced");
    entry.origin = foreign(None);
    assert_eq!(short(&plan(&entry, &asked)), "Wait StorageLocationNotFound");
    // Its own is read without knowing where it lies.
    assert_eq!(short(&plan(&fresh(), &asked)), "Claim");
}

#[test]
fn a_backup_of_a_member_whose_store_was_taken_over_is_the_cluster_s_own() {
    let mut entry = fresh();
    entry.origin = Ok(Origin {
        members: vec![member_of("a former cluster", Some("fleet-backups"))],
        ..origin()
    });
    let waits = |entry: &Entry| match plan(entry, &terms(10)) {
        Next::Wait(problem) => Some(problem.reason),
        _ => None,
    };
    assert_eq!(waits(&entry), Some("MemberReplaced"));
    let id = api_types::names::MemberId::from_uid;
    entry.facts.adopted = [id("another one")].into();
    assert_eq!(waits(&entry), Some("MemberReplaced"));
    entry.facts.adopted = [id("a former cluster")].into();
    assert_eq!(waits(&entry), None);
}
