use std::sync::Arc;

use velero_kit::fixtures::place;

use super::*;
use crate::backup::fixtures::{MEMBER_UID, at, down, key};
use crate::schedule::fixtures::{backup, claimed, facts, fresh, placed, run, schedule};

fn keep(second: i64) -> Keep {
    Keep::new(&backup(), at(second))
}

fn deletes() -> Keep {
    Keep {
        policy: DeletionPolicy::Delete,
        ..keep(0)
    }
}

/// Its last run is past its ttl an hour after the Backup was made.
fn oslo() -> Former {
    Former {
        cluster: FormerCluster {
            cluster_name: "oslo".to_owned(),
            cluster_kind: "AttachedCluster".to_owned(),
            member_uid: Some(MEMBER_UID.to_owned()),
            expiration_time: Some(Time(at(3600))),
            ..FormerCluster::default()
        },
        key: Some(key("oslo")),
        facts: Some(facts()),
        shown_in: Vec::new(),
        current: false,
    }
}

fn with(edit: impl FnOnce(&mut Facts)) -> Former {
    let mut former = oslo();
    edit(former.facts.as_mut().unwrap());
    former
}

fn another() -> Former {
    let mut former = oslo();
    former.cluster.member_uid = Some("another".to_owned());
    former
}

#[test]
fn it_is_asked_until_a_live_look_has_shown_that_it_is_stopped_and_again_once_its_runs_are_gone() {
    let next = |former: &Former, stopped| former.next(keep(0), stopped);
    let runs = || vec![run("a", "Completed", 0)];
    let schedules = || vec![std::sync::Arc::new(schedule())];
    assert_eq!(next(&oslo(), false), Next::Stop, "a watch may lag behind");
    let mut with_runs = with(|facts| facts.runs = runs());
    assert_eq!(next(&with_runs, false), Next::Stop);
    assert_eq!(next(&with_runs, true), Next::Keep, "until they expire");
    with_runs.cluster.released = true;
    assert_eq!(next(&with_runs, false), Next::Keep, "written down");
    let again = with(|facts| (facts.runs, facts.schedules) = (runs(), schedules()));
    assert_eq!(next(&again, true), Next::Stop);
    assert_eq!(next(&oslo(), true), Next::Stop);
    let bare = with(|facts| facts.velero = Served::No);
    assert_eq!(next(&bare, false), Next::Stop);
    assert_eq!(next(&bare, true), Next::Keep, "there is nobody to ask");
}

#[test]
fn one_that_cannot_be_asked_is_remembered_until_its_runs_are_past_their_ttl() {
    let next = |former: &Former| (former.next(keep(0), false), former.next(keep(3600), false));
    let bounded = (Next::Keep, Next::Forget);
    assert_eq!(next(&another()), bounded);
    let silent = || with(|facts| facts.link = down("Unreachable", None));
    assert_eq!(next(&silent()), (Next::Keep, Next::Keep), "it may go on");
    let mut released = silent();
    released.cluster.released = true;
    assert_eq!(next(&released), bounded);
    let mut gone = silent();
    gone.facts.as_mut().unwrap().hub = HubObject::Absent;
    assert_eq!(next(&gone), bounded);
    let mut unknown = oslo();
    unknown.facts = None;
    assert_eq!(next(&unknown), bounded);
}

#[test]
fn it_is_forgotten_when_nothing_of_ours_is_left_there_and_let_go_once_it_is_stopped() {
    use DeletionPolicy::{Delete, Retain};
    let after = |schedules, runs, policy| {
        let mut former = oslo();
        let next = former.after(Left { schedules, runs }, policy);
        (next, former.cluster.released)
    };
    assert_eq!(after(true, false, Retain), (Next::Keep, false));
    assert_eq!(after(true, true, Retain), (Next::Keep, false));
    assert_eq!(after(false, true, Retain), (Next::Keep, true));
    assert_eq!(after(false, true, Delete), (Next::Keep, false));
    assert_eq!(after(false, false, Retain).0, Next::Forget);
    assert_eq!(after(false, false, Delete).0, Next::Forget);
}

#[test]
fn what_is_known_of_it_follows_who_answers() {
    let refreshed = |mut former: Former, keep: Keep, stopped: bool| {
        former.refresh(keep, stopped);
        let cluster = former.cluster;
        (cluster.released, cluster.replaced, cluster.expiration_time)
    };
    let kept = Some(Time(at(3600)));
    assert_eq!(
        refreshed(oslo(), keep(0), false),
        (false, false, kept.clone())
    );
    assert_eq!(
        refreshed(oslo(), keep(0), true),
        (true, false, kept.clone())
    );
    assert!(!refreshed(oslo(), deletes(), true).0, "its runs are to go");
    assert_eq!(refreshed(another(), keep(0), false), (false, true, kept));
    // Back, with the Schedule that nobody could take from it.
    let mut back = with(|facts| {
        facts.schedules = vec![std::sync::Arc::new(schedule())];
        facts.runs = vec![run("a", "Completed", 0), run("b", "Completed", 60)];
    });
    (back.cluster.released, back.cluster.replaced) = (true, true);
    assert_eq!(
        refreshed(back, keep(0), false),
        (false, false, Some(Time(at(3660))))
    );
    // Of an earlier version.
    let mut silent = with(|facts| facts.link = down("Unreachable", None));
    (silent.cluster.released, silent.cluster.expiration_time) = (true, None);
    let month = Some(Time(at(30 * 24 * 3600)));
    assert_eq!(refreshed(silent, keep(0), false), (true, false, month));
}

#[test]
fn what_is_remembered_of_it_ends_with_its_newest_run() {
    let end = |edit: fn(&mut BackupDetail)| {
        let mut detail = placed().stored;
        edit(&mut detail);
        of(detail, keep(10)).expiration_time.unwrap().0
    };
    let month = 30 * 24 * 3600;
    assert_eq!(end(|_| {}), at(10 + month), "it may have run unseen");
    assert_eq!(
        end(|detail| {
            let run = detail.backup_status_in_cluster.get_or_insert_default();
            run.start_timestamp = Some(Time(at(5)));
        }),
        at(5 + month)
    );
    assert_eq!(
        end(|detail| {
            let run = detail.backup_status_in_cluster.get_or_insert_default();
            run.start_timestamp = Some(Time(at(5)));
            run.expiration = Some(Time(at(7)));
        }),
        at(7)
    );
    let mut detail = placed().stored;
    assert_eq!(
        replaced(detail.clone(), keep(0)),
        None,
        "it has stored nothing"
    );
    detail.backup_name_in_cluster = Some("a".to_owned());
    assert!(replaced(detail, keep(0)).unwrap().replaced);
}

#[test]
fn a_listed_cluster_that_is_no_member_has_left() {
    assert!(goes_on(None));
    assert!(goes_on(Some(&Problem::new(reason::FLEET_NOT_FOUND, ""))));
    assert!(!goes_on(Some(&Problem::new(
        reason::CLUSTER_NOT_IN_FLEET,
        ""
    ))));
}

#[test]
fn one_that_is_back_is_remembered_until_that_very_member_is_claimed() {
    let left = |entry: Entry| unclaimed(vec![oslo()], [entry].iter()).len();
    assert_eq!(
        left(fresh("oslo")),
        1,
        "it answers, and may still have to wait"
    );
    assert_eq!(left(claimed()), 0);
    let mut another = claimed();
    another.stored.member_uid = Some("another".to_owned());
    assert_eq!(left(another), 1);
    let mut elsewhere = claimed();
    elsewhere.key = key("bergen");
    assert_eq!(left(elsewhere), 1);
}

#[test]
fn each_is_remembered_once_and_as_it_was_last() {
    let mut older = oslo().cluster;
    older.released = true;
    let clusters = [oslo().cluster, older];
    assert_eq!(distinct(clusters.into_iter()), [oslo().cluster]);
}

/// Oslo, as it has stored at this place until a second.
fn stored_at(prefix: &str, until: i64) -> FormerCluster {
    FormerCluster {
        storage: Some(place(prefix)),
        expiration_time: Some(Time(at(until))),
        ..oslo().cluster
    }
}

#[test]
fn every_place_of_a_member_is_remembered_once_and_of_many_those_that_are_kept_longest() {
    let (a, b) = (stored_at("a", 10), stored_at("b", 10));
    let again = [
        b.clone(),
        stored_at("/a/", 20),
        a.clone(),
        stored_at("a", 5),
    ];
    assert_eq!(
        distinct(again.into_iter()),
        [stored_at("/a/", 20), b.clone()]
    );

    let mut bergen = a.clone();
    "bergen".clone_into(&mut bergen.cluster_name);
    let many = (0..20).map(|n| stored_at(&format!("{n:02}"), n));
    let kept = distinct(many.chain([bergen.clone()]));
    let expected = (12..20).map(|n| stored_at(&format!("{n:02}"), n));
    let expected: Vec<_> = [bergen].into_iter().chain(expected).collect();
    assert_eq!(kept, expected);
}

type Edit = fn(&mut BackupDetail, &mut Facts);

#[test]
fn a_place_that_is_left_is_remembered_before_the_next_one_is_noted_if_anything_has_run_there() {
    let old = || {
        let mut detail = placed().stored;
        detail.storage = Some(place("old"));
        detail
    };
    let moved = |edit: Edit, keep| {
        let (mut detail, mut facts) = (old(), facts());
        edit(&mut detail, &mut facts);
        let remembered = move_on(&mut detail, &facts, keep);
        (remembered, detail.storage.unwrap().prefix)
    };
    let here = || "team-a/oslo".to_owned();
    let ran: Edit = |detail, facts| {
        detail.backup_name_in_cluster = Some("a".to_owned());
        let run = detail.backup_status_in_cluster.get_or_insert_default();
        run.expiration = Some(Time(at(7)));
        facts.runs = vec![run_at("a", 0)];
    };
    let (remembered, now) = moved(ran, keep(0));
    let expected = FormerCluster {
        storage: Some(place("old")),
        expiration_time: Some(Time(at(3600))),
        released: true,
        ..oslo().cluster
    };
    assert_eq!((remembered, now), (Some(expected), here()));
    assert!(
        !moved(ran, deletes()).0.unwrap().released,
        "its runs are to go"
    );
    assert_eq!(moved(|_, _| {}, keep(0)), (None, here()), "no run");
    let unseen: Edit = |_, facts| facts.runs = vec![run_at("a", 0)];
    assert!(
        moved(unseen, keep(0)).0.is_some(),
        "a run that is not told of yet"
    );

    // Nobody says so, or of another one.
    let kept: [Edit; 3] = [
        |_, facts| facts.link = down("Unreachable", None),
        |_, facts| facts.location = None,
        |detail, _| detail.member_uid = Some("another".to_owned()),
    ];
    for edit in kept {
        assert_eq!(moved(edit, keep(0)), (None, "old".to_owned()));
    }
    let stays: Edit = |detail, _| detail.storage = Some(place("team-a/oslo/"));
    assert_eq!(moved(stays, keep(0)).0, None);
}

fn run_at(name: &str, second: i64) -> Arc<velero::Backup> {
    run(name, "Completed", second)
}

/// Oslo has stored at `old`, and is asked for.
fn moved() -> Former {
    Former {
        cluster: stored_at("old", 3600),
        current: true,
        ..with(|facts| {
            facts.schedules = vec![Arc::new(schedule())];
            facts.runs = vec![run_at("new", 7200)];
        })
    }
}

#[test]
fn a_place_of_before_keeps_the_cluster_its_schedule_and_is_forgotten_with_its_last_run() {
    for stopped in [false, true] {
        assert_eq!(moved().next(keep(0), stopped), Next::Keep);
        assert_eq!(moved().next(keep(3600), stopped), Next::Forget);
    }
    let refreshed = |edit: fn(&mut Former), keep: Keep| {
        let mut former = moved();
        edit(&mut former);
        former.refresh(keep, false);
        let FormerCluster {
            released,
            replaced,
            expiration_time,
            ..
        } = former.cluster;
        (released, replaced, expiration_time.unwrap().0)
    };
    assert_eq!(refreshed(|_| {}, keep(0)), (true, false, at(3600)));
    assert_eq!(refreshed(|_| {}, deletes()), (false, false, at(3600)));
    // A location of its own is there: its runs are seen.
    let seen: fn(&mut Former) = |former| former.shown_in = vec!["default".to_owned()];
    assert_eq!(refreshed(seen, keep(0)).2, at(7200 + 3600));
}

#[test]
fn a_cluster_that_left_is_not_forgotten_for_runs_that_its_locations_do_not_show() {
    let mut left = Former {
        cluster: stored_at("old", 3600),
        ..oslo()
    };
    assert_eq!(left.next(keep(0), false), Next::Stop, "its Schedule goes");
    let nothing = Left::default();
    assert_eq!(left.after(nothing, DeletionPolicy::Retain), Next::Keep);
    assert!(left.cluster.released);
    assert_eq!(left.next(keep(0), true), Next::Keep);
    assert_eq!(left.next(keep(3600), true), Next::Forget);
    left.shown_in = vec!["default".to_owned()];
    assert_eq!(left.next(keep(0), true), Next::Stop, "to be asked again");
    assert_eq!(left.after(nothing, DeletionPolicy::Retain), Next::Forget);
    // Only what lies elsewhere is still there.
    let facts = left.facts.as_mut().unwrap();
    let mut other = (*run_at("new", 0)).clone();
    other.spec.storage_location = Some("archive".to_owned());
    facts.runs = vec![Arc::new(other)];
    assert_eq!(left.next(keep(0), true), Next::Keep);
    assert_eq!(left.next(keep(3600), true), Next::Forget);
}

#[test]
fn only_the_place_that_an_entry_has_now_is_remembered_by_it() {
    let left = |now: Option<&str>| {
        let mut entry = claimed();
        entry.stored.storage = now.map(place);
        let mut former = moved();
        former.current = false;
        unclaimed(vec![former], [entry].iter())
    };
    assert!(left(Some("/old")).is_empty());
    assert!(left(Some("new"))[0].current);
    assert!(left(None)[0].current, "where it stores is not known yet");
}
