//! Deleting a Backup does what its policy says, to the end, or says what is in the way.

use api_types::backup::Backup;
use api_types::common::DeletionPolicy;
use api_types::condition::ConditionStatus;
use api_types::external::velero;
use api_types::phase::Phase;
use e2e::specs::{demo_backup, demo_backup_of, demo_backup_to_delete};
use e2e::{
    FLEET, PATIENCE, Tenant, await_gone, condition_reason, condition_status, entry, is_phase,
    reason,
};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use testbed::apply_yaml;

use crate::world::{
    ONE, TWO, assert_completed, assert_one_object, force, hold, left_behind, let_go, name_in,
    spare, stack, stored, tenant, tenant_of, view, wait_nothing_left,
};

#[tokio::test]
async fn retain_leaves_what_is_stored() {
    let tenant = tenant("retain").await;
    tenant.back_up("kept", demo_backup()).await.unwrap();
    let backup = tenant.wait_phase("kept", Phase::Completed).await.unwrap();

    tenant.delete_backup("kept").await.unwrap();
    tenant.wait_backup_gone("kept").await.unwrap();
    for member in [ONE, TWO] {
        assert_one_object(&backup, member).await;
        assert!(!stored(member, &name_in(&backup, member)).await.is_empty());
    }
}

#[tokio::test]
async fn delete_empties_the_object_storage_and_removes_every_object() {
    let tenant = tenant("delete").await;
    let (gone, kept) = ("gone", "stays");
    for name in [gone, kept] {
        tenant.back_up(name, demo_backup_to_delete()).await.unwrap();
    }
    let other = tenant.wait_phase(kept, Phase::Completed).await.unwrap();
    let backup = tenant.wait_phase(gone, Phase::Completed).await.unwrap();
    for member in [ONE, TWO] {
        assert!(!stored(member, &name_in(&backup, member)).await.is_empty());
    }

    tenant.delete_backup(gone).await.unwrap();
    tenant.wait_backup_gone(gone).await.unwrap();
    for member in [ONE, TWO] {
        assert_deleted(&backup, member).await;
        assert_one_object(&other, member).await;
        assert!(!stored(member, &name_in(&other, member)).await.is_empty());
    }
}

/// Nothing of a Backup is in a member nor in its storage, requests included.
async fn assert_deleted(backup: &Backup, member: &str) {
    let name = name_in(backup, member);
    let view = view(member).await;
    let uid = backup.uid().unwrap();
    assert_eq!(
        view.backup_names_of(&uid).await.unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(stored(member, &name).await, Vec::<String>::new());
    let requests = view.velero::<velero::DeleteBackupRequest>();
    let requests = requests.list(&ListParams::default()).await.unwrap();
    let ours = requests
        .iter()
        .any(|request| request.spec.backup_name == name);
    assert!(
        !ours,
        "a DeleteBackupRequest for {name} is left in {member}"
    );
}

#[tokio::test]
async fn an_unreachable_member_keeps_the_object_until_it_is_back() {
    let stack = stack().await;
    let (two, relay) = stack.attach_with_relay(TWO).unwrap();
    let clusters = [stack.attach(ONE).unwrap(), two];
    let tenant = stack.tenant("delete-later", &clusters).await.unwrap();
    tenant
        .back_up("later", demo_backup_to_delete())
        .await
        .unwrap();
    let backup = tenant.wait_phase("later", Phase::Completed).await.unwrap();

    relay.cut();
    tenant.delete_backup("later").await.unwrap();
    let waits =
        |backup: &Backup| is_phase(backup, Phase::Deleting) && !reason(backup, TWO).is_empty();
    let blocked = tenant
        .wait_backup("later", "a reason in the entry", waits)
        .await
        .unwrap();
    assert!(
        ["DeletionPending", "Unreachable"].contains(&reason(&blocked, TWO)),
        "{blocked:?}"
    );
    wait_nothing_left(&view(ONE).await, &backup.uid().unwrap())
        .await
        .unwrap();
    assert_one_object(&backup, TWO).await;
    let stalled = |backup: &Backup| condition_reason(backup, "Ready") == "DeletionBlocked";
    let blocked = tenant
        .wait_backup("later", "DeletionBlocked", stalled)
        .await
        .unwrap();
    assert_eq!(
        condition_status(&blocked, "Stalled"),
        Some(ConditionStatus::True)
    );
    assert_eq!(condition_status(&blocked, "Reconciling"), None);

    relay.heal();
    tenant.wait_backup_gone("later").await.unwrap();
    for member in [ONE, TWO] {
        assert_deleted(&backup, member).await;
    }
}

#[tokio::test]
async fn force_lets_go_and_names_what_stays() {
    let stack = stack().await;
    let (two, relay) = stack.attach_with_relay(TWO).unwrap();
    let clusters = [stack.attach(ONE).unwrap(), two];
    let tenant = stack.tenant("force", &clusters).await.unwrap();
    tenant
        .back_up("forced", demo_backup_to_delete())
        .await
        .unwrap();
    let backup = tenant.wait_phase("forced", Phase::Completed).await.unwrap();

    // Somebody looks before it is gone.
    let backups = tenant.backups();
    hold(&backups, "forced").await;
    relay.cut();
    tenant.delete_backup("forced").await.unwrap();
    let waits =
        |backup: &Backup| is_phase(backup, Phase::Deleting) && !reason(backup, TWO).is_empty();
    tenant
        .wait_backup("forced", "a reason in the entry", waits)
        .await
        .unwrap();
    wait_nothing_left(&view(ONE).await, &backup.uid().unwrap())
        .await
        .unwrap();
    force(&backups, "forced").await.unwrap();
    let left = |backup: &Backup| {
        let status = backup.status.as_ref();
        status.is_some_and(|status| !status.leftovers.is_empty())
    };
    let last = tenant.wait_backup("forced", "leftovers", left).await;
    let name = name_in(&backup, TWO);
    let left: Vec<_> = last.unwrap().status.unwrap().leftovers;
    let left: Vec<_> = left
        .iter()
        .map(|of| (&*of.cluster_name, &*of.name))
        .collect();
    assert_eq!(left, [(TWO, name.as_str())]);
    let note = left_behind(&tenant, "forced").await;
    assert!(
        note.contains(TWO) && note.contains(&name) && !note.contains(ONE),
        "{note}"
    );
    let_go(&backups, "forced").await;
    tenant.wait_backup_gone("forced").await.unwrap();
    assert_one_object(&backup, TWO).await;
}

#[tokio::test]
async fn what_velero_cannot_delete_is_told_and_goes_once_it_can() {
    let spare = spare().await;
    let tenant = tenant_of("delete-fails", &[spare.name]).await;
    let spec = demo_backup_to_delete();
    tenant.back_up("kept", spec).await.unwrap();
    let backup = tenant.wait_phase("kept", Phase::Completed).await.unwrap();
    let locations = spare.view.velero::<velero::BackupStorageLocation>();
    let set_mode = async |mode: &str| {
        let mode = Patch::Merge(json!({ "spec": { "accessMode": mode } }));
        let params = PatchParams::default();
        locations.patch("default", &params, &mode).await.unwrap();
    };

    set_mode("ReadOnly").await;
    tenant.delete_backup("kept").await.unwrap();
    let failed = |backup: &Backup| reason(backup, spare.name) == "DeletionFailed";
    let failed = tenant.wait_backup("kept", "DeletionFailed", failed).await;
    let failed = failed.unwrap();
    let said = entry(&failed, spare.name).unwrap().message.clone().unwrap();
    assert!(said.contains("read-only"), "{said}");
    assert!(
        !stored(spare.name, &name_in(&backup, spare.name))
            .await
            .is_empty()
    );

    set_mode("ReadWrite").await;
    tenant.wait_backup_gone("kept").await.unwrap();
    assert_deleted(&backup, spare.name).await;
}

#[tokio::test]
async fn the_name_of_a_deleted_backup_can_be_used_again_beside_its_data() {
    let tenant = tenant_of("again", &[ONE]).await;
    let first = complete(&tenant, "again").await;
    tenant.delete_backup("again").await.unwrap();
    tenant.wait_backup_gone("again").await.unwrap();

    // The first one's object is still there.
    let second = complete(&tenant, "again").await;
    assert_ne!(name_in(&first, ONE), name_in(&second, ONE));
    assert_one_object(&first, ONE).await;
    assert_one_object(&second, ONE).await;
}

#[tokio::test]
async fn a_name_that_only_the_bucket_remembers_is_not_used_again() {
    let tenant = tenant_of("remembered", &[ONE]).await;
    let first = complete(&tenant, "again").await;
    tenant.delete_backup("again").await.unwrap();
    tenant.wait_backup_gone("again").await.unwrap();
    // Velero's sync would bring it back, at some time in the next minute.
    let objects = view(ONE).await.velero::<velero::Backup>();
    objects
        .delete(&name_in(&first, ONE), &DeleteParams::default())
        .await
        .unwrap();
    await_gone(&objects, &name_in(&first, ONE), PATIENCE)
        .await
        .unwrap();

    let data = stored(ONE, &name_in(&first, ONE)).await;
    let second = complete(&tenant, "again").await;
    assert_ne!(name_in(&first, ONE), name_in(&second, ONE));
    assert!(!stored(ONE, &name_in(&second, ONE)).await.is_empty());
    assert_eq!(
        stored(ONE, &name_in(&first, ONE)).await,
        data,
        "the first one's data"
    );
    assert_one_object(&second, ONE).await;
}

async fn complete(tenant: &Tenant, name: &str) -> Backup {
    tenant.back_up(name, demo_backup()).await.unwrap();
    let backup = tenant.wait_phase(name, Phase::Completed).await.unwrap();
    assert_completed(&backup, &[ONE]);
    backup
}

/// `a` in `clash-b` and `b-a` in `clash` would both be called `<cluster>-backup-clash-b-a`.
#[tokio::test]
async fn backups_of_two_namespaces_never_touch_each_other() {
    let tenants = [
        tenant_of("clash", &[ONE]).await,
        tenant_of("clash-b", &[ONE]).await,
    ];
    let names = ["b-a", "a"];
    for (tenant, name) in tenants.iter().zip(names) {
        tenant.back_up(name, demo_backup_to_delete()).await.unwrap();
    }
    let first = tenants[0]
        .wait_phase(names[0], Phase::Completed)
        .await
        .unwrap();
    let second = tenants[1]
        .wait_phase(names[1], Phase::Completed)
        .await
        .unwrap();
    assert_ne!(name_in(&first, ONE), name_in(&second, ONE));

    tenants[0].delete_backup(names[0]).await.unwrap();
    tenants[0].wait_backup_gone(names[0]).await.unwrap();
    assert_deleted(&first, ONE).await;
    assert_one_object(&second, ONE).await;
    assert!(!stored(ONE, &name_in(&second, ONE)).await.is_empty());
}

#[tokio::test]
async fn what_velero_refused_is_deleted_plainly() {
    let tenant = tenant_of("rejected", &[TWO]).await;
    let text = format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: broken, namespace: {}}}, \
         data: {{policies.yaml: 'version: v99'}}}}",
        tenant.namespace()
    );
    apply_yaml(tenant.hub(), &text).await.unwrap();
    let spec = json!({
        "destination": { "fleet": FLEET },
        "deletionPolicy": "Delete",
        "policy": { "resourcePolicy": { "kind": "configmap", "name": "broken" } },
    });
    tenant
        .back_up("rejected", serde_json::from_value(spec).unwrap())
        .await
        .unwrap();
    let backup = tenant.wait_phase("rejected", Phase::Failed).await.unwrap();
    let failed = entry(&backup, TWO).unwrap();
    assert_eq!(
        failed.reason.as_deref(),
        Some("BackupRejected"),
        "{failed:?}"
    );
    assert_one_object(&backup, TWO).await;

    tenant.delete_backup("rejected").await.unwrap();
    tenant.wait_backup_gone("rejected").await.unwrap();
    wait_nothing_left(&view(TWO).await, &backup.uid().unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_running_backup_is_awaited_before_it_is_deleted() {
    let spare = spare().await;
    let tenant = tenant_of("delete-running", &[spare.name]).await;
    let spec = demo_backup_to_delete();
    let (backup, object) = spare
        .frozen_backup(&tenant, "running", &spec)
        .await
        .unwrap();
    let name = backup.name_any();

    tenant.delete_backup(&name).await.unwrap();
    let waits = |backup: &Backup| reason(backup, spare.name) == "DeletionPending";
    tenant
        .wait_backup(&name, "DeletionPending", waits)
        .await
        .unwrap();
    let objects = spare.view.velero::<velero::Backup>();
    let still = objects.get(&object.name_any()).await.unwrap();
    assert_eq!(still.metadata.deletion_timestamp, None);

    spare.velero().process().thaw().unwrap();
    tenant.wait_backup_gone(&name).await.unwrap();
    wait_nothing_left(&spare.view, &backup.uid().unwrap())
        .await
        .unwrap();
    assert_eq!(
        stored(spare.name, &object.name_any()).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn a_backup_that_never_began_goes_at_once() {
    let tenant = tenant_of("never-began", &[ONE]).await;
    let mut spec = demo_backup_of(&["nobody"]);
    spec.deletion_policy = DeletionPolicy::Delete;
    tenant.back_up("never", spec).await.unwrap();
    let waits = |backup: &Backup| reason(backup, "nobody") == "ClusterNotInFleet";
    tenant
        .wait_backup("never", "ClusterNotInFleet", waits)
        .await
        .unwrap();

    tenant.delete_backup("never").await.unwrap();
    tenant.wait_backup_gone("never").await.unwrap();
}
