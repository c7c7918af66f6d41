//! Watches: what arrives is in the store, and nothing is lost or invented when streams break.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use proxy_client::{
    Change, Clusters, Found, Link, MemberWatch, Selection, cluster_ref,
    fake::{Proxy, SubscribeStream, soon},
    proto::{self, link_state::State, subscribe_frame::F, subscribe_request::Op},
};
use serde_json::{Value, json};

use crate::fixture::{bergen, config_map, oslo, value};

fn names(watch: &MemberWatch<ConfigMap>) -> Vec<String> {
    let named = |map: &ConfigMap| map.metadata.name.clone().unwrap();
    watch.list(&oslo()).iter().map(|map| named(map)).collect()
}

fn text(value: &str) -> Value {
    json!(value)
}

async fn synced(watch: &MemberWatch<ConfigMap>) {
    soon(watch.until(|watch| {
        let state = watch.state(&oslo());
        state.synced && state.link == Link::Up
    }))
    .await;
}

/// What a change says, in a word.
fn word(change: &Change<ConfigMap>) -> String {
    match change {
        Change::Object { key, old, new, .. } => match (old, new) {
            (None, Some(new)) => format!("{key} came as {}", value(new)),
            (Some(old), Some(new)) => format!("{key} went from {} to {}", value(old), value(new)),
            (Some(_), None) => format!("{key} went"),
            (None, None) => "nonsense".into(),
        },
        Change::Invalid { key, old, gone, .. } => format!(
            "{key} unreadable, known before: {}, gone: {gone}",
            old.is_some()
        ),
        Change::State { cluster } => format!("state of {}", cluster.name),
        Change::Lagged => "lagged".into(),
    }
}

/// The changes of objects up to the next one of the state.
async fn until_state(
    changes: &mut (impl futures::Stream<Item = Change<ConfigMap>> + Unpin),
) -> Vec<String> {
    let mut words = Vec::new();
    loop {
        let change = soon(changes.next()).await.unwrap();
        if matches!(change, Change::State { .. }) {
            return words;
        }
        words.push(word(&change));
    }
}

async fn open(proxy: &Proxy) -> (SubscribeStream, u32) {
    let mut stream = proxy.next_subscribe().await;
    let add = stream.next_add().await;
    (stream, add.sub_id)
}

#[tokio::test]
async fn a_snapshot_and_what_follows_is_in_the_store_and_announced() {
    let proxy = Proxy::start();
    let selection = Selection {
        namespace: Some("shop".into()),
        labels: Some("kurator.dev/member=$(member)".into()),
        metadata_only: false,
        clusters: Clusters::Listed(vec![oslo()]),
    };
    let watch = proxy.members().watch::<ConfigMap>(selection);
    let mut changes = watch.changes();
    let mut stream = proxy.next_subscribe().await;
    assert_eq!(
        stream.metadata.get("x-kurator-caller").unwrap(),
        "test-controller"
    );
    let add = stream.next_add().await;
    assert_eq!(add.gvr.unwrap().resource, "configmaps");
    assert_eq!(
        (add.namespace.as_str(), add.label_selector.as_str()),
        ("shop", "kurator.dev/member=$(member)")
    );
    assert_eq!(add.clusters.unwrap().clusters, [cluster_ref(&oslo())]);
    assert!(
        matches!(watch.lookup(&oslo(), "shop", "a"), Found::Unknown),
        "no snapshot yet"
    );

    let sub = add.sub_id;
    stream
        .snapshot(
            sub,
            &oslo(),
            &[
                config_map("a", "1", 1, &text("x")),
                config_map("b", "2", 2, &text("y")),
            ],
        )
        .await;
    assert_eq!(
        until_state(&mut changes).await,
        ["shop/a came as x", "shop/b came as y"]
    );
    assert_eq!(names(&watch), ["a", "b"]);
    assert!(matches!(watch.lookup(&oslo(), "shop", "c"), Found::Absent));
    assert!(matches!(
        watch.lookup(&bergen(), "shop", "a"),
        Found::Unknown
    ));

    stream
        .upsert(sub, &oslo(), &[config_map("a", "1", 3, &text("z"))])
        .await;
    stream.delete(sub, &oslo(), ("shop", "b")).await;
    let change = soon(changes.next()).await.unwrap();
    assert_eq!(word(&change), "shop/a went from x to z");
    let change = soon(changes.next()).await.unwrap();
    assert_eq!(word(&change), "shop/b went");
    assert_eq!(names(&watch), ["a"]);
    assert!(watch.state(&oslo()).as_of.is_some());
}

#[tokio::test]
async fn a_stream_that_breaks_within_a_snapshot_proves_nothing_gone() {
    let proxy = Proxy::start();
    let watch = proxy.members().watch::<ConfigMap>(Selection::default());
    let (stream, sub) = open(&proxy).await;
    let (a, b) = (
        config_map("a", "1", 1, &text("x")),
        config_map("b", "2", 2, &text("y")),
    );
    stream.snapshot(sub, &oslo(), &[a.clone(), b.clone()]).await;
    synced(&watch).await;
    let mut changes = watch.changes();

    // the second snapshot breaks off after its first object
    drop(stream);
    let (stream, sub) = open(&proxy).await;
    stream.sync_start(sub, &oslo()).await;
    stream
        .upsert(sub, &oslo(), &[config_map("c", "3", 5, &text("new"))])
        .await;
    soon(watch.until(|watch| names(watch).len() == 3)).await;
    drop(stream);
    assert_eq!(names(&watch), ["a", "b", "c"]);

    // the third is whole and lacks one
    let (stream, sub) = open(&proxy).await;
    stream
        .snapshot(sub, &oslo(), &[b, config_map("c", "3", 5, &text("new"))])
        .await;
    synced(&watch).await;
    assert_eq!(names(&watch), ["b", "c"]);

    let mut words = Vec::new();
    while words.last().is_none_or(|last| last != "shop/a went") {
        words.push(word(&soon(changes.next()).await.unwrap()));
    }
    words.retain(|word| word.starts_with("shop/"));
    assert_eq!(
        words,
        ["shop/c came as new", "shop/a went"],
        "b is the same and says nothing"
    );
}

#[tokio::test]
async fn a_watch_survives_the_death_of_the_proxy() {
    let mut proxy = Proxy::start();
    let watch = proxy.members().watch::<ConfigMap>(Selection::default());
    let (stream, sub) = open(&proxy).await;
    stream
        .snapshot(sub, &oslo(), &[config_map("a", "1", 1, &text("x"))])
        .await;
    synced(&watch).await;

    proxy.kill();
    soon(watch.until(|watch| watch.state(&oslo()).link == Link::ProxyLost)).await;
    let state = watch.state(&oslo());
    assert!(state.synced, "what is known stays known");
    assert_eq!(state.reason, "ProxyUnavailable");
    assert_eq!(names(&watch), ["a"]);
    assert_eq!(
        watch.state(&bergen()).link,
        Link::ProxyLost,
        "also of members never heard of"
    );

    proxy.restart();
    let (stream, sub) = open(&proxy).await;
    let mut changes = watch.changes();
    stream
        .snapshot(sub, &oslo(), &[config_map("d", "4", 1, &text("x"))])
        .await;
    assert_eq!(
        until_state(&mut changes).await,
        ["shop/d came as x", "shop/a went"]
    );
    synced(&watch).await;
}

#[tokio::test]
async fn an_unreadable_object_harms_no_other_and_is_not_taken_for_gone() {
    let proxy = Proxy::start();
    let watch = proxy.members().watch::<ConfigMap>(Selection::default());
    let mut changes = watch.changes();
    let (stream, sub) = open(&proxy).await;
    let bad = |version| config_map("bad", "7", version, &json!({ "not": "text" }));
    stream
        .snapshot(
            sub,
            &oslo(),
            &[bad(1), config_map("good", "8", 2, &text("x"))],
        )
        .await;
    assert_eq!(
        until_state(&mut changes).await,
        [
            "shop/bad unreadable, known before: false, gone: false",
            "shop/good came as x"
        ]
    );
    assert_eq!(names(&watch), ["good"]);
    let Found::Invalid(invalid) = watch.lookup(&oslo(), "shop", "bad") else {
        panic!("it is there, and unreadable");
    };
    assert_eq!(
        invalid.metadata.labels.as_ref().unwrap()["owner"],
        "owner-of-bad"
    );
    assert!(!invalid.error.is_empty());

    // a readable one that turns unreadable has not gone, and may turn back
    stream
        .upsert(sub, &oslo(), &[config_map("good", "8", 3, &json!(5))])
        .await;
    stream
        .upsert(sub, &oslo(), &[config_map("good", "8", 4, &text("y"))])
        .await;
    stream.delete(sub, &oslo(), ("shop", "bad")).await;
    let mut words = Vec::new();
    for _ in 0..3 {
        words.push(word(&soon(changes.next()).await.unwrap()));
    }
    assert_eq!(
        words,
        [
            "shop/good unreadable, known before: true, gone: false",
            "shop/good came as y",
            "shop/bad unreadable, known before: false, gone: true",
        ]
    );
    assert_eq!(watch.invalid_total(), 2);
    assert!(watch.invalid(&oslo()).is_empty());
}

#[tokio::test]
async fn an_object_replaced_while_nobody_looked_goes_and_comes() {
    let proxy = Proxy::start();
    let watch = proxy.members().watch::<ConfigMap>(Selection::default());
    let (stream, sub) = open(&proxy).await;
    stream
        .snapshot(sub, &oslo(), &[config_map("a", "1", 1, &text("x"))])
        .await;
    synced(&watch).await;
    let mut changes = watch.changes();
    stream
        .upsert(sub, &oslo(), &[config_map("a", "2", 2, &text("x"))])
        .await;
    assert_eq!(word(&soon(changes.next()).await.unwrap()), "shop/a went");
    assert_eq!(
        word(&soon(changes.next()).await.unwrap()),
        "shop/a came as x"
    );
}

#[tokio::test]
async fn all_watches_share_one_stream_and_leave_it_alone() {
    let proxy = Proxy::start();
    let members = proxy.members();
    let maps = members.watch::<ConfigMap>(Selection::default());
    let mut stream = proxy.next_subscribe().await;
    let first = stream.next_add().await;
    let pods = members.watch::<k8s_openapi::api::core::v1::Pod>(Selection::default());
    let second = stream.next_add().await;
    assert_ne!(first.sub_id, second.sub_id);
    stream
        .snapshot(
            first.sub_id,
            &oslo(),
            &[config_map("a", "1", 1, &text("x"))],
        )
        .await;
    synced(&maps).await;
    assert!(!pods.state(&oslo()).synced, "the other watch heard nothing");

    let clone = pods.clone();
    drop(pods);
    drop(clone);
    match stream.next_op().await {
        Op::Remove(gone) => assert_eq!(gone.sub_id, second.sub_id),
        other => panic!("{other:?} instead of the removal"),
    }
    // a late frame of the dropped watch hurts nobody
    stream.sync_start(second.sub_id, &oslo()).await;
    stream
        .upsert(
            first.sub_id,
            &oslo(),
            &[config_map("b", "2", 2, &text("y"))],
        )
        .await;
    soon(maps.until(|maps| names(maps).len() == 2)).await;
}

#[tokio::test]
async fn links_and_refusals_are_told_by_member() {
    let proxy = Proxy::start();
    let watch = proxy.members().watch::<ConfigMap>(Selection::default());
    let (stream, sub) = open(&proxy).await;
    stream
        .snapshot(sub, &oslo(), &[config_map("a", "1", 1, &text("x"))])
        .await;
    for (state, link) in [
        (State::Down, Link::Down),
        (State::BreakerOpen, Link::BreakerOpen),
        (State::CredentialsInvalid, Link::CredentialsInvalid),
        (State::GvrNotServed, Link::NotServed),
        (State::Up, Link::Up),
    ] {
        stream
            .send(F::Link(proto::LinkState {
                cluster: Some(cluster_ref(&oslo())),
                state: state.into(),
                reason: "Why".into(),
                as_of: Some(prost_types::Timestamp {
                    seconds: 77,
                    nanos: 0,
                }),
                sub_id: sub,
            }))
            .await;
        soon(watch.until(|watch| watch.state(&oslo()).link == link)).await;
        assert_eq!(watch.state(&oslo()).as_of.unwrap().as_second(), 77);
        assert_eq!(names(&watch), ["a"], "delivered data stays valid");
    }

    let refusal = |cluster: Option<proto::ClusterRef>| {
        F::Error(proto::SubError {
            sub_id: sub,
            cluster,
            error: Some(proto::Error {
                code: 7,
                reason: "NOT_ALLOWED".into(),
                message: "no rule lets you".into(),
                ..Default::default()
            }),
        })
    };
    stream.send(refusal(Some(cluster_ref(&bergen())))).await;
    soon(watch.until(|watch| watch.state(&bergen()).link == Link::Refused)).await;
    assert_eq!(
        watch.state(&oslo()).link,
        Link::Up,
        "one refused member is no other's trouble"
    );
    stream.send(refusal(None)).await;
    soon(watch.until(|watch| watch.state(&oslo()).link == Link::Refused)).await;
    assert_eq!(watch.state(&oslo()).reason, "NOT_ALLOWED");
}

#[tokio::test]
async fn a_member_that_leaves_takes_its_objects_along_without_deletions() {
    let proxy = Proxy::start();
    let watch = proxy.members().watch::<ConfigMap>(Selection::default());
    let (stream, sub) = open(&proxy).await;
    stream
        .snapshot(sub, &oslo(), &[config_map("a", "1", 1, &text("x"))])
        .await;
    synced(&watch).await;
    let mut changes = watch.changes();
    let left = proto::ClusterRemoved {
        sub_id: sub,
        cluster: Some(cluster_ref(&oslo())),
    };
    stream.send(F::Removed(left)).await;
    assert_eq!(word(&soon(changes.next()).await.unwrap()), "state of oslo");
    assert!(watch.clusters().is_empty());
    assert!(matches!(watch.lookup(&oslo(), "shop", "a"), Found::Unknown));
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_so() {
    let proxy = Proxy::start();
    let watch = proxy.members().watch::<ConfigMap>(Selection::default());
    let mut changes = watch.changes();
    let (stream, sub) = open(&proxy).await;
    let many: Vec<_> = (0..5000)
        .map(|n| config_map(&format!("m{n}"), &n.to_string(), 1, &text("x")))
        .collect();
    stream.sync_start(sub, &oslo()).await;
    for some in many.chunks(500) {
        stream.upsert(sub, &oslo(), some).await;
    }
    stream.sync_end(sub, &oslo()).await;
    synced(&watch).await;
    assert_eq!(word(&soon(changes.next()).await.unwrap()), "lagged");
    assert_eq!(names(&watch).len(), 5000, "the store has it all");
}
