//! Members that store in one place.

use api_types::backup::BackupSpec;
use api_types::common::DeletionPolicy;
use api_types::external::velero;
use api_types::names;
use api_types::phase::Phase;
use e2e::specs::demo_backup_of;
use e2e::{PATIENCE, await_gone};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;

use super::bed::{BERGEN, OSLO, turn, wait_plugin_ready};
use crate::elsewhere::from;
use crate::restore::{entry, in_phase, policy};
use crate::world::name_in;

#[tokio::test]
async fn in_a_shared_layout_one_member_restores_what_the_other_stored_by_their_one_location() {
    const NAME: &str = "storage-shares";
    let turn = turn().await;
    let tenant = turn.tenant(NAME).await;
    let layout = json!({ "layout": "Shared" });
    turn.set_up(&tenant, &layout).await;
    wait_plugin_ready(&tenant).await;
    let stored = BackupSpec {
        deletion_policy: DeletionPolicy::Delete,
        ..demo_backup_of(&[OSLO])
    };
    tenant.back_up("all", stored.clone()).await.unwrap();
    let backup = tenant.wait_phase("all", Phase::Completed).await.unwrap();

    let mut spec = from(OSLO, "all", &[BERGEN]);
    spec.policy = Some(policy(
        json!({ "namespaceMapping": { "kurator-backup": NAME } }),
    ));
    tenant.restore("other", spec.clone()).await.unwrap();
    let restore = in_phase(&tenant, "other", Phase::Completed).await;
    let found = entry(&restore, BERGEN).unwrap();
    assert_eq!(found.reason, None, "{found:?}");
    assert_eq!(found.source_cluster_name.as_deref(), Some(OSLO));
    let run = name_in(&backup, OSLO);
    assert_eq!(found.backup_name_in_cluster.as_ref(), Some(&run));
    let bergen = turn.view(BERGEN);
    let settings: Api<ConfigMap> = Api::namespaced(bergen.client.clone(), NAME);
    settings.get("busybox-settings").await.unwrap();
    // By the location that it has, in which the other's backup is as much as its own.
    let copies: Api<velero::Backup> = bergen.velero();
    let copy = copies.get(&run).await.unwrap();
    assert_eq!(copy.spec.storage_location.as_deref(), Some("default"));
    let endpoint = turn.stack.bed().s3().unwrap().endpoint();
    let borrowed = names::location_name(&endpoint, NAME, "");
    let locations = turn.locations(BERGEN);
    assert!(locations.get_opt(&borrowed).await.unwrap().is_none());
    // Nor is it taken away when the Restore goes.
    tenant.delete_restore("other").await.unwrap();
    tenant.wait_restore_gone("other").await.unwrap();
    copies.get(&run).await.unwrap();
    locations.get("default").await.unwrap();

    // With the backup it goes, and hides no other one of its name.
    tenant.delete_backup("all").await.unwrap();
    tenant.wait_backup_gone("all").await.unwrap();
    await_gone(&copies, &run, PATIENCE).await.unwrap();
    tenant.back_up("all", stored).await.unwrap();
    let again = tenant.wait_phase("all", Phase::Completed).await.unwrap();
    assert_eq!(name_in(&again, OSLO), run);
    tenant.restore("again", spec).await.unwrap();
    in_phase(&tenant, "again", Phase::Completed).await;
}
