//! Keys of the object storage that are wrong hold a Backup back until they are right.

use api_types::phase::{EntryPhase, Phase};
use e2e::specs::{demo_backup, demo_policy_in};
use e2e::{entry, is_phase, reason};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use testbed::S3;

use crate::locations::{make_location, wait_location};
use crate::world::{ONE, assert_completed, assert_one_object, stack, tenant_of, view};

/// Name of the location, its credentials and its bucket.
const GUARDED: &str = "guarded";

async fn write_keys(member: &str, secret_key: &str) {
    let profile = format!(
        "[default]\naws_access_key_id={}\naws_secret_access_key={secret_key}\n",
        S3::ACCESS_KEY
    );
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": GUARDED },
        "stringData": { "cloud": profile },
    });
    let secrets: Api<Secret> = view(member).await.velero();
    let params = PatchParams::apply("e2e").force();
    secrets
        .patch(GUARDED, &params, &Patch::Apply(object))
        .await
        .unwrap();
}

#[tokio::test]
async fn wrong_keys_hold_a_backup_visibly_and_it_goes_on_by_itself_once_they_are_right() {
    let tenant = tenant_of("wrong-keys", &[ONE]).await;
    let bed = stack().await.bed();
    bed.s3().unwrap().create_bucket(GUARDED).unwrap();
    write_keys(ONE, "mistyped").await;
    make_location(ONE, GUARDED, |spec| {
        let credential = json!({ "name": GUARDED, "key": "cloud" });
        spec.credential = Some(serde_json::from_value(credential).unwrap());
        // Without it the keys that Velero has in its environment would come first.
        spec.config.insert("profile".into(), "default".into());
        GUARDED.clone_into(&mut spec.object_storage.bucket);
    })
    .await;
    wait_location(ONE, GUARDED, "Unavailable").await;

    let mut spec = demo_backup();
    spec.policy = Some(demo_policy_in(GUARDED));
    tenant.back_up("guarded", spec).await.unwrap();
    // What the storage says of the keys; until then Velero has not looked.
    let told = |backup: &_| {
        let said = entry(backup, ONE).and_then(|entry| entry.message.as_deref());
        reason(backup, ONE) == "StorageLocationUnavailable"
            && said.is_some_and(|said| said.contains("SignatureDoesNotMatch"))
    };
    let backup = tenant
        .wait_backup("guarded", "what the storage says", told)
        .await
        .unwrap();
    assert!(is_phase(&backup, Phase::Pending));
    let waiting = entry(&backup, ONE).unwrap();
    assert_eq!(waiting.phase, EntryPhase::Pending);
    let said = waiting.message.clone().unwrap();
    assert!(said.contains(GUARDED), "{said}");
    let view = view(ONE).await;
    let made = view.backup_names_of(&backup.uid().unwrap()).await.unwrap();
    assert!(made.is_empty(), "Velero would fail it for ever: {made:?}");

    write_keys(ONE, S3::SECRET_KEY).await;
    let backup = tenant
        .wait_phase("guarded", Phase::Completed)
        .await
        .unwrap();
    assert_completed(&backup, &[ONE]);
    assert_one_object(&backup, ONE).await;
}
