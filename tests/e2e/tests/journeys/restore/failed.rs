//! A backup that failed in one cluster.

use api_types::phase::{EntryPhase, Phase};
use e2e::specs::demo_backup;
use kube::ResourceExt;

use super::{entry, in_phase, objects_of, of};
use crate::world::{ONE, spare, tenant_of};

#[tokio::test]
async fn what_failed_in_one_cluster_is_not_restored_there_and_the_other_does_not_wait() {
    let spare = spare().await;
    let tenant = tenant_of("restore-failed", &[ONE, spare.name]).await;
    let (backup, _) = spare
        .frozen_backup(&tenant, "failed", &demo_backup())
        .await
        .unwrap();
    let name = backup.name_any();
    spare.velero().restart(&spare.view.client).await.unwrap();
    tenant
        .wait_phase(&name, Phase::PartiallyFailed)
        .await
        .unwrap();

    tenant.restore("half", of(&name)).await.unwrap();
    let restore = in_phase(&tenant, "half", Phase::PartiallyFailed).await;
    assert_eq!(entry(&restore, ONE).unwrap().phase, EntryPhase::Completed);
    let failed = entry(&restore, spare.name).unwrap();
    assert_eq!(failed.phase, EntryPhase::Failed, "{failed:?}");
    assert_eq!(failed.reason.as_deref(), Some("BackupNotRestorable"));
    let said = failed.message.as_deref().unwrap();
    assert!(said.contains(&name), "{said}");
    assert!(objects_of(&restore, spare.name).await.is_empty());
}
