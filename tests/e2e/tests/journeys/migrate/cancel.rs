//! A Migrate that is cancelled, in each of its states.

use api_types::common::DeletionPolicy;
use api_types::external::velero::{self, BackupStorageLocation};
use api_types::migrate::{Migrate, MigrateSpec};
use api_types::phase::{EntryPhase, Phase};
use e2e::{PATIENCE, Tenant, await_object};
use kube::{Api, ResourceExt};

use super::{
    NOWHERE, assert_made_once, assert_nothing_made, assert_nothing_restored, begin, cancel, from,
    frozen, held_in_both, in_phase, is_phase, is_running, migrates, of_source, of_target, only,
    ready_reason, reason_of, source_ready, stored_name, wait, wait_gone,
};
use crate::elsewhere::{location_of, uses, wait_clean, wait_unused};
use crate::restore::Held;
use crate::world::{ONE, Spare, stored, view};

const NAME: &str = "migrate-cancel";

#[tokio::test]
async fn a_cancelled_migrate_begins_nothing_new_and_awaits_what_runs() {
    let (spare, tenant) = held_in_both(NAME).await;
    during_the_backup(&tenant, &spare).await;
    after_the_backup(&tenant, &spare).await;
}

async fn during_the_backup(tenant: &Tenant, spare: &Spare) {
    let spec = MigrateSpec {
        deletion_policy: DeletionPolicy::Delete,
        ..from(spare.name, &[ONE], only(NAME))
    };
    let name = frozen(spare, tenant, "backup", &spec).await;
    let uid = migrates(tenant).get(&name).await.unwrap().uid().unwrap();
    let location = location_of(spare.name).await;
    let locations: Api<BackupStorageLocation> = view(ONE).await.velero();
    let used = |seen: &BackupStorageLocation| uses(seen).contains(&uid);
    await_object(&locations, &location, "a use", PATIENCE, used)
        .await
        .unwrap();
    cancel(tenant, &name).await;
    let what = "a target that never begins";
    let stopped = |seen: &Migrate| {
        reason_of(seen, ONE) == "Cancelled" && is_phase(seen, Phase::BackupInProgress)
    };
    let seen = wait(tenant, &name, what, stopped).await;
    assert_eq!(of_target(&seen, ONE).unwrap().phase, EntryPhase::Failed);
    spare.velero().process().thaw().unwrap();
    let ended = in_phase(tenant, &name, Phase::Failed).await;
    assert_eq!(ready_reason(&ended), "Cancelled");
    assert_eq!(of_source(&ended).phase, EntryPhase::Completed);
    assert_nothing_restored(&ended, &[ONE]).await;
    // It stays until the Migrate is deleted; the location is used no more.
    let backups: Api<velero::Backup> = spare.view.velero();
    backups.get(&stored_name(&ended)).await.unwrap();
    wait_unused(&locations, &location, &uid).await;
    wait_gone(tenant, &name).await;
    assert_nothing_made(&ended, &[ONE, spare.name]).await;
    let left = stored(spare.name, &stored_name(&ended)).await;
    assert_eq!(left, Vec::<String>::new());
}

/// Before any restore, and while one target is restored.
async fn after_the_backup(tenant: &Tenant, spare: &Spare) {
    let held = Held::at(&spare.view.client, NAME);
    held.hold().await;
    let transfer = from(ONE, &[NOWHERE], only(NAME));
    begin(tenant, "transfer", transfer).await;
    let restore = from(ONE, &[NOWHERE, spare.name], only(NAME));
    begin(tenant, "restore", restore).await;
    wait(tenant, "transfer", "a ready source", source_ready).await;
    let runs = |seen: &Migrate| is_running(seen, spare.name);
    let seen = wait(tenant, "restore", "a restore that runs", runs).await;
    assert_eq!(reason_of(&seen, NOWHERE), "ClusterNotInFleet");
    for name in ["transfer", "restore"] {
        cancel(tenant, name).await;
    }
    let transfer = in_phase(tenant, "transfer", Phase::Failed).await;
    assert_eq!(ready_reason(&transfer), "Cancelled");
    let what = "an end of what never began";
    let stopped = |seen: &Migrate| reason_of(seen, NOWHERE) == "Cancelled";
    let seen = wait(tenant, "restore", what, stopped).await;
    assert!(is_phase(&seen, Phase::RestoreInProgress), "{seen:?}");
    assert!(is_running(&seen, spare.name));
    held.release().await;
    let restore = in_phase(tenant, "restore", Phase::PartiallyFailed).await;
    assert_made_once(&restore, ONE, &[spare.name]).await;
    held.assert_restored().await;
    wait_clean(&spare.view, &location_of(ONE).await).await;
}
