//! A member that comes and goes does not keep the hub busy.

use api_types::cluster::AttachedCluster;
use futures::{StreamExt, TryStreamExt};
use kube::api::{WatchEvent, WatchParams};

use crate::space::{ready, ready_reason, unreachable};
use crate::world::shared;

#[tokio::test]
async fn a_flapping_member_is_written_twice_and_then_held_back() {
    let space = shared().await.space("flapping").await;
    space.attach_ready("bergen").await;
    let settled = space.until_ready_is("bergen", "Connected").await;
    let version = settled.metadata.resource_version.unwrap();
    let api: kube::Api<AttachedCluster> = space.api();
    let watched = WatchParams::default().fields("metadata.name=bergen");
    let mut seen = api.watch(&watched, &version).await.unwrap().boxed();

    // Each turn is shown before the next: the first two at once, the third after the window.
    let mut shown = Vec::new();
    for (state, reason) in [
        (unreachable(), "Unreachable"),
        (ready(), "Connected"),
        (unreachable(), "Unreachable"),
    ] {
        space.script.say(&space.key("bergen"), state);
        while shown
            .last()
            .is_none_or(|(last, _): &(String, _)| last != reason)
        {
            let event = tokio::time::timeout(crate::world::DEADLINE, seen.try_next()).await;
            if let WatchEvent::Modified(cluster) = event.unwrap().unwrap().unwrap() {
                shown.push((ready_reason(&cluster).to_owned(), jiff::Timestamp::now()));
            }
        }
    }
    let turns: Vec<&str> = shown.iter().map(|(reason, _)| reason.as_str()).collect();
    assert_eq!(
        turns,
        ["Unreachable", "Connected", "Unreachable"],
        "one write a turn"
    );
    let held_back = shown[2].1.duration_since(shown[0].1).as_millis();
    assert!(
        held_back >= 1900,
        "the third within {held_back} ms of the first, the window is 3 s"
    );
}

#[tokio::test]
async fn the_last_word_of_a_flapping_member_is_shown() {
    let space = shared().await.space("lastword").await;
    space.attach_ready("bergen").await;
    space.until_ready_is("bergen", "Connected").await;
    for _ in 0..20 {
        space.script.say(&space.key("bergen"), unreachable());
        space.script.say(&space.key("bergen"), ready());
    }
    space.script.say(&space.key("bergen"), unreachable());
    space.until_ready_is("bergen", "Unreachable").await;
}
