//! Keys of the object storage that are wrong hold a Backup back until they are right.

use api_types::phase::{EntryPhase, Phase};
use e2e::specs::{demo_backup, demo_policy_in};
use e2e::{entry, is_phase, reason};
use kube::ResourceExt;
use testbed::S3;

use crate::locations::{make_location_with_keys, wait_location, write_keys};
use crate::world::{ONE, assert_completed, assert_one_object, tenant_of, view};

/// Name of the location, its credentials and its bucket.
const GUARDED: &str = "guarded";

#[tokio::test]
async fn wrong_keys_hold_a_backup_visibly_and_it_goes_on_by_itself_once_they_are_right() {
    let tenant = tenant_of("wrong-keys", &[ONE]).await;
    make_location_with_keys(ONE, GUARDED, "mistyped", |spec| {
        // Without it the keys that Velero has in its environment would come first.
        spec.config.insert("profile".into(), "default".into());
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

    write_keys(ONE, GUARDED, S3::SECRET_KEY).await;
    let backup = tenant
        .wait_phase("guarded", Phase::Completed)
        .await
        .unwrap();
    assert_completed(&backup, &[ONE]);
    assert_one_object(&backup, ONE).await;
}
