//! Secrets on members are written, and never read.

use api_types::labels::OWNER_UID;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::PostParams};
use proxy_client::proto::{self, projection::Mode, write_result::Outcome};
use serde_json::json;
use tonic::Code;

use crate::{
    rig::{CALLER, Rig, SOON, bed, gvr, info, request},
    view::View,
};

const CANARY: &str = "canary-value";

fn ensure(rig: &Rig, name: &str, value: &str) -> proto::EnsureSecretRequest {
    proto::EnsureSecretRequest {
        cluster: rig.cluster("m1"),
        namespace: "default".into(),
        name: name.into(),
        data: [("cloud".to_owned(), value.as_bytes().to_vec())].into(),
        labels: [(OWNER_UID.to_owned(), "owner".to_owned())].into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_written_and_only_its_metadata_can_be_read() {
    let rig = Rig::start(bed().await, "secrets").await;
    let member = rig.attach("m1").await;
    let mut access = rig.access();
    for (value, wanted) in [
        (CANARY, Outcome::Created),
        (CANARY, Outcome::Unchanged),
        ("canary-value-2", Outcome::Configured),
    ] {
        let secret = ensure(&rig, "fleet-velero-s3", value);
        let result = access
            .ensure_secret(request(secret))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(result.outcome(), wanted);
        assert!(result.object.is_none());
    }
    let direct: Api<Secret> = Api::namespaced(member.client().unwrap(), "default");
    let data = direct.get("fleet-velero-s3").await.unwrap().data.unwrap();
    assert_eq!(data["cloud"].0, b"canary-value-2");

    for mode in [Mode::Full, Mode::WithManagedFields] {
        let get = proto::GetRequest {
            target: Some(proto::Target {
                gvr: gvr("", "v1", "secrets"),
                ..rig.target("m1", "fleet-velero-s3").unwrap()
            }),
            projection: Some(proto::Projection { mode: mode.into() }),
            ..Default::default()
        };
        let object = access.get(request(get)).await.unwrap().into_inner();
        let body: serde_json::Value = serde_json::from_slice(&object.json).unwrap();
        assert_eq!(body["kind"], "Secret");
        assert!(body.get("data").is_none(), "{body}");
    }
    let list = proto::ListRequest {
        cluster: rig.cluster("m1"),
        gvr: gvr("", "v1", "secrets"),
        namespace: "default".into(),
        ..Default::default()
    };
    let mut chunks = access.list(request(list)).await.unwrap().into_inner();
    while let Some(chunk) = chunks.message().await.unwrap() {
        for item in chunk.items {
            let text = String::from_utf8(item.json).unwrap();
            assert!(!text.contains("\"data\""), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_secret_shall_not_hold_any_more_goes() {
    let rig = Rig::start(bed().await, "rotated-secret").await;
    let member = rig.attach("m1").await;
    let direct: Api<Secret> = Api::namespaced(member.client().unwrap(), "default");
    let mut access = rig.access();
    let mut secret = ensure(&rig, "rotated-velero-s3", "new");
    secret.data.insert("old".into(), CANARY.into());
    secret.labels.insert("example.com/old".into(), "yes".into());
    access.ensure_secret(request(secret)).await.unwrap();
    let before = direct.get("rotated-velero-s3").await.unwrap();
    assert_eq!(before.data.unwrap().len(), 2);

    let secret = ensure(&rig, "rotated-velero-s3", "new");
    let result = access.ensure_secret(request(secret)).await.unwrap();
    assert_eq!(result.into_inner().outcome(), Outcome::Configured);
    let after = direct.get("rotated-velero-s3").await.unwrap();
    assert_eq!(after.metadata.uid, before.metadata.uid);
    let data = after.data.unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["cloud"]);
    let labels = after.metadata.labels.unwrap();
    assert_eq!(labels.keys().collect::<Vec<_>>(), [OWNER_UID]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_secrets_shows_only_their_metadata() {
    let rig = Rig::start(bed().await, "watched").await;
    rig.attach("m1").await;
    let mut view = View::open(&rig, CALLER, ("", "secrets"), "").await;
    view.until("a snapshot", SOON, |v| v.synced.contains("m1"))
        .await;
    for value in [CANARY, "another-value"] {
        let secret = ensure(&rig, "watched-velero-s3", value);
        rig.access().ensure_secret(request(secret)).await.unwrap();
    }
    let key = ("m1".to_owned(), "watched-velero-s3".to_owned());
    view.until("the Secret", SOON, |v| v.objects.contains_key(&key))
        .await;
    let seen = &view.objects[&key];
    assert_eq!((&seen["kind"], seen.get("data")), (&json!("Secret"), None));
    assert_eq!(seen["metadata"]["labels"][OWNER_UID], "owner");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_and_unlisted_secrets_are_left_alone() {
    let rig = Rig::start(bed().await, "foreign").await;
    let member = rig.attach("m1").await;
    let direct: Api<Secret> = Api::namespaced(member.client().unwrap(), "default");
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"cloud": "theirs"},
        "metadata": {"name": "foreign-velero-s3"}});
    let foreign = serde_json::from_value(foreign).unwrap();
    direct
        .create(&PostParams::default(), &foreign)
        .await
        .unwrap();
    let mut access = rig.access();

    let secret = ensure(&rig, "foreign-velero-s3", CANARY);
    let refused = access.ensure_secret(request(secret)).await.unwrap_err();
    assert_eq!(info(&refused).reason, "NOT_OURS");
    let data = direct.get("foreign-velero-s3").await.unwrap().data.unwrap();
    assert_eq!(data["cloud"].0, b"theirs");

    let secret = ensure(&rig, "velero-repo-credentials", CANARY);
    let refused = access.ensure_secret(request(secret)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(!refused.message().contains(CANARY));

    let mut ownerless = ensure(&rig, "mine-velero-s3", CANARY);
    ownerless.labels.clear();
    let refused = access.ensure_secret(request(ownerless)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}
