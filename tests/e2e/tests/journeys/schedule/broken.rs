//! Velero ends, or the Backup is deleted, in the middle of a run.

use anyhow::ensure;
use api_types::backup::{Backup, BackupSpec};
use api_types::common::DeletionPolicy;
use api_types::external::velero;
use api_types::phase::{EntryPhase, Phase};
use e2e::{PATIENCE, Tenant, condition_reason, entry, is_phase, reason};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use testbed::wait_ok;

use super::{YEARLY, answered, is_scheduled, no_schedule, run_names, run_now, scheduled};
use crate::world::{Spare, spare, stored, tenant_of, wait_nothing_left};

/// Starts a run and freezes Velero in the middle of it. Velero may win that race: then another one is
/// started. Returns its name.
async fn frozen_run(tenant: &Tenant, backup: &Backup, spare: &Spare) -> String {
    for attempt in 0..5 {
        let value = format!("attempt {attempt}");
        run_now(tenant, &backup.name_any(), &value).await;
        match spare.freeze_during(backup).await {
            Ok(run) => return run.name_any(),
            Err(_) => spare.velero().process().thaw().unwrap(),
        }
        answered(tenant, &backup.name_any(), &value, &[spare.name]).await;
    }
    panic!("Velero was faster five times")
}

#[tokio::test]
async fn a_run_that_ends_with_its_velero_has_failed_and_the_next_one_completes() {
    let spare = spare().await;
    let tenant = tenant_of("schedule-killed", &[spare.name]).await;
    tenant.back_up("killed", scheduled(YEARLY)).await.unwrap();
    let backup = is_scheduled(&tenant, "killed").await;
    let run = frozen_run(&tenant, &backup, &spare).await;
    spare.velero().restart(&spare.view.client).await.unwrap();
    let failing = |backup: &Backup| {
        reason(backup, spare.name) == "RunFailed"
            && condition_reason(backup, "Ready") == "RunsFailing"
    };
    let what = "RunsFailing";
    let shown = tenant.wait_backup("killed", what, failing).await.unwrap();
    assert!(is_phase(&shown, Phase::Scheduled), "it goes on");
    let failed = entry(&shown, spare.name).unwrap();
    assert_eq!(failed.phase, EntryPhase::Failed);
    assert_eq!(failed.consecutive_failures, Some(1));
    assert_eq!(failed.backup_name_in_cluster, Some(run));
    let said = failed.message.as_deref().unwrap();
    assert!(said.contains("Velero restarted"), "{said}");

    run_now(&tenant, "killed", "again").await;
    answered(&tenant, "killed", "again", &[spare.name]).await;
    is_scheduled(&tenant, "killed").await;
    tenant.delete_backup("killed").await.unwrap();
    tenant.wait_backup_gone("killed").await.unwrap();
}

#[tokio::test]
async fn all_runs_go_with_their_schedule_and_one_that_is_under_way_is_awaited() {
    let spare = spare().await;
    let tenant = tenant_of("schedule-all-go", &[spare.name]).await;
    let spec = BackupSpec {
        deletion_policy: DeletionPolicy::Delete,
        ..scheduled(YEARLY)
    };
    tenant.back_up("all", spec).await.unwrap();
    let backup = is_scheduled(&tenant, "all").await;
    for value in ["one", "two"] {
        run_now(&tenant, "all", value).await;
        answered(&tenant, "all", value, &[spare.name]).await;
    }
    let running = frozen_run(&tenant, &backup, &spare).await;
    let runs = run_names(&backup, spare.name).await;
    assert!(runs.len() >= 3, "{runs:?}");

    tenant.delete_backup("all").await.unwrap();
    let waits = |backup: &Backup| reason(backup, spare.name) == "DeletionPending";
    let what = "a deletion that waits";
    tenant.wait_backup("all", what, waits).await.unwrap();
    no_schedule(&backup, spare.name).await;
    // Velero is asked for the others only.
    let requests: Api<velero::DeleteBackupRequest> = spare.view.velero();
    let others: Vec<&String> = runs.iter().filter(|run| **run != running).collect();
    wait_ok("requests for the other runs", PATIENCE, async || {
        let found = requests.list(&ListParams::default()).await?.items;
        let asked: Vec<&String> = found.iter().map(|of| &of.spec.backup_name).collect();
        ensure!(others.iter().all(|run| asked.contains(run)), "{asked:?}");
        ensure!(!asked.contains(&&running), "{asked:?}");
        Ok(())
    })
    .await
    .unwrap();
    let objects: Api<velero::Backup> = spare.view.velero();
    let still = objects.get(&running).await.unwrap();
    assert_eq!(still.metadata.deletion_timestamp, None);
    spare.velero().process().thaw().unwrap();
    tenant.wait_backup_gone("all").await.unwrap();
    wait_nothing_left(&spare.view, &backup.uid().unwrap())
        .await
        .unwrap();
    for run in &runs {
        let data = stored(spare.name, run).await;
        assert!(data.is_empty(), "{data:?}");
    }
}
