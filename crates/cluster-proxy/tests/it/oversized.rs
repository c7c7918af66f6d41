//! A member that sends more than Kubernetes allows takes nothing from anybody else.

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
