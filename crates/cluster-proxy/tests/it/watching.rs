//! What subscribers hear of a watch that a member does not serve well.

use bytes::Bytes;
use proxy_client::proto::link_state::State as Link;
use serde_json::json;

use crate::{
    fake::Reply,
    hostile::{MAPS, TYPE, WATCH, list, object, start},
    rig::{CALLER, SOON},
    view::View,
};

/// A watch that ends at once and in order, so that it is opened anew each second.
fn brief() -> Reply {
    Reply::Raw(200, ("x-a", "b"), Bytes::new())
}

fn busy() -> Reply {
    Reply::Raw(429, ("retry-after", "1"), Bytes::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_was_refused_once_is_up_again_when_it_runs_again() {
    let (rig, fake) = start("refused-once").await;
    fake.reply(MAPS, list("5", &[object("a", "1", "1")]));
    fake.reply(WATCH, brief());
    let mut view = View::open(&rig, CALLER, TYPE, "").await;
    let up = |v: &View| v.links.get("m1") == Some(&Link::Up);
    view.until("the watch", SOON, up).await;
    fake.reply(WATCH, busy());
    let refused = ("m1".to_owned(), "TOO_MANY_REQUESTS".to_owned());
    view.until("the refusal", SOON, |v| v.errors.contains(&refused))
        .await;
    view.links.clear();
    fake.reply(WATCH, Reply::Open(String::new()));
    view.until("the watch to be up again", SOON, up).await;
    assert_eq!(view.snapshots.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_fails_again_and_again_is_down_though_the_link_is_up() {
    let (rig, fake) = start("failing").await;
    fake.reply(MAPS, list("5", &[object("a", "1", "1")]));
    fake.reply(WATCH, brief());
    let mut view = View::open(&rig, CALLER, TYPE, "").await;
    let up = |v: &View| v.links.get("m1") == Some(&Link::Up);
    view.until("the watch", SOON, up).await;
    let broken = json!({"kind": "Status", "reason": "InternalError", "message": "no"});
    fake.reply(WATCH, Reply::Json(500, broken));
    let down = |v: &View| {
        v.reasons
            .get("m1")
            .is_some_and(|reason| reason == "INTERNAL")
    };
    view.until("the watch to be down", SOON, down).await;
    assert_eq!(view.links.get("m1"), Some(&Link::Down));
    fake.reply(WATCH, Reply::Open(String::new()));
    view.until("the watch to be up again", SOON, up).await;
    assert_eq!(view.snapshots.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_expires_again_and_again_is_not_listed_without_a_pause() {
    let (rig, fake) = start("expiring").await;
    fake.reply(MAPS, list("5", &[object("a", "1", "1")]));
    let gone = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
    fake.reply(WATCH, Reply::Json(410, gone));
    let mut view = View::open(&rig, CALLER, TYPE, "").await;
    // Only the second failure in a row says so, and it is the one that makes the pauses grow.
    let down = |v: &View| {
        v.reasons
            .get("m1")
            .is_some_and(|reason| reason == "WATCH_EXPIRED")
    };
    view.until("the watch to be down", SOON, down).await;
    fake.reply(WATCH, Reply::Open(String::new()));
    let up = |v: &View| v.links.get("m1") == Some(&Link::Up);
    view.until("the watch", SOON, up).await;
}
