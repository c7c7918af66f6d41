//! The proxy as controllers see it: through `proxy-client`, over a Unix socket, across restarts.

use std::os::unix::fs::PermissionsExt as _;

use api_types::key::ClusterKey;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use proxy_client::proto::{self, cluster_event::Type};
use proxy_client::{
    Clusters, Deleted, Endpoint, Error, ListOptions, Members, PatchKind, Preconditions, Selection,
};
use serde_json::json;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::rig::{CALLER, Rig, SOON, bed, configmap, info, request};

#[tokio::test(flavor = "multi_thread")]
async fn controllers_work_through_the_client_and_across_a_restart_of_the_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", dir.path().join("proxy.sock").display());
    let rig = Rig::start(bed().await, "client").await;
    rig.attach("m1").await;
    let cluster = ClusterKey::attached("client", "m1");
    let flags = ["--allow-address", "127.0.0.0/8"];
    let first = rig.another(&socket, &flags).await;
    let mode = std::fs::metadata(dir.path().join("proxy.sock")).unwrap();
    let mode = mode.permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "whoever may open it is a trusted caller");

    let endpoint: Endpoint = socket.parse().unwrap();
    let members = Members::connect(&endpoint, CALLER).unwrap();
    let inventory = members.inventory();
    let ready = |i: &proxy_client::Inventory| i.get(&cluster).is_some_and(|c| c.state.is_usable());
    tokio::time::timeout(SOON, inventory.until(ready))
        .await
        .unwrap();
    assert!(inventory.get(&cluster).unwrap().serves("apps"));
    let watch = members.watch::<ConfigMap>(Selection {
        namespace: Some("default".into()),
        labels: Some("set=client".into()),
        clusters: Clusters::Listed(vec![cluster.clone()]),
        ..Default::default()
    });
    let value = |watch: &proxy_client::MemberWatch<ConfigMap>| {
        let found = watch.get(&cluster, "default", "client")?;
        found.data.as_ref()?.get("k").cloned()
    };
    let api = members.api::<ConfigMap>(&cluster).namespace("default");
    let mut body = configmap("client", "1");
    body["metadata"]["labels"] = json!({"set": "client"});
    let object: ConfigMap = serde_json::from_value(body.clone()).unwrap();
    let created = api.create(&object, "tests").await.unwrap();
    assert!(matches!(
        api.create(&object, "tests").await,
        Err(Error::AlreadyExists(_))
    ));
    // Of a first look the objects come before its end.
    let seen = watch.until(|w| value(w).as_deref() == Some("1") && w.state(&cluster).synced);
    tokio::time::timeout(SOON, seen).await.unwrap();
    let options = ListOptions {
        labels: Some("set=client".into()),
        ..Default::default()
    };
    assert_eq!(api.list(&options).await.unwrap().len(), 1);

    drop(first);
    let second = rig.another(&socket, &flags).await;
    body["data"]["k"] = "2".into();
    let applied = testbed::wait_ok("an apply after the restart", SOON, async || {
        Ok(api.apply("client", &body, "tests", true).await?)
    });
    applied.await.unwrap();
    let seen = watch.until(|w| value(w).as_deref() == Some("2"));
    tokio::time::timeout(SOON, seen).await.unwrap();

    let patch = json!({"data": {"k": "3"}});
    api.patch("client", PatchKind::Merge, &patch, "tests")
        .await
        .unwrap();
    let only_if = Preconditions {
        uid: created.metadata.uid,
        ..Default::default()
    };
    assert_eq!(
        api.delete("client", &only_if).await.unwrap(),
        Deleted::Accepted
    );
    assert_eq!(
        api.delete("client", &only_if).await.unwrap(),
        Deleted::Absent
    );
    assert!(api.get_opt("client").await.unwrap().is_none());
    let pods = members.api::<Pod>(&cluster).namespace("default");
    assert!(matches!(pods.get("x").await, Err(Error::Refused(_))));
    let stranger = Members::connect(&endpoint, "stranger").unwrap();
    let denied = stranger
        .api::<ConfigMap>(&cluster)
        .namespace("default")
        .get("x")
        .await;
    assert!(matches!(denied, Err(Error::Refused(_))), "{denied:?}");
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_told_to_end_says_so_on_its_streams_and_ends() {
    let mut rig = Rig::start(bed().await, "ending").await;
    rig.attach("m1").await;
    let mut health = HealthClient::new(rig.channel.clone());
    let service = "clusterproxy.v1.MemberAccess".to_owned();
    let check = HealthCheckRequest {
        service: service.clone(),
    };
    let answer = health.check(check).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);

    let watched = health.watch(HealthCheckRequest { service }).await;
    let mut watched = watched.unwrap().into_inner();
    let told = watched.message().await.unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::Serving);
    let all = proto::WatchClustersRequest::default();
    let states = rig.inventory().watch_clusters(request(all)).await;
    let mut states = states.unwrap().into_inner();
    while states.message().await.unwrap().unwrap().r#type() != Type::Synced {}

    let (_input, input) = tokio::sync::mpsc::channel(1);
    let mut watch = rig.watch();
    let subscribed = watch.subscribe(request(ReceiverStream::new(input))).await;
    let mut frames = subscribed.unwrap().into_inner();

    let streams = async move {
        let last = loop {
            match states.message().await {
                Ok(Some(_)) => {}
                ended => break ended.unwrap_err(),
            }
        };
        assert_eq!(last.code(), Code::Unavailable);
        assert_eq!(info(&last).reason, "DRAINING");
        assert!(!matches!(frames.message().await, Ok(Some(_))));
        let told = watched.message().await.unwrap().unwrap();
        assert_eq!(told.status(), ServingStatus::NotServing);
        // The proxy waits for its streams; this was the last.
        drop(watched);
    };
    let both = async { tokio::join!(rig.end(), streams).0 };
    tokio::time::timeout(SOON, both).await.unwrap().unwrap();
}
