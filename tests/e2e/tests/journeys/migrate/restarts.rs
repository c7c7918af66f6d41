//! Each of our processes killed at each transition of a Migrate: every step is done once.

use api_types::common::DeletionPolicy;
use api_types::external::velero;
use api_types::migrate::Migrate;
use api_types::phase::Phase;
use e2e::{PATIENCE, Service, Stack, await_gone, await_object};
use kube::ResourceExt;
use tokio::sync::MutexGuard;

use super::{
    assert_made_once, assert_nothing_made, begin, delete, from, in_phase, is_phase, is_running,
    migrates, of_source, of_target, only, source_ready, stored_name, wait,
};
use crate::restarts;
use crate::restore::Held;
use crate::world::{ONE, spare, stored, view};

async fn hub() -> (&'static Stack, MutexGuard<'static, ()>) {
    let (hub, turn) = restarts::hub().await;
    let process = hub.migrate_controller();
    if !process.process().is_running() {
        process.start_again().await.unwrap();
    }
    (hub, turn)
}

#[tokio::test]
async fn migrate_controller_may_be_killed_at_each_transition() {
    let (hub, _turn) = hub().await;
    let names = ("kill-migrate", "kill-migrate-back");
    killed_at_each_transition(hub, hub.migrate_controller(), names).await;
}

#[tokio::test]
async fn cluster_proxy_may_be_killed_at_each_transition_of_a_migrate() {
    let (hub, _turn) = hub().await;
    let names = ("kill-proxy-migrate", "kill-proxy-migrate-back");
    killed_at_each_transition(hub, hub.proxy(), names).await;
}

#[tokio::test]
async fn fleet_controller_may_be_killed_at_each_transition_of_a_migrate() {
    let (hub, _turn) = hub().await;
    let names = ("kill-fleet-migrate", "kill-fleet-migrate-back");
    killed_at_each_transition(hub, hub.fleet_controller(), names).await;
}

/// Two Migrates at once, there and back: the member whose Velero can be stopped is the source of the
/// one and the target of the other.
async fn killed_at_each_transition(
    hub: &Stack,
    victim: &Service,
    (there, back): (&'static str, &'static str),
) {
    let spare = spare().await;
    let tenant = restarts::tenant(hub, there, &spare).await;
    let one = view(ONE).await;
    Held::deploy(&spare.view.client, there).await;
    Held::deploy(&one.client, back).await;
    let held = Held::deploy(&spare.view.client, back).await;
    held.hold().await;
    let velero = spare.velero().process();

    // Dead when they are made, and again as soon as it is written down what they begin.
    victim.kill().await.unwrap();
    velero.freeze().unwrap();
    let mut spec = from(spare.name, &[ONE], only(there));
    spec.deletion_policy = DeletionPolicy::Delete;
    begin(&tenant, there, spec).await;
    begin(&tenant, back, from(ONE, &[spare.name], only(back))).await;
    victim.start_again().await.unwrap();
    let claimed = |seen: &Migrate| {
        let status = seen.status.as_ref();
        status.is_some_and(|status| status.start_time.is_some())
    };
    for name in [there, back] {
        wait(&tenant, name, "a claim", claimed).await;
    }
    victim.restart().await.unwrap();

    // While one backup is made, past its end, and before the other one is restored.
    let backed_up = |seen: &Migrate| of_source(seen).backup_status_in_cluster.is_some();
    let seen = wait(&tenant, there, "a Velero Backup", backed_up).await;
    wait(&tenant, back, "a ready source", source_ready).await;
    victim.kill().await.unwrap();
    velero.thaw().unwrap();
    let objects = spare.view.velero::<velero::Backup>();
    let done = |object: &velero::Backup| object.phase() == "Completed";
    let what = "Completed";
    await_object(&objects, &stored_name(&seen), what, PATIENCE, done)
        .await
        .unwrap();
    victim.start_again().await.unwrap();

    // As soon as it is written down that it is restored; while it is restored, and past its end.
    let chosen = |seen: &Migrate| {
        let target = of_target(seen, ONE);
        target.is_some_and(|target| target.backup_name_in_cluster.is_some())
    };
    wait(&tenant, there, "a chosen backup", chosen).await;
    victim.restart().await.unwrap();
    let runs = |seen: &Migrate| is_running(seen, spare.name);
    let seen = wait(&tenant, back, "a restore that runs", runs).await;
    victim.kill().await.unwrap();
    held.release().await;
    let target = of_target(&seen, spare.name).unwrap();
    let name = target.restore_name_in_cluster.clone().unwrap();
    let objects = spare.view.velero::<velero::Restore>();
    let done = |object: &velero::Restore| object.phase() == "Completed";
    await_object(&objects, &name, what, PATIENCE, done)
        .await
        .unwrap();
    victim.start_again().await.unwrap();
    let gone = in_phase(&tenant, there, Phase::Completed).await;
    assert_made_once(&gone, spare.name, &[ONE]).await;
    let kept = in_phase(&tenant, back, Phase::Completed).await;
    assert_made_once(&kept, ONE, &[spare.name]).await;
    held.assert_restored().await;
    Held::at(&one.client, there).assert_restored().await;

    // In the middle of a deletion, which cannot end without Velero; the other one has ended.
    velero.freeze().unwrap();
    delete(&tenant, there).await;
    let waits = |seen: &Migrate| is_phase(seen, Phase::Deleting);
    wait(&tenant, there, "a deletion that waits", waits).await;
    victim.kill().await.unwrap();
    velero.thaw().unwrap();
    victim.start_again().await.unwrap();
    let api = migrates(&tenant);
    await_gone(&api, there, PATIENCE).await.unwrap();
    assert_nothing_made(&gone, &[ONE, spare.name]).await;
    let left = stored(spare.name, &stored_name(&gone)).await;
    assert_eq!(left, Vec::<String>::new());
    let later = api.get(back).await.unwrap();
    assert_eq!((later.uid(), later.status), (kept.uid(), kept.status));
    assert_made_once(&api.get(back).await.unwrap(), ONE, &[spare.name]).await;
}
