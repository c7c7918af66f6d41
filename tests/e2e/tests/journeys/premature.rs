//! Velero refuses for good what a location is needed for that it takes for unavailable. It reads by a
//! cache that may be behind its API server, so it may do that where the location can be used. Here the
//! location breaks after the objects were made and before Velero looks at them, which is the same to it
//! and to us.

use anyhow::{bail, ensure};
use api_types::backup::Backup;
use api_types::external::velero;
use api_types::migrate::Migrate;
use api_types::phase::Phase;
use api_types::restore::Restore;
use e2e::specs::demo_backup;
use e2e::{PATIENCE, reason};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use testbed::wait_ok;

use crate::migrate;
use crate::restore;
use crate::world::{ONE, Spare, assert_completed, name_in, spare, tenant_of};

const NAME: &str = "premature";
const UNAVAILABLE: &str = "StorageLocationUnavailable";

async fn set_location(spare: &Spare, change: Value) {
    let locations = spare.view.velero::<velero::BackupStorageLocation>();
    let patch = Patch::Merge(change);
    let changed = locations
        .patch("default", &PatchParams::default(), &patch)
        .await;
    changed.unwrap();
}

/// Waits until an owner has one Velero Backup in a member; its name.
async fn only_backup(spare: &Spare, owner_uid: &str) -> String {
    wait_ok("one Velero Backup", PATIENCE, async || {
        let names = spare.view.backup_names_of(owner_uid).await?;
        let [name] = names.as_slice() else {
            bail!("there are {names:?}")
        };
        Ok(name.clone())
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn what_velero_refuses_for_its_location_is_done_under_another_name_once_it_can_be_used() {
    let spare = spare().await;
    let tenant = tenant_of(NAME, &[ONE, spare.name]).await;
    tenant.back_up("before", demo_backup()).await.unwrap();
    tenant.wait_phase("before", Phase::Completed).await.unwrap();

    spare.velero().kill().await.unwrap();
    let backup = tenant.back_up("early", demo_backup()).await.unwrap();
    let restored = restore::into("before", &[spare.name]);
    let restored = tenant.restore("early", restored).await.unwrap();
    let spec = migrate::from(spare.name, &[ONE], migrate::only("default"));
    let moved = migrate::begin(&tenant, "early", spec).await;
    let uids = [backup.uid().unwrap(), moved.uid().unwrap()];
    let refused = [
        only_backup(&spare, &uids[0]).await,
        only_backup(&spare, &uids[1]).await,
        restore::wait_created(&restored, spare.name).await,
    ];
    let broken = json!({
        "spec": { "credential": { "key": "nothing" } },
        "status": { "phase": "Unavailable" },
    });
    set_location(&spare, broken).await;

    spare.velero().process().start().unwrap();

    let what = "the refusal";
    let told = |of: &Backup| reason(of, spare.name) == UNAVAILABLE;
    tenant.wait_backup("early", what, told).await.unwrap();
    let told = |of: &Restore| restore::reason(of, spare.name) == UNAVAILABLE;
    tenant.wait_restore("early", what, told).await.unwrap();
    let told = |of: &Migrate| migrate::of_source(of).reason.as_deref() == Some(UNAVAILABLE);
    migrate::wait(&tenant, "early", what, told).await;

    set_location(
        &spare,
        json!({ "spec": { "credential": { "key": "cloud" } } }),
    )
    .await;

    let backup = tenant.wait_phase("early", Phase::Completed).await.unwrap();
    assert_completed(&backup, &[ONE, spare.name]);
    let restored = restore::in_phase(&tenant, "early", Phase::Completed).await;
    let moved = migrate::in_phase(&tenant, "early", Phase::Completed).await;
    let source = migrate::of_source(&moved);
    let restore = restore::entry(&restored, spare.name).unwrap();
    let made = [
        name_in(&backup, spare.name),
        source.backup_name_in_cluster.unwrap(),
        restore.restore_name_in_cluster.clone().unwrap(),
    ];
    for (made, refused) in made.iter().zip(&refused) {
        assert!(made.starts_with(&format!("{refused}-")), "{made} {refused}");
    }
    // Nothing else is left in the member.
    assert_eq!(only_backup(&spare, &uids[0]).await, made[0]);
    assert_eq!(only_backup(&spare, &uids[1]).await, made[1]);
    wait_ok("one Velero Restore", PATIENCE, async || {
        let found = restore::objects_of(&restored, spare.name).await;
        ensure!(found == made[2..], "there are {found:?}");
        Ok(())
    })
    .await
    .unwrap();
}
