//! Single calls: what they do on a real API server, and what is refused.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{Api, api::PostParams};
use proxy_client::proto::{self, patch_request, projection::Mode, write_result::Outcome};
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;

use crate::hostile;
use crate::rig::{Rig, bed, configmap, gvr, info, metrics, request, request_as};

async fn create(rig: &Rig, name: &str, value: &str) -> Result<proto::WriteResult, tonic::Status> {
    let create = proto::CreateRequest {
        target: rig.target("m1", name),
        json: configmap(name, value).to_string().into(),
        field_manager: "tests".into(),
        return_object: true,
        ..Default::default()
    };
    let result = rig.access().create(request(create)).await;
    result.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_created_read_changed_and_deleted() {
    let rig = Rig::start(bed().await, "calls").await;
    let member = rig.attach("m1").await;
    let mut access = rig.access();

    let created = create(&rig, "calls", "1").await.unwrap();
    assert_eq!(created.outcome(), Outcome::Created);
    assert_eq!(created.object.as_ref().unwrap().kind, "ConfigMap");
    assert_eq!(created.audit_id.len(), 32);
    let direct: Api<ConfigMap> = Api::namespaced(member.client().unwrap(), "default");
    let seen = direct.get("calls").await.unwrap();
    assert_eq!(seen.metadata.uid.unwrap(), created.object.unwrap().uid);

    let read = rig.get("m1", "calls").await.unwrap();
    assert_eq!(read["data"]["k"], "1");
    assert!(read["metadata"].get("managedFields").is_none());

    let again = create(&rig, "calls", "2").await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    assert_eq!(info(&again).domain, "kubernetes");
    assert_eq!(info(&again).metadata["write_outcome"], "rejected");

    let apply = |value: &str, manager: &str, force| proto::ApplyRequest {
        target: rig.target("m1", "calls"),
        json: configmap("calls", value).to_string().into(),
        field_manager: manager.into(),
        force,
        ..Default::default()
    };
    let conflict = access
        .apply(request(apply("3", "second", false)))
        .await
        .unwrap_err();
    assert_eq!(
        (conflict.code(), info(&conflict).reason.as_str()),
        (Code::Aborted, "APPLY_CONFLICT")
    );
    let applied = access
        .apply(request(apply("3", "second", true)))
        .await
        .unwrap();
    assert_eq!(applied.get_ref().outcome(), Outcome::Configured);
    assert!(applied.get_ref().object.is_none());

    let patch = proto::PatchRequest {
        target: rig.target("m1", "calls"),
        r#type: patch_request::Type::Merge.into(),
        body: json!({"data": {"k": "4"}}).to_string().into(),
        ..Default::default()
    };
    access.patch(request(patch)).await.unwrap();
    assert_eq!(rig.get("m1", "calls").await.unwrap()["data"]["k"], "4");

    let delete = |uid: &str| proto::DeleteRequest {
        target: rig.target("m1", "calls"),
        if_uid: uid.into(),
        ..Default::default()
    };
    let wrong = access
        .delete(request(delete("not-its-uid")))
        .await
        .unwrap_err();
    assert_eq!(wrong.code(), Code::Aborted);
    let deleted = access.delete(request(delete(""))).await.unwrap();
    assert_eq!(deleted.get_ref().outcome(), Outcome::Deleted);
    let absent = access.delete(request(delete(""))).await.unwrap();
    assert_eq!(absent.get_ref().outcome(), Outcome::Absent);
    let gone = rig.get("m1", "calls").await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    let text = metrics(&rig.http).await;
    let added = "kurator_proxy_added_latency_seconds_count{rpc=\"Get\"} 3";
    assert!(text.contains(added), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_limited_selected_and_projected() {
    let rig = Rig::start(bed().await, "lists").await;
    let member = rig.attach("m1").await;
    let direct: Api<ConfigMap> = Api::namespaced(member.client().unwrap(), "default");
    for i in 0..7 {
        let mut body = configmap(&format!("list-{i}"), "x");
        body["metadata"]["labels"] = json!({"set": "lists"});
        let body = serde_json::from_value(body).unwrap();
        direct.create(&PostParams::default(), &body).await.unwrap();
    }
    let list = |limit, token: &str, mode: Mode| proto::ListRequest {
        cluster: rig.cluster("m1"),
        gvr: gvr("", "v1", "configmaps"),
        namespace: "default".into(),
        label_selector: "set=lists".into(),
        projection: Some(proto::Projection { mode: mode.into() }),
        limit,
        continue_token: token.into(),
        ..Default::default()
    };
    let read = async |message| {
        let mut chunks = rig
            .access()
            .list(request(message))
            .await
            .unwrap()
            .into_inner();
        let mut items = Vec::new();
        loop {
            let chunk = chunks.message().await.unwrap().unwrap();
            items.extend(chunk.items);
            if chunk.last {
                assert!(!chunk.resource_version.is_empty());
                return (items, chunk.continue_token);
            }
        }
    };
    let (all, token) = read(list(0, "", Mode::Full)).await;
    assert_eq!((all.len(), token.as_str()), (7, ""));
    assert_eq!(all[0].kind, "ConfigMap");
    let (first, token) = read(list(3, "", Mode::Full)).await;
    let (rest, _) = read(list(0, &token, Mode::Metadata)).await;
    assert_eq!((first.len(), rest.len()), (3, 4));
    let body: serde_json::Value = serde_json::from_slice(&rest[0].json).unwrap();
    assert_eq!(
        (&body["kind"], body.get("data")),
        (&json!("ConfigMap"), None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_passes_and_one_that_is_too_large_is_refused() {
    let rig = Rig::start(bed().await, "large").await;
    rig.attach("m1").await;
    let large = "x".repeat(900 * 1024);
    create(&rig, "large", &large).await.unwrap();
    let read = rig.get("m1", "large").await.unwrap();
    assert_eq!(read["data"]["k"].as_str().unwrap().len(), large.len());
    let refused = create(&rig, "larger", &"x".repeat(3200 * 1024))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    // Above 4 MiB the message itself is not read.
    let refused = create(&rig, "largest", &"x".repeat(4200 * 1024))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let field = &refused.get_details_bad_request().unwrap().field_violations[0];
    assert_eq!(field.field, "message");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_policy_does_not_allow_never_reaches_a_member() {
    let (rig, member) = hostile::start("denied").await;
    let mut target = rig.target("m1", "x").unwrap();
    target.gvr = gvr("rbac.authorization.k8s.io", "v1", "clusterrolebindings");
    target.namespace = String::new();
    let get = proto::GetRequest {
        target: Some(target),
        projection: None,
        ..Default::default()
    };
    let denied = rig.access().get(request(get)).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    assert_eq!(info(&denied).reason, "NOT_ALLOWED");
    assert_eq!(info(&denied).metadata["rule"], "default-deny");
    let allowed = proto::GetRequest {
        target: rig.target("m1", "x"),
        projection: None,
        ..Default::default()
    };
    for caller in ["stranger", "other-tester"] {
        let call = rig.access().get(request_as(caller, allowed.clone())).await;
        assert_eq!(call.unwrap_err().code(), Code::PermissionDenied, "{caller}");
    }
    let nobody = rig
        .access()
        .get(tonic::Request::new(allowed))
        .await
        .unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    for never in ["clusterrolebindings", "configmaps"] {
        let seen = member.seen(never);
        assert!(seen.is_empty(), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_with_the_field() {
    let rig = Rig::start(bed().await, "wrong").await;
    rig.attach("m1").await;
    let get = async |change: fn(&mut proto::Target)| {
        let mut target = rig.target("m1", "x").unwrap();
        change(&mut target);
        let get = proto::GetRequest {
            target: Some(target),
            projection: None,
            ..Default::default()
        };
        rig.access().get(request(get)).await.unwrap_err()
    };
    for change in [
        (|t| t.name = "../../secrets/x".into()) as fn(&mut proto::Target),
        |t| t.name = String::new(),
        |t| t.namespace = "default%2f..".into(),
        |t| t.gvr.as_mut().unwrap().group = "a/b".into(),
        |t| t.cluster.as_mut().unwrap().kind = "Node".into(),
        |t| t.cluster = None,
    ] {
        let status = get(change).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.get_details_bad_request().is_some());
    }
    let unknown = get(|t| t.cluster.as_mut().unwrap().name = "nowhere".into()).await;
    assert_eq!(info(&unknown).reason, "CLUSTER_UNKNOWN");

    let smuggled = proto::CreateRequest {
        target: rig.target("m1", "x"),
        json: json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "x", "namespace": "default"}})
        .to_string()
        .into(),
        ..Default::default()
    };
    let refused = rig.access().create(request(smuggled)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("kind"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_that_a_caller_sends_along_do_not_reach_the_member() {
    let rig = Rig::start(bed().await, "identities").await;
    rig.attach("m1").await;
    let create = proto::CreateRequest {
        target: rig.target("m1", "identities"),
        json: configmap("identities", "1").to_string().into(),
        ..Default::default()
    };
    let mut request = request(create);
    for (key, value) in [
        ("authorization", "Bearer stolen"),
        ("impersonate-user", "nobody"),
        ("impersonate-group", "nobodies"),
    ] {
        request.metadata_mut().insert(key, value.parse().unwrap());
    }
    // Were any of them passed on, the member would refuse.
    rig.access().create(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_tells_what_it_serves_and_namespaces_are_ensured() {
    let rig = Rig::start(bed().await, "serves").await;
    let member = rig.attach("m2").await;
    let discover = proto::DiscoverRequest {
        cluster: rig.cluster("m2"),
        group: "apps".into(),
    };
    let mut served = rig
        .access()
        .discover(request(discover))
        .await
        .unwrap()
        .into_inner();
    let mut kinds = Vec::new();
    while let Some(resource) = served.message().await.unwrap() {
        assert_eq!(resource.gvr.unwrap().group, "apps");
        kinds.push(resource.kind);
    }
    assert!(kinds.contains(&"Deployment".to_owned()), "{kinds:?}");
    let status = rig.status("m2").await.unwrap();
    assert!(status.served_groups.contains(&"apps".to_owned()));
    assert!(status.kubernetes_version.starts_with("v1."));
    let system: Api<Namespace> = Api::all(member.client().unwrap());
    let uid = system
        .get("kube-system")
        .await
        .unwrap()
        .metadata
        .uid
        .unwrap();
    assert_eq!(status.member_uid, uid);
    assert!(status.last_ok.is_some() && status.rtt_us > 0);

    let ensure = |value: &str| proto::EnsureNamespaceRequest {
        cluster: rig.cluster("m2"),
        name: "ensured".into(),
        labels: [("team".to_owned(), value.to_owned())].into(),
        request_id: "test-1".into(),
    };
    let mut access = rig.access();
    for (value, wanted) in [
        ("a", Outcome::Created),
        ("a", Outcome::Unchanged),
        ("b", Outcome::Configured),
    ] {
        let result = access
            .ensure_namespace(request(ensure(value)))
            .await
            .unwrap();
        assert_eq!(result.get_ref().outcome(), wanted);
    }
    let labels = system
        .get("ensured")
        .await
        .unwrap()
        .metadata
        .labels
        .unwrap();
    assert_eq!(labels["team"], "b");
}
