//! What is in the way on the member is named, and it goes on by itself once that is mended.

use api_types::phase::Phase;
use e2e::specs::{demo_backup, demo_policy_in};
use e2e::{PATIENCE, await_gone};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;
use testbed::{S3, apply_yaml};

use super::{in_phase, objects_of, of, with_reason};
use crate::locations::{make_location, wait_location};
use crate::world::{ONE, stack, tenant_of, view};

/// Name of the location, its credentials and its bucket.
const FICKLE: &str = "fickle";

/// Makes a location with credentials of its own in its own bucket.
async fn make_fickle(member: &str) {
    let bed = stack().await.bed();
    bed.s3().unwrap().create_bucket(FICKLE).unwrap();
    write_credentials(member).await;
    let location = make_location(member, FICKLE, |spec| {
        let credential = json!({ "name": FICKLE, "key": "cloud" });
        spec.credential = Some(serde_json::from_value(credential).unwrap());
        FICKLE.clone_into(&mut spec.object_storage.bucket);
    });
    location.await;
    wait_location(member, FICKLE, "Available").await;
}

async fn write_credentials(member: &str) {
    let profile = format!(
        "[default]\naws_access_key_id={}\naws_secret_access_key={}\n",
        S3::ACCESS_KEY,
        S3::SECRET_KEY
    );
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": FICKLE },
        "stringData": { "cloud": profile },
    });
    let secrets: Api<Secret> = view(member).await.velero();
    let params = PatchParams::apply("e2e").force();
    secrets
        .patch(FICKLE, &params, &Patch::Apply(object))
        .await
        .unwrap();
}

#[tokio::test]
async fn credentials_or_a_bucket_that_are_away_hold_it_until_they_are_back() {
    let tenant = tenant_of("restore-store", &[ONE]).await;
    make_fickle(ONE).await;
    let mut spec = demo_backup();
    spec.policy = Some(demo_policy_in(FICKLE));
    tenant.back_up("stored", spec).await.unwrap();
    tenant.wait_phase("stored", Phase::Completed).await.unwrap();

    // Wrong keys would do as well, but the bed's Velero has the right ones in its environment.
    let secrets: Api<Secret> = view(ONE).await.velero();
    secrets
        .delete(FICKLE, &DeleteParams::default())
        .await
        .unwrap();
    wait_location(ONE, FICKLE, "Unavailable").await;
    tenant.restore("keys", of("stored")).await.unwrap();
    let restore = with_reason(&tenant, "keys", ONE, "StorageLocationUnavailable").await;
    assert!(
        objects_of(&restore, ONE).await.is_empty(),
        "Velero would fail it for ever"
    );
    write_credentials(ONE).await;
    in_phase(&tenant, "keys", Phase::Completed).await;

    let data = stack().await.bed().s3().unwrap().data();
    let away = data.with_file_name("fickle-away");
    std::fs::rename(data.join(FICKLE), &away).unwrap();
    wait_location(ONE, FICKLE, "Unavailable").await;
    tenant.restore("bucket", of("stored")).await.unwrap();
    let restore = with_reason(&tenant, "bucket", ONE, "StorageLocationUnavailable").await;
    assert!(
        objects_of(&restore, ONE).await.is_empty(),
        "Velero would fail it for ever"
    );
    std::fs::rename(&away, data.join(FICKLE)).unwrap();
    in_phase(&tenant, "bucket", Phase::Completed).await;
}

/// Velero itself waits for a namespace that is on its way out, and makes it anew.
#[tokio::test]
async fn what_goes_into_a_namespace_that_is_going_away_comes_once_it_has_gone() {
    const HELD: &str = "held-back";
    let tenant = tenant_of("restore-going", &[ONE]).await;
    let client = view(ONE).await.client;
    let manifest = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {HELD}}}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings, namespace: {HELD}}}\ndata: {{greeting: hello}}\n"
    );
    apply_yaml(&client, &manifest).await.unwrap();
    let mut spec = demo_backup();
    spec.policy =
        serde_json::from_value(json!({ "resourceFilter": { "includedNamespaces": [HELD] } }))
            .unwrap();
    tenant.back_up("held", spec).await.unwrap();
    tenant.wait_phase("held", Phase::Completed).await.unwrap();

    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), HELD);
    let hold =
        |finalizers: &[&str]| Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
    let params = PatchParams::default();
    maps.patch("settings", &params, &hold(&["e2e.kurator.dev/hold"]))
        .await
        .unwrap();
    let namespaces: Api<Namespace> = Api::all(client);
    let old = namespaces
        .delete(HELD, &DeleteParams::default())
        .await
        .unwrap();
    let old = old.left().unwrap().uid();

    tenant.restore("into-it", of("held")).await.unwrap();
    let restore = in_phase(&tenant, "into-it", Phase::InProgress).await;
    assert_eq!(objects_of(&restore, ONE).await.len(), 1);
    assert_eq!(
        namespaces.get(HELD).await.unwrap().uid(),
        old,
        "it is still there"
    );
    maps.patch("settings", &params, &hold(&[])).await.unwrap();
    in_phase(&tenant, "into-it", Phase::Completed).await;
    assert_ne!(namespaces.get(HELD).await.unwrap().uid(), old);
    let settings = maps.get("settings").await.unwrap();
    assert_eq!(settings.data.unwrap()["greeting"], "hello");

    namespaces
        .delete(HELD, &DeleteParams::default())
        .await
        .unwrap();
    await_gone(&namespaces, HELD, PATIENCE).await.unwrap();
}
