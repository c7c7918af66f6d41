//! Two members in one place, and a member that takes the place of another.

use api_types::cluster::AttachedCluster;
use api_types::external::velero::{self, BackupStorageLocation};
use api_types::fleet::Fleet;
use api_types::labels;
use api_types::phase::{Phase, PluginPhase};
use e2e::specs::{demo_backup, demo_backup_to_delete};
use e2e::{Attached, PATIENCE, Tenant, await_gone, await_object};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::bed::{
    BERGEN, OSLO, Turn, cluster, create_fleet_of, keys, reason, turn, wait_fleet,
    wait_plugin_ready, write_credentials,
};
use crate::restore::{in_phase, of, with_reason};
use crate::world::name_in;

/// Stores something in a place as another member would that has lost its cluster.
async fn store_as(turn: &Turn, tenant: &Tenant, member: &str, place: &str) {
    const INTRUDER: &str = "intruder";
    turn.by_hand(member, INTRUDER, tenant, place).await;
    let backups: Api<velero::Backup> = turn.view(member).velero();
    let spec = json!({ "storageLocation": INTRUDER, "includedNamespaces": ["default"] });
    let name = format!("of-{}", tenant.namespace());
    let mut backup = velero::Backup::new(&name, serde_json::from_value(spec).unwrap());
    let label = (labels::MEMBER.to_owned(), turn.id(member).await.to_string());
    backup.metadata.labels = Some([label].into());
    let params = PostParams::default();
    backups.create(&params, &backup).await.unwrap();
    let completed = |backup: &velero::Backup| backup.phase() == "Completed";
    await_object(&backups, &name, "Completed", PATIENCE, completed)
        .await
        .unwrap();
    let locations = turn.locations(member);
    let gone = DeleteParams::default();
    locations.delete(INTRUDER, &gone).await.unwrap();
    await_gone(&locations, INTRUDER, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_place_with_another_members_backups_is_read_only_until_it_is_adopted() {
    const NAME: &str = "storage-collision";
    let turn = turn().await;
    let tenant = turn.tenant(NAME).await;
    let place = format!("{NAME}/{OSLO}");
    store_as(&turn, &tenant, BERGEN, &place).await;
    let layout = json!({ "layout": "PerCluster" });
    turn.set_up(&tenant, &layout).await;
    let there = |found: &BackupStorageLocation| found.is_available();
    turn.location_on(OSLO, "Available", there).await;
    turn.make_velero_look(OSLO).await;

    let collides = |fleet: &Fleet| reason(fleet, OSLO) == "StoreCollision";
    let fleet = wait_fleet(&tenant, "a collision", collides).await;
    let of = cluster(&fleet, OSLO).unwrap();
    let stranger = turn.id(BERGEN).await.to_string();
    let said = of.message.clone().unwrap();
    let advice = format!("kurator.dev/adopt-store: {stranger}");
    assert!(said.contains(&advice) && said.contains(&place), "{said}");
    assert_eq!(of.phase, PluginPhase::Failed);
    let closed = BackupStorageLocation::is_read_only;
    turn.location_on(OSLO, "read-only", closed).await;
    let others = |fleet: &Fleet| cluster(fleet, BERGEN).map(|of| of.phase);
    let ready = |fleet: &Fleet| others(fleet) == Some(PluginPhase::Ready);
    wait_fleet(&tenant, "bergen as ever", ready).await;
    tenant.back_up("all", demo_backup()).await.unwrap();
    tenant
        .wait_backup("all", "a wait for oslo", |backup| {
            e2e::entry(backup, OSLO).is_some_and(|of| {
                let said = of.message.as_deref().unwrap_or_default();
                of.reason.as_deref() == Some("StoreCollision") && said.contains(&advice)
            })
        })
        .await
        .unwrap();

    adopt(&tenant, OSLO, &stranger).await;
    wait_plugin_ready(&tenant).await;
    let found = turn.locations(OSLO).get("default").await.unwrap();
    assert!(!found.is_read_only() && !found.annotations().contains_key(labels::STORE_COLLISION));
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
}

/// Says that a cluster takes over the store of the member with this id.
async fn adopt(tenant: &Tenant, cluster: &str, id: &str) {
    let adopt = json!({ "metadata": { "annotations": { labels::ADOPT_STORE: id } } });
    let clusters: Api<AttachedCluster> = tenant.api();
    let (params, adopt) = (PatchParams::default(), Patch::Merge(adopt));
    clusters.patch(cluster, &params, &adopt).await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_is_built_anew_restores_and_deletes_what_it_has_adopted() {
    const NAME: &str = "storage-rebuilt";
    const REBUILT: &str = "rebuilt";
    let turn = turn().await;
    let tenant = turn.empty_tenant(NAME).await;
    let behind = |member: &str| {
        let kubeconfig = turn.stack.attach(member).unwrap().kubeconfig;
        Attached::new(REBUILT, &kubeconfig)
    };
    tenant.attach(&behind(OSLO)).await.unwrap();
    write_credentials(&tenant, &keys()).await;
    let location = turn.location(&tenant, &json!({ "layout": "PerCluster" }));
    create_fleet_of(&[REBUILT], &tenant, &location).await;
    wait_plugin_ready(&tenant).await;
    tenant
        .back_up("data", demo_backup_to_delete())
        .await
        .unwrap();
    let backup = tenant.wait_phase("data", Phase::Completed).await.unwrap();
    let name = name_in(&backup, REBUILT);

    tenant.write_kubeconfig(&behind(BERGEN)).await.unwrap();
    let there = |found: &BackupStorageLocation| found.is_available();
    turn.location_on(BERGEN, "Available", there).await;
    turn.make_velero_look(BERGEN).await;
    let collides = |fleet: &Fleet| reason(fleet, REBUILT) == "StoreCollision";
    wait_fleet(&tenant, "a collision", collides).await;
    tenant.restore("again", of("data")).await.unwrap();
    with_reason(&tenant, "again", REBUILT, "MemberReplaced").await;

    let former = turn.id(OSLO).await.to_string();
    adopt(&tenant, REBUILT, &former).await;
    wait_plugin_ready(&tenant).await;
    in_phase(&tenant, "again", Phase::Completed).await;
    let s3 = turn.stack.bed().s3().unwrap();
    let folder = format!("{NAME}/{REBUILT}/backups/{name}/");
    assert!(!s3.objects(NAME, &folder).unwrap().is_empty());
    tenant.delete_backup("data").await.unwrap();
    tenant.wait_backup_gone("data").await.unwrap();
    assert_eq!(s3.objects(NAME, &folder).unwrap(), [""; 0]);
    let backups: Api<velero::Backup> = turn.view(BERGEN).velero();
    assert!(backups.get_opt(&name).await.unwrap().is_none());
}
