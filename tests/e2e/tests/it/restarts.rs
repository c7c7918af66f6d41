//! Each of our processes killed at any moment: nothing lost, nothing doubled. These tests have a hub
//! of their own, whose clusters are the members of everybody's bed.

use api_types::backup::Backup;
use api_types::external::velero;
use api_types::phase::Phase;
use e2e::specs::demo_backup;
use e2e::{Attached, PATIENCE, Service, Stack, Tenant};
use futures::future::join_all;
use kube::ResourceExt;
use testbed::wait_ok;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::world::{self, ONE, SPARE, assert_completed, assert_one_object, spare, view};

/// The hub whose processes are killed, by one test at a time.
async fn hub() -> (&'static Stack, MutexGuard<'static, ()>) {
    static HUB: OnceCell<Stack> = OnceCell::const_new();
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    // The members come first: they are the larger part.
    world::stack().await;
    let start = || async { Stack::builder("restarts").start().await.unwrap() };
    (HUB.get_or_init(start).await, turn)
}

async fn tenant(hub: &Stack, namespace: &str) -> Tenant {
    let members = world::stack().await;
    let clusters: Vec<Attached> = [ONE, SPARE]
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
async fn fleet_controller_may_be_killed_at_any_moment() {
    let (hub, _turn) = hub().await;
    killed_at_any_moment(hub, hub.fleet_controller(), "kill-fleet").await;
}

#[tokio::test]
async fn backup_controller_may_be_killed_at_any_moment() {
    let (hub, _turn) = hub().await;
    killed_at_any_moment(hub, hub.backup_controller(), "kill-backup").await;
}

async fn killed_at_any_moment(hub: &Stack, victim: &Service, namespace: &str) {
    // From the start: nobody else may break what the Backups need.
    let spare = spare().await;
    let tenant = tenant(hub, namespace).await;

    // Before anything is claimed.
    victim.kill().await.unwrap();
    tenant.back_up("before", demo_backup()).await.unwrap();
    victim.start_again().await.unwrap();
    finishes_once(&tenant, "before").await;

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
    finishes_once(&tenant, "created").await;

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
    let running = finishes_once(&tenant, &backup.name_any()).await;

    // After its end. What comes of the restart comes before what comes of a new Backup.
    victim.restart().await.unwrap();
    tenant.back_up("after", demo_backup()).await.unwrap();
    finishes_once(&tenant, "after").await;
    let later = tenant.backups().get(&backup.name_any()).await.unwrap();
    assert_eq!(later.status, running.status);
    for name in ["before", "created", &backup.name_any()] {
        let backup = tenant.backups().get(name).await.unwrap();
        for member in [ONE, SPARE] {
            assert_one_object(&backup, member).await;
        }
    }
}

/// The Backup completes in both clusters with one Velero Backup each.
async fn finishes_once(tenant: &Tenant, name: &str) -> Backup {
    let backup = tenant.wait_phase(name, Phase::Completed).await.unwrap();
    assert_completed(&backup, &[ONE, SPARE]);
    for member in [ONE, SPARE] {
        assert_one_object(&backup, member).await;
    }
    backup
}

#[tokio::test]
async fn two_controllers_without_a_lease_make_one_object_a_claim() {
    const BACKUPS: usize = 8;
    let (hub, _turn) = hub().await;
    let _spare = spare().await;
    let tenant = tenant(hub, "two-controllers").await;
    let second = hub.second_backup_controller().await.unwrap();

    let before = refused_status_writes(&tenant).await;

    let names: Vec<String> = (0..BACKUPS)
        .map(|number| format!("shared-{number}"))
        .collect();
    let made = names.iter().map(|name| tenant.back_up(name, demo_backup()));
    for made in join_all(made).await {
        made.unwrap();
    }
    join_all(names.iter().map(|name| finishes_once(&tenant, name))).await;
    // Both saw everything at the same time: the slower one's writes were stale, and were refused.
    assert!(
        refused_status_writes(&tenant).await > before,
        "no stale write met a 409"
    );
    second.stop().await.unwrap();
}

/// How many writes of a Backup's status the hub has refused since its start, because they were made
/// from an old version.
async fn refused_status_writes(tenant: &Tenant) -> u64 {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let metrics = tenant.hub().request_text(request).await.unwrap();
    let conflicts = metrics.lines().filter(|line| {
        line.starts_with("apiserver_request_total{")
            && [
                r#"code="409""#,
                r#"resource="backups""#,
                r#"subresource="status""#,
            ]
            .iter()
            .all(|label| line.contains(label))
    });
    conflicts
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}
