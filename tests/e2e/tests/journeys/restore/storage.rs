//! What is in the way on the member is named, and it goes on by itself once that is mended.

use api_types::backup::Backup;
use api_types::external::velero;
use api_types::names;
use api_types::phase::Phase;
use e2e::condition_reason;
use e2e::specs::{demo_backup, demo_backup_of, demo_policy_in};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams};
use serde_json::json;
use testbed::S3;

use super::Held;
use super::{entry, in_phase, objects_of, of, with_reason};
use crate::elsewhere::from;
use crate::locations::{make_location, make_location_with_keys, wait_location, write_keys};
use crate::schedule::{is_scheduled, patch, run_now, schedule_where};
use crate::world::{ONE, TWO, stack, tenant, tenant_of, view};

/// Name of the location, its credentials and its bucket.
const FICKLE: &str = "fickle";

#[tokio::test]
async fn credentials_or_a_bucket_that_are_away_hold_it_until_they_are_back() {
    let tenant = tenant_of("restore-store", &[ONE]).await;
    make_location_with_keys(ONE, FICKLE, S3::SECRET_KEY, |_| {}).await;
    wait_location(ONE, FICKLE, "Available").await;
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
    write_keys(ONE, FICKLE, S3::SECRET_KEY).await;
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
    let tenant = tenant_of("restore-going", &[ONE]).await;
    let held = Held::deploy(&view(ONE).await.client, "held-back").await;
    tenant.back_up("held", held.backup()).await.unwrap();
    tenant.wait_phase("held", Phase::Completed).await.unwrap();
    let old = held.hold().await;

    tenant.restore("into-it", of("held")).await.unwrap();
    let restore = in_phase(&tenant, "into-it", Phase::InProgress).await;
    assert_eq!(objects_of(&restore, ONE).await.len(), 1);
    assert_eq!(held.uid().await, old, "it is still there");
    held.release().await;
    in_phase(&tenant, "into-it", Phase::Completed).await;
    assert_ne!(held.uid().await, old);
    held.assert_restored().await;
    held.remove().await;
}

/// The bucket in which a member has a location of its own, at its root.
const ASTRAY: &str = "astray";

#[tokio::test]
async fn a_bucket_that_is_away_fails_a_run_that_is_due_and_holds_up_who_reads_it_elsewhere() {
    let tenant = tenant("restore-astray").await;
    let s3 = stack().await.bed().s3().unwrap();
    s3.create_bucket(ASTRAY).unwrap();
    let location = make_location(ONE, ASTRAY, |spec| {
        ASTRAY.clone_into(&mut spec.object_storage.bucket);
        spec.object_storage.prefix = None;
    });
    location.await;
    wait_location(ONE, ASTRAY, "Available").await;
    let mut spec = demo_backup_of(&[ONE]);
    spec.policy = Some(demo_policy_in(ASTRAY));
    tenant.back_up("once", spec.clone()).await.unwrap();
    tenant.wait_phase("once", Phase::Completed).await.unwrap();
    "@every 1s".clone_into(&mut spec.schedule);
    tenant.back_up("often", spec).await.unwrap();
    let backup = is_scheduled(&tenant, "often").await;
    let seen = |live: &velero::Schedule| live.phase() == "Enabled";
    schedule_where(&backup, ONE, "seen by Velero", seen).await;

    let (data, away) = (
        s3.data().join(ASTRAY),
        s3.data().with_file_name("astray-away"),
    );
    std::fs::rename(&data, &away).unwrap();
    wait_location(ONE, ASTRAY, "Unavailable").await;
    // An edit makes Velero look, and a run is due.
    let edit = json!({ "spec": { "policy": { "ttl": "36h" } } });
    patch(&tenant, "often", edit).await;
    let failing = |backup: &Backup| {
        e2e::reason(backup, ONE) == "RunFailed"
            && condition_reason(backup, "Ready") == "RunsFailing"
    };
    let what = "RunsFailing";
    tenant.wait_backup("often", what, failing).await.unwrap();
    run_now(&tenant, "often", "while it is away").await;
    let restore = from(ONE, "once", &[TWO]);
    let restore = tenant.restore("elsewhere", restore).await.unwrap();
    let borrowed = names::location_name(&s3.endpoint(), ASTRAY, "");
    wait_location(TWO, &borrowed, "Unavailable").await;
    with_reason(&tenant, "elsewhere", TWO, "StorageLocationUnavailable").await;
    assert!(objects_of(&restore, TWO).await.is_empty());

    std::fs::rename(&away, &data).unwrap();
    let restore = in_phase(&tenant, "elsewhere", Phase::Completed).await;
    let source = &entry(&restore, TWO).unwrap().source_cluster_name;
    assert_eq!(source.as_deref(), Some(ONE));
    let mended = |backup: &Backup| {
        let status = backup.status.as_ref();
        status.is_some_and(|status| status.last_run_now.is_some())
            && condition_reason(backup, "Ready") == "Scheduled"
    };
    let what = "a run that completed";
    tenant.wait_backup("often", what, mended).await.unwrap();
    tenant.delete_backup("often").await.unwrap();
    tenant.wait_backup_gone("often").await.unwrap();
}
