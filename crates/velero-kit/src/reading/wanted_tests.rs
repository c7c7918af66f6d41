use super::super::fixtures::stored_run;
use super::*;
use crate::fixtures::{MEMBER_UID, NAME as RUN, OWNER_UID, at, key};

fn wanted() -> Wanted {
    Wanted {
        which: Which::Named(RUN.to_owned()),
        namespace: "team-a".to_owned(),
        kind: "Backup",
        name: "nightly-shop".to_owned(),
        owner_uid: Some(OWNER_UID.to_owned()),
        made_in: [MemberId::from_uid(MEMBER_UID)].into(),
        started: Some(at(-60)),
    }
}

fn reason(wanted: &Wanted, found: Option<velero::Backup>, second: i64) -> Option<&'static str> {
    let result = restorable(wanted, RUN, &key("oslo"), found, at(second));
    result.err().map(|problem| problem.reason)
}

#[test]
fn only_a_backup_that_is_done_and_kept_is_restorable() {
    let table = [
        ("Completed", None),
        ("PartiallyFailed", None),
        ("", Some("NoCompletedBackup")),
        ("InProgress", Some("NoCompletedBackup")),
        ("FinalizingPartiallyFailed", Some("NoCompletedBackup")),
        ("SomethingOf2030", Some("NoCompletedBackup")),
        ("Failed", Some("BackupNotRestorable")),
        ("FailedValidation", Some("BackupNotRestorable")),
        ("Deleting", Some("BackupNotFound")),
    ];
    for (phase, expected) in table {
        assert_eq!(
            reason(&wanted(), Some(stored_run(phase)), 0),
            expected,
            "{phase}"
        );
    }
    let done = || Some(stored_run("Completed"));
    assert_eq!(reason(&wanted(), done(), 1000), Some("BackupExpired"));
    assert_eq!(reason(&wanted(), None, 0), Some("BackupNotFound"));
    let mut going = stored_run("Completed");
    going.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    assert_eq!(reason(&wanted(), Some(going), 0), Some("BackupNotFound"));
}

#[test]
fn a_namesake_is_never_restored() {
    let label = |key: &str, value: &str| {
        let mut backup = stored_run("Completed");
        let labels = backup.metadata.labels.as_mut().unwrap();
        labels.insert(key.to_owned(), value.to_owned());
        Some(backup)
    };
    let not_found = Some("BackupNotFound");
    let foreign = label("kurator.dev/owner-uid", "another");
    assert_eq!(reason(&wanted(), foreign.clone(), 0), not_found);
    assert_eq!(
        reason(&wanted(), label("kurator.dev/member", "another"), 0),
        not_found
    );
    let mut unmarked = stored_run("Completed");
    unmarked.metadata.annotations = None;
    assert_eq!(reason(&wanted(), Some(unmarked), 0), not_found);

    // By its owner's uid it is known, whatever start Velero has given it when it ran it once more.
    let again = Wanted {
        started: Some(at(-59)),
        ..wanted()
    };
    assert_eq!(reason(&again, Some(stored_run("Completed")), 0), None);

    // Once chosen, the run is known by its start, be the hub's Backup there or not.
    let chosen = Wanted {
        owner_uid: None,
        ..wanted()
    };
    assert_eq!(reason(&chosen, foreign, 0), None);
    let later = Wanted {
        started: Some(at(-59)),
        ..chosen
    };
    assert_eq!(reason(&later, Some(stored_run("Completed")), 0), not_found);
}

#[test]
fn every_member_that_may_have_made_it_is_selected_and_taken() {
    let mut wanted = wanted();
    let own = MemberId::from_uid(MEMBER_UID);
    let selected = |members: &str| {
        Some(format!(
            "kurator.dev/owner-uid={OWNER_UID},kurator.dev/member in ({members})"
        ))
    };
    assert_eq!(wanted.selector(), selected(own.as_str()));
    let former = MemberId::from_uid("the former one");
    wanted.made_in.insert(former.clone());
    let mut both = [own.as_str(), former.as_str()];
    both.sort_unstable();
    assert_eq!(wanted.selector(), selected(&both.join(",")));
    assert_eq!(reason(&wanted, Some(stored_run("Completed")), 0), None);
}
