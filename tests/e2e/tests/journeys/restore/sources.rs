//! A source that is another fleet's, or that is only partial, and a target without Velero.

use api_types::backup::{Backup, BackupSpec};
use api_types::condition::ConditionStatus;
use api_types::fleet::{Fleet, FleetSpec};
use api_types::phase::{EntryPhase, Phase};
use e2e::specs::{cluster_ref, demo_backup};
use e2e::{condition_status, is_phase};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::{entry, in_phase, into, objects_of, of, policy, reason, with_reason};
use crate::elsewhere::from;
use crate::schedule::{YEARLY, answered, no_schedule, run_now, schedule_where, scheduled};
use crate::world::{BARE, ONE, TWO, name_in, stack, tenant_of, view};

#[tokio::test]
async fn a_backup_of_another_fleet_is_never_restored_and_both_fleets_are_named() {
    const OTHER: &str = "other";
    let tenant = tenant_of("restore-fleets", &[ONE]).await;
    let two = stack().await.attach(TWO).unwrap();
    tenant.attach(&two).await.unwrap();
    let spec = FleetSpec {
        clusters: vec![cluster_ref(TWO)],
        plugin: None,
    };
    let other = Fleet::new(OTHER, spec);
    let fleets: Api<Fleet> = tenant.api();
    fleets.create(&PostParams::default(), &other).await.unwrap();
    tenant.wait_cluster(TWO, true).await.unwrap();
    tenant.back_up("all", demo_backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();

    let mut spec = into("all", &[TWO]);
    spec.destination.as_mut().unwrap().fleet = OTHER.to_owned();
    let mut late = spec.clone();
    tenant.restore("waits", spec).await.unwrap();
    let waits = with_reason(&tenant, "waits", TWO, "BackupNotFound").await;
    assert_eq!(entry(&waits, TWO).unwrap().phase, EntryPhase::Pending);
    late.start_deadline = "2s".into();
    tenant.restore("ends", late).await.unwrap();
    let ends = in_phase(&tenant, "ends", Phase::Failed).await;
    for restore in [&waits, &ends] {
        let said = entry(restore, TWO).unwrap().message.clone().unwrap();
        for fleet in ["Fleet quickstart", "Fleet other"] {
            assert!(said.contains(fleet), "{said}");
        }
        for member in [ONE, TWO] {
            assert!(objects_of(restore, member).await.is_empty());
        }
    }
    for name in ["waits", "ends"] {
        tenant.delete_restore(name).await.unwrap();
        tenant.wait_restore_gone(name).await.unwrap();
    }
}

/// What Velero calls `PartiallyFailed`: of two namespaces, one is not there.
fn partial(schedule: &str) -> BackupSpec {
    let namespaces = ["kurator-backup", "there-is-no-such"];
    let filter = json!({ "resourceFilter": { "includedNamespaces": namespaces } });
    BackupSpec {
        policy: serde_json::from_value(filter).unwrap(),
        schedule: schedule.to_owned(),
        ..demo_backup()
    }
}

#[tokio::test]
async fn what_a_partial_backup_holds_comes_back_and_is_said_to_be_not_all() {
    let tenant = tenant_of("restore-partial", &[ONE]).await;
    tenant.back_up("once", partial("")).await.unwrap();
    tenant.back_up("nightly", partial(YEARLY)).await.unwrap();
    run_now(&tenant, "nightly", "now").await;
    let once = tenant.wait_phase("once", Phase::PartiallyFailed).await;
    let once = once.unwrap().status.unwrap();
    let velero = once.backup_details[0].backup_status_in_cluster.as_ref();
    let errors = velero.unwrap().errors;
    assert!(errors.is_some_and(|errors| errors > 0), "{velero:?}");
    assert_eq!(once.summary.map(|summary| summary.errors), errors);
    let ran = |backup: &Backup| {
        let entry = e2e::entry(backup, ONE);
        entry.is_some_and(|entry| entry.phase == EntryPhase::PartiallyFailed)
    };
    tenant
        .wait_backup("nightly", "a partial run", ran)
        .await
        .unwrap();

    let client = view(ONE).await.client;
    for name in ["once", "nightly"] {
        let copy = format!("restore-partial-{name}");
        let mut spec = of(name);
        spec.policy = Some(policy(
            json!({ "namespaceMapping": { "kurator-backup": copy } }),
        ));
        tenant.restore(name, spec).await.unwrap();
        let restore = in_phase(&tenant, name, Phase::Completed).await;
        assert_eq!(reason(&restore, ONE), "BackupPartiallyFailed");
        let entry = entry(&restore, ONE).unwrap();
        let said = entry.message.as_deref().unwrap();
        assert!(said.contains("only PartiallyFailed"), "{said}");
        let backup = tenant.backups().get(name).await.unwrap();
        assert_eq!(entry.backup_name_in_cluster, Some(name_in(&backup, ONE)));
        let settings: Api<ConfigMap> = Api::namespaced(client.clone(), &copy);
        settings.get("busybox-settings").await.unwrap();
    }
    tenant.delete_backup("nightly").await.unwrap();
    tenant.wait_backup_gone("nightly").await.unwrap();
}

#[tokio::test]
async fn a_member_without_velero_holds_up_neither_a_schedule_nor_a_restore_of_the_others() {
    let tenant = tenant_of("restore-bare", &[ONE, BARE]).await;
    tenant.back_up("nightly", scheduled(YEARLY)).await.unwrap();
    let named = |backup: &Backup| {
        e2e::reason(backup, BARE) == "VeleroNotInstalled" && is_phase(backup, Phase::Scheduled)
    };
    let backup = tenant.wait_backup("nightly", "VeleroNotInstalled", named);
    let backup = backup.await.unwrap();
    let ready = condition_status(&backup, "Ready");
    assert_eq!(ready, Some(ConditionStatus::False));
    schedule_where(&backup, ONE, "there", |_| true).await;
    run_now(&tenant, "nightly", "in the other").await;
    answered(&tenant, "nightly", "in the other", &[ONE]).await;

    let both = from(ONE, "nightly", &[ONE, BARE]);
    tenant.restore("both", both).await.unwrap();
    let done = |restore: &api_types::restore::Restore| {
        let own = entry(restore, ONE);
        reason(restore, BARE) == "VeleroNotInstalled"
            && own.is_some_and(|own| own.phase == EntryPhase::Completed)
    };
    let what = "an end where there is Velero";
    let restore = tenant.wait_restore("both", what, done).await.unwrap();
    assert_eq!(entry(&restore, BARE).unwrap().phase, EntryPhase::Pending);
    let phase = restore.status.as_ref().unwrap().phase;
    assert_eq!(phase, Some(Phase::InProgress));

    // Nothing was begun there that would have to be taken away.
    tenant.delete_restore("both").await.unwrap();
    tenant.wait_restore_gone("both").await.unwrap();
    assert!(objects_of(&restore, ONE).await.is_empty());
    tenant.delete_backup("nightly").await.unwrap();
    tenant.wait_backup_gone("nightly").await.unwrap();
    no_schedule(&backup, ONE).await;
}
