//! What is in the way of a Restore as a whole, or of one cluster.

use anyhow::ensure;
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::Restore;
use e2e::PATIENCE;
use e2e::specs::{demo_backup, demo_backup_of};
use serde_json::json;
use testbed::wait_ok;

use super::{assert_restored, entry, in_phase, into, objects_of, of, policy, reason, with_reason};
use crate::world::{ONE, TWO, stack, tenant, tenant_of};

#[tokio::test]
async fn it_waits_for_its_backup_and_goes_on_by_itself() {
    let tenant = tenant("restore-waits").await;
    tenant
        .restore("early", into("later", &[ONE]))
        .await
        .unwrap();
    let waiting = with_reason(&tenant, "early", ONE, "BackupNotFound").await;
    assert_eq!(entry(&waiting, ONE).unwrap().phase, EntryPhase::Pending);
    assert!(objects_of(&waiting, ONE).await.is_empty());
    tenant.restore("whole", of("later")).await.unwrap();
    let ready = |restore: &Restore| {
        let status = serde_json::to_value(restore).unwrap();
        let ready = status["status"]["conditions"].as_array().cloned();
        ready.is_some_and(|list| list.iter().any(|c| c["reason"] == "BackupNotFound"))
    };
    tenant
        .wait_restore("whole", "a reason", ready)
        .await
        .unwrap();

    tenant.back_up("later", demo_backup()).await.unwrap();
    let restore = in_phase(&tenant, "early", Phase::Completed).await;
    assert_restored(&restore, &[ONE]).await;
    let restore = in_phase(&tenant, "whole", Phase::Completed).await;
    assert_restored(&restore, &[ONE, TWO]).await;
}

#[tokio::test]
async fn each_obstacle_is_named_where_it_is() {
    let tenant = tenant_of("restore-obstacles", &[ONE, TWO]).await;
    tenant
        .back_up("of-one", demo_backup_of(&[ONE]))
        .await
        .unwrap();
    tenant.wait_phase("of-one", Phase::Completed).await.unwrap();

    // Not covered by the Backup; not in the fleet.
    tenant
        .restore("too-much", into("of-one", &[ONE, TWO, "nowhere"]))
        .await
        .unwrap();
    with_reason(&tenant, "too-much", TWO, "BackupNotFound").await;
    let restore = with_reason(&tenant, "too-much", "nowhere", "ClusterNotInFleet").await;
    assert_eq!(restore.status.unwrap().restore_details.len(), 3);
    let what = "an end in the first cluster";
    let done = |restore: &Restore| {
        entry(restore, ONE).is_some_and(|entry| entry.phase == EntryPhase::Completed)
    };
    tenant.wait_restore("too-much", what, done).await.unwrap();

    // What can never work.
    let mut spec = of("of-one");
    spec.policy = Some(policy(json!({ "resourceFilter": {
        "includedClusterScopedResources": ["*"],
        "includedNamespaceScopedResources": ["pods"],
    } })));
    tenant.restore("never", spec).await.unwrap();
    let restore = in_phase(&tenant, "never", Phase::FailedValidation).await;
    assert_eq!(reason(&restore, ONE), "InvalidSpec");
    assert!(objects_of(&restore, ONE).await.is_empty());

    // Not begun in time.
    let mut spec = of("absent");
    spec.destination = into("absent", &[ONE]).destination;
    spec.start_deadline = "2s".into();
    tenant.restore("late", spec).await.unwrap();
    let restore = in_phase(&tenant, "late", Phase::Failed).await;
    assert_eq!(reason(&restore, ONE), "StartDeadlineExceeded");
}

#[tokio::test]
async fn an_unreachable_member_holds_up_nobody_else_and_is_caught_up_with() {
    let stack = stack().await;
    let (two, relay) = stack.attach_with_relay(TWO).unwrap();
    let clusters = [stack.attach(ONE).unwrap(), two];
    let tenant = stack.tenant("restore-cut", &clusters).await.unwrap();
    tenant.back_up("all", demo_backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    relay.cut();
    tenant.wait_cluster(TWO, false).await.unwrap();

    // One cluster does not hold up the other.
    tenant.restore("half", of("all")).await.unwrap();
    let half = with_reason(&tenant, "half", TWO, "Unreachable").await;
    let done = |restore: &Restore| {
        entry(restore, ONE).is_some_and(|entry| entry.phase == EntryPhase::Completed)
    };
    tenant
        .wait_restore("half", "the other cluster", done)
        .await
        .unwrap();
    assert_eq!(entry(&half, TWO).unwrap().phase, EntryPhase::Pending);
    relay.heal();
    let half = in_phase(&tenant, "half", Phase::Completed).await;
    assert_restored(&half, &[ONE, TWO]).await;

    relay.cut();
    tenant.wait_cluster(TWO, false).await.unwrap();
    tenant.delete_restore("half").await.unwrap();
    with_reason(&tenant, "half", TWO, "DeletionPending").await;
    wait_ok("an end in the other cluster", PATIENCE, async || {
        ensure!(objects_of(&half, ONE).await.is_empty(), "it is there");
        Ok(())
    })
    .await
    .unwrap();
    relay.heal();
    tenant.wait_restore_gone("half").await.unwrap();
    assert!(objects_of(&half, TWO).await.is_empty());
}
