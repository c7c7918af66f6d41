//! A Migrate that is deleted while it works, with and without its backup.

use anyhow::ensure;
use api_types::common::DeletionPolicy;
use api_types::external::velero;
use api_types::migrate::Migrate;
use api_types::phase::Phase;
use e2e::{PATIENCE, await_gone, await_object};
use kube::Api;
use testbed::wait_ok;

use super::{
    assert_nothing_restored, begin, delete, from, frozen, is_phase, is_running, migrates,
    of_target, only, stored_name, wait,
};
use crate::elsewhere::{location_of, wait_clean};
use crate::restore::Held;
use crate::world::{ONE, spare, stored, tenant_of, view};

#[tokio::test]
async fn a_migrate_may_be_deleted_while_it_works_and_its_backup_goes_only_if_that_is_asked_for() {
    const NAME: &str = "migrate-delete";
    let spare = spare().await;
    let tenant = tenant_of(NAME, &[ONE, spare.name]).await;
    let one = view(ONE).await;
    for client in [&one.client, &spare.view.client] {
        Held::deploy(client, NAME).await;
    }
    let both = |source: &str, target: &str| {
        let keep = from(source, &[target], only(NAME));
        let mut remove = keep.clone();
        remove.deletion_policy = DeletionPolicy::Delete;
        (keep, remove)
    };

    // While the source is backed up.
    let (keep, remove) = both(spare.name, ONE);
    let removed = frozen(&spare, &tenant, "removed", &remove).await;
    begin(&tenant, "kept", keep).await;
    let begun = |seen: &Migrate| {
        let source = seen
            .status
            .as_ref()
            .and_then(|s| s.source_cluster_status.as_ref());
        source.is_some_and(|source| source.backup_status_in_cluster.is_some())
    };
    let kept = wait(&tenant, "kept", "a Velero Backup", begun).await;
    let gone = wait(&tenant, &removed, "a Velero Backup", begun).await;
    for name in ["kept", &removed] {
        delete(&tenant, name).await;
    }
    let api = migrates(&tenant);
    await_gone(&api, "kept", PATIENCE).await.unwrap();
    let waits = |seen: &Migrate| is_phase(seen, Phase::Deleting);
    wait(&tenant, &removed, "a deletion that waits", waits).await;
    spare.velero().process().thaw().unwrap();
    await_gone(&api, &removed, PATIENCE).await.unwrap();
    let backups: Api<velero::Backup> = spare.view.velero();
    assert!(
        backups
            .get_opt(&stored_name(&gone))
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        stored(spare.name, &stored_name(&gone)).await,
        Vec::<String>::new()
    );
    let done = |object: &velero::Backup| object.phase() == "Completed";
    await_object(&backups, &stored_name(&kept), "Completed", PATIENCE, done)
        .await
        .unwrap();
    for migrate in [&kept, &gone] {
        assert_nothing_restored(migrate, &[ONE]).await;
    }

    // While a target is restored: of two restores one runs, and one waits for its turn.
    let held = Held::at(&spare.view.client, NAME);
    held.hold().await;
    let (keep, remove) = both(ONE, spare.name);
    begin(&tenant, "gone-later", remove).await;
    let runs = |seen: &Migrate| is_running(seen, spare.name);
    let gone = wait(&tenant, "gone-later", "a restore that runs", runs).await;
    begin(&tenant, "kept-later", keep).await;
    let made = |seen: &Migrate| {
        let target = of_target(seen, spare.name);
        target.is_some_and(|target| target.restore_status_in_cluster.is_some())
    };
    let kept = wait(&tenant, "kept-later", "a Velero Restore", made).await;
    for name in ["kept-later", "gone-later"] {
        delete(&tenant, name).await;
    }
    wait(&tenant, "gone-later", "a deletion that waits", waits).await;
    assert!(!stored(ONE, &stored_name(&gone)).await.is_empty());
    held.release().await;
    for name in ["kept-later", "gone-later"] {
        await_gone(&api, name, PATIENCE).await.unwrap();
    }
    // What was restored stays.
    held.assert_restored().await;
    for migrate in [&kept, &gone] {
        assert_nothing_restored(migrate, &[spare.name]).await;
    }
    let backups: Api<velero::Backup> = one.velero();
    backups.get(&stored_name(&kept)).await.unwrap();
    assert!(!stored(ONE, &stored_name(&kept)).await.is_empty());
    wait_ok("an end of the data", PATIENCE, async || {
        let left = stored(ONE, &stored_name(&gone)).await;
        ensure!(left.is_empty(), "there are {left:?}");
        Ok(())
    })
    .await
    .unwrap();
    wait_clean(&spare.view, &location_of(ONE).await).await;
}
