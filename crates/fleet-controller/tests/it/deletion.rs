//! Deletion waits for who still needs what is deleted, and comes to its end in any order.

use api_types::backup::Backup;
use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::phase::FleetPhase;
use futures::StreamExt;
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::space::{Space, fleet_message, fleet_reason, label, ready_reason};
use crate::world::{DEADLINE, shared};

async fn fleet_of_one(namespace: &str) -> Space {
    let space = shared().await.space(namespace).await;
    space.settle("bergen", "north").await;
    space
}

fn details(phase: &str) -> Value {
    let entry = json!({"clusterName": "bergen", "clusterKind": "AttachedCluster", "phase": phase});
    json!({"phase": phase, "backupDetails": [entry]})
}

#[tokio::test]
async fn a_fleet_waits_for_an_unfinished_backup_and_then_goes() {
    let space = fleet_of_one("waits").await;
    space
        .create::<Backup>("nightly", json!({"destination": {"fleet": "north"}}))
        .await;
    space
        .merge_status::<Backup>("nightly", details("InProgress"))
        .await;

    space.delete::<Fleet>("north").await;
    let fleet = space.until_fleet_is("north", "InUse").await;
    assert_eq!(
        fleet.status.as_ref().unwrap().phase,
        Some(FleetPhase::Terminating)
    );
    assert!(
        fleet_message(&fleet).contains("Backup nightly (InProgress)"),
        "{}",
        fleet_message(&fleet)
    );
    let cluster: AttachedCluster = space.get("bergen").await;
    assert_eq!(
        label(&cluster),
        Some("north"),
        "its members stay its members"
    );
    space.event("north", "Terminating").await;

    space
        .merge_status::<Backup>("nightly", details("Completed"))
        .await;
    space.until_gone::<Fleet>("north").await;
    let freed = |cluster: &AttachedCluster| {
        label(cluster).is_none()
            && cluster
                .status
                .as_ref()
                .is_some_and(|status| status.fleet.is_none())
    };
    space.until("bergen", freed).await;
}

#[rstest]
#[case::scheduled("scheduled", json!({"schedule": "@daily"}), "scheduled")]
#[case::deletes_data("deletes", json!({"deletionPolicy": "Delete"}), "deletionPolicy Delete")]
#[tokio::test]
async fn a_fleet_waits_for_what_is_finished_and_still_needs_it(
    #[case] namespace: &str,
    #[case] mut spec: Value,
    #[case] why: &str,
) {
    let space = fleet_of_one(namespace).await;
    spec["destination"] = json!({"fleet": "north"});
    space.create::<Backup>("nightly", spec).await;
    space
        .merge_status::<Backup>("nightly", details("Completed"))
        .await;
    space.delete::<Fleet>("north").await;
    let fleet = space.until_fleet_is("north", "InUse").await;
    assert!(
        fleet_message(&fleet).contains(why),
        "{}",
        fleet_message(&fleet)
    );
    space.delete::<Backup>("nightly").await;
    space.until_gone::<Fleet>("north").await;
}

#[tokio::test]
async fn a_fleet_goes_after_its_plugins() {
    let space = fleet_of_one("teardown").await;
    let both = json!(["fleet.kurator.dev", "fleet.kurator.dev/backup"]);
    space
        .merge::<Fleet>("north", json!({"metadata": {"finalizers": both}}))
        .await;
    space.delete::<Fleet>("north").await;
    let fleet = space
        .until("north", |fleet: &Fleet| {
            fleet_message(fleet).contains("cleaned up: backup")
        })
        .await;
    assert_eq!(fleet_reason(&fleet), "Terminating");
    let cluster: AttachedCluster = space.get("bergen").await;
    assert_eq!(
        label(&cluster),
        Some("north"),
        "the plugin still works on it"
    );

    let own = json!({"metadata": {"finalizers": ["fleet.kurator.dev"]}});
    space.merge::<Fleet>("north", own).await;
    space.until_gone::<Fleet>("north").await;
    space
        .until("bergen", |cluster: &AttachedCluster| {
            label(cluster).is_none()
        })
        .await;
}

#[tokio::test]
async fn a_cluster_waits_for_its_fleet() {
    let space = fleet_of_one("inuse").await;
    space.delete::<AttachedCluster>("bergen").await;
    let cluster = space.until_ready_is("bergen", "InUse").await;
    let status = cluster.status.unwrap();
    assert!(!status.ready, "it takes no new work");
    let note = space.event("bergen", "InUse").await;
    assert!(note.contains("Fleet north"), "{note}");
    let counted = |fleet: &Fleet| {
        fleet
            .status
            .as_ref()
            .is_some_and(|status| status.un_ready_clusters == 1)
    };
    space.until("north", counted).await;

    space
        .merge::<Fleet>("north", json!({"spec": {"clusters": []}}))
        .await;
    space.until_gone::<AttachedCluster>("bergen").await;
}

#[tokio::test]
async fn a_cluster_waits_for_an_operation_whose_status_names_it() {
    let space = fleet_of_one("named").await;
    space
        .create::<Backup>("nightly", json!({"destination": {"fleet": "north"}}))
        .await;
    space
        .merge_status::<Backup>("nightly", details("InProgress"))
        .await;
    space
        .merge::<Fleet>("north", json!({"spec": {"clusters": []}}))
        .await;
    space.until_fleet_is("north", "NoClusters").await;
    space.delete::<AttachedCluster>("bergen").await;
    let held = space
        .until("bergen", |cluster: &AttachedCluster| {
            ready_reason(cluster) == "InUse"
        })
        .await;
    let message = &held.status.unwrap().conditions[0].message;
    assert!(message.contains("Backup nightly (InProgress)"), "{message}");

    space
        .merge_status::<Backup>("nightly", details("Failed"))
        .await;
    space.until_gone::<AttachedCluster>("bergen").await;
}

#[tokio::test]
async fn a_person_can_force_a_cluster_out_of_its_fleet() {
    let space = fleet_of_one("forced").await;
    space.delete::<AttachedCluster>("bergen").await;
    space.until_ready_is("bergen", "InUse").await;
    let force = json!({"metadata": {"annotations": {"kurator.dev/force-delete": "true"}}});
    space.merge::<AttachedCluster>("bergen", force).await;
    space.until_gone::<AttachedCluster>("bergen").await;
    let missed = |fleet: &Fleet| {
        let member = fleet
            .status
            .as_ref()
            .and_then(|status| status.members.first());
        member.and_then(|member| member.reason.as_deref()) == Some("ClusterNotFound")
    };
    space.until("north", missed).await;
    space.event("bergen", "ObjectsLeftBehind").await;
}

#[tokio::test]
async fn a_fleet_that_is_forced_names_what_it_leaves_before_it_lets_go() {
    let space = fleet_of_one("forced-fleet").await;
    let both = json!(["fleet.kurator.dev", "example.com/audit"]);
    space
        .merge::<Fleet>("north", json!({"metadata": {"finalizers": both}}))
        .await;
    let spec = json!({"destination": {"fleet": "north"}});
    space.create::<Backup>("nightly", spec.clone()).await;
    space
        .merge_status::<Backup>("nightly", details("InProgress"))
        .await;
    space.create::<Backup>("unbegun", spec).await;
    space.delete::<Fleet>("north").await;
    let waiting = space
        .until("north", |fleet: &Fleet| {
            fleet_reason(fleet) == "InUse"
                && fleet_message(fleet).contains("Backup nightly (InProgress)")
                && fleet_message(fleet).contains("Backup unbegun (Pending)")
        })
        .await;
    let named = |fleet: &Fleet| !fleet.status.as_ref().unwrap().leftovers.is_empty();
    assert!(!named(&waiting), "nothing is left behind yet");

    let force = json!({"metadata": {"annotations": {"kurator.dev/force-delete": "true"}}});
    space.merge::<Fleet>("north", force).await;
    let freed = space
        .until("north", |fleet: &Fleet| {
            fleet.metadata.finalizers.as_deref() == Some(&["example.com/audit".to_owned()])
        })
        .await;
    let status = freed.status.unwrap();
    assert_eq!(status.phase, Some(FleetPhase::TerminateSucceeded));
    let left = json!([
        {
            "clusterName": "bergen", "clusterKind": "AttachedCluster",
            "kind": "Backup", "name": "nightly",
            "message": "InProgress: what it made there does not go with the fleet",
        },
        {
            "clusterName": "", "clusterKind": "", "kind": "Backup", "name": "unbegun",
            "message": "Pending: it names no cluster of the fleet",
        },
    ]);
    assert_eq!(serde_json::to_value(&status.leftovers).unwrap(), left);
    let note = space.event("north", "ObjectsLeftBehind").await;
    assert!(note.contains("bergen: Backup nightly"), "{note}");

    space
        .merge::<Fleet>("north", json!({"metadata": {"finalizers": null}}))
        .await;
    space.until_gone::<Fleet>("north").await;
    let seen = states_after(&space, &waiting).await;
    let first = seen.iter().find(|fleet| named(fleet)).unwrap();
    let held = first.metadata.finalizers.as_deref().unwrap_or_default();
    assert!(
        held.contains(&"fleet.kurator.dev".to_owned()),
        "it is named before the finalizer goes: {held:?}"
    );
    assert!(named(seen.last().unwrap()), "and in what is seen last");
}

/// All states of a Fleet that is gone, from one that was seen on; the last is the one it went with.
async fn states_after(space: &Space, seen: &Fleet) -> Vec<Fleet> {
    let api: Api<Fleet> = space.api();
    let watched = WatchParams::default().fields(&format!("metadata.name={}", seen.name_any()));
    let version = seen.resource_version().unwrap();
    let mut changes = api.watch(&watched, &version).await.unwrap().boxed();
    let mut states = Vec::new();
    let read = async {
        loop {
            match changes.next().await.unwrap().unwrap() {
                WatchEvent::Modified(fleet) => states.push(fleet),
                WatchEvent::Deleted(fleet) => break states.push(fleet),
                other => panic!("{other:?}"),
            }
        }
    };
    timeout(DEADLINE, read).await.unwrap();
    states
}

async fn delete(space: &Space, kind: char) {
    match kind {
        'b' => space.delete::<Backup>("nightly").await,
        'f' => space.delete::<Fleet>("north").await,
        _ => space.delete::<AttachedCluster>("bergen").await,
    }
}

/// As `kubectl delete -f .` does. The Backup's own controller is played by the test: it lets go
/// when all three have been asked to go.
#[rstest]
#[case("bfa")]
#[case("baf")]
#[case("fba")]
#[case("fab")]
#[case("abf")]
#[case("afb")]
#[tokio::test]
async fn all_of_it_goes_whatever_is_deleted_first(#[case] order: &str) {
    let space = fleet_of_one(&format!("order-{order}")).await;
    let metadata = json!({"finalizers": ["backup.kurator.dev"]});
    let spec = json!({"destination": {"fleet": "north"}});
    space.create_with::<Backup>("nightly", metadata, spec).await;
    space
        .merge_status::<Backup>("nightly", details("InProgress"))
        .await;
    for kind in order.chars() {
        delete(&space, kind).await;
    }
    space.until_fleet_is("north", "InUse").await;
    space.until_ready_is("bergen", "InUse").await;
    space
        .merge::<Backup>("nightly", json!({"metadata": {"finalizers": null}}))
        .await;
    space.until_gone::<Backup>("nightly").await;
    space.until_gone::<Fleet>("north").await;
    space.until_gone::<AttachedCluster>("bergen").await;
}
