//! Velero or we break in the middle of a Restore.

use api_types::external::velero;
use api_types::phase::Phase;
use api_types::restore::Restore;
use e2e::specs::demo_backup;
use e2e::{PATIENCE, await_object};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::{assert_restored, entry, in_phase, of, reason, wait_created, with_reason};
use crate::restarts;
use crate::world::{ONE, spare, tenant_of};

#[tokio::test]
async fn a_velero_that_hangs_is_named_and_its_restore_ends_once_it_is_back() {
    let spare = spare().await;
    let tenant = tenant_of("restore-hangs", &[spare.name]).await;
    tenant.back_up("all", demo_backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    spare.velero().process().freeze().unwrap();
    tenant.restore("hangs", of("all")).await.unwrap();
    with_reason(&tenant, "hangs", spare.name, "VeleroNotResponding").await;
    spare.velero().process().thaw().unwrap();
    let restore = in_phase(&tenant, "hangs", Phase::Completed).await;
    assert_restored(&restore, &[spare.name]).await;
}

#[tokio::test]
async fn a_restore_that_is_removed_on_the_member_has_failed() {
    let spare = spare().await;
    let tenant = tenant_of("restore-removed", &[spare.name]).await;
    tenant.back_up("all", demo_backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    spare.velero().process().freeze().unwrap();
    tenant.restore("removed", of("all")).await.unwrap();
    let created = |restore: &Restore| {
        entry(restore, spare.name).is_some_and(|entry| entry.restore_status_in_cluster.is_some())
    };
    let restore = tenant
        .wait_restore("removed", "a Velero Restore", created)
        .await
        .unwrap();
    let name = entry(&restore, spare.name)
        .unwrap()
        .restore_name_in_cluster
        .clone()
        .unwrap();
    let objects = spare.view.velero::<velero::Restore>();
    let none = json!({ "metadata": { "finalizers": null } });
    objects
        .patch(&name, &PatchParams::default(), &Patch::Merge(none))
        .await
        .unwrap();
    objects
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    let restore = in_phase(&tenant, "removed", Phase::Failed).await;
    assert_eq!(reason(&restore, spare.name), "ObjectDisappeared");
}

#[tokio::test]
async fn backup_controller_may_be_killed_in_the_middle_of_a_restore() {
    let (hub, _turn) = restarts::hub().await;
    let spare = spare().await;
    let tenant = restarts::tenant(hub, "kill-restore", &spare).await;
    let victim = hub.backup_controller();
    tenant.back_up("all", demo_backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();

    // Before anything is claimed.
    victim.kill().await.unwrap();
    tenant.restore("before", of("all")).await.unwrap();
    victim.start_again().await.unwrap();
    // As soon as its object is there.
    let created = tenant.restore("created", of("all")).await.unwrap();
    wait_created(&created, ONE).await;
    victim.restart().await.unwrap();
    for name in ["before", "created"] {
        let restore = in_phase(&tenant, name, Phase::Completed).await;
        assert_restored(&restore, &[ONE, spare.name]).await;
    }

    // While Velero works on it, and past its end.
    spare.velero().process().freeze().unwrap();
    let running = tenant.restore("running", of("all")).await.unwrap();
    let name = wait_created(&running, spare.name).await;
    victim.kill().await.unwrap();
    spare.velero().process().thaw().unwrap();
    let objects = spare.view.velero::<velero::Restore>();
    let done = |object: &velero::Restore| object.phase() == "Completed";
    await_object(&objects, &name, "Completed", PATIENCE, done)
        .await
        .unwrap();
    victim.start_again().await.unwrap();
    let restore = in_phase(&tenant, "running", Phase::Completed).await;
    assert_restored(&restore, &[ONE, spare.name]).await;
}
