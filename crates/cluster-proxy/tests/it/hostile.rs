//! What a member answers is checked, bounded and never obeyed; what it is sent is ours alone.

use std::time::Duration;

use bytes::Bytes;
use proxy_client::proto::{self, cluster_status::State, link_state::State as Link};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    fake::{Fake, Reply, TOKEN},
    rig::{CALLER, Rig, SOON, bed, configmap, info, request},
    view::View,
};

pub(crate) const MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub(crate) const WATCH: &str = "/api/v1/namespaces/default/configmaps?watch";
pub(crate) const TYPE: (&str, &str) = ("", "configmaps");
pub(crate) const INITIAL: &str = "/api/v1/namespaces/default/configmaps?initial";

pub(crate) async fn start(namespace: &str) -> (Rig, Fake) {
    let rig = Rig::start(bed().await, namespace).await;
    let fake = Fake::start().await;
    rig.attach_as("m1", &fake.kubeconfig).await;
    rig.until("m1", State::Ready, SOON).await;
    (rig, fake)
}

pub(crate) fn object(name: &str, uid: &str, revision: &str) -> Value {
    let mut object = configmap(name, revision);
    object["metadata"]["uid"] = uid.into();
    object["metadata"]["resourceVersion"] = revision.into();
    object
}

pub(crate) fn list(revision: &str, items: &[Value]) -> Reply {
    let list = json!({"kind": "ConfigMapList", "apiVersion": "v1",
        "metadata": {"resourceVersion": revision}, "items": items});
    Reply::Json(200, list)
}

pub(crate) fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_trace_reaches_the_member_and_its_credentials_do_not() {
    let (rig, fake) = start("trace").await;
    fake.reply(
        &format!("{MAPS}/x"),
        Reply::Json(200, object("x", "u", "1")),
    );
    let get = proto::GetRequest {
        target: rig.target("m1", "x"),
        projection: None,
        ..Default::default()
    };
    let mut get = request(get);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (key, value) in [
        ("traceparent", parent),
        ("authorization", "Bearer stolen"),
        ("impersonate-user", "root"),
        ("x-forwarded-for", "10.0.0.1"),
    ] {
        get.metadata_mut().insert(key, value.parse().unwrap());
    }
    rig.access().get(get).await.unwrap();
    let seen = fake.seen("/configmaps/x").remove(0);
    assert!(seen.path.contains("timeout="), "{}", seen.path);
    // The member's span may be another one, but the trace is the same.
    let trace = seen.headers["traceparent"].to_str().unwrap();
    assert!(
        trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-"),
        "{trace}"
    );
    assert_eq!(seen.headers["authorization"], format!("Bearer {TOKEN}"));
    assert!(!seen.headers.contains_key("impersonate-user"));
    assert!(!seen.headers.contains_key("x-forwarded-for"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_cannot_be_believed_are_errors() {
    let (rig, fake) = start("unbelievable").await;
    let large = Bytes::from(vec![b' '; 9 * 1024 * 1024]);
    let plain = ("content-type", "application/json");
    let away = ("location", "https://127.0.0.1:1/elsewhere");
    let mut namesake = object("x", "u", "1");
    namesake["metadata"]["namespace"] = "kube-system".into();
    let rows = [
        (
            Reply::Json(200, object("y", "u", "1")),
            Code::Internal,
            "MEMBER_MALFORMED",
        ),
        (
            Reply::Json(200, namesake),
            Code::Internal,
            "MEMBER_MALFORMED",
        ),
        (
            Reply::Raw(302, away, Bytes::new()),
            Code::FailedPrecondition,
            "MEMBER_REDIRECT",
        ),
        (
            Reply::Raw(200, plain, Bytes::from_static(b"<html>")),
            Code::Internal,
            "MEMBER_MALFORMED",
        ),
        (Reply::Json(200, object("x", "u", "1")), Code::Ok, ""),
        (
            Reply::Raw(200, plain, large),
            Code::ResourceExhausted,
            "MEMBER_RESPONSE_TOO_LARGE",
        ),
        (
            Reply::Json(429, json!({})),
            Code::ResourceExhausted,
            "TOO_MANY_REQUESTS",
        ),
    ];
    for (reply, code, reason) in rows {
        fake.reply(&format!("{MAPS}/x"), reply);
        let got = rig.get("m1", "x").await;
        let Err(status) = got else {
            assert_eq!(code, Code::Ok);
            continue;
        };
        assert_eq!(
            (status.code(), info(&status).reason.as_str()),
            (code, reason),
            "{status:?}"
        );
    }
    assert!(fake.seen("elsewhere").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_keeps_talking_nonsense_is_given_up() {
    let (rig, fake) = start("nonsense").await;
    let nonsense = Bytes::from_static(b"\xff\xfe");
    fake.reply(
        &format!("{MAPS}/x"),
        Reply::Raw(200, ("x-a", "b"), nonsense),
    );
    for _ in 0..3 {
        assert_eq!(rig.get("m1", "x").await.unwrap_err().code(), Code::Internal);
    }
    let mut reasons = Vec::new();
    testbed::wait_for("the breaker to open", SOON, async || {
        let status: Status = rig.get("m1", "x").await.unwrap_err();
        reasons.push(info(&status).reason);
        (reasons.last().unwrap() == "CLUSTER_UNREACHABLE").then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_without_an_answer_has_an_unknown_outcome() {
    let (rig, fake) = start("unanswered").await;
    fake.reply(MAPS, Reply::Never);
    let create = proto::CreateRequest {
        target: rig.target("m1", "x"),
        json: configmap("x", "1").to_string().into(),
        request_id: "my-request".into(),
        ..Default::default()
    };
    let mut create = request(create);
    // The client's own timer would race the proxy's answer; without one the proxy's 10 s end it.
    create.metadata_mut().remove("grpc-timeout");
    let late = rig.access().create(create).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert_eq!(info(&late).metadata["write_outcome"], "unknown");
    let seen = fake.seen("/configmaps");
    assert_eq!(seen.len(), 1, "an unknown write is not repeated");
    assert_eq!(seen[0].headers["audit-id"], "my-request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_stream_was_refused_was_not_sent_and_is_tried_again() {
    let (rig, fake) = start("refused-stream").await;
    fake.reply(MAPS, Reply::Refuse);
    let create = proto::CreateRequest {
        target: rig.target("m1", "x"),
        json: configmap("x", "1").to_string().into(),
        ..Default::default()
    };
    let refused = rig.access().create(request(create)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(info(&refused).metadata["write_outcome"], "not_sent");
    assert_eq!(info(&refused).metadata["retryable"], "yes");
    let tries = fake.seen("/configmaps").len();
    assert!((2..=3).contains(&tries), "{tries} tries");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_error_cannot_be_read_has_an_unknown_outcome() {
    let (rig, fake) = start("unreadable-error").await;
    let large = Bytes::from(vec![b' '; 9 * 1024 * 1024]);
    let plain = ("content-type", "text/plain");
    for (code, outcome) in [(503, "unknown"), (409, "rejected")] {
        fake.reply(MAPS, Reply::Raw(code, plain, large.clone()));
        let create = proto::CreateRequest {
            target: rig.target("m1", "x"),
            json: configmap("x", "1").to_string().into(),
            ..Default::default()
        };
        let error = rig.access().create(request(create)).await.unwrap_err();
        assert_eq!(info(&error).reason, "MEMBER_RESPONSE_TOO_LARGE");
        assert_eq!(info(&error).metadata["write_outcome"], outcome);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_member_says_when_to_come_back_but_not_in_a_year() {
    let (rig, fake) = start("busy").await;
    let year = ("retry-after", "31536000");
    fake.reply(&format!("{MAPS}/x"), Reply::Raw(429, year, Bytes::new()));
    let busy = rig.get("m1", "x").await.unwrap_err();
    let after = busy.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert_eq!(after, Duration::from_mins(1));
    assert_eq!(fake.seen("/configmaps/x").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_watch_lists_again_and_tells_only_differences() {
    let (rig, fake) = start("expired").await;
    fake.reply(
        MAPS,
        list("5", &[object("a", "1", "1"), object("b", "2", "2")]),
    );
    fake.reply(WATCH, Reply::Open(String::new()));
    let mut view = View::open(&rig, CALLER, ("", "configmaps"), "").await;
    view.until("a snapshot", SOON, |v| v.synced.contains("m1"))
        .await;

    let gone = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
    fake.reply(
        MAPS,
        list("9", &[object("b", "2", "8"), object("c", "3", "9")]),
    );
    fake.reply(WATCH, Reply::Json(410, gone));
    fake.disconnect();
    view.until("the differences", SOON, |v| {
        !v.has("m1", "a") && v.value("m1", "b") == Some("8") && v.has("m1", "c")
    })
    .await;
    assert_eq!(view.snapshots.len(), 1);

    // Events of other namespaces and steps back in time are not believed.
    let mut foreign = object("foreign", "7", "11");
    foreign["metadata"]["namespace"] = "kube-system".into();
    let events = [
        line("ADDED", &foreign),
        line("MODIFIED", &object("b", "2", "3")),
        line("ADDED", &object("d", "4", "12")),
    ];
    fake.reply(WATCH, Reply::Open(events.concat()));
    view.until("the good event", SOON, |v| v.has("m1", "d"))
        .await;
    assert!(!view.has("m1", "foreign"));
    assert_eq!(view.value("m1", "b"), Some("8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_under_the_same_name_is_a_new_snapshot() {
    let (rig, fake) = start("reborn").await;
    fake.reply(MAPS, list("500", &[object("old", "1", "400")]));
    fake.reply(WATCH, Reply::Open(String::new()));
    let mut view = View::open(&rig, CALLER, ("", "configmaps"), "m=$(member)").await;
    view.until("a snapshot", SOON, |v| v.has("m1", "old")).await;
    let before = fake.seen("labelSelector").remove(0).path;

    fake.set_uid("second");
    fake.reply(MAPS, list("7", &[object("new", "2", "3")]));
    fake.disconnect();
    view.until("the new one's objects", SOON, |v| v.has("m1", "new"))
        .await;
    assert!(!view.has("m1", "old"));
    let reborn = ("m1".to_owned(), "MEMBER_REINCARNATED".to_owned());
    assert_eq!(view.snapshots.last(), Some(&reborn));
    assert_eq!(rig.status("m1").await.unwrap().member_uid, "second");
    let after = fake.seen("labelSelector").pop().unwrap().path;
    assert_ne!(before, after, "$(member) follows");
    view.until("the link", SOON, |v| v.links.get("m1") == Some(&Link::Up))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bookmark_from_the_past_means_that_the_member_was_restored() {
    let (rig, fake) = start("restored").await;
    fake.reply(MAPS, list("500", &[object("lost", "1", "400")]));
    // It ends at once, and is opened anew on the same connection.
    let brief = Reply::Raw(200, ("x-a", "b"), Bytes::new());
    fake.reply(WATCH, brief);
    let mut view = View::open(&rig, CALLER, ("", "configmaps"), "").await;
    view.until("a snapshot", SOON, |v| v.synced.contains("m1"))
        .await;
    let bookmark = json!({"kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"resourceVersion": "90"}});
    fake.reply(MAPS, list("90", &[object("kept", "1", "80")]));
    fake.reply(WATCH, Reply::Open(line("BOOKMARK", &bookmark)));
    view.until("the restored state", SOON, |v| v.has("m1", "kept"))
        .await;
    assert!(!view.has("m1", "lost"));
    let restored = ("m1".to_owned(), "MEMBER_REINCARNATED".to_owned());
    assert_eq!(view.snapshots.last(), Some(&restored));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_would_grow_too_large_is_refused_for_its_subscription() {
    let (rig, fake) = start("budget").await;
    let big = "x".repeat(3 * 1024 * 1024);
    let items: Vec<Value> = (0..6)
        .map(|i| {
            let mut object = object(&format!("o{i}"), &format!("u{i}"), "1");
            object["data"]["k"] = big.clone().into();
            object
        })
        .collect();
    fake.reply(MAPS, list("5", &items));
    let mut view = View::open(&rig, CALLER, ("", "configmaps"), "").await;
    let refused = ("m1".to_owned(), "CACHE_BUDGET".to_owned());
    view.until("CACHE_BUDGET", SOON, |v| v.errors.contains(&refused))
        .await;
    assert!(!view.synced.contains("m1"));
    assert_eq!(
        rig.get("m1", "none").await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_tried_again_a_little_and_writes_are_not() {
    let (rig, fake) = start("retries").await;
    let unavailable = json!({"kind": "Status", "reason": "ServiceUnavailable", "message": "no"});
    fake.reply(MAPS, Reply::Json(503, unavailable.clone()));
    fake.reply(&format!("{MAPS}/x"), Reply::Json(503, unavailable));
    let create = proto::CreateRequest {
        target: rig.target("m1", "x"),
        json: configmap("x", "1").to_string().into(),
        ..Default::default()
    };
    let write = rig.access().create(request(create)).await.unwrap_err();
    assert_eq!(write.code(), Code::Unavailable);
    assert_eq!(info(&write).metadata["write_outcome"], "unknown");
    assert_eq!(fake.seen("/configmaps?").len(), 1);
    let read = rig.get("m1", "x").await.unwrap_err();
    assert_eq!(read.code(), Code::Unavailable);
    assert!((2..=3).contains(&fake.seen("/configmaps/x").len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_beyond_what_one_connection_carries_get_another() {
    let rig = Rig::start(bed().await, "streams").await;
    let fake = Fake::start().await;
    // Four watches fit on a connection.
    fake.limit_streams(5);
    fake.reply(MAPS, list("5", &[object("a", "1", "1")]));
    fake.reply(WATCH, Reply::Open(String::new()));
    rig.attach_as("m1", &fake.kubeconfig).await;
    rig.until("m1", State::Ready, SOON).await;
    let mut view = View::open(&rig, CALLER, ("", "configmaps"), "").await;
    for sub_id in 2..=9 {
        let labels = format!("kurator.dev/watch=w{sub_id}");
        view.add(&rig, sub_id, ("", "configmaps"), &labels).await;
    }
    let watches = || fake.seen("resourceVersion=5").len();
    testbed::wait_for("nine watches", SOON, async || {
        (watches() == 9).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(fake.connections("resourceVersion=5"), 3);
    assert_eq!(fake.connections("limit=500"), 1, "lists go another way");

    let events = line("ADDED", &object("later", "2", "9"));
    fake.reply(WATCH, Reply::Open(events));
    fake.disconnect();
    view.until("an event after all were lost", SOON, |v| {
        v.has("m1", "later")
    })
    .await;
    assert_eq!(rig.status("m1").await.unwrap().state(), State::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_the_beginning_of_a_watch_that_goes_on() {
    let (rig, fake) = start("watchlist").await;
    let end = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {
        "resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}});
    let mut foreign = object("foreign", "9", "3");
    foreign["metadata"]["namespace"] = "kube-system".into();
    let events = [
        line("ADDED", &object("a", "1", "1")),
        line("ADDED", &object("gone", "2", "2")),
        line("ADDED", &foreign),
        line("DELETED", &object("gone", "2", "6")),
        line("BOOKMARK", &end),
        line("ADDED", &object("later", "3", "8")),
    ];
    fake.reply(INITIAL, Reply::Open(events.concat()));
    let mut view = View::open(&rig, CALLER, ("", "configmaps"), "").await;
    view.until("all", SOON, |v| v.has("m1", "a") && v.has("m1", "later"))
        .await;
    assert!(!view.has("m1", "gone") && !view.has("m1", "foreign"));
    assert_eq!(view.snapshots.len(), 1);
    let asked = fake.seen("/configmaps?");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].path.contains("resourceVersionMatch=NotOlderThan"));

    // What came last is where the next connection resumes, if the member is still there.
    fake.reply(MAPS, list("8", &[]));
    fake.reply(WATCH, Reply::Open(line("ADDED", &object("next", "4", "9"))));
    fake.disconnect();
    view.until("the next", SOON, |v| v.has("m1", "next")).await;
    assert!(fake.seen("resourceVersion=8").len() == 1 && view.snapshots.len() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_never_ends_its_initial_events_is_listed_within_15_s_and_known_for_it() {
    let (rig, fake) = start("endless").await;
    fake.reply(INITIAL, Reply::Open(line("ADDED", &object("a", "1", "1"))));
    fake.reply(MAPS, list("5", &[object("a", "1", "1")]));
    fake.reply(WATCH, Reply::Open(String::new()));
    let mut view = View::open(&rig, CALLER, ("", "configmaps"), "").await;
    let promised = Duration::from_secs(15);
    view.until("a snapshot", promised, |v| v.synced.contains("m1"))
        .await;
    assert_eq!(rig.metrics.lists(), 1);

    view.add(&rig, 2, ("", "configmaps"), "kurator.dev/another=one")
        .await;
    testbed::wait_for("a second watch", SOON, async || {
        (fake.seen("resourceVersion=5").len() == 2).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(fake.seen("sendInitialEvents").len(), 1);
}
