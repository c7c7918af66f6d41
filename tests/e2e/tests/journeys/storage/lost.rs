//! The hub keeps neither a Backup nor its cluster: the Fleet still says where that has stored.

use api_types::cluster::AttachedCluster;
use api_types::external::velero;
use api_types::phase::Phase;
use api_types::restore::{Restore, RestoreSpec};
use e2e::specs::demo_backup;
use e2e::{FLEET, PATIENCE, await_gone};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use super::bed::{BERGEN, OSLO, delete_fleet, turn, wait_plugin_ready};
use crate::world::name_in;

#[tokio::test]
async fn a_cluster_and_a_backup_that_are_gone_from_the_hub_are_restored_by_what_the_fleet_says() {
    const NAME: &str = "storage-lost";
    let turn = turn().await;
    let tenant = turn.tenant(NAME).await;
    let location = json!({ "prefix": "production", "layout": "PerCluster" });
    turn.set_up(&tenant, &location).await;
    wait_plugin_ready(&tenant).await;
    tenant.back_up("all", demo_backup()).await.unwrap();
    let backup = tenant.wait_phase("all", Phase::Completed).await.unwrap();
    let run = name_in(&backup, OSLO);
    tenant.delete_backup("all").await.unwrap();
    tenant.wait_backup_gone("all").await.unwrap();
    tenant.change_fleet(&[BERGEN]).await.unwrap();
    let attached: Api<AttachedCluster> = tenant.api();
    attached
        .delete(OSLO, &DeleteParams::default())
        .await
        .unwrap();
    await_gone(&attached, OSLO, PATIENCE).await.unwrap();

    let spec = json!({
        "backupName": "all",
        "sourceCluster": { "name": OSLO },
        "destination": {
            "fleet": FLEET,
            "clusters": [{ "kind": "AttachedCluster", "name": BERGEN }],
        },
    });
    let spec: RestoreSpec = serde_json::from_value(spec).unwrap();
    tenant.restore("lost", spec).await.unwrap();
    let done = |restore: &Restore| {
        let status = restore.status.as_ref();
        status.is_some_and(|status| status.phase == Some(Phase::Completed))
    };
    let restore = tenant
        .wait_restore("lost", "Completed", done)
        .await
        .unwrap();
    let entry = &restore.status.unwrap().restore_details[0];
    assert_eq!(entry.backup_name_in_cluster.as_ref(), Some(&run));
    assert_eq!(entry.source_cluster_name.as_deref(), Some(OSLO));
    let made: Api<velero::Restore> = turn.view(BERGEN).velero();
    let name = entry.restore_name_in_cluster.clone().unwrap();
    assert_eq!(made.get(&name).await.unwrap().spec.backup_name, run);

    tenant.delete_restore("lost").await.unwrap();
    tenant.wait_restore_gone("lost").await.unwrap();
    delete_fleet(&tenant).await;
}
