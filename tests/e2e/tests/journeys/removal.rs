//! `kubectl delete` of everything, in any order, cleans up.

use api_types::cluster::AttachedCluster;
use api_types::condition;
use api_types::fleet::Fleet;
use api_types::phase::Phase;
use e2e::specs::demo_backup_to_delete;
use e2e::{FLEET, PATIENCE, await_gone, await_object};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};

use crate::world::{ONE, TWO, name_in, stored, tenant, view};

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
    let waits = |fleet: &Fleet| {
        let conditions = fleet
            .status
            .as_ref()
            .map(|status| status.conditions.as_slice());
        let ready = condition::find(conditions.unwrap_or_default(), condition::READY);
        ready.is_some_and(|ready| ready.message.contains("needs-it"))
    };
    await_object(
        &fleets,
        FLEET,
        "a message that names the Backup",
        PATIENCE,
        waits,
    )
    .await
    .unwrap();

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
