//! The proxy, or the controller itself, is gone for a while. Each test has a hub of its own.

use std::time::Duration;

use api_types::cluster::AttachedCluster;
use api_types::condition::{self, ConditionStatus};
use api_types::fleet::Fleet;
use api_types::phase::FleetPhase;
use serde_json::json;

use crate::space::Space;
use crate::world::World;

async fn versions(space: &Space) -> (Option<String>, Option<String>) {
    let cluster: AttachedCluster = space.get("bergen").await;
    let fleet: Fleet = space.get("north").await;
    (
        cluster.metadata.resource_version,
        fleet.metadata.resource_version,
    )
}

async fn settled(world: &World) -> Space {
    let space = world.space("oslo").await;
    space.settle("bergen", "north").await;
    space
}

#[tokio::test]
async fn a_proxy_that_stays_silent_is_reported_and_believed_when_it_is_back() {
    let world = World::start("silent", r#"{"proxyGrace": 2000, "flapWindow": 100}"#).await;
    let space = settled(&world).await;
    world.proxy.lock().unwrap().kill();
    let cluster = space.until_ready_is("bergen", "ProxyNotResponding").await;
    let status = cluster.status.unwrap();
    let ready = condition::find(&status.conditions, condition::READY).unwrap();
    assert_eq!(
        (ready.status, status.ready),
        (ConditionStatus::Unknown, false)
    );
    assert!(
        ready
            .message
            .starts_with("cluster-proxy has not answered since"),
        "{}",
        ready.message
    );
    assert_eq!(
        status.kubernetes_version.as_deref(),
        Some("v1.34.4"),
        "what was known stays"
    );
    space.until_fleet_is("north", "MembersNotReady").await;

    world.proxy.lock().unwrap().restart();
    space.until_ready_is("bergen", "Connected").await;
    space.until_fleet_is("north", "Ready").await;
}

#[tokio::test]
async fn a_restart_of_proxy_or_controller_writes_nothing() {
    let world = World::start("restart", "{}").await;
    let space = settled(&world).await;
    let before = versions(&space).await;

    world.proxy.lock().unwrap().kill();
    world.proxy.lock().unwrap().restart();
    space.attach_ready("after-the-proxy").await;
    space.until_ready_is("after-the-proxy", "Connected").await;
    assert_eq!(versions(&space).await, before);

    world.controller.restart().await;
    space.attach_ready("after-the-controller").await;
    space
        .until_ready_is("after-the-controller", "Connected")
        .await;
    assert_eq!(versions(&space).await, before);

    // One that is asked to end does so in good order, within the 10 s that it has.
    world.controller.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_deletion_that_stands_still_is_reported_also_after_a_restart() {
    let world = World::start("blocked", r#"{"deletionStalled": 1000}"#).await;
    let space = settled(&world).await;
    let both = json!(["fleet.kurator.dev", "fleet.kurator.dev/backup"]);
    space
        .merge::<Fleet>("north", json!({"metadata": {"finalizers": both}}))
        .await;
    space.delete::<Fleet>("north").await;
    let fleet = space.until_fleet_is("north", "DeletionBlocked").await;
    let status = fleet.status.unwrap();
    assert_eq!(status.phase, Some(FleetPhase::TerminateFailed));
    assert!(condition::is_true(&status.conditions, condition::STALLED));
    space.event("north", "DeletionBlocked").await;

    let before = versions(&space).await;
    world.controller.restart().await;
    space.attach_ready("after").await;
    space.until_ready_is("after", "Connected").await;
    assert_eq!(versions(&space).await, before, "it still stands still");

    space
        .merge::<Fleet>(
            "north",
            json!({"metadata": {"finalizers": ["fleet.kurator.dev"]}}),
        )
        .await;
    space.until_gone::<Fleet>("north").await;
}
