//! Locations that tests make on members.

use anyhow::ensure;
use api_types::external::velero::{BackupStorageLocation, BackupStorageLocationSpec};
use api_types::labels;
use e2e::PATIENCE;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use testbed::{S3, wait_ok};

use crate::world::{stack, view};

/// A location like the member's own, but for `edit`.
pub(crate) async fn make_location(
    member: &str,
    name: &str,
    edit: impl FnOnce(&mut BackupStorageLocationSpec),
) -> BackupStorageLocation {
    let locations: Api<BackupStorageLocation> = view(member).await.velero();
    let own = locations.get(labels::DEFAULT_STORAGE_LOCATION).await;
    let mut spec = own.unwrap().spec;
    spec.default = None;
    edit(&mut spec);
    let location = BackupStorageLocation::new(name, spec);
    let made = locations.create(&PostParams::default(), &location).await;
    made.unwrap()
}

/// The same with keys of its own, at a new bucket; location, Secret and bucket have one name.
pub(crate) async fn make_location_with_keys(
    member: &str,
    name: &str,
    secret_key: &str,
    edit: impl FnOnce(&mut BackupStorageLocationSpec),
) -> BackupStorageLocation {
    let bed = stack().await.bed();
    bed.s3().unwrap().create_bucket(name).unwrap();
    write_keys(member, name, secret_key).await;
    make_location(member, name, |spec| {
        let credential = json!({ "name": name, "key": "cloud" });
        spec.credential = Some(serde_json::from_value(credential).unwrap());
        name.clone_into(&mut spec.object_storage.bucket);
        edit(spec);
    })
    .await
}

/// Writes the Secret `name` with keys of the object storage.
pub(crate) async fn write_keys(member: &str, name: &str, secret_key: &str) {
    let profile = format!(
        "[default]\naws_access_key_id={}\naws_secret_access_key={secret_key}\n",
        S3::ACCESS_KEY
    );
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name },
        "stringData": { "cloud": profile },
    });
    let secrets: Api<Secret> = view(member).await.velero();
    let params = PatchParams::apply("e2e").force();
    secrets
        .patch(name, &params, &Patch::Apply(object))
        .await
        .unwrap();
}

/// Waits until Velero has looked at a location and found it so.
pub(crate) async fn wait_location(member: &str, name: &str, phase: &str) {
    let locations: Api<BackupStorageLocation> = view(member).await.velero();
    let what = format!("location {name} {phase}");
    wait_ok(&what, PATIENCE, async || {
        let found = locations.get(name).await?;
        ensure!(found.phase() == phase, "it is {:?}", found.phase());
        Ok(())
    })
    .await
    .unwrap();
}

/// Makes a location of this name in each of these members, all at the root of one new bucket.
pub(crate) async fn one_place(name: &str, members: &[&str]) {
    let stack = stack().await;
    stack.bed().s3().unwrap().create_bucket(name).unwrap();
    for member in members {
        make_location(member, name, |spec| {
            spec.object_storage.prefix = None;
            name.clone_into(&mut spec.object_storage.bucket);
        })
        .await;
        wait_location(member, name, "Available").await;
    }
}
