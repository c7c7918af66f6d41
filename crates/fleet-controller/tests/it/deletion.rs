//! Deletion waits for who still needs what is deleted, and comes to its end in any order.

use api_types::backup::Backup;
use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::phase::FleetPhase;
use rstest::rstest;
use serde_json::{Value, json};

use crate::space::{Space, fleet_message, fleet_reason, label, ready_reason};
use crate::world::shared;

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
