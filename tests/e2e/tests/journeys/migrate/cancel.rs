//! A Migrate that is cancelled, in each of its states.

use anyhow::ensure;
use api_types::external::velero::{self, BackupStorageLocation};
use api_types::migrate::Migrate;
use api_types::phase::{EntryPhase, Phase};
use e2e::PATIENCE;
use kube::{Api, ResourceExt};
use testbed::wait_ok;

use super::{
    assert_made_once, assert_nothing_restored, begin, cancel, from, frozen, in_phase, is_running,
    of_source, of_target, only, ready_reason, reason_of, source_ready, stored_name, wait,
};
use crate::elsewhere::{location_of, uses, wait_clean};
use crate::restore::Held;
use crate::world::{ONE, spare, tenant_of, view};

/// A target that is never ready.
const NOWHERE: &str = "nowhere";

fn phase(migrate: &Migrate) -> Option<Phase> {
    migrate.status.as_ref().unwrap().phase
}

#[tokio::test]
async fn a_cancelled_migrate_begins_nothing_new_and_awaits_what_runs() {
    const NAME: &str = "migrate-cancel";
    let spare = spare().await;
    let tenant = tenant_of(NAME, &[ONE, spare.name]).await;
    let one = view(ONE).await;
    for client in [&one.client, &spare.view.client] {
        Held::deploy(client, NAME).await;
    }

    // While its source is backed up.
    let spec = from(spare.name, &[ONE], only(NAME));
    let backup = frozen(&spare, &tenant, "backup", &spec).await;
    cancel(&tenant, &backup).await;
    let seen = wait(&tenant, &backup, "a target that never begins", |seen| {
        reason_of(seen, ONE) == "Cancelled"
    });
    let seen = seen.await;
    assert_eq!(of_target(&seen, ONE).unwrap().phase, EntryPhase::Failed);
    assert_eq!(phase(&seen), Some(Phase::BackupInProgress));
    spare.velero().process().thaw().unwrap();
    let ended = in_phase(&tenant, &backup, Phase::Failed).await;
    assert_eq!(ready_reason(&ended), "Cancelled");
    assert_eq!(of_source(&ended).phase, EntryPhase::Completed);
    assert_nothing_restored(&ended, &[ONE]).await;
    // It stays until the Migrate is deleted.
    let backups: Api<velero::Backup> = spare.view.velero();
    backups.get(&stored_name(&ended)).await.unwrap();
    let (locations, uid): (Api<BackupStorageLocation>, _) = (one.velero(), ended.uid().unwrap());
    let location = location_of(spare.name).await;
    wait_ok("an end of the use", PATIENCE, async || {
        let found = locations.get_opt(&location).await?;
        let left = found.as_ref().map(uses).unwrap_or_default();
        ensure!(!left.contains(&uid), "there are {left:?}");
        Ok(())
    })
    .await
    .unwrap();

    // Between the backup and the restore, and while one target is restored.
    let held = Held::at(&spare.view.client, NAME);
    held.hold().await;
    begin(&tenant, "transfer", from(ONE, &[NOWHERE], only(NAME))).await;
    begin(
        &tenant,
        "restore",
        from(ONE, &[NOWHERE, spare.name], only(NAME)),
    )
    .await;
    wait(&tenant, "transfer", "a ready source", source_ready).await;
    let runs = |seen: &Migrate| is_running(seen, spare.name);
    let seen = wait(&tenant, "restore", "a restore that runs", runs).await;
    assert_eq!(reason_of(&seen, NOWHERE), "ClusterNotInFleet");
    for name in ["transfer", "restore"] {
        cancel(&tenant, name).await;
    }
    let transfer = in_phase(&tenant, "transfer", Phase::Failed).await;
    assert_eq!(ready_reason(&transfer), "Cancelled");
    let stopped = |seen: &Migrate| reason_of(seen, NOWHERE) == "Cancelled";
    let seen = wait(&tenant, "restore", "an end of what never began", stopped).await;
    assert_eq!(phase(&seen), Some(Phase::RestoreInProgress));
    assert!(is_running(&seen, spare.name));
    held.release().await;
    let restore = in_phase(&tenant, "restore", Phase::PartiallyFailed).await;
    let entry = of_target(&restore, spare.name).unwrap();
    assert_eq!(entry.phase, EntryPhase::Completed, "{entry:?}");
    assert_made_once(&restore, ONE, &[spare.name]).await;
    held.assert_restored().await;
    wait_clean(&spare.view, &location_of(ONE).await).await;
}
