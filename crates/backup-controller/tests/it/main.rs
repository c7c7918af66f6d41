//! backup-controller as a process on a real hub, before a fake of cluster-proxy: what no real part
//! can be made to do at the right moment.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

mod crowd;
mod world;

use api_types::{backup::Backup, labels, phase::EntryPhase};
use kube::ResourceExt;
use proxy_client::fake::{BY_PROXY, status};
use serde_json::{Value, json};
use tonic::Code;

use crate::world::{MEMBER, World};

/// The Velero Backups that were made on the member.
fn made(world: &World) -> Vec<Value> {
    let state = world.proxy.fake.state();
    let backups = state.objects.iter().filter(|((of, ..), _)| of == "backups");
    backups.map(|(_, object)| object.clone()).collect()
}

fn creates(world: &World) -> usize {
    let state = world.proxy.fake.state();
    let verbs = state.calls.iter().filter(|(verb, _)| *verb == "create");
    verbs.count()
}

/// What was created, as the member has it.
fn stored(object: &Value, version: &str) -> Value {
    let mut object = object.clone();
    let name = object["metadata"]["name"].clone();
    object["metadata"]["uid"] = name;
    object["metadata"]["resourceVersion"] = version.into();
    object
}

/// A Velero Backup that Velero has made.
fn completed(object: &Value) -> Value {
    let mut object = stored(object, "7");
    object["status"] = json!({"phase": "Completed", "startTimestamp": "2030-01-01T00:00:00Z",
        "completionTimestamp": "2030-01-01T00:00:01Z"});
    object
}

#[tokio::test]
async fn a_backup_whose_creation_was_not_answered_is_found_and_not_made_twice() {
    let world = World::start("backup-lost-answer").await;
    let unknown = [("write_outcome", "unknown"), ("retryable", "no")];
    let lost = "the member's answer was lost";
    let lost = status(Code::Unavailable, "UNAVAILABLE", BY_PROXY, lost, &unknown);
    world.proxy.fake.state().failure_after_write = Some(lost);

    let backup = world.backup("nightly").await;
    let begun = |backup: &Backup| {
        let details = backup.status.as_ref().map(|status| &status.backup_details);
        details.is_some_and(|entries| {
            let entry = entries.first();
            entry.is_some_and(|entry| entry.backup_status_in_cluster.is_some())
        })
    };
    world.until("nightly", begun).await;
    assert!(world.proxy.fake.state().failure_after_write.is_none());
    let objects = made(&world);
    assert_eq!(objects.len(), 1, "{objects:?}");
    let owner = &objects[0]["metadata"]["labels"][labels::OWNER_UID];
    assert_eq!(owner.as_str(), backup.uid().as_deref());

    // It goes on with the one that is there, to its end.
    world
        .tell(MEMBER, "backups", &[completed(&objects[0])])
        .await;
    let done = world
        .until("nightly", |backup| {
            let status = backup.status.as_ref();
            status.is_some_and(|status| status.completion_time.is_some())
        })
        .await;
    let details = done.status.unwrap().backup_details;
    let ends: Vec<_> = details
        .iter()
        .map(|d| (d.cluster_name.as_str(), d.phase))
        .collect();
    assert_eq!(ends, [(MEMBER, EntryPhase::Completed)]);
    assert_eq!((creates(&world), made(&world).len()), (1, 1));
}
