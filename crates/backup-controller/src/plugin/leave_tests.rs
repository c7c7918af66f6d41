use std::sync::Arc;

use api_types::condition::reason;
use api_types::fleet::PluginClusterStatus;
use api_types::names::MemberId;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::fixtures::{at, known, member, of_another, settled};
use super::*;

/// A member that had the plugin and shall not have it any more.
fn former() -> Member {
    let mut former = settled(member("oslo"), "Available");
    (former.wanted, former.listed) = (false, false);
    former.entry = Some(PluginClusterStatus {
        phase: PluginPhase::Removing,
        last_transition_time: Some(Time(at(1000))),
        details: [("bucket".to_owned(), "b".to_owned())].into(),
        ..PluginClusterStatus::default()
    });
    former
}

fn cut_off(mut member: Member) -> Member {
    member.live = false;
    member.link = Link::Down {
        problem: Problem::new(reason::UNREACHABLE, "no answer"),
        since: None,
    };
    member
}

fn of(member: &Member, second: i64) -> Leave {
    let mut known = known(Vec::new());
    known.at = at(second);
    decide(&known, member, &Timings::default())
}

#[test]
fn only_what_is_marked_as_ours_is_released() {
    assert_eq!(of(&former(), 1000), Leave::Release);
    let mut released = former();
    released.locations.clear();
    released.memory.marks = Marks::Released;
    assert_eq!(of(&released, 1000), Leave::Gone);
    released.locations = vec![Arc::new(of_another("team-b", "south"))];
    assert_eq!(of(&released, 1000), Leave::Gone);
    let mut without = former();
    without.velero = Served::No;
    assert_eq!(of(&without, 1000), Leave::Gone);
    assert_eq!(
        former().id(),
        Some(MemberId::from_uid("kube-system-of-oslo"))
    );
}

#[test]
fn what_a_watch_does_not_show_is_looked_at_once_more() {
    let mut unseen = former();
    unseen.locations.clear();
    for marks in [Marks::Unknown, Marks::Begun] {
        unseen.memory.marks = marks;
        assert_eq!(of(&unseen, 1000), Leave::Release, "{marks:?}");
    }
    unseen.memory.marks = Marks::UnderWay;
    for live in [true, false] {
        unseen.live = live;
        for velero in [Served::Yes, Served::No] {
            unseen.velero = velero;
            assert_eq!(of(&unseen, 1000), Leave::Release, "a call is under way");
        }
    }
}

#[test]
fn a_write_that_nobody_has_seen_the_end_of_is_waited_for() {
    let mut never = cut_off(former());
    never.locations.clear();
    never.entry = None;
    assert_eq!(of(&never, 1000), Leave::Gone);
    let mut begun = never.clone();
    begun.memory.marks = Marks::Begun;
    assert!(matches!(of(&begun, 1000), Leave::Waits(_)));
    never.memory.marks = Marks::UnderWay;
    assert!(matches!(of(&never, 1000), Leave::Waits(_)));
}

#[test]
fn another_hub_s_location_is_not_released() {
    let mut other = former();
    other.memory.marks = Marks::Released;
    let mut theirs = (**other.default_location().unwrap()).clone();
    let annotations = theirs.metadata.annotations.get_or_insert_default();
    annotations.insert(labels::HUB_UID.to_owned(), "another".to_owned());
    other.locations = vec![Arc::new(theirs)];
    assert_eq!(of(&other, 1000), Leave::Gone);
}

#[test]
fn a_member_that_does_not_answer_is_waited_for_and_not_for_ever() {
    let silent = cut_off(former());
    assert!(matches!(of(&silent, 1000), Leave::Waits(_)));
    assert!(matches!(of(&silent, 1599), Leave::Waits(_)));
    assert!(matches!(of(&silent, 1600), Leave::LetGo(_)));
    let mut new = silent;
    new.entry.as_mut().unwrap().phase = PluginPhase::Ready;
    assert!(matches!(of(&new, 9999), Leave::Waits(_)));
}

#[test]
fn a_member_whose_object_goes_or_that_a_person_gives_up_is_not_waited_for() {
    for hub in [HubObject::Absent, HubObject::Terminating] {
        let mut gone = cut_off(former());
        gone.hub = hub;
        assert!(matches!(of(&gone, 1000), Leave::LetGo(_)), "{hub:?}");
    }
    let silent = cut_off(former());
    let mut known = known(Vec::new());
    known.forced = true;
    let decided = |known: &Known| decide(known, &silent, &Timings::default());
    assert!(
        matches!(decided(&known), Leave::Waits(_)),
        "it is not deleted"
    );
    let mut fleet = (*known.fleet).clone();
    fleet.metadata.deletion_timestamp = Some(Time(at(999)));
    known.fleet = Arc::new(fleet);
    assert!(matches!(decided(&known), Leave::LetGo(_)));
}

#[test]
fn a_member_that_never_got_anything_has_nothing_to_give_up() {
    let mut never = cut_off(former());
    never.locations.clear();
    never.entry = Some(PluginClusterStatus::default());
    assert_eq!(of(&never, 1000), Leave::Gone);
}
