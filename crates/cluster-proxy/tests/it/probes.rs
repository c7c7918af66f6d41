//! What a member says of itself goes to every controller: it is bounded, and asked for again where it
//! could not be read.

use prost::Message as _;
use proxy_client::proto::cluster_status::State;
use serde_json::{Value, json};

use crate::{
    fake::{Fake, Reply},
    rig::{Rig, SOON, bed},
};

const KUBE_SYSTEM: &str = "/api/v1/namespaces/kube-system";

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
