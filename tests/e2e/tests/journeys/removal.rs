//! `kubectl delete` of everything, in any order, cleans up.

use api_types::backup::Backup;
use api_types::cluster::AttachedCluster;
use api_types::condition;
use api_types::fleet::Fleet;
use api_types::migrate::Migrate;
use api_types::phase::{EntryPhase, Phase};
use e2e::specs::{demo_backup, demo_backup_of, demo_backup_to_delete};
use e2e::{FLEET, PATIENCE, Tenant, await_gone, await_object, entry, reason};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};

use crate::migrate;
use crate::restore;
use crate::world::{ONE, TWO, name_in, spare, stored, tenant, tenant_of, view};

#[tokio::test]
async fn a_namespace_that_is_deleted_whole_leaves_nothing_on_the_members() {
    let tenant = tenant("whole").await;
    tenant
        .back_up("all", demo_backup_to_delete())
        .await
        .unwrap();
    let backup = tenant.wait_phase("all", Phase::Completed).await.unwrap();

    let namespaces: Api<Namespace> = Api::all(tenant.hub().clone());
    namespaces
        .delete(tenant.namespace(), &DeleteParams::default())
        .await
        .unwrap();
    await_gone(&namespaces, tenant.namespace(), PATIENCE)
        .await
        .unwrap();
    for member in [ONE, TWO] {
        let left = view(member)
            .await
            .backup_names_of(&backup.uid().unwrap())
            .await
            .unwrap();
        assert_eq!(left, Vec::<String>::new());
        assert_eq!(
            stored(member, &name_in(&backup, member)).await,
            Vec::<String>::new()
        );
    }
}

/// Waits until a Fleet that is being deleted names what holds it.
async fn wait_holder(tenant: &Tenant, holder: &str) {
    let waits = |fleet: &Fleet| {
        let status = fleet.status.as_ref();
        let conditions = status.map_or(&[][..], |status| &status.conditions);
        let ready = condition::find(conditions, condition::READY);
        ready.is_some_and(|ready| ready.message.contains(holder))
    };
    let what = format!("a message that names {holder}");
    await_object(&tenant.api(), FLEET, &what, PATIENCE, waits)
        .await
        .unwrap();
}

/// What has not ended holds its Fleet, and nothing new begins in what is being deleted.
#[tokio::test]
async fn a_fleet_that_is_being_deleted_waits_for_restores_and_migrates_and_begins_nothing_new() {
    let spare = spare().await;
    let tenant = tenant_of("fleet-holders", &[ONE, spare.name]).await;
    tenant.back_up("before", demo_backup()).await.unwrap();
    tenant.wait_phase("before", Phase::Completed).await.unwrap();
    spare.velero().process().freeze().unwrap();
    let spec = restore::into("before", &[spare.name]);
    let restored = tenant.restore("holding-restore", spec).await.unwrap();
    restore::wait_created(&restored, spare.name).await;
    let spec = migrate::from(spare.name, &[ONE], migrate::only("default"));
    migrate::begin(&tenant, "holding-migrate", spec).await;
    let begun = |of: &Migrate| migrate::of_source(of).member_uid.is_some();
    migrate::wait(&tenant, "holding-migrate", "a claim", begun).await;

    let fleets = tenant.api::<Fleet>();
    fleets
        .delete(FLEET, &DeleteParams::default())
        .await
        .unwrap();
    wait_holder(&tenant, "holding-restore").await;
    wait_holder(&tenant, "holding-migrate").await;
    let late = tenant
        .back_up("late", demo_backup_of(&[ONE]))
        .await
        .unwrap();
    let refused = |backup: &Backup| reason(backup, ONE) == "FleetNotFound";
    let told = tenant.wait_backup("late", "FleetNotFound", refused).await;
    let told = entry(&told.unwrap(), ONE).unwrap().message.clone().unwrap();
    assert!(told.contains("is being deleted"), "{told}");

    spare.velero().process().thaw().unwrap();
    restore::in_phase(&tenant, "holding-restore", Phase::Completed).await;
    migrate::in_phase(&tenant, "holding-migrate", Phase::Completed).await;
    tenant.delete_backup("late").await.unwrap();
    tenant.wait_backup_gone("late").await.unwrap();
    await_gone(&fleets, FLEET, PATIENCE).await.unwrap();
    let made = view(ONE).await.backups_of(&late.uid().unwrap()).await;
    assert!(made.unwrap().is_empty());
}

#[tokio::test]
async fn nothing_begins_in_a_cluster_that_is_being_deleted_and_the_other_completes() {
    let tenant = tenant("cluster-going").await;
    let clusters = tenant.api::<AttachedCluster>();
    // Its Fleet holds it.
    clusters
        .delete(ONE, &DeleteParams::default())
        .await
        .unwrap();
    let backup = tenant.back_up("late", demo_backup()).await.unwrap();
    let told = |backup: &Backup| {
        let other = entry(backup, TWO).is_some_and(|of| of.phase == EntryPhase::Completed);
        other && reason(backup, ONE) == "ClusterNotFound"
    };
    let backup_now = tenant
        .wait_backup("late", "an end in the other", told)
        .await;
    let said = entry(&backup_now.unwrap(), ONE).unwrap().message.clone();
    assert!(said.is_some_and(|said| said.contains("is being deleted")));
    let made = view(ONE).await.backups_of(&backup.uid().unwrap()).await;
    assert!(made.unwrap().is_empty());

    tenant.delete_backup("late").await.unwrap();
    tenant.wait_backup_gone("late").await.unwrap();
    tenant.change_fleet(&[TWO]).await.unwrap();
    await_gone(&clusters, ONE, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_fleet_and_its_clusters_wait_for_the_backups_that_need_them() {
    let tenant = tenant("in-use").await;
    tenant
        .back_up("needs-it", demo_backup_to_delete())
        .await
        .unwrap();
    let backup = tenant
        .wait_phase("needs-it", Phase::Completed)
        .await
        .unwrap();

    let now = DeleteParams::default();
    for member in [ONE, TWO] {
        tenant
            .api::<AttachedCluster>()
            .delete(member, &now)
            .await
            .unwrap();
        tenant.api::<Secret>().delete(member, &now).await.unwrap();
    }
    let fleets = tenant.api::<Fleet>();
    fleets.delete(FLEET, &now).await.unwrap();
    wait_holder(&tenant, "needs-it").await;

    tenant.delete_backup("needs-it").await.unwrap();
    tenant.wait_backup_gone("needs-it").await.unwrap();
    await_gone(&fleets, FLEET, PATIENCE).await.unwrap();
    for member in [ONE, TWO] {
        await_gone(&tenant.api::<AttachedCluster>(), member, PATIENCE)
            .await
            .unwrap();
        assert_eq!(
            stored(member, &name_in(&backup, member)).await,
            Vec::<String>::new()
        );
    }
}
