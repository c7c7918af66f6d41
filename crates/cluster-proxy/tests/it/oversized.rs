//! A member that sends more than Kubernetes allows takes nothing from anybody else.

use bytes::Bytes;

use crate::{
    fake::Reply,
    hostile::{MAPS, TYPE, WATCH, line, list, object, start},
    rig::{CALLER, SOON},
    view::View,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_name_is_dropped_and_the_subscribers_stream_lives_on() {
    let (rig, fake) = start("endless-names").await;
    let long = "x".repeat(1_900_000);
    let hostile = object(&long, &long, "6");
    fake.reply(MAPS, list("5", &[object("a", "1", "1"), hostile.clone()]));
    let events = [
        line("ADDED", &hostile),
        line("DELETED", &object("a", "1", &long)),
        line("BOOKMARK", &object("", "", &long)),
        line("ADDED", &object("later", "2", "8")),
    ];
    fake.reply(WATCH, Reply::Open(events.concat()));
    // The stream breaks with an error if a frame is larger than a client reads.
    let mut view = View::open(&rig, CALLER, TYPE, "").await;
    view.until("what can be believed", SOON, |v| v.has("m1", "later"))
        .await;
    assert!(view.has("m1", "a"), "its deletion is not believed");
    assert_eq!(view.objects.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_costs_its_own_object_only() {
    let (rig, fake) = start("large-event").await;
    fake.reply(MAPS, list("5", &[object("a", "1", "1")]));
    // It ends at once, and is opened anew each second.
    fake.reply(WATCH, Reply::Raw(200, ("x-a", "b"), Bytes::new()));
    let mut view = View::open(&rig, CALLER, TYPE, "").await;
    view.until("a snapshot", SOON, |v| v.synced.contains("m1"))
        .await;
    let mut large = object("large", "2", "6");
    large["data"]["k"] = "x".repeat(5 << 20).into();
    let rest = [object("a", "1", "1"), object("b", "3", "7"), large.clone()];
    fake.reply(MAPS, list("7", &rest));
    fake.reply(WATCH, Reply::Open(line("ADDED", &large)));
    view.until("what came after it", SOON, |v| v.has("m1", "b"))
        .await;
    let events = line("ADDED", &object("c", "4", "8"));
    fake.reply(WATCH, Reply::Open(events));
    view.until("the watch to go on", SOON, |v| v.has("m1", "c"))
        .await;
    assert!(!view.has("m1", "large"));
    let left_out = ("m1".to_owned(), "MEMBER_RESPONSE_TOO_LARGE".to_owned());
    assert!(view.errors.contains(&left_out), "{:?}", view.errors);
    assert_eq!(view.snapshots.len(), 1);
}
