//! What a member says of itself goes to every controller: it is bounded, and asked for again where it
//! could not be read.

use prost::Message as _;
use proxy_client::proto::cluster_status::State;
use serde_json::{Value, json};

use crate::{
    fake::{Fake, Reply},
    rig::{CALLER, Rig, SOON, bed, configmap},
    view::View,
};

const KUBE_SYSTEM: &str = "/api/v1/namespaces/kube-system";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WATCH: &str = "/api/v1/namespaces/default/configmaps?watch";

fn forbidden() -> Reply {
    let status = json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"});
    Reply::Json(403, status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_says_too_much_of_itself_is_not_believed_and_not_quoted() {
    let rig = Rig::start(bed().await, "boasting").await;
    let huge = "v".repeat(3 << 19);
    let lies = [
        ("/version", json!({"gitVersion": huge})),
        (KUBE_SYSTEM, json!({"metadata": huge})),
        (KUBE_SYSTEM, json!({"metadata": {"uid": huge}})),
        (KUBE_SYSTEM, json!({"metadata": {"uid": ""}})),
    ];
    let mut fakes = Vec::new();
    for (n, (path, body)) in lies.into_iter().enumerate() {
        let fake = Fake::start().await;
        fake.reply(path, Reply::Json(200, body));
        rig.attach_as(&format!("liar{n}"), &fake.kubeconfig).await;
        fakes.push(fake);
    }
    for n in 0..fakes.len() {
        let name = format!("liar{n}");
        let status = rig.until(&name, State::Unreachable, SOON).await;
        assert!(status.message.contains("cannot be used"), "{status:?}");
        assert!(status.encoded_len() < 4096, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_ever_so_many_groups_is_told_with_some_of_them() {
    let rig = Rig::start(bed().await, "groups").await;
    let fake = Fake::start().await;
    let groups: Vec<Value> = (0..3000)
        .map(|n| {
            json!({"metadata": {"name": format!("g{n}.{}", "x".repeat(60))},
                "versions": [{"version": "v1", "resources": [{"resource": "things"}]}]})
        })
        .collect();
    let list = json!({"kind": "APIGroupDiscoveryList", "items": groups});
    fake.reply("/apis", Reply::Json(200, list));
    rig.attach_as("m1", &fake.kubeconfig).await;
    let status = rig.until("m1", State::Ready, SOON).await;
    assert_eq!(status.served_groups.len(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_may_be_read_later_is_read_then() {
    let rig = Rig::start(bed().await, "identity").await;
    let fake = Fake::start().await;
    fake.reply(KUBE_SYSTEM, forbidden());
    rig.attach_as("m1", &fake.kubeconfig).await;
    let status = rig.until("m1", State::Degraded, SOON).await;
    assert_eq!(status.member_uid, "");
    assert!(status.message.contains("kube-system"), "{status:?}");

    fake.set_uid("first");
    let status = rig.until("m1", State::Ready, SOON).await;
    assert_eq!(status.member_uid, "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_member_that_may_not_be_asked_for_a_moment_is_the_same_one() {
    let rig = Rig::start(bed().await, "same-one").await;
    let fake = Fake::start().await;
    let map = |name: &str, revision: &str| {
        let mut map = configmap(name, revision);
        map["metadata"]["uid"] = name.into();
        map["metadata"]["resourceVersion"] = revision.into();
        map
    };
    let list = json!({"kind": "ConfigMapList", "apiVersion": "v1",
        "metadata": {"resourceVersion": "5"}, "items": [map("a", "3")]});
    fake.reply(MAPS, Reply::Json(200, list));
    fake.reply(WATCH, Reply::Open(String::new()));
    rig.attach_as("m1", &fake.kubeconfig).await;
    rig.until("m1", State::Ready, SOON).await;
    let mut view = View::open(&rig, CALLER, ("", "configmaps"), "").await;
    view.until("a snapshot", SOON, |v| v.has("m1", "a")).await;

    fake.reply(KUBE_SYSTEM, forbidden());
    fake.disconnect();
    let status = rig.until("m1", State::Unreachable, SOON).await;
    assert_eq!(status.member_uid, "first");
    let later = json!({"type": "ADDED", "object": map("later", "9")});
    fake.reply(WATCH, Reply::Open(format!("{later}\n")));
    fake.set_uid("first");
    view.until("what came later", SOON, |v| v.has("m1", "later"))
        .await;
    assert_eq!(view.snapshots.len(), 1, "{:?}", view.snapshots);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_member_that_is_silent_about_itself_keeps_its_name_with_its_credentials() {
    let rig = Rig::start(bed().await, "its-name").await;
    let fake = Fake::start().await;
    rig.attach_as("m1", &fake.kubeconfig).await;
    rig.until("m1", State::Ready, SOON).await;
    fake.reply(KUBE_SYSTEM, forbidden());
    fake.disconnect();
    let status = rig.until("m1", State::Degraded, SOON).await;
    assert_eq!(status.member_uid, "first");

    // What other credentials reach may be any.
    let other = Fake::start().await;
    other.reply(KUBE_SYSTEM, forbidden());
    rig.put_secret("m1", &other.kubeconfig).await;
    testbed::wait_for("nobody's name", SOON, async || {
        let status = rig.status("m1").await?;
        (status.state() == State::Degraded && status.member_uid.is_empty()).then_some(())
    })
    .await
    .unwrap();
}
