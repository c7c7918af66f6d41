//! Callers that the policy lets reach some members only.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::PostParams};
use proxy_client::proto::{self, cluster_status::State};
use serde_json::json;
use testbed::{Member, wait_ok};
use tonic::{Code, Response, Status};

use crate::{
    fake::Fake,
    rig::{Rig, SOON, bed, configmap, info, request_as},
    view::View,
};

/// May do things on members that are labelled `env=prod`.
const PROD: &str = "prod-tester";
const MAPS: (&str, &str) = ("", "configmaps");

/// How each unary call about a member ends.
async fn calls(rig: &Rig, cluster: &str) -> Vec<(&'static str, Result<(), Status>)> {
    fn ended<T>(result: Result<Response<T>, Status>) -> Result<(), Status> {
        result.map(drop)
    }
    let mut access = rig.access();
    let target = rig.target(cluster, "scoped");
    let map = configmap("scoped", "1").to_string();
    let get = proto::GetRequest {
        target: target.clone(),
        ..Default::default()
    };
    let list = proto::ListRequest {
        cluster: rig.cluster(cluster),
        gvr: target.clone().unwrap().gvr,
        namespace: "default".into(),
        ..Default::default()
    };
    let apply = proto::ApplyRequest {
        target: target.clone(),
        json: map.clone().into(),
        field_manager: "tests".into(),
        ..Default::default()
    };
    let create = proto::CreateRequest {
        target: rig.target(cluster, "scoped-too"),
        json: configmap("scoped-too", "1").to_string().into(),
        ..Default::default()
    };
    let patch = proto::PatchRequest {
        target: target.clone(),
        body: json!({"data": {"k": "2"}}).to_string().into(),
        ..Default::default()
    };
    let delete = |name| proto::DeleteRequest {
        target: rig.target(cluster, name),
        ..Default::default()
    };
    let namespace = proto::EnsureNamespaceRequest {
        cluster: rig.cluster(cluster),
        name: "scoped".into(),
        ..Default::default()
    };
    let secret = proto::EnsureSecretRequest {
        cluster: rig.cluster(cluster),
        namespace: "default".into(),
        name: "scoped-velero-s3".into(),
        labels: [(api_types::labels::OWNER_UID.to_owned(), "u".to_owned())].into(),
        ..Default::default()
    };
    let discover = proto::DiscoverRequest {
        cluster: rig.cluster(cluster),
        ..Default::default()
    };
    vec![
        ("Apply", ended(access.apply(request_as(PROD, apply)).await)),
        ("Get", ended(access.get(request_as(PROD, get)).await)),
        ("List", ended(access.list(request_as(PROD, list)).await)),
        ("Patch", ended(access.patch(request_as(PROD, patch)).await)),
        (
            "Create",
            ended(access.create(request_as(PROD, create)).await),
        ),
        (
            "Delete",
            ended(access.delete(request_as(PROD, delete("scoped"))).await),
        ),
        (
            "Delete",
            ended(access.delete(request_as(PROD, delete("scoped-too"))).await),
        ),
        (
            "EnsureNamespace",
            ended(access.ensure_namespace(request_as(PROD, namespace)).await),
        ),
        (
            "EnsureSecret",
            ended(access.ensure_secret(request_as(PROD, secret)).await),
        ),
        (
            "Discover",
            ended(access.discover(request_as(PROD, discover)).await),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_reaches_a_member_that_the_policy_does_not_cover() {
    let rig = Rig::start(bed().await, "scoped-calls").await;
    rig.attach("m1").await;
    rig.label("m1", "env", Some("prod")).await;
    let other = Fake::start().await;
    rig.attach_as("m2", &other.kubeconfig).await;
    rig.label("m2", "env", Some("test")).await;
    rig.until("m2", State::Ready, SOON).await;
    labelled(&rig, "m1", Some("prod")).await;
    labelled(&rig, "m2", Some("test")).await;
    for (call, ended) in calls(&rig, "m1").await {
        assert!(ended.is_ok(), "{call}: {ended:?}");
    }
    let all_denied = async |cluster: &str| {
        for (call, ended) in calls(&rig, cluster).await {
            let denied = ended.unwrap_err();
            assert_eq!(denied.code(), Code::PermissionDenied, "{call}: {denied:?}");
            assert_eq!(info(&denied).reason, "NOT_ALLOWED");
            let named = format!("AttachedCluster scoped-calls/{cluster}");
            assert!(denied.message().ends_with(&named), "{call}: {denied:?}");
        }
    };
    all_denied("m2").await;
    for never in ["configmaps", "secrets", "scoped"] {
        let seen = other.seen(never);
        assert!(seen.is_empty(), "{seen:?}");
    }
    rig.label("m1", "env", None).await;
    labelled(&rig, "m1", None).await;
    all_denied("m1").await;
    // How a member is doing is told to all.
    let all = proto::ListClustersRequest::default();
    let listed = rig.inventory().list_clusters(request_as(PROD, all)).await;
    assert!(
        listed
            .unwrap()
            .into_inner()
            .message()
            .await
            .unwrap()
            .is_some()
    );
}

/// Waits until the proxy has seen the label.
async fn labelled(rig: &Rig, cluster: &str, env: Option<&str>) {
    wait_ok("the label", SOON, async || {
        let labels = rig.link(cluster).labels();
        let known = labels.get("env").map(String::as_str);
        anyhow::ensure!(known == env, "{labels:?}");
        Ok(())
    })
    .await
    .unwrap();
}

async fn put(member: &Member, name: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(member.client().unwrap(), "default");
    let map = serde_json::from_value(configmap(name, "1")).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_follows_the_clusters_that_the_policy_covers() {
    let rig = Rig::start(bed().await, "scoped-watch").await;
    let (one, two) = (rig.attach("m1").await, rig.attach("m2").await);
    put(one, "scoped-watch").await;
    put(two, "scoped-watch").await;
    rig.label("m1", "env", Some("prod")).await;
    labelled(&rig, "m1", Some("prod")).await;

    let mut view = View::open(&rig, PROD, MAPS, "").await;
    let denied = |v: &View, cluster: &str, times: usize| {
        let named = |error: &&(String, String)| error.0 == cluster && error.1 == "NOT_ALLOWED";
        v.errors.iter().filter(named).count() == times
    };
    view.until("m1's object", SOON, |v| v.has("m1", "scoped-watch"))
        .await;
    view.until("m2 to be refused", SOON, |v| denied(v, "m2", 1))
        .await;
    assert!(!view.has("m2", "scoped-watch") && !view.removed.contains("m2"));

    rig.label("m2", "env", Some("prod")).await;
    view.until("m2's object", SOON, |v| v.has("m2", "scoped-watch"))
        .await;
    assert!(denied(&view, "m2", 1), "{:?}", view.errors);
    rig.label("m2", "env", Some("test")).await;
    view.until("m2 to be refused again", SOON, |v| denied(v, "m2", 2))
        .await;
    assert!(
        view.removed.contains("m2"),
        "it is let go before that is said"
    );

    // The other way round, and of m1 only metadata.
    let entry = |clusters: &str, more: &str| {
        format!(
            "  - subjects: [{PROD}]\n    clusters: {{{clusters}}}\n    rules:\n      \
            - {{resources: [configmaps], verbs: [watch], namespaces: [default]{more}}}\n"
        )
    };
    let narrow = entry("names: [m1]", ", metadataOnly: true");
    let wide = entry("namespaces: [scoped-watch], labelSelector: env=test", "");
    rig.set_policy(&format!("policies:\n{narrow}{wide}"));
    let m1 = ("m1".to_owned(), "scoped-watch".to_owned());
    view.until("metadata only of m1, and all of m2", SOON, |v| {
        let narrowed = v
            .objects
            .get(&m1)
            .is_some_and(|map| map.get("data").is_none());
        narrowed && v.value("m2", "scoped-watch") == Some("1")
    })
    .await;
    assert!(
        denied(&view, "m2", 2) && denied(&view, "m1", 0),
        "{:?}",
        view.errors
    );

    rig.set_policy(&format!("policies:\n{wide}"));
    view.until("m1 to be refused", SOON, |v| denied(v, "m1", 1))
        .await;
    assert!(!view.has("m1", "scoped-watch") && view.has("m2", "scoped-watch"));
    rig.set_policy("policies: []");
    let all = (String::new(), "NOT_ALLOWED".to_owned());
    view.until("the whole to be refused", SOON, |v| v.errors.contains(&all))
        .await;
    assert!(
        denied(&view, "m2", 2) && denied(&view, "m1", 1),
        "{:?}",
        view.errors
    );
}
