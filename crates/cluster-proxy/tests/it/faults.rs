//! Members and hubs that go away and come back.

use std::{sync::Arc, time::Duration};

use cluster_proxy::{
    error::{CallError, WriteOutcome},
    link::{Link, Session},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use proxy_client::proto::{
    self, cluster_event::Type, cluster_status::State, link_state::State as LinkState,
};
use tokio::{
    sync::{OnceCell, watch},
    time::timeout,
};
use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    fake::{Fake, Reply},
    hostile,
    rig::{CALLER, Rig, SOON, bed, configmap, info, new_bed, request},
    view::View,
};

const MAPS: (&str, &str) = ("", "configmaps");
const PROMISED: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_falls_silent_is_unreachable_within_15_s_and_comes_back() {
    let rig = Rig::start(bed().await, "silent").await;
    let (member, relay) = rig.attach_with_relay("m1").await;
    rig.attach("m2").await;
    let mut view = View::open(&rig, CALLER, MAPS, "").await;
    view.until("snapshots", SOON, |v| v.synced.len() == 2).await;

    relay.cut();
    let status = rig.until("m1", State::Unreachable, PROMISED).await;
    assert_eq!(status.reason, "Unreachable");
    assert!(status.last_ok.unwrap().seconds <= status.since.unwrap().seconds);
    let down = |v: &View| v.links.get("m1") == Some(&LinkState::BreakerOpen);
    view.until("the link's state", SOON, down).await;

    // The proxy's own answer: the member, which is silent, was not asked.
    let refused = rig.get("m1", "nothing").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(info(&refused).reason, "CLUSTER_UNREACHABLE");
    assert_eq!(info(&refused).metadata["write_outcome"], "not_sent");
    assert!(refused.get_details_retry_info().is_some());
    assert_eq!(
        rig.get("m2", "nothing").await.unwrap_err().code(),
        Code::NotFound
    );

    let direct: Api<ConfigMap> = Api::namespaced(member.client().unwrap(), "default");
    let missed = serde_json::from_value(configmap("silent", "missed")).unwrap();
    direct
        .create(&PostParams::default(), &missed)
        .await
        .unwrap();
    relay.heal();
    rig.until("m1", State::Ready, SOON).await;
    view.until("what was missed", SOON, |v| v.has("m1", "silent"))
        .await;
    view.until("the link", SOON, |v| {
        v.links.get("m1") == Some(&LinkState::Up)
    })
    .await;
    assert_eq!(view.snapshots.len(), 2, "watches resume without a list");
    direct
        .delete("silent", &DeleteParams::default())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_refuses_connections_is_unreachable_at_once() {
    let rig = Rig::start(bed().await, "refusing").await;
    let (_, relay) = rig.attach_with_relay("m2").await;

    let mut events = rig
        .inventory()
        .watch_clusters(without_deadline(proto::WatchClustersRequest {
            select: Some(proto::ClusterSet {
                clusters: rig.cluster("m2").into_iter().collect(),
                ..Default::default()
            }),
        }))
        .await
        .unwrap()
        .into_inner();
    let first = events.message().await.unwrap().unwrap();
    assert_eq!(first.r#type(), Type::Snapshot);
    assert_eq!(
        events.message().await.unwrap().unwrap().r#type(),
        Type::Synced
    );

    relay.refuse();
    loop {
        let event = tokio::time::timeout(SOON, events.message()).await.unwrap();
        let event = event.unwrap().unwrap();
        assert_eq!(event.r#type(), Type::Updated);
        if event.status.unwrap().state() == State::Unreachable {
            break;
        }
    }
    relay.heal();
    let probe = proto::ProbeRequest {
        cluster: rig.cluster("m2"),
    };
    rig.inventory().probe(request(probe)).await.unwrap();
    rig.until("m2", State::Ready, Duration::from_secs(5)).await;
}

fn without_deadline<T>(message: T) -> tonic::Request<T> {
    let mut request = request(message);
    request.metadata_mut().remove("grpc-timeout");
    request
}

/// A bed of its own: API servers are killed here.
#[tokio::test(flavor = "multi_thread")]
async fn restarts_of_api_servers_lose_nothing() {
    static BED: OnceCell<testbed::Bed> = OnceCell::const_new();
    let bed = BED
        .get_or_init(|| new_bed("cluster-proxy-faults", &["m1"]))
        .await;
    let rig = Rig::start(bed, "restarts").await;
    let member = rig.attach("m1").await;
    let mut view = View::open(&rig, CALLER, MAPS, "").await;
    view.until("a snapshot", SOON, |v| v.synced.contains("m1"))
        .await;

    member.control_plane().stop_apiserver().await.unwrap();
    rig.until("m1", State::Unreachable, PROMISED).await;
    member.control_plane().start_apiserver().await.unwrap();
    rig.until("m1", State::Ready, SOON).await;
    let direct: Api<ConfigMap> = Api::namespaced(member.client().unwrap(), "default");
    let body = serde_json::from_value(configmap("restarted", "1")).unwrap();
    direct.create(&PostParams::default(), &body).await.unwrap();
    view.until("the object", SOON, |v| v.has("m1", "restarted"))
        .await;

    // A revoked token is noticed, and the Secret's new one is used.
    let other = member.relayed_kubeconfig_as(testbed::Access::Token(1));
    member.control_plane().revoke_token(0).await.unwrap();
    rig.until("m1", State::CredentialsInvalid, SOON).await;
    rig.put_secret("m1", &other).await;
    rig.until("m1", State::Ready, SOON).await;

    // What is known of members does not go with the hub.
    bed.hub().stop_apiserver().await.unwrap();
    assert!(rig.get("m1", "restarted").await.is_ok());
    let body = serde_json::from_value(configmap("hubless", "1")).unwrap();
    let direct: Api<ConfigMap> = {
        let token = member.control_plane().token(1);
        Api::namespaced(member.control_plane().client_as(token).unwrap(), "default")
    };
    direct.create(&PostParams::default(), &body).await.unwrap();
    view.until("events without a hub", SOON, |v| v.has("m1", "hubless"))
        .await;
    bed.hub().start_apiserver().await.unwrap();
    rig.attach_as("m9", "{{{").await;
    rig.until_reason("m9", "KubeconfigInvalid").await;
    assert_eq!(rig.status("m1").await.unwrap().state(), State::Ready);
}

type Sessions = watch::Receiver<Option<Arc<Session>>>;

/// A member that is ready: its link, the sessions from now on, and the one of now.
fn first_session(rig: &Rig) -> (Arc<Link>, Sessions, Arc<Session>) {
    let link = rig.link("m1");
    let mut sessions = link.sessions();
    let first = sessions.borrow_and_update().clone().unwrap();
    (link, sessions, first)
}

/// Waits for the one that takes its place.
async fn session_after(first: &Session, sessions: &mut Sessions) -> Arc<Session> {
    let next = sessions.wait_for(|session| {
        let of_now = session.as_ref().map(|session| session.generation);
        of_now.is_some_and(|generation| generation > first.generation)
    });
    timeout(SOON, next).await.unwrap().unwrap().clone().unwrap()
}

/// Has the member asked, and waits until it was.
async fn probed(link: &Link, fake: &Fake) {
    let before = fake.seen("/readyz").len();
    assert!(link.probe());
    testbed::wait_for("a probe", SOON, async || {
        (fake.seen("/readyz").len() > before).then_some(())
    })
    .await
    .unwrap();
}

/// On one thread nothing else runs between two lines without an await.
#[tokio::test]
async fn what_failed_on_a_lost_connection_does_not_speak_against_the_next() {
    let (rig, fake) = hostile::start("stale").await;
    let (link, mut sessions, first) = first_session(&rig);

    fake.disconnect();
    first.connection.ended().await;
    let nonsense = CallError::malformed("nonsense", WriteOutcome::NotSent);
    for _ in 0..3 {
        link.report(Err(&nonsense));
    }
    let next = session_after(&first, &mut sessions).await;
    assert_eq!(next.generation, first.generation + 1, "the next one stands");
    // The supervisor hears one thing after the other, so that it has heard of the failures before it
    // asks.
    probed(&link, &fake).await;
    let of_now = link.sessions().borrow().clone().unwrap();
    assert_eq!(of_now.generation, next.generation);
    assert_eq!(rig.status("m1").await.unwrap().state(), State::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_in_a_hurry_do_not_take_a_member_away_from_others() {
    let (rig, fake) = hostile::start("hurry").await;
    let map = |name: &str| format!("/api/v1/namespaces/default/configmaps/{name}");
    fake.reply(&map("slow"), Reply::Never);
    fake.reply(&map("x"), Reply::Json(200, configmap("x", "1")));
    let before = rig.link("m1").sessions().borrow().clone().unwrap();
    for _ in 0..8 {
        let get = proto::GetRequest {
            target: rig.target("m1", "slow"),
            ..Default::default()
        };
        let mut get = request(get);
        get.set_timeout(Duration::from_millis(100));
        let late = rig.access().get(get).await.unwrap_err();
        assert_ne!(info_code(&late), "CLUSTER_UNREACHABLE", "{late:?}");
    }
    rig.get("m1", "x").await.unwrap();
    let now = rig.link("m1").sessions().borrow().clone().unwrap();
    assert_eq!(now.generation, before.generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_had_no_time_to_be_answered_speaks_neither_against_a_member_nor_for_it() {
    let (rig, fake) = hostile::start("no-time-to-answer").await;
    let (link, _, first) = first_session(&rig);
    let hurried = || {
        let late = CallError::deadline("no time", WriteOutcome::NotSent);
        for _ in 0..20 {
            link.report(Err(&late));
        }
    };
    let nonsense = CallError::malformed("nonsense", WriteOutcome::NotSent);

    link.report(Err(&nonsense));
    hurried();
    link.report(Err(&nonsense));
    hurried();
    // The supervisor hears one thing after the other: before it asks, it would have given up.
    probed(&link, &fake).await;
    let now = link.sessions().borrow().clone().unwrap();
    assert_eq!(now.generation, first.generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_between_calls_that_had_no_time_add_up() {
    let (rig, _fake) = hostile::start("adding-up").await;
    let (link, mut sessions, first) = first_session(&rig);
    let nonsense = CallError::malformed("nonsense", WriteOutcome::NotSent);
    let late = CallError::deadline("no time", WriteOutcome::NotSent);
    for _ in 0..3 {
        link.report(Err(&nonsense));
        for _ in 0..20 {
            link.report(Err(&late));
        }
    }
    session_after(&first, &mut sessions).await;
}

/// Empty for an error of the client's own.
fn info_code(status: &tonic::Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}
