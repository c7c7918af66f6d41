//! What is not there yet is waited for, visibly; what never comes ends in time.

use api_types::condition::ConditionStatus;
use api_types::external::velero;
use api_types::phase::{EntryPhase, Phase};
use e2e::specs::{self, demo_backup, demo_backup_of, demo_policy_in};
use e2e::{FLEET, PATIENCE, condition_reason, condition_status, entry, is_phase, reason};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::json;
use testbed::{apply_yaml, wait_ok};

use crate::locations::make_location;
use crate::world::{
    BARE, ONE, TWO, assert_completed, assert_one_object, name_in, spare, stack, tenant, tenant_of,
    view,
};

#[tokio::test]
async fn a_missing_fleet_is_waited_for() {
    let stack = stack().await;
    let tenant = stack.empty_tenant("fleet-later").await.unwrap();
    for member in [ONE, TWO] {
        tenant.attach(&stack.attach(member).unwrap()).await.unwrap();
    }
    tenant
        .back_up("listed", demo_backup_of(&[ONE]))
        .await
        .unwrap();
    tenant.back_up("whole", demo_backup()).await.unwrap();

    let missing = |backup: &_| condition_reason(backup, "Ready") == "FleetNotFound";
    let listed = tenant
        .wait_backup("listed", "Ready FleetNotFound", missing)
        .await
        .unwrap();
    assert!(is_phase(&listed, Phase::Pending));
    assert_eq!(reason(&listed, ONE), "FleetNotFound");
    let whole = tenant
        .wait_backup("whole", "Ready FleetNotFound", missing)
        .await
        .unwrap();
    assert!(is_phase(&whole, Phase::Pending));
    assert!(whole.status.unwrap().backup_details.is_empty());

    tenant.create_fleet(&[ONE, TWO]).await.unwrap();
    let listed = tenant.wait_phase("listed", Phase::Completed).await.unwrap();
    assert_completed(&listed, &[ONE]);
    let whole = tenant.wait_phase("whole", Phase::Completed).await.unwrap();
    assert_completed(&whole, &[ONE, TWO]);
}

#[tokio::test]
async fn a_cluster_that_is_not_in_the_fleet_waits_and_the_other_completes() {
    let stack = stack().await;
    let tenant = tenant_of("not-in-fleet", &[ONE]).await;
    tenant.attach(&stack.attach(TWO).unwrap()).await.unwrap();
    tenant
        .back_up("both", demo_backup_of(&[TWO, ONE]))
        .await
        .unwrap();

    let half = |backup: &_| {
        reason(backup, TWO) == "ClusterNotInFleet"
            && entry(backup, ONE).is_some_and(|entry| entry.phase == EntryPhase::Completed)
    };
    let backup = tenant
        .wait_backup("both", "one completed entry", half)
        .await
        .unwrap();
    assert!(is_phase(&backup, Phase::InProgress));
    assert_eq!(condition_status(&backup, "Succeeded"), None);

    tenant.change_fleet(&[ONE, TWO]).await.unwrap();
    let backup = tenant.wait_phase("both", Phase::Completed).await.unwrap();
    assert_completed(&backup, &[ONE, TWO]);
}

#[tokio::test]
async fn a_selector_that_matches_nothing_fails_at_the_start_deadline() {
    let tenant = tenant("nothing").await;
    let mut spec = demo_backup();
    spec.destination.cluster_selector = Some(specs::labels(&[("region", "nowhere")]));
    spec.start_deadline = "8s".into();
    tenant.back_up("nowhere", spec).await.unwrap();

    let waits = |backup: &_| condition_reason(backup, "Ready") == "NoClusters";
    let backup = tenant
        .wait_backup("nowhere", "Ready NoClusters", waits)
        .await
        .unwrap();
    assert!(is_phase(&backup, Phase::Pending));

    let backup = tenant.wait_phase("nowhere", Phase::Failed).await.unwrap();
    assert_eq!(
        condition_status(&backup, "Succeeded"),
        Some(ConditionStatus::False)
    );
    assert!(backup.status.unwrap().backup_details.is_empty());
}

#[tokio::test]
async fn a_member_without_velero_fails_alone_at_the_start_deadline() {
    let tenant = tenant_of("no-velero", &[BARE, ONE]).await;
    let mut spec = demo_backup();
    spec.start_deadline = "25s".into();
    tenant.back_up("partly", spec).await.unwrap();

    let half = |backup: &_| {
        reason(backup, BARE) == "VeleroNotInstalled"
            && entry(backup, ONE).is_some_and(|entry| entry.phase == EntryPhase::Completed)
    };
    let backup = tenant
        .wait_backup("partly", "one completed entry", half)
        .await
        .unwrap();
    assert!(is_phase(&backup, Phase::InProgress));

    let backup = tenant
        .wait_phase("partly", Phase::PartiallyFailed)
        .await
        .unwrap();
    let failed = entry(&backup, BARE).unwrap();
    assert_eq!(failed.phase, EntryPhase::Failed);
    assert_eq!(failed.reason.as_deref(), Some("StartDeadlineExceeded"));
    let message = failed.message.as_deref().unwrap_or_default();
    assert!(
        message.contains("velero.io"),
        "the cause is not quoted: {message}"
    );
    assert_eq!(entry(&backup, ONE).unwrap().phase, EntryPhase::Completed);
    assert_eq!(
        condition_status(&backup, "Succeeded"),
        Some(ConditionStatus::False)
    );
}

#[tokio::test]
async fn a_storage_location_is_waited_for_until_velero_can_use_it() {
    let bed = stack().await.bed();
    let tenant = tenant("location").await;
    let mut spec = demo_backup();
    spec.policy = Some(demo_policy_in("later"));
    let made_later = |spec: &mut velero::BackupStorageLocationSpec| {
        "made-later".clone_into(&mut spec.object_storage.bucket);
    };
    make_location(ONE, "later", made_later).await;
    tenant.back_up("later", spec).await.unwrap();

    let waits = |backup: &_| {
        reason(backup, ONE) == "StorageLocationUnavailable"
            && reason(backup, TWO) == "StorageLocationNotFound"
    };
    let backup = tenant
        .wait_backup("later", "two entries without a location", waits)
        .await
        .unwrap();
    assert!(is_phase(&backup, Phase::Pending));
    for member in [ONE, TWO] {
        let found = view(member)
            .await
            .backups_of(&backup.uid().unwrap())
            .await
            .unwrap();
        assert!(
            found.is_empty(),
            "{member} would fail it for ever: {found:?}"
        );
    }

    bed.s3().unwrap().create_bucket("made-later").unwrap();
    make_location(TWO, "later", made_later).await;
    let backup = tenant.wait_phase("later", Phase::Completed).await.unwrap();
    assert_completed(&backup, &[ONE, TWO]);
    let folder = format!("{ONE}/backups/{}/", name_in(&backup, ONE));
    assert!(
        !bed.s3()
            .unwrap()
            .objects("made-later", &folder)
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_resource_policy_is_waited_for_and_carried_to_the_members() {
    let tenant = tenant("resource-policy").await;
    let policy = json!({
        "destination": { "fleet": FLEET },
        "policy": {
            "resourceFilter": { "includedNamespaces": ["kurator-backup"] },
            "resourcePolicy": { "kind": "configmap", "name": "skip-large" },
        },
    });
    tenant
        .back_up("careful", serde_json::from_value(policy).unwrap())
        .await
        .unwrap();
    let waits = |backup: &_| reason(backup, ONE) == "ConfigMapNotFound";
    let backup = tenant
        .wait_backup("careful", "ConfigMapNotFound", waits)
        .await
        .unwrap();
    assert!(is_phase(&backup, Phase::Pending));

    let text = format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: skip-large
  namespace: {}
data:
  policies.yaml: |
    version: v1
    volumePolicies:
    - conditions:
        capacity: "100Gi,"
      action:
        type: skip
"#,
        tenant.namespace()
    );
    apply_yaml(tenant.hub(), &text).await.unwrap();
    let backup = tenant
        .wait_phase("careful", Phase::Completed)
        .await
        .unwrap();
    assert_completed(&backup, &[ONE, TWO]);

    for member in [ONE, TWO] {
        let view = view(member).await;
        let object = view
            .velero::<velero::Backup>()
            .get(&name_in(&backup, member))
            .await
            .unwrap();
        let carried = object.spec.resource_policy.unwrap().name;
        assert!(carried.starts_with("skip-large-"), "{carried}");
        // Nobody needs it any more.
        let maps = view.velero::<ConfigMap>();
        wait_ok("the end of the carried ConfigMap", PATIENCE, async || {
            anyhow::ensure!(
                maps.get_opt(&carried).await?.is_none(),
                "{carried} is still there"
            );
            Ok(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn an_api_server_that_is_down_keeps_nobody_else_from_completing() {
    let spare = spare().await;
    let tenant = tenant_of("down", &[ONE, spare.name]).await;
    spare
        .member()
        .control_plane()
        .stop_apiserver()
        .await
        .unwrap();
    tenant.wait_cluster(spare.name, false).await.unwrap();
    tenant.back_up("half", demo_backup()).await.unwrap();

    let half = |backup: &_| {
        reason(backup, spare.name) == "Unreachable"
            && entry(backup, ONE).is_some_and(|entry| entry.phase == EntryPhase::Completed)
    };
    let backup = tenant
        .wait_backup("half", "one completed entry", half)
        .await
        .unwrap();
    assert!(is_phase(&backup, Phase::InProgress));
    assert_eq!(backup.status.unwrap().summary.unwrap().unreachable, 1);

    // Velero of that member may have lost its watches.
    spare.velero().kill().await.unwrap();
    spare
        .member()
        .control_plane()
        .start_apiserver()
        .await
        .unwrap();
    spare
        .velero()
        .start_again(&spare.view.client)
        .await
        .unwrap();
    tenant.wait_cluster(spare.name, true).await.unwrap();
    let backup = tenant.wait_phase("half", Phase::Completed).await.unwrap();
    assert_completed(&backup, &[ONE, spare.name]);
    assert_one_object(&backup, spare.name).await;
}
