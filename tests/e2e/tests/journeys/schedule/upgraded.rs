//! A hub that was upgraded in place: what Kurator v0.5.0 has left on members.

use api_types::external::velero;
use api_types::labels;
use e2e::FLEET;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{YEARLY, is_scheduled, no_schedule, schedule_where, scheduled};
use crate::restarts;
use crate::world::{ONE, spare, tenant_of, view};

/// A Schedule as Kurator v0.5.0 made it.
fn of_v050(name: &str, backup: &str, fleet: &str) -> velero::Schedule {
    let mut made = velero::Schedule::new(name, velero::ScheduleSpec::default());
    YEARLY.clone_into(&mut made.spec.schedule);
    let labels = [
        (labels::BACKUP_NAME, backup),
        (labels::FLEET_NAME, fleet),
        (labels::PLUGIN, "backup"),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    made.metadata.labels = Some(labels.into());
    made
}

#[tokio::test]
async fn the_schedule_of_an_upgraded_hub_is_replaced_and_a_stranger_s_is_not() {
    let tenant = tenant_of("schedule-v050", &[ONE]).await;
    let api = view(ONE).await.velero::<velero::Schedule>();
    let make = async |backup: &str, fleet: &str| {
        let name = format!("{ONE}-backup-{}-{backup}", tenant.namespace());
        let made = of_v050(&name, backup, fleet);
        api.create(&PostParams::default(), &made).await.unwrap()
    };
    let former = make("before", FLEET).await;
    let strange = make("strange", "of-another-hub").await;
    for name in ["before", "strange"] {
        tenant.back_up(name, scheduled(YEARLY)).await.unwrap();
    }
    let before = is_scheduled(&tenant, "before").await;
    let ours = schedule_where(&before, ONE, "there", |_| true).await;
    assert_eq!(ours.name_any(), former.name_any());
    assert_ne!(ours.uid(), former.uid(), "it runs no missed slot at once");

    let other = is_scheduled(&tenant, "strange").await;
    let ours = schedule_where(&other, ONE, "there", |_| true).await;
    assert_ne!(ours.name_any(), strange.name_any());
    let kept = api.get(&strange.name_any()).await.unwrap();
    assert_eq!((kept.uid(), &kept.spec), (strange.uid(), &strange.spec));

    // What turns out to be this Backup's goes with it.
    let claimed = json!({ "metadata": { "labels": { labels::FLEET_NAME: FLEET } } });
    let params = PatchParams::default();
    let claimed = Patch::Merge(claimed);
    let patched = api.patch(&strange.name_any(), &params, &claimed).await;
    patched.unwrap();
    for (name, backup) in [("before", &before), ("strange", &other)] {
        tenant.delete_backup(name).await.unwrap();
        tenant.wait_backup_gone(name).await.unwrap();
        no_schedule(backup, ONE).await;
    }
    for gone in [&former, &strange] {
        assert!(api.get_opt(&gone.name_any()).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn what_is_deleted_before_it_was_taken_over_takes_its_schedule_along() {
    let (hub, _turn) = restarts::hub().await;
    let spare = spare().await;
    let tenant = restarts::tenant(hub, "schedule-v050-deleted", &spare).await;
    hub.backup_controller().kill().await.unwrap();
    let name = format!("{ONE}-backup-{}-before", tenant.namespace());
    let api: Api<velero::Schedule> = view(ONE).await.velero();
    let made = of_v050(&name, "before", FLEET);
    api.create(&PostParams::default(), &made).await.unwrap();
    tenant.back_up("before", scheduled(YEARLY)).await.unwrap();
    let backups = tenant.backups();
    let params = PatchParams::default();
    let held = json!({ "metadata": { "finalizers": [labels::BACKUP_FINALIZER] } });
    let held = backups.patch("before", &params, &Patch::Merge(held)).await;
    held.unwrap();
    // As v0.5.0 writes it.
    let entry = json!({ "status": { "backupDetails": [{
        "clusterName": ONE, "clusterKind": "AttachedCluster", "backupNameInCluster": name,
    }] } });
    let written = backups
        .patch_status("before", &params, &Patch::Merge(entry))
        .await;
    written.unwrap();
    tenant.delete_backup("before").await.unwrap();

    hub.backup_controller().start_again().await.unwrap();
    tenant.wait_backup_gone("before").await.unwrap();
    assert!(api.get_opt(&name).await.unwrap().is_none());
}
