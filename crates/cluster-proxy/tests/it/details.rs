//! What a member says about an error reaches the caller, within limits.

use std::collections::HashMap;

use prost::Message;
use proxy_client::proto;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::{
    fake::Reply,
    hostile,
    rig::{Rig, bed, configmap, gvr, info, request},
};

/// The member's Status among the details.
fn kube_status(status: &Status) -> Option<Value> {
    let details = tonic_types::pb::Status::decode(status.details()).unwrap();
    let named = |any: &&prost_types::Any| any.type_url.ends_with("/clusterproxy.v1.KubeStatus");
    let any = details.details.iter().find(named)?;
    let detail = proto::KubeStatus::decode(any.value.as_slice()).unwrap();
    assert!(detail.json.len() <= 4096, "{}", detail.json.len());
    Some(serde_json::from_slice(&detail.json).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_members_own_status_comes_with_the_error() {
    let rig = Rig::start(bed().await, "details").await;
    rig.attach("m1").await;
    let mut body = configmap("details", "1");
    body["data"]["not a key"] = "x".into();
    let create = proto::CreateRequest {
        target: rig.target("m1", "details"),
        json: body.to_string().into(),
        request_id: "my-request".into(),
        ..Default::default()
    };
    let invalid = rig.access().create(request(create)).await.unwrap_err();
    let said = info(&invalid);
    assert_eq!(
        (invalid.code(), said.reason.as_str()),
        (Code::InvalidArgument, "INVALID")
    );
    assert_eq!(said.metadata["audit_id"], "my-request");
    assert_eq!(said.metadata["http_code"], "422");
    let kube = kube_status(&invalid).unwrap();
    assert_eq!(
        (&kube["reason"], &kube["code"]),
        (&json!("Invalid"), &json!(422))
    );
    assert_eq!(kube["details"]["name"], "details");
    assert_eq!(kube["details"]["causes"][0]["field"], "data[not a key]");

    let absent = rig.get("m1", "no-such-object").await.unwrap_err();
    assert_eq!(kube_status(&absent).unwrap()["reason"], "NotFound");
    // What the proxy itself refuses has no Status.
    let unknown = rig.get("m2", "x").await.unwrap_err();
    assert_eq!(kube_status(&unknown), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_says_about_a_secret_stays_there() {
    let rig = Rig::start(bed().await, "quoted").await;
    rig.attach("m1").await;
    let ensure = proto::EnsureSecretRequest {
        cluster: rig.cluster("m1"),
        namespace: "default".into(),
        name: "quoted-velero-s3".into(),
        r#type: "kubernetes.io/dockerconfigjson".into(),
        data: HashMap::from([(".dockerconfigjson".to_owned(), b"hunter2".to_vec())]),
        labels: HashMap::from([(api_types::labels::OWNER_UID.to_owned(), "x".to_owned())]),
        request_id: String::new(),
    };
    let invalid = rig
        .access()
        .ensure_secret(request(ensure))
        .await
        .unwrap_err();
    assert_eq!(invalid.code(), Code::InvalidArgument);
    let kube = kube_status(&invalid).unwrap();
    assert_eq!(
        kube,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid",
            "code": 422, "details": {}})
    );
    assert!(!invalid.message().contains("hunter2"), "{invalid:?}");
}

/// Clients take 16 KiB of trailers; an error above that would be none that they understand.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_says_too_much_is_cut_short_and_understood() {
    let (rig, fake) = hostile::start("talkative").await;
    let long = "\u{1f600}\"".repeat(500);
    let cause = json!({"reason": long, "message": long, "field": long});
    let status = json!({"kind": "Status", "message": long, "reason": "Invalid", "code": 422,
        "details": {"name": long, "kind": long, "causes": vec![cause; 3]}});
    let path = "/api/v1/namespaces/default/configmaps/x";
    fake.reply(path, Reply::Json(422, status));
    let invalid = rig.get("m1", "x").await.unwrap_err();
    assert_eq!(
        (invalid.code(), info(&invalid).reason.as_str()),
        (Code::InvalidArgument, "INVALID")
    );
    assert_eq!(kube_status(&invalid).unwrap()["reason"], "Invalid");
    assert!(invalid.message().len() < 1100);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_metadata_only_writes_no_more() {
    let rig = Rig::start(bed().await, "metadata-only").await;
    rig.attach("m1").await;
    let target = Some(proto::Target {
        gvr: gvr("", "v1", "serviceaccounts"),
        ..rig.target("m1", "labelled").unwrap()
    });
    let plain = serde_json::json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "labelled", "namespace": "default", "labels": {"a": "b"}}});
    let mut more = plain.clone();
    more["automountServiceAccountToken"] = true.into();
    let apply = |body: &serde_json::Value| {
        request(proto::ApplyRequest {
            target: target.clone(),
            json: body.to_string().into(),
            field_manager: "tests".into(),
            ..Default::default()
        })
    };
    rig.access().apply(apply(&plain)).await.unwrap();
    let refused = rig.access().apply(apply(&more)).await.unwrap_err();
    let patch = proto::PatchRequest {
        target: target.clone(),
        r#type: proto::patch_request::Type::Merge.into(),
        body: br#"{"automountServiceAccountToken":true}"#.to_vec(),
        ..Default::default()
    };
    let unpatched = rig.access().patch(request(patch)).await.unwrap_err();
    for status in [refused, unpatched] {
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        assert_eq!(info(&status).reason, "NOT_ALLOWED");
    }
}
