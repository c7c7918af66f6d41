use serde_json::json;

use super::super::fixtures::{
    MEMBER_UID, NAME, claimed, down, fresh, in_phase, location, named_object, object, seen, short,
    terms,
};
use super::*;
use api_types::phase::EntryPhase;

fn decided(entry: &Entry) -> String {
    short(&plan(entry, &terms(0)))
}

fn late(entry: &Entry) -> String {
    short(&plan(entry, &terms(3600)))
}

fn with(mut entry: Entry, change: impl FnOnce(&mut Entry)) -> Entry {
    change(&mut entry);
    entry
}

const IN_BUCKET: &str = "backup already exists in object storage";

#[test]
fn an_entry_with_nothing_in_the_way_is_claimed() {
    assert_eq!(decided(&fresh("oslo")), "Claim");
}

#[test]
fn what_keeps_an_entry_from_beginning_is_told_one_by_one_in_order() {
    type Mend = fn(&mut Entry);
    let missing = Problem::new(reason::CONFIG_MAP_NOT_FOUND, "no ConfigMap");
    let mut entry = with(fresh("oslo"), |entry| {
        entry.problem = Some(Problem::new(reason::CLUSTER_NOT_IN_FLEET, "not a member"));
        entry.facts.hub = HubObject::Absent;
        entry.facts.link = down(reason::CREDENTIALS_INVALID, None);
        entry.facts.velero = Served::Unknown;
        entry.facts.location = None;
    });
    let terms = Terms {
        hold: Some(&missing),
        ..terms(0)
    };
    // Each step mends the first obstacle; the next one shows.
    let mend: [(&str, Mend); 8] = [
        ("ClusterNotInFleet", |entry| entry.problem = None),
        ("ClusterNotFound", |entry| {
            entry.facts.hub = HubObject::Terminating;
        }),
        ("ClusterNotFound", |entry| {
            entry.facts.hub = HubObject::Present;
        }),
        ("CredentialsInvalid", |entry| {
            entry.facts.link = super::super::fixtures::up();
        }),
        ("WaitingForClusters", |entry| {
            entry.facts.velero = Served::Refused;
        }),
        ("AccessDenied", |entry| entry.facts.velero = Served::No),
        ("VeleroNotInstalled", |entry| {
            entry.facts.velero = Served::Yes;
        }),
        ("ConfigMapNotFound", |_| {}),
    ];
    for (expected, mend) in mend {
        assert_eq!(short(&plan(&entry, &terms)), format!("Wait {expected}"));
        mend(&mut entry);
    }
    let terms = Terms {
        hold: None,
        ..terms
    };
    for (location, expected) in [
        (None, "Wait StorageLocationNotFound"),
        (Some(location("")), "Wait StorageLocationUnavailable"),
        (
            Some(location("Unavailable")),
            "Wait StorageLocationUnavailable",
        ),
        (Some(location("Available")), "Claim"),
    ] {
        entry.facts.location = location;
        assert_eq!(short(&plan(&entry, &terms)), expected);
    }
}

#[test]
fn at_the_deadline_an_unclaimed_entry_fails_at_once_and_quotes_the_last_cause() {
    let entry = with(fresh("oslo"), |entry| {
        entry.facts.link = down(reason::UNREACHABLE, None);
    });
    assert_eq!(short(&plan(&entry, &terms(3599))), "Wait Unreachable");
    let Next::Fail(problem) = plan(&entry, &terms(3600)) else {
        panic!("the deadline is over");
    };
    assert_eq!(problem.reason, "StartDeadlineExceeded");
    assert!(problem.message.ends_with("; last: oslo cannot be reached"));
    // Also on a late first pass, with nothing in the way.
    assert_eq!(late(&fresh("oslo")), "Fail StartDeadlineExceeded");
}

#[test]
fn a_final_entry_is_left_alone_whatever_is_seen() {
    for phase in [
        EntryPhase::Completed,
        EntryPhase::PartiallyFailed,
        EntryPhase::Failed,
    ] {
        for object in ["InProgress", "Failed", "Deleting"] {
            let entry = with(seen(), |entry| {
                entry.stored.phase = phase;
                entry.facts.objects = vec![in_phase(object)];
            });
            assert_eq!(late(&entry), "Final");
        }
    }
}

#[test]
fn a_claimed_entry_is_created_and_past_the_deadline_only_looked_for() {
    assert_eq!(decided(&claimed()), "Create");
    assert_eq!(late(&claimed()), "Check");
}

#[test]
fn once_the_object_exists_the_deadline_and_missing_things_no_longer_matter() {
    let entry = with(claimed(), |entry| {
        entry.facts.objects = vec![in_phase("New")];
        entry.facts.location = None;
        entry.facts.hub = HubObject::Absent;
        entry.problem = Some(Problem::new(reason::CLUSTER_NOT_IN_FLEET, "left"));
    });
    assert_eq!(late(&entry), "Follow New");
}

#[test]
fn a_claim_goes_on_although_its_cluster_has_left_the_fleet() {
    let entry = with(claimed(), |entry| {
        entry.problem = Some(Problem::new(reason::CLUSTER_NOT_IN_FLEET, "left"));
        entry.facts.hub = HubObject::Terminating;
    });
    assert_eq!(decided(&entry), "Create");
}

#[test]
fn a_claimed_entry_waits_for_the_config_map_that_its_policy_names_until_the_deadline() {
    let missing = Problem::new(reason::CONFIG_MAP_NOT_FOUND, "no ConfigMap");
    let held = |second| Terms {
        hold: Some(&missing),
        ..terms(second)
    };
    assert_eq!(short(&plan(&claimed(), &held(0))), "Wait ConfigMapNotFound");
    assert_eq!(short(&plan(&claimed(), &held(3600))), "Check");
    assert_eq!(short(&plan(&seen(), &held(0))), "Confirm");
}

#[test]
fn a_claimed_entry_is_not_created_in_a_location_that_velero_cannot_use_until_the_deadline() {
    let read_only = || {
        let mut location = velero::BackupStorageLocation::clone(&location("Available"));
        location.spec.access_mode = Some("ReadOnly".to_owned());
        Arc::new(location)
    };
    for (location, expected) in [
        (None, "Wait StorageLocationNotFound"),
        (Some(location("")), "Wait StorageLocationUnavailable"),
        (
            Some(location("Unavailable")),
            "Wait StorageLocationUnavailable",
        ),
        (Some(read_only()), "Wait StorageLocationReadOnly"),
        (Some(location("Available")), "Create"),
    ] {
        let entry = with(claimed(), |entry| entry.facts.location = location.clone());
        assert_eq!(decided(&entry), expected);
        assert_eq!(late(&entry), "Check");
    }
    let unknown = with(claimed(), |entry| {
        entry.facts.velero = Served::Unknown;
        entry.facts.location = None;
    });
    assert_eq!(decided(&unknown), "Wait WaitingForClusters");
}

#[test]
fn an_object_that_was_seen_and_is_not_in_the_watch_is_asked_for_never_made_again() {
    assert_eq!(decided(&seen()), "Confirm");
    assert_eq!(late(&seen()), "Confirm");
}

#[test]
fn nothing_is_concluded_from_a_member_that_is_silent_or_not_fully_seen() {
    for entry in [claimed(), seen()] {
        let silent = with(entry.clone(), |entry| {
            entry.facts.link = down(reason::UNREACHABLE, Some(0));
            entry.facts.velero = Served::No;
        });
        assert_eq!(late(&silent), "Hold");
        let unsynced = with(entry, |entry| entry.facts.objects_synced = false);
        assert_eq!(late(&unsynced), "Hold");
    }
}

#[test]
fn the_last_known_object_of_a_silent_member_is_still_followed() {
    let entry = with(seen(), |entry| {
        entry.facts.link = down(reason::UNREACHABLE, Some(0));
        entry.facts.objects = vec![in_phase("Completed")];
        entry.facts.objects_synced = false;
    });
    assert_eq!(decided(&entry), "Follow Completed");
}

#[test]
fn a_member_that_stops_to_serve_velero_or_to_let_us_look_is_not_held_in_silence() {
    let running = with(seen(), |entry| {
        entry.facts.objects = vec![in_phase("InProgress")];
    });
    for (entry, at_the_end) in [
        (claimed(), "Check"),
        (seen(), "Confirm"),
        (running, "Confirm"),
    ] {
        let removed = with(entry.clone(), |entry| {
            entry.facts.velero = Served::No;
            entry.facts.objects_synced = false;
        });
        assert_eq!(decided(&removed), "Wait VeleroNotInstalled");
        assert_eq!(late(&removed), at_the_end);
        let refused = with(entry, |entry| {
            entry.facts.velero = Served::Refused;
            entry.facts.objects_synced = false;
        });
        assert_eq!(decided(&refused), "Wait AccessDenied");
        assert_eq!(late(&refused), "Wait AccessDenied");
    }
}

#[test]
fn what_is_still_seen_is_followed_although_locations_are_not() {
    let entry = with(seen(), |entry| {
        entry.facts.velero = Served::Refused;
        entry.facts.objects = vec![in_phase("InProgress")];
    });
    assert_eq!(decided(&entry), "Follow InProgress");
    let done = with(entry, |entry| {
        entry.facts.objects_synced = false;
        entry.facts.objects = vec![in_phase("Completed")];
    });
    assert_eq!(decided(&done), "Follow Completed");
}

#[test]
fn another_cluster_under_the_member_s_name_ends_the_entry_whatever_it_shows() {
    for mut entry in [claimed(), seen()] {
        entry.facts.link = Link::Up {
            member_uid: "another".to_owned(),
        };
        assert_eq!(decided(&entry), "Fail MemberReplaced");
        entry.facts.objects = vec![in_phase("Completed")];
        assert_eq!(decided(&entry), "Fail MemberReplaced");
    }
    // An entry without a claim has nothing to lose: it is claimed where it is.
    let mut entry = fresh("oslo");
    entry.facts.link = Link::Up {
        member_uid: "another".to_owned(),
    };
    assert_eq!(decided(&entry), "Claim");
}

#[test]
fn a_name_whose_folder_is_in_the_bucket_is_given_up_and_no_other_failure_is() {
    let failed = |reason: &str| {
        with(claimed(), |entry| {
            entry.facts.objects = vec![object(json!({
                "phase": "Failed", "failureReason": reason,
            }))];
        })
    };
    assert_eq!(decided(&failed(IN_BUCKET)), "Rename");
    assert_eq!(decided(&failed("no space left")), "Follow Failed");
}

/// As Velero refuses a location that its cache does not show as it is.
fn refused_early() -> Arc<velero::Backup> {
    object(json!({
        "phase": "FailedValidation",
        "validationErrors": [
            "backup can't be created because BackupStorageLocation default is in Unavailable status.",
        ],
    }))
}

#[test]
fn what_velero_refused_before_it_saw_what_is_there_is_tried_again_after_a_while() {
    let refused = with(seen(), |entry| {
        entry.facts.objects = vec![refused_early()];
    });
    assert_eq!(decided(&refused), "Retry StorageLocationUnavailable");
    let rested = with(refused.clone(), |entry| entry.rested = true);
    // The next name is only created before the deadline.
    assert_eq!(
        (decided(&rested), late(&rested)),
        ("Rename".into(), "Rename".into())
    );
    for entry in [refused, rested] {
        let silent = with(entry.clone(), |entry| {
            entry.facts.link = down(reason::UNREACHABLE, Some(0));
        });
        assert_eq!(decided(&silent), "Hold");
        let unsynced = with(entry.clone(), |entry| entry.facts.objects_synced = false);
        assert_eq!(decided(&unsynced), "Hold");
        let removed = with(unsynced, |entry| entry.facts.velero = Served::No);
        assert_eq!(decided(&removed), "Wait VeleroNotInstalled");
    }
    let present = || Applied::Present(Box::new(velero::Backup::clone(&refused_early())));
    for asked in [Next::Create { expired: false }, Next::Confirm] {
        let said = answer(&claimed(), &asked, present());
        assert_eq!(said, "Retry StorageLocationUnavailable");
    }
    let read_only = with(claimed(), |entry| {
        entry.facts.objects = vec![object(json!({
            "phase": "FailedValidation", "validationErrors": ["it is read-only"],
        }))];
    });
    assert_eq!(decided(&read_only), "Follow FailedValidation");
}

#[test]
fn only_the_object_under_the_claimed_name_counts() {
    let entry = with(claimed(), |entry| {
        entry.facts.objects = vec![named_object(
            "an-earlier-name",
            json!({ "phase": "Completed" }),
        )];
    });
    assert_eq!(decided(&entry), "Create");
}

#[test]
fn a_name_without_a_member_is_no_claim() {
    // As Kurator v0.5.0 has left them.
    let entry = with(fresh("oslo"), |entry| {
        entry.stored.backup_name_in_cluster = Some(NAME.to_owned());
    });
    assert_eq!(entry.claimed_name(), None);
    assert_eq!(claimed().claimed_name(), Some(NAME));
    assert_eq!(claimed().stored.member_uid.as_deref(), Some(MEMBER_UID));
}

fn answer(entry: &Entry, asked: &Next, applied: Applied) -> String {
    answered(entry, asked, applied).map_or_else(|| "Rename".to_owned(), |next| short(&next))
}

#[test]
fn each_answer_of_a_member_has_its_consequence() {
    let create = Next::Create { expired: false };
    let check = Next::Create { expired: true };
    let present = || Applied::Present(Box::new(velero::Backup::clone(&in_phase("New"))));
    let in_bucket = || {
        let refused = object(json!({ "phase": "Failed", "failureReason": IN_BUCKET }));
        Applied::Present(Box::new(velero::Backup::clone(&refused)))
    };
    let failed = || Applied::Failed(Problem::new(reason::ACCESS_DENIED, "no"));
    let table = [
        (&create, present(), "Follow New"),
        (&create, in_bucket(), "Rename"),
        (&create, failed(), "Retry AccessDenied"),
        (&create, Applied::Absent, "Retry Unreachable"),
        (&create, Applied::Taken, "Rename"),
        (&check, present(), "Follow New"),
        (&check, failed(), "Retry AccessDenied"),
        (&check, Applied::Absent, "Fail StartDeadlineExceeded"),
        (&check, Applied::Taken, "Fail StartDeadlineExceeded"),
        (&Next::Confirm, present(), "Follow New"),
        (&Next::Confirm, in_bucket(), "Rename"),
        (&Next::Confirm, failed(), "Retry AccessDenied"),
        (&Next::Confirm, Applied::Absent, "Fail ObjectDisappeared"),
        (&Next::Confirm, Applied::Taken, "Fail ObjectDisappeared"),
    ];
    for (asked, applied, expected) in table {
        let what = format!("{asked:?} {applied:?}");
        assert_eq!(answer(&claimed(), asked, applied), expected, "{what}");
    }
}

#[test]
fn an_entry_that_came_too_late_quotes_what_kept_it_and_not_that_it_was_queued() {
    let message = |reason: &str| {
        let entry = with(claimed(), |entry| {
            entry.stored.reason = Some(reason.to_owned());
            entry.stored.message = Some("its words".to_owned());
        });
        match answered(&entry, &Next::Create { expired: true }, Applied::Absent) {
            Some(Next::Fail(problem)) => problem.message,
            other => panic!("{other:?}"),
        }
    };
    assert!(message("AccessDenied").ends_with("; last: its words"));
    assert!(!message("Queued").contains("its words"));
}
