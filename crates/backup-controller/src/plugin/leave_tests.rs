use std::sync::Arc;

use api_types::condition::reason;
use api_types::fleet::PluginClusterStatus;
use api_types::names::MemberId;
use api_types::phase::PluginPhase;
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

fn of(member: &Member) -> Leave {
    decide(&known(Vec::new()), member)
}

#[test]
fn only_what_is_marked_as_ours_is_released() {
    assert_eq!(of(&former()), Leave::Release);
    let mut released = former();
    released.locations.clear();
    released.memory.marks = Marks::Released;
    assert_eq!(of(&released), Leave::Gone);
    released.locations = vec![Arc::new(of_another("team-b", "south"))];
    assert_eq!(of(&released), Leave::Gone);
    let mut without = former();
    without.velero = Served::No;
    assert_eq!(of(&without), Leave::Gone);
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
        assert_eq!(of(&unseen), Leave::Release, "{marks:?}");
    }
    unseen.memory.marks = Marks::UnderWay;
    for live in [true, false] {
        unseen.live = live;
        for velero in [Served::Yes, Served::No] {
            unseen.velero = velero;
            assert_eq!(of(&unseen), Leave::Release, "a call is under way");
        }
    }
}

#[test]
fn a_write_that_nobody_has_seen_the_end_of_is_waited_for() {
    let mut never = cut_off(former());
    never.locations.clear();
    never.entry = None;
    assert_eq!(of(&never), Leave::Gone);
    let mut begun = never.clone();
    begun.memory.marks = Marks::Begun;
    assert!(matches!(of(&begun), Leave::Waits(_)));
    never.memory.marks = Marks::UnderWay;
    assert!(matches!(of(&never), Leave::Waits(_)));
}

#[test]
fn another_hub_s_location_is_not_released() {
    let mut other = former();
    other.memory.marks = Marks::Released;
    let mut theirs = (**other.default_location().unwrap()).clone();
    let annotations = theirs.metadata.annotations.get_or_insert_default();
    annotations.insert(labels::HUB_UID.to_owned(), "another".to_owned());
    other.locations = vec![Arc::new(theirs)];
    assert_eq!(of(&other), Leave::Gone);
}

#[test]
fn a_member_that_does_not_answer_is_waited_for() {
    let silent = cut_off(former());
    assert!(matches!(of(&silent), Leave::Waits(_)));
}

#[test]
fn a_member_whose_object_goes_or_that_a_person_gives_up_is_not_waited_for() {
    for hub in [HubObject::Absent, HubObject::Terminating] {
        let mut gone = cut_off(former());
        gone.hub = hub;
        assert!(matches!(of(&gone), Leave::LetGo(_)), "{hub:?}");
    }
    let silent = cut_off(former());
    let mut known = known(Vec::new());
    known.forced = true;
    let decided = |known: &Known| decide(known, &silent);
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
    assert_eq!(of(&never), Leave::Gone);
}
