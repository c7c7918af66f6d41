//! What goes away in the middle: a member, its Velero, its objects, its credentials.

use api_types::backup::Backup;
use api_types::condition::ConditionStatus;
use api_types::external::velero;
use api_types::phase::{EntryPhase, Phase};
use e2e::specs::{demo_backup, demo_backup_of};
use e2e::{
    Attached, PATIENCE, await_gone, await_object, condition_status, entry, is_phase, reason,
};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use testbed::Access;

use crate::world::{
    ONE, TWO, assert_completed, assert_one_object, name_in, spare, stack, tenant, tenant_of, view,
};

fn completed(backup: &Backup, cluster: &str) -> bool {
    entry(backup, cluster).is_some_and(|entry| entry.phase == EntryPhase::Completed)
}

#[tokio::test]
async fn a_member_that_is_cut_off_midway_keeps_its_last_state_and_catches_up() {
    let spare = spare().await;
    let stack = stack().await;
    let (cluster, relay) = stack.attach_with_relay(spare.name).unwrap();
    let one = stack.attach(ONE).unwrap();
    let tenant = stack.tenant("cut", &[one, cluster]).await.unwrap();
    let (backup, object) = spare
        .frozen_backup(&tenant, "cut", &demo_backup())
        .await
        .unwrap();
    let name = backup.name_any();
    let runs = |backup: &Backup| {
        entry(backup, spare.name).is_some_and(|entry| entry.phase == EntryPhase::InProgress)
    };
    tenant
        .wait_backup(&name, "a running entry", runs)
        .await
        .unwrap();

    relay.cut();
    let gone =
        |backup: &Backup| reason(backup, spare.name) == "Unreachable" && completed(backup, ONE);
    let backup = tenant
        .wait_backup(&name, "an Unreachable entry", gone)
        .await
        .unwrap();
    assert!(is_phase(&backup, Phase::InProgress));
    let entry = entry(&backup, spare.name).unwrap();
    assert_eq!(
        entry.phase,
        EntryPhase::InProgress,
        "its last state is kept"
    );
    assert!(entry.unreachable_since.is_some());
    assert_eq!(
        backup
            .status
            .as_ref()
            .unwrap()
            .summary
            .as_ref()
            .unwrap()
            .unreachable,
        1
    );
    // Velero ends its work behind the cut.
    spare.velero().process().thaw().unwrap();
    let done = |object: &velero::Backup| object.phase() == "Completed";
    let objects = spare.view.velero::<velero::Backup>();
    await_object(&objects, &object.name_any(), "Completed", PATIENCE, done)
        .await
        .unwrap();
    let backup = tenant.backups().get(&name).await.unwrap();
    assert!(
        is_phase(&backup, Phase::InProgress),
        "nobody can know yet: {:?}",
        backup.status
    );

    relay.heal();
    let backup = tenant.wait_phase(&name, Phase::Completed).await.unwrap();
    assert_completed(&backup, &[ONE, spare.name]);
    assert_one_object(&backup, spare.name).await;
}

#[tokio::test]
async fn what_velero_says_of_its_progress_is_on_the_hub_while_it_works() {
    let spare = spare().await;
    let tenant = tenant_of("progress", &[spare.name]).await;
    let (backup, object) = spare
        .frozen_backup(&tenant, "progress", &demo_backup())
        .await
        .unwrap();
    let objects = spare.view.velero::<velero::Backup>();
    for done in [7, 23] {
        // As Velero writes it, which is frozen and does not write over it.
        let progress = json!({"status": {"progress": {"totalItems": 40, "itemsBackedUp": done}}});
        let (name, merge) = (object.name_any(), Patch::Merge(progress));
        objects
            .patch(&name, &PatchParams::default(), &merge)
            .await
            .unwrap();
        let shown = |backup: &Backup| {
            let entry = entry(backup, spare.name);
            let velero = entry.and_then(|entry| entry.backup_status_in_cluster.as_ref());
            let progress = velero.and_then(|velero| velero.progress.as_ref());
            progress.is_some_and(|p| (p.items_backed_up, p.total_items) == (Some(done), Some(40)))
        };
        let what = format!("{done} of 40 items");
        tenant
            .wait_backup(&backup.name_any(), &what, shown)
            .await
            .unwrap();
    }
    spare.velero().process().thaw().unwrap();
    tenant
        .wait_phase(&backup.name_any(), Phase::Completed)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_velero_that_hangs_is_named_and_its_backup_goes_on_afterwards() {
    let spare = spare().await;
    let tenant = tenant_of("hangs", &[ONE, spare.name]).await;
    spare.velero().process().freeze().unwrap();
    let backup = tenant.back_up("hangs", demo_backup()).await.unwrap();
    // What it answered before it hung stays: that is no sign of life.
    let question = format!("kurator-{}-{}", backup.uid().unwrap(), spare.name);
    let questions = spare.view.velero::<velero::ServerStatusRequest>();
    let old = Patch::Apply(json!({
        "apiVersion": "velero.io/v1",
        "kind": "ServerStatusRequest",
        "metadata": { "name": question },
        "spec": {},
        "status": { "phase": "Processed", "processedTimestamp": "2026-01-01T00:00:00Z" },
    }));
    let params = PatchParams::apply("before").force();
    let planted = questions.patch(&question, &params, &old).await;
    assert_eq!(planted.unwrap().phase(), "Processed");

    let named = |backup: &Backup| {
        reason(backup, spare.name) == "VeleroNotResponding" && completed(backup, ONE)
    };
    let backup = tenant
        .wait_backup("hangs", "VeleroNotResponding", named)
        .await
        .unwrap();
    assert!(is_phase(&backup, Phase::InProgress));

    spare.velero().process().thaw().unwrap();
    let backup = tenant.wait_phase("hangs", Phase::Completed).await.unwrap();
    assert_completed(&backup, &[ONE, spare.name]);
    await_gone(&questions, &question, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_backup_without_progress_is_named_while_velero_answers() {
    let spare = spare().await;
    let tenant = tenant_of("stuck", &[ONE, spare.name]).await;
    let (backup, object) = spare
        .frozen_backup(&tenant, "stuck", &demo_backup())
        .await
        .unwrap();
    let name = backup.name_any();
    let objects = spare.view.velero::<velero::Backup>();
    let set_phase = async |phase: &str| {
        let status = Patch::Merge(json!({ "status": { "phase": phase } }));
        let params = PatchParams::default();
        let patched = objects.patch(&object.name_any(), &params, &status).await;
        patched.unwrap();
    };
    // When it starts, Velero fails what it finds running, and of what runs then it knows nothing: it
    // stays as it is for ever. (A cut would not hide a failure: who resumes a watch is told every step.)
    spare.velero().kill().await.unwrap();
    set_phase("Deleting").await;
    spare
        .velero()
        .start_again(&spare.view.client)
        .await
        .unwrap();
    set_phase("InProgress").await;

    let named =
        |backup: &Backup| reason(backup, spare.name) == "NoProgress" && completed(backup, ONE);
    let backup = tenant
        .wait_backup(&name, "NoProgress", named)
        .await
        .unwrap();
    assert!(is_phase(&backup, Phase::InProgress));
    assert_eq!(
        condition_status(&backup, "Stalled"),
        Some(ConditionStatus::True)
    );

    set_phase("Completed").await;
    let backup = tenant.wait_phase(&name, Phase::Completed).await.unwrap();
    assert_completed(&backup, &[ONE, spare.name]);
}

#[tokio::test]
async fn a_velero_that_restarts_fails_its_backup_alone_and_for_ever() {
    let spare = spare().await;
    let tenant = tenant_of("restarted", &[ONE, spare.name]).await;
    let (backup, _) = spare
        .frozen_backup(&tenant, "restarted", &demo_backup())
        .await
        .unwrap();
    let name = backup.name_any();

    spare.velero().restart(&spare.view.client).await.unwrap();
    let backup = tenant
        .wait_phase(&name, Phase::PartiallyFailed)
        .await
        .unwrap();
    assert_eq!(reason(&backup, spare.name), "VeleroRestarted");
    assert_eq!(
        entry(&backup, spare.name).unwrap().phase,
        EntryPhase::Failed
    );
    assert!(completed(&backup, ONE));
    assert_eq!(
        condition_status(&backup, "Succeeded"),
        Some(ConditionStatus::False)
    );
    assert_one_object(&backup, spare.name).await;
}

#[tokio::test]
async fn an_object_deleted_on_the_member_before_its_end_fails_its_entry() {
    let spare = spare().await;
    let tenant = tenant_of("disappeared", &[ONE, spare.name]).await;
    let (backup, object) = spare
        .frozen_backup(&tenant, "lost", &demo_backup())
        .await
        .unwrap();
    let name = backup.name_any();
    let seen = |backup: &Backup| {
        entry(backup, spare.name).is_some_and(|entry| entry.backup_status_in_cluster.is_some())
    };
    tenant
        .wait_backup(&name, "a copied status", seen)
        .await
        .unwrap();

    let objects = spare.view.velero::<velero::Backup>();
    objects
        .delete(&object.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    let backup = tenant
        .wait_phase(&name, Phase::PartiallyFailed)
        .await
        .unwrap();
    assert_eq!(reason(&backup, spare.name), "ObjectDisappeared");
    assert!(completed(&backup, ONE));
}

#[tokio::test]
async fn an_object_deleted_on_the_member_after_its_end_changes_nothing() {
    let tenant = tenant("kept").await;
    tenant.back_up("kept", demo_backup()).await.unwrap();
    let before = tenant.wait_phase("kept", Phase::Completed).await.unwrap();

    let objects = view(ONE).await.velero::<velero::Backup>();
    objects
        .delete(&name_in(&before, ONE), &DeleteParams::default())
        .await
        .unwrap();
    await_gone(&objects, &name_in(&before, ONE), PATIENCE)
        .await
        .unwrap();
    // Whatever came of the deletion came before what comes of this.
    tenant
        .back_up("after", demo_backup_of(&[ONE]))
        .await
        .unwrap();
    tenant.wait_phase("after", Phase::Completed).await.unwrap();

    let after = tenant.backups().get("kept").await.unwrap();
    assert_eq!(after.status, before.status);
}

#[tokio::test]
async fn another_cluster_behind_the_same_name_is_noticed() {
    let spare = spare().await;
    let stack = stack().await;
    let name = "swapped";
    let of = |member: &str| {
        let kubeconfig = stack.attach(member).unwrap().kubeconfig;
        Attached::new(name, &kubeconfig)
    };
    let clusters = [stack.attach(ONE).unwrap(), of(spare.name)];
    let tenant = stack.tenant("swapped", &clusters).await.unwrap();
    let (backup, object) = spare
        .frozen_backup(&tenant, "swapped", &demo_backup())
        .await
        .unwrap();

    tenant.write_kubeconfig(&of(TWO)).await.unwrap();
    let ended = tenant
        .wait_phase(&backup.name_any(), Phase::PartiallyFailed)
        .await
        .unwrap();
    assert_eq!(reason(&ended, name), "MemberReplaced");
    assert!(completed(&ended, ONE));
    let elsewhere = view(TWO).await.backups_of(&backup.uid().unwrap()).await;
    assert!(
        elsewhere.unwrap().is_empty(),
        "{} was begun there",
        object.name_any()
    );
}

#[tokio::test]
async fn rotated_credentials_take_effect_without_a_restart() {
    let stack = stack().await;
    let tenant = stack.empty_tenant("rotated").await.unwrap();
    let member = stack.member(ONE).unwrap();
    let with = |access| Attached::new(ONE, &member.relayed_kubeconfig_as(access));
    tenant.attach(&with(Access::Token(0))).await.unwrap();
    tenant.create_fleet(&[ONE]).await.unwrap();
    tenant.wait_fleet_ready().await.unwrap();
    tenant.back_up("before", demo_backup()).await.unwrap();
    tenant.wait_phase("before", Phase::Completed).await.unwrap();

    tenant
        .write_kubeconfig(&with(Access::Certificate))
        .await
        .unwrap();
    tenant.back_up("rotated", demo_backup()).await.unwrap();
    tenant
        .wait_phase("rotated", Phase::Completed)
        .await
        .unwrap();

    let token = member.control_plane().token(0);
    let wrong = with(Access::Token(0))
        .kubeconfig
        .replace(token, "nobody-has-this-token");
    tenant
        .write_kubeconfig(&Attached::new(ONE, &wrong))
        .await
        .unwrap();
    tenant.wait_cluster(ONE, false).await.unwrap();
    tenant.back_up("refused", demo_backup()).await.unwrap();
    let refused = |backup: &Backup| reason(backup, ONE) == "CredentialsInvalid";
    let backup = tenant
        .wait_backup("refused", "CredentialsInvalid", refused)
        .await
        .unwrap();
    assert!(is_phase(&backup, Phase::Pending));

    tenant
        .write_kubeconfig(&with(Access::Token(1)))
        .await
        .unwrap();
    let backup = tenant
        .wait_phase("refused", Phase::Completed)
        .await
        .unwrap();
    assert_completed(&backup, &[ONE]);
}
