//! What goes with a Restore, and what a Restore holds back.

use api_types::backup::{Backup, BackupSpec};
use api_types::cluster::AttachedCluster;
use api_types::common::DeletionPolicy;
use api_types::external::velero;
use api_types::fleet::Fleet;
use api_types::phase::Phase;
use api_types::restore::Restore;
use e2e::specs::demo_backup;
use e2e::{Attached, FLEET, PATIENCE, Tenant, await_gone};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::{entry, in_phase, objects_of, of, with_reason};
use crate::world::{
    BARE, ONE, TWO, force, left_behind, name_in, spare, stack, tenant, tenant_of, view,
};

#[tokio::test]
async fn deleting_removes_the_velero_restores_and_nothing_that_they_restored() {
    let tenant = tenant("restore-delete").await;
    tenant.back_up("all", demo_backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    for name in ["one", "two"] {
        tenant.restore(name, of("all")).await.unwrap();
    }
    let one = in_phase(&tenant, "one", Phase::Completed).await;
    let two = in_phase(&tenant, "two", Phase::Completed).await;

    tenant.delete_restore("one").await.unwrap();
    tenant.wait_restore_gone("one").await.unwrap();
    for member in [ONE, TWO] {
        assert!(objects_of(&one, member).await.is_empty());
        assert_eq!(objects_of(&two, member).await.len(), 1);
        let pods: Api<Pod> = Api::namespaced(view(member).await.client, "kurator-backup");
        assert!(pods.get_opt("busybox").await.unwrap().is_some());
    }

    // Also when the fleet and the Backup are gone.
    let fleets = tenant.api::<Fleet>();
    fleets
        .delete(FLEET, &DeleteParams::default())
        .await
        .unwrap();
    await_gone(&fleets, FLEET, PATIENCE).await.unwrap();
    tenant.delete_backup("all").await.unwrap();
    tenant.wait_backup_gone("all").await.unwrap();
    tenant.delete_restore("two").await.unwrap();
    tenant.wait_restore_gone("two").await.unwrap();
    for member in [ONE, TWO] {
        assert!(objects_of(&two, member).await.is_empty());
    }
}

/// A Restore of two clusters that is being deleted while one of them is cut off. Gives it as it was, and
/// the name of what it has there.
async fn deleted_behind_a_cut(namespace: &str) -> (Tenant, Restore, String) {
    let stack = stack().await;
    let (two, relay) = stack.attach_with_relay(TWO).unwrap();
    let clusters = [stack.attach(ONE).unwrap(), two];
    let tenant = stack.tenant(namespace, &clusters).await.unwrap();
    tenant.back_up("all", demo_backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    tenant.restore("left", of("all")).await.unwrap();
    let restore = in_phase(&tenant, "left", Phase::Completed).await;
    relay.cut();
    tenant.wait_cluster(TWO, false).await.unwrap();
    tenant.delete_restore("left").await.unwrap();
    with_reason(&tenant, "left", TWO, "DeletionPending").await;
    let left = entry(&restore, TWO).unwrap();
    let name = left.restore_name_in_cluster.clone().unwrap();
    (tenant, restore, name)
}

#[tokio::test]
async fn what_lies_in_a_cluster_that_is_gone_for_good_is_named_and_let_go() {
    let (tenant, restore, name) = deleted_behind_a_cut("restore-gone").await;
    let attached = tenant.api::<AttachedCluster>();
    let now = DeleteParams::default();
    attached.delete(TWO, &now).await.unwrap();
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    attached
        .patch(TWO, &PatchParams::default(), &free)
        .await
        .unwrap();
    tenant.wait_restore_gone("left").await.unwrap();
    let note = left_behind(&tenant, "left").await;
    assert!(note.contains(&name), "{note}");
    assert!(objects_of(&restore, ONE).await.is_empty());
}

#[tokio::test]
async fn force_lets_go_of_what_cannot_be_reached_and_names_it() {
    let (tenant, restore, name) = deleted_behind_a_cut("restore-force").await;
    force(&tenant.restores(), "left").await.unwrap();
    tenant.wait_restore_gone("left").await.unwrap();
    let note = left_behind(&tenant, "left").await;
    assert!(note.contains(&name) && !note.contains(ONE), "{note}");
    assert_eq!(objects_of(&restore, TWO).await, [name]);
}

#[tokio::test]
async fn what_went_with_a_cluster_that_was_rebuilt_is_named_and_let_go() {
    let stack = stack().await;
    let name = "rebuilt";
    let of_member = |member: &str| {
        let kubeconfig = stack.attach(member).unwrap().kubeconfig;
        Attached::new(name, &kubeconfig)
    };
    let clusters = [stack.attach(ONE).unwrap(), of_member(TWO)];
    let tenant = stack.tenant("restore-rebuilt", &clusters).await.unwrap();
    tenant.back_up("all", demo_backup()).await.unwrap();
    let backup = tenant.wait_phase("all", Phase::Completed).await.unwrap();
    tenant.restore("old", of("all")).await.unwrap();
    let restore = in_phase(&tenant, "old", Phase::Completed).await;
    let spec = BackupSpec {
        deletion_policy: DeletionPolicy::Delete,
        ..demo_backup()
    };
    tenant.back_up("data", spec).await.unwrap();
    tenant.wait_phase("data", Phase::Completed).await.unwrap();

    tenant.write_kubeconfig(&of_member(BARE)).await.unwrap();
    tenant.delete_backup("data").await.unwrap();
    let blocked = |backup: &Backup| e2e::reason(backup, name) == "MemberReplaced";
    tenant
        .wait_backup("data", "MemberReplaced", blocked)
        .await
        .unwrap();
    tenant.delete_restore("old").await.unwrap();
    tenant.wait_restore_gone("old").await.unwrap();
    let left = entry(&restore, name).unwrap();
    let left = left.restore_name_in_cluster.clone().unwrap();
    let note = left_behind(&tenant, "old").await;
    assert!(note.contains(&left), "{note}");
    assert!(objects_of(&restore, ONE).await.is_empty());
    assert_eq!(objects_of(&restore, TWO).await.len(), 1);
    // Nothing is asked of the former cluster.
    tenant.delete_backup("all").await.unwrap();
    tenant.wait_backup_gone("all").await.unwrap();
    let stored = view(TWO).await.backups_of(&backup.uid().unwrap()).await;
    assert_eq!(stored.unwrap().len(), 1);

    let data = tenant.backups().get("data").await.unwrap();
    let why = e2e::reason(&data, name);
    assert_eq!(why, "MemberReplaced", "its data stays its own");
    tenant.write_kubeconfig(&of_member(TWO)).await.unwrap();
    tenant.wait_backup_gone("data").await.unwrap();
}

#[tokio::test]
async fn a_backup_that_is_read_is_deleted_only_after_the_restore_has_ended() {
    let spare = spare().await;
    let tenant = tenant_of("restore-reads", &[spare.name]).await;
    let mut spec = demo_backup();
    spec.deletion_policy = DeletionPolicy::Delete;
    tenant.back_up("read", spec).await.unwrap();
    let backup = tenant.wait_phase("read", Phase::Completed).await.unwrap();
    spare.velero().process().freeze().unwrap();
    tenant.restore("reader", of("read")).await.unwrap();
    let created = |restore: &Restore| {
        entry(restore, spare.name).is_some_and(|entry| entry.restore_status_in_cluster.is_some())
    };
    tenant
        .wait_restore("reader", "a Velero Restore", created)
        .await
        .unwrap();

    tenant.delete_backup("read").await.unwrap();
    let waits = |backup: &Backup| {
        e2e::entry(backup, spare.name)
            .and_then(|entry| entry.message.clone())
            .is_some_and(|message| message.contains("Restore reader"))
    };
    tenant
        .wait_backup("read", "a wait for its reader", waits)
        .await
        .unwrap();
    spare.velero().process().thaw().unwrap();
    in_phase(&tenant, "reader", Phase::Completed).await;
    tenant.wait_backup_gone("read").await.unwrap();
    let objects = spare.view.velero::<velero::Backup>();
    let name = name_in(&backup, spare.name);
    assert!(objects.get_opt(&name).await.unwrap().is_none());
}
