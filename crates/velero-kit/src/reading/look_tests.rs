use serde_json::{Value, json};

use super::*;
use crate::fixtures::{self, MEMBER_UID, member, origin, problem};

const AGAIN: Duration = Duration::from_secs(10);

fn location(status: Value) -> Arc<velero::BackupStorageLocation> {
    let mut location = fixtures::location("Available");
    location.status = status;
    Arc::new(location)
}

fn synced(at: &str) -> Value {
    json!({ "phase": "Available", "lastSyncedTime": at })
}

fn sight() -> Sight {
    Sight {
        origin: origin(),
        which: Which::Named("run".to_owned()),
        answers: true,
        locations: vec![location(synced("2026-11-23T09:00:00Z"))],
        copies: vec![(Some("copy".to_owned()), Some("1".to_owned()))],
    }
}

fn looked() -> Looked {
    Looked {
        sight: sight(),
        at: Instant::now(),
        problem: problem("BackupNotSynced"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_holds_for_its_time_and_the_next_is_due_when_that_is_over() {
    let looked = looked();
    tokio::time::advance(Duration::from_secs(4)).await;
    let (problem, left) = looked.holds(&sight(), AGAIN).unwrap();
    assert_eq!(problem.reason, "BackupNotSynced");
    assert_eq!(left, Duration::from_secs(6));
    tokio::time::advance(left).await;
    assert!(looked.holds(&sight(), AGAIN).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_location_that_velero_has_only_checked_again_changes_nothing() {
    let mut checked = sight();
    let mut status = synced("2026-11-23T09:00:00Z");
    status["lastValidationTime"] = json!("2026-11-23T09:00:30Z");
    checked.locations = vec![location(status)];
    assert!(looked().holds(&checked, AGAIN).is_some());
}

#[tokio::test(start_paused = true)]
async fn whatever_a_look_may_find_otherwise_makes_it_look_again_at_once() {
    type Edit = fn(&mut Sight);
    let table: [(Edit, &str); 10] = [
        (|s| s.origin.members[0].uid.push('2'), "another member"),
        (
            |s| s.origin.members.push(member("former", None)),
            "a former member",
        ),
        (
            |s| s.origin.members = vec![member(MEMBER_UID, Some("fleet-backups"))],
            "a place",
        ),
        (|s| s.which = Which::Newest(None), "another run"),
        (|s| s.answers = false, "the origin fell silent"),
        (|s| s.copies.clear(), "a copy went"),
        (
            |s| s.copies[0].1 = Some("2".to_owned()),
            "a copy has changed",
        ),
        (|s| s.locations.clear(), "a location went"),
        (
            |s| s.locations = vec![location(synced("2026-11-23T09:01:00Z"))],
            "Velero has looked for new backups",
        ),
        (
            |s| s.locations = vec![location(json!({ "phase": "Unavailable" }))],
            "a location broke",
        ),
    ];
    for (edit, what) in table {
        let mut now = sight();
        edit(&mut now);
        assert!(looked().holds(&now, AGAIN).is_none(), "{what}");
    }
    let mut more = sight();
    more.locations
        .push(location(synced("2026-11-23T09:00:00Z")));
    assert!(looked().holds(&more, AGAIN).is_none(), "a location came");
}
