//! A copy of ours becomes one of Velero's own, which go with what lies in the bucket.

use api_types::common::DeletionPolicy;
use api_types::external::velero::{self, BackupStorageLocation};
use api_types::labels;
use api_types::phase::Phase;
use e2e::{PATIENCE, await_gone, await_object};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::{assert_restored_from, backed_up, from, location_of, only, wait_clean};
use crate::restore::{App, in_phase};
use crate::world::{ONE, Spare, name_in, spare, stack};

const NAME: &str = "elsewhere-given";
/// Somebody else's use of the location, which keeps it.
const USE: &str = "use.kurator.dev/00000000-0000-0000-0000-000000000001";

#[tokio::test]
async fn a_copy_goes_with_its_backup_also_where_its_location_stays() {
    const APP: App = App(NAME);
    let spare = spare().await;
    let stack = stack().await;
    let (target, relay) = stack.attach_with_relay(spare.name).unwrap();
    let clusters = [stack.attach(ONE).unwrap(), target];
    let tenant = stack.tenant(NAME, &clusters).await.unwrap();
    let location = kept_location(&spare).await;
    APP.deploy(&[ONE]).await;
    let mut spec = only(ONE, APP.backup());
    spec.deletion_policy = DeletionPolicy::Delete;
    let backup = backed_up(&tenant, "all", spec).await;
    let restore = from(ONE, "all", &[spare.name]);
    tenant.restore("other", restore).await.unwrap();
    let restore = in_phase(&tenant, "other", Phase::Completed).await;
    assert_restored_from(&restore, spare.name, ONE, &backup).await;

    // Two looks after it was made no sync can take it for one that has left the bucket.
    let copies: Api<velero::Backup> = spare.view.velero();
    let name = name_in(&backup, ONE);
    let copy = copies.get(&name).await.unwrap();
    assert_eq!(copy.labels().get(labels::COPIED_INTO), Some(&location));
    let mut looked = copy.creation_timestamp().unwrap().0;
    for _ in 0..2 {
        looked = next_look(&spare, &location, looked).await;
    }
    // Whoever comes back is searched.
    relay.cut();
    tenant.wait_cluster(spare.name, false).await.unwrap();
    relay.heal();
    let given = |copy: &velero::Backup| {
        copy.labels().get(labels::VELERO_STORAGE_LOCATION) == Some(&location)
    };
    let what = "Velero's label of its location";
    let given = await_object(&copies, &name, what, PATIENCE, given).await;
    assert_eq!(given.unwrap().uid(), copy.uid());

    tenant.delete_backup("all").await.unwrap();
    tenant.wait_backup_gone("all").await.unwrap();
    next_look(&spare, &location, looked).await;
    await_gone(&copies, &name, PATIENCE).await.unwrap();
    let unused = Patch::Merge(json!({ "metadata": { "annotations": { USE: null } } }));
    let locations: Api<BackupStorageLocation> = spare.view.velero();
    let params = PatchParams::default();
    locations.patch(&location, &params, &unused).await.unwrap();
    wait_clean(&spare.view, &location).await;
}

/// The location for reading what the first member has stored, as if another hub used it. Velero looks
/// into it whenever it can.
async fn kept_location(spare: &Spare) -> String {
    let locations: Api<BackupStorageLocation> = spare.view.velero();
    let often = Patch::Merge(json!({ "spec": { "backupSyncPeriod": "1s" } }));
    let own = labels::DEFAULT_STORAGE_LOCATION;
    let own = locations.patch(own, &PatchParams::default(), &often).await;
    let mut spec = own.unwrap().spec;
    spec.default = None;
    spec.access_mode = Some("ReadOnly".to_owned());
    let bed = stack().await.bed();
    let source = bed.member(ONE).unwrap().velero().unwrap();
    source.bucket().clone_into(&mut spec.object_storage.bucket);
    spec.object_storage.prefix = Some(source.prefix().to_owned());
    let name = location_of(ONE).await;
    let mut location = BackupStorageLocation::new(&name, spec);
    let by = "another-hub/Restore/team-b/shop".to_owned();
    location.annotations_mut().insert(USE.to_owned(), by);
    let made = locations.create(&PostParams::default(), &location).await;
    made.unwrap();
    name
}

/// Waits for an end of a look into the location after this time.
async fn next_look(spare: &Spare, location: &str, after: Timestamp) -> Timestamp {
    spare.velero().look(&spare.view.client).await.unwrap();
    let locations: Api<BackupStorageLocation> = spare.view.velero();
    let looked = |found: &BackupStorageLocation| found.last_synced_time() > Some(after);
    let found = await_object(&locations, location, "a look", PATIENCE, looked).await;
    found.unwrap().last_synced_time().unwrap()
}
