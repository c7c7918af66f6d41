//! A Migrate that is deleted while it works, with and without its backup.

use api_types::common::DeletionPolicy;
use api_types::external::velero;
use api_types::migrate::{Migrate, MigrateSpec};
use api_types::phase::Phase;
use e2e::{PATIENCE, Tenant, await_gone, await_object};
use kube::Api;

use super::{
    NOWHERE, assert_nothing_made, assert_nothing_restored, begin, delete, from, frozen,
    held_in_both, is_phase, is_running, migrates, of_source, of_target, only, source_ready,
    stored_name, wait, wait_gone,
};
use crate::elsewhere::{location_of, wait_clean};
use crate::restore::Held;
use crate::world::{ONE, Spare, stored};

const NAME: &str = "migrate-delete";

#[tokio::test]
async fn a_migrate_may_be_deleted_while_it_works_and_its_backup_goes_only_if_that_is_asked_for() {
    let (spare, tenant) = held_in_both(NAME).await;
    during_the_backup(&tenant, &spare).await;
    before_any_restore(&tenant).await;
    during_a_restore(&tenant, &spare).await;
}

fn with_its_backup(spec: MigrateSpec) -> MigrateSpec {
    MigrateSpec {
        deletion_policy: DeletionPolicy::Delete,
        ..spec
    }
}

fn is_waiting(migrate: &Migrate) -> bool {
    is_phase(migrate, Phase::Deleting)
}

async fn during_the_backup(tenant: &Tenant, spare: &Spare) {
    let keep = from(spare.name, &[ONE], only(NAME));
    let remove = with_its_backup(keep.clone());
    let removed = frozen(spare, tenant, "removed", &remove).await;
    begin(tenant, "kept", keep).await;
    let begun = |seen: &Migrate| of_source(seen).backup_status_in_cluster.is_some();
    let kept = wait(tenant, "kept", "a Velero Backup", begun).await;
    let gone = wait(tenant, &removed, "a Velero Backup", begun).await;
    for name in ["kept", &removed] {
        delete(tenant, name).await;
    }
    // What is kept need not have ended.
    let api = migrates(tenant);
    await_gone(&api, "kept", PATIENCE).await.unwrap();
    wait(tenant, &removed, "a deletion that waits", is_waiting).await;
    spare.velero().process().thaw().unwrap();
    await_gone(&api, &removed, PATIENCE).await.unwrap();
    assert_nothing_made(&gone, &[ONE, spare.name]).await;
    let left = stored(spare.name, &stored_name(&gone)).await;
    assert_eq!(left, Vec::<String>::new());
    let backups: Api<velero::Backup> = spare.view.velero();
    let done = |object: &velero::Backup| object.phase() == "Completed";
    await_object(&backups, &stored_name(&kept), "Completed", PATIENCE, done)
        .await
        .unwrap();
    assert_nothing_restored(&kept, &[ONE]).await;
}

async fn before_any_restore(tenant: &Tenant) {
    let spec = with_its_backup(from(ONE, &[NOWHERE], only(NAME)));
    begin(tenant, "waits", spec).await;
    let waits = wait(tenant, "waits", "a ready source", source_ready).await;
    wait_gone(tenant, "waits").await;
    assert_nothing_made(&waits, &[ONE]).await;
    let left = stored(ONE, &stored_name(&waits)).await;
    assert_eq!(left, Vec::<String>::new());
}

/// Of two restores one runs, and the other waits for its turn.
async fn during_a_restore(tenant: &Tenant, spare: &Spare) {
    let held = Held::at(&spare.view.client, NAME);
    held.hold().await;
    let keep = from(ONE, &[spare.name], only(NAME));
    begin(tenant, "runs", with_its_backup(keep.clone())).await;
    let runs = |seen: &Migrate| is_running(seen, spare.name);
    let gone = wait(tenant, "runs", "a restore that runs", runs).await;
    begin(tenant, "queued", keep).await;
    let made = |seen: &Migrate| {
        let target = of_target(seen, spare.name);
        target.is_some_and(|target| target.restore_status_in_cluster.is_some())
    };
    let kept = wait(tenant, "queued", "a Velero Restore", made).await;
    for name in ["queued", "runs"] {
        delete(tenant, name).await;
    }
    wait(tenant, "runs", "a deletion that waits", is_waiting).await;
    assert!(!stored(ONE, &stored_name(&gone)).await.is_empty());
    held.release().await;
    for name in ["queued", "runs"] {
        let end = await_gone(&migrates(tenant), name, PATIENCE).await;
        end.unwrap();
    }
    // What was restored stays.
    held.assert_restored().await;
    for migrate in [&kept, &gone] {
        assert_nothing_restored(migrate, &[spare.name]).await;
    }
    assert!(!stored(ONE, &stored_name(&kept)).await.is_empty());
    assert_nothing_made(&gone, &[ONE, spare.name]).await;
    let left = stored(ONE, &stored_name(&gone)).await;
    assert_eq!(left, Vec::<String>::new());
    wait_clean(&spare.view, &location_of(ONE).await).await;
}
