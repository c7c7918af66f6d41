//! Locations that tests make on members.

use anyhow::ensure;
use api_types::external::velero::{BackupStorageLocation, BackupStorageLocationSpec};
use api_types::labels;
use e2e::PATIENCE;
use kube::api::{Api, PostParams};
use testbed::wait_ok;

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
