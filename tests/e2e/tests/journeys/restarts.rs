//! Each of our processes killed at any moment: nothing lost, nothing doubled. These tests have a hub
//! of their own, whose clusters are the members of everybody's bed.

use api_types::backup::{Backup, BackupSpec};
use api_types::cluster::AttachedCluster;
use api_types::common::DeletionPolicy;
use api_types::condition::reason::SECRET_NOT_FOUND;
use api_types::external::velero;
use api_types::phase::Phase;
use e2e::specs::{demo_backup, demo_backup_to_delete};
use e2e::{Attached, PATIENCE, Service, Stack, Tenant, entry, is_phase, reason};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::DeleteParams;
use testbed::wait_ok;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::restore::{assert_restored, in_phase, objects_of, of, wait_created};
use crate::schedule::{YEARLY, answered, is_scheduled, run_names, run_now, scheduled, schedules};
use crate::world::{
    self, ONE, Spare, assert_completed, assert_one_object, spare, stored, view, wait_nothing_left,
};

/// A hub whose processes are killed, by one test at a time: there are two. What a failed test has left
/// dead is started again.
pub(crate) async fn hub() -> (&'static Stack, MutexGuard<'static, ()>) {
    const NAMES: [&str; 2] = ["restarts1", "restarts2"];
    static HUBS: [OnceCell<Stack>; 2] = [const { OnceCell::const_new() }; 2];
    static TURNS: [Mutex<()>; 2] = [const { Mutex::const_new(()) }; 2];
    let (which, turn) = world::turn(&TURNS).await;
    // The members come first: they are the larger part.
    world::stack().await;
    let start = || async {
        let hub = Stack::builder(NAMES[which]).detach_tenants();
        hub.start().await.unwrap()
    };
    let hub = HUBS[which].get_or_init(start).await;
    for process in [
        hub.proxy(),
        hub.fleet_controller(),
        hub.backup_controller(),
        hub.migrate_controller(),
    ] {
        if !process.process().is_running() {
            process.start_again().await.unwrap();
        }
    }
    (hub, turn)
}

pub(crate) async fn tenant(hub: &Stack, namespace: &str, spare: &Spare) -> Tenant {
    let members = world::stack().await;
    let clusters: Vec<Attached> = [ONE, spare.name]
        .iter()
        .map(|name| members.attach(name).unwrap())
        .collect();
    hub.tenant(namespace, &clusters).await.unwrap()
}

#[tokio::test]
async fn cluster_proxy_may_be_killed_at_any_moment() {
    let (hub, _turn) = hub().await;
    killed_at_any_moment(hub, hub.proxy(), "kill-proxy").await;
}

#[tokio::test]
async fn cluster_proxy_may_be_killed_at_any_moment_of_schedules_restores_and_deletions() {
    let (hub, _turn) = hub().await;
    killed_later(hub, hub.proxy(), "kill-proxy-later").await;
}

#[tokio::test]
async fn fleet_controller_may_be_killed_at_any_moment() {
    let (hub, _turn) = hub().await;
    killed_at_any_moment(hub, hub.fleet_controller(), "kill-fleet").await;
}

#[tokio::test]
async fn fleet_controller_may_be_killed_at_any_moment_of_schedules_restores_and_deletions() {
    let (hub, _turn) = hub().await;
    killed_later(hub, hub.fleet_controller(), "kill-fleet-later").await;
}

#[tokio::test]
async fn backup_controller_may_be_killed_at_any_moment() {
    let (hub, _turn) = hub().await;
    killed_at_any_moment(hub, hub.backup_controller(), "kill-backup").await;
}

#[tokio::test]
async fn backup_controller_may_be_killed_at_any_moment_of_schedules_restores_and_deletions() {
    let (hub, _turn) = hub().await;
    killed_later(hub, hub.backup_controller(), "kill-backup-later").await;
}

async fn killed_at_any_moment(hub: &Stack, victim: &Service, namespace: &str) {
    // From the start: nobody else may break what the Backups need.
    let spare = spare().await;
    let tenant = tenant(hub, namespace, &spare).await;

    // Before anything is claimed.
    victim.kill().await.unwrap();
    tenant.back_up("before", demo_backup()).await.unwrap();
    victim.start_again().await.unwrap();
    finishes_once(&tenant, "before", &spare).await;

    // As soon as its object is there.
    let backup = tenant.back_up("created", demo_backup()).await.unwrap();
    let one = view(ONE).await;
    wait_ok("a Velero Backup", PATIENCE, async || {
        let found = one.backups_of(&backup.uid().unwrap()).await?;
        anyhow::ensure!(!found.is_empty(), "there is none yet");
        Ok(())
    })
    .await
    .unwrap();
    victim.restart().await.unwrap();
    finishes_once(&tenant, "created", &spare).await;

    // While Velero works on it, and past its end.
    let (backup, object) = spare
        .frozen_backup(&tenant, "running", &demo_backup())
        .await
        .unwrap();
    victim.kill().await.unwrap();
    spare.velero().process().thaw().unwrap();
    let done = |object: &velero::Backup| object.phase() == "Completed";
    let objects = spare.view.velero::<velero::Backup>();
    e2e::await_object(&objects, &object.name_any(), "Completed", PATIENCE, done)
        .await
        .unwrap();
    victim.start_again().await.unwrap();
    let running = finishes_once(&tenant, &backup.name_any(), &spare).await;

    // After its end. What comes of the restart comes before what comes of a new Backup.
    victim.restart().await.unwrap();
    tenant.back_up("after", demo_backup()).await.unwrap();
    finishes_once(&tenant, "after", &spare).await;
    let later = tenant.backups().get(&backup.name_any()).await.unwrap();
    assert_eq!(later.status, running.status);
    for name in ["before", "created", &backup.name_any()] {
        let backup = tenant.backups().get(name).await.unwrap();
        for member in [ONE, spare.name] {
            assert_one_object(&backup, member).await;
        }
    }
}

async fn killed_later(hub: &Stack, victim: &Service, namespace: &str) {
    let spare = spare().await;
    let tenant = tenant(hub, namespace, &spare).await;
    let members = [ONE, spare.name];
    tenant.back_up("all", demo_backup()).await.unwrap();
    finishes_once(&tenant, "all", &spare).await;

    // Before anything is claimed.
    victim.kill().await.unwrap();
    let spec = BackupSpec {
        deletion_policy: DeletionPolicy::Delete,
        ..scheduled(YEARLY)
    };
    tenant.back_up("nightly", spec).await.unwrap();
    tenant.restore("before", of("all")).await.unwrap();
    victim.start_again().await.unwrap();
    let nightly = is_scheduled(&tenant, "nightly").await;
    // As soon as its object is there, and as soon as a run is asked for.
    let created = tenant.restore("created", of("all")).await.unwrap();
    wait_created(&created, ONE).await;
    run_now(&tenant, "nightly", "now").await;
    victim.restart().await.unwrap();
    for name in ["before", "created"] {
        let restore = in_phase(&tenant, name, Phase::Completed).await;
        assert_restored(&restore, &members).await;
    }
    answered(&tenant, "nightly", "now", &members).await;
    let mut runs = Vec::new();
    for member in members {
        let found = run_names(&nightly, member).await;
        assert_eq!(found.len(), 1, "{found:?}");
        runs.push((member, found[0].clone()));
    }

    // In the middle of deletions: none of them can end without Velero.
    spare.velero().process().freeze().unwrap();
    tenant.delete_backup("nightly").await.unwrap();
    tenant.delete_restore("before").await.unwrap();
    let begun = |backup: &Backup| is_phase(backup, Phase::Deleting);
    tenant
        .wait_backup("nightly", "Deleting", begun)
        .await
        .unwrap();
    victim.kill().await.unwrap();
    spare.velero().process().thaw().unwrap();
    victim.start_again().await.unwrap();
    tenant.wait_backup_gone("nightly").await.unwrap();
    tenant.wait_restore_gone("before").await.unwrap();
    for (member, run) in &runs {
        assert!(schedules(&nightly, member).await.is_empty());
        let view = view(member).await;
        wait_nothing_left(&view, &nightly.uid().unwrap())
            .await
            .unwrap();
        assert_eq!(stored(member, run).await, Vec::<String>::new());
        assert_eq!(objects_of(&created, member).await.len(), 1);
        let all = tenant.backups().get("all").await.unwrap();
        assert_one_object(&all, member).await;
    }
}

/// The Backup completes in both clusters with one Velero Backup each.
pub(crate) async fn finishes_once(tenant: &Tenant, name: &str, spare: &Spare) -> Backup {
    let backup = tenant.wait_phase(name, Phase::Completed).await.unwrap();
    assert_completed(&backup, &[ONE, spare.name]);
    for member in [ONE, spare.name] {
        assert_one_object(&backup, member).await;
    }
    backup
}

#[tokio::test]
async fn the_hubs_api_server_may_be_killed_while_a_backup_runs() {
    let (hub, _turn) = hub().await;
    let spare = spare().await;
    let tenant = tenant(hub, "kill-hub", &spare).await;
    let (backup, object) = spare
        .frozen_backup(&tenant, "running", &demo_backup())
        .await
        .unwrap();

    hub.bed().hub().stop_apiserver().await.unwrap();
    spare.velero().process().thaw().unwrap();
    let done = |object: &velero::Backup| object.phase() == "Completed";
    let objects = spare.view.velero::<velero::Backup>();
    e2e::await_object(&objects, &object.name_any(), "Completed", PATIENCE, done)
        .await
        .unwrap();
    hub.bed().hub().start_apiserver().await.unwrap();

    finishes_once(&tenant, &backup.name_any(), &spare).await;
    for process in [
        hub.proxy(),
        hub.fleet_controller(),
        hub.backup_controller(),
        hub.migrate_controller(),
    ] {
        process.process().check().unwrap();
    }
}

/// The proxy keeps what it has read of a Secret as long as it runs.
#[tokio::test]
async fn after_a_restart_without_a_member_s_secret_a_deletion_waits_for_it() {
    let (hub, _turn) = hub().await;
    let spare = spare().await;
    let tenant = tenant(hub, "lost-secret", &spare).await;
    for name in ["before", "after"] {
        tenant.back_up(name, demo_backup_to_delete()).await.unwrap();
    }
    let before = finishes_once(&tenant, "before", &spare).await;
    let after = finishes_once(&tenant, "after", &spare).await;

    let secrets = tenant.api::<Secret>();
    let params = DeleteParams::default();
    secrets.delete(spare.name, &params).await.unwrap();
    let noticed = |cluster: &AttachedCluster| {
        let status = cluster.status.iter();
        let mut conditions = status.flat_map(|status| &status.conditions);
        conditions.any(|condition| condition.reason == SECRET_NOT_FOUND)
    };
    let clusters = tenant.api::<AttachedCluster>();
    e2e::await_object(&clusters, spare.name, SECRET_NOT_FOUND, PATIENCE, noticed)
        .await
        .unwrap();
    tenant.delete_backup("before").await.unwrap();
    tenant.wait_backup_gone("before").await.unwrap();
    wait_nothing_left(&spare.view, &before.uid().unwrap())
        .await
        .unwrap();

    hub.proxy().restart().await.unwrap();
    tenant.delete_backup("after").await.unwrap();
    let uid = after.uid().unwrap();
    wait_nothing_left(&view(ONE).await, &uid).await.unwrap();
    let waits = |backup: &Backup| {
        let entry = entry(backup, spare.name);
        let message = entry.and_then(|entry| entry.message.as_deref());
        is_phase(backup, Phase::Deleting)
            && reason(backup, spare.name) == "DeletionPending"
            && message.is_some_and(|message| message.contains(SECRET_NOT_FOUND))
    };
    let what = "a deletion that waits for the Secret";
    tenant.wait_backup("after", what, waits).await.unwrap();
    assert_one_object(&after, spare.name).await;

    let cluster = world::stack().await.attach(spare.name).unwrap();
    tenant.write_kubeconfig(&cluster).await.unwrap();
    tenant.wait_backup_gone("after").await.unwrap();
    wait_nothing_left(&spare.view, &uid).await.unwrap();
}

#[tokio::test]
async fn every_process_ends_in_time_when_it_is_asked_to() {
    let (hub, _turn) = hub().await;
    let spare = spare().await;
    let tenant = tenant(hub, "asked", &spare).await;
    tenant.back_up("before", demo_backup()).await.unwrap();
    finishes_once(&tenant, "before", &spare).await;

    for process in [
        hub.migrate_controller(),
        hub.backup_controller(),
        hub.fleet_controller(),
        hub.proxy(),
    ] {
        let status = process.stop().await.unwrap();
        assert!(status.success(), "{}: {status}", process.process().name());
        process.start_again().await.unwrap();
    }
    tenant.back_up("after", demo_backup()).await.unwrap();
    finishes_once(&tenant, "after", &spare).await;
}
