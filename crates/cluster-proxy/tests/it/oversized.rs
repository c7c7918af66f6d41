//! A member that sends more than Kubernetes allows takes nothing from anybody else.

use proxy_client::proto::cluster_status::State;
use serde_json::{Value, json};

use crate::{
    fake::{Fake, Reply},
    rig::{CALLER, Rig, SOON, bed, configmap},
    view::View,
};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WATCH: &str = "/api/v1/namespaces/default/configmaps?watch";
const TYPE: (&str, &str) = ("", "configmaps");

async fn start(namespace: &str) -> (Rig, Fake) {
    let rig = Rig::start(bed().await, namespace).await;
    let fake = Fake::start().await;
    rig.attach_as("m1", &fake.kubeconfig).await;
    rig.until("m1", State::Ready, SOON).await;
    (rig, fake)
}

fn object(name: &str, revision: &str) -> Value {
    let mut object = configmap(name, revision);
    object["metadata"]["uid"] = name.into();
    object["metadata"]["resourceVersion"] = revision.into();
    object
}

fn list(revision: &str, items: &[Value]) -> Reply {
    let list = json!({"kind": "ConfigMapList", "apiVersion": "v1",
        "metadata": {"resourceVersion": revision}, "items": items});
    Reply::Json(200, list)
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_name_is_dropped_and_the_subscribers_stream_lives_on() {
    let (rig, fake) = start("endless-names").await;
    let long = "x".repeat(1_900_000);
    let mut hostile = object(&long, "6");
    let mut gone = object("a", &long);
    gone["metadata"]["uid"] = "a".into();
    let mut bookmark = object("", &long);
    bookmark["metadata"]["name"] = Value::Null;
    bookmark["metadata"].as_object_mut().unwrap().remove("name");
    hostile["metadata"]["uid"] = long.clone().into();
    fake.reply(MAPS, list("5", &[object("a", "1"), hostile.clone()]));
    let events = [
        line("ADDED", &hostile),
        line("DELETED", &gone),
        line("BOOKMARK", &bookmark),
        line("ADDED", &object("later", "8")),
    ];
    fake.reply(WATCH, Reply::Open(events.concat()));
    // The stream breaks with an error if a frame is larger than a client reads.
    let mut view = View::open(&rig, CALLER, TYPE, "").await;
    view.until("what can be believed", SOON, |v| v.has("m1", "later"))
        .await;
    assert!(view.has("m1", "a"), "its deletion is not believed");
    assert_eq!(view.objects.len(), 2);
}
