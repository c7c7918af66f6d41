use api_types::backup::Backup;
use api_types::migrate::Migrate;
use api_types::restore::Restore;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn operation<K: Resource<DynamicType = ()>>(mut object: Value) -> Operation<K> {
    object["metadata"]["name"] = json!("nightly");
    object["metadata"]["namespace"] = json!("oslo");
    serde_json::from_value(object).unwrap()
}

#[rstest]
#[case::nothing_known_yet(json!({"spec": {}}), Some(Need::Unfinished("Pending".into())))]
#[case::running(json!({"status": {"phase": "InProgress"}}), Some(Need::Unfinished("InProgress".into())))]
#[case::of_a_newer_version(json!({"status": {"phase": "Pondering"}}), Some(Need::Unfinished("Pondering".into())))]
#[case::completed(json!({"status": {"phase": "Completed"}}), None)]
#[case::partial(json!({"status": {"phase": "PartiallyFailed"}}), None)]
#[case::failed(json!({"status": {"phase": "Failed"}}), None)]
#[case::refused(json!({"status": {"phase": "FailedValidation"}}), None)]
#[case::retained(json!({"spec": {"deletionPolicy": "Retain"}, "status": {"phase": "Completed"}}), None)]
#[case::scheduled(json!({"spec": {"schedule": "@daily"}, "status": {"phase": "Scheduled"}}), Some(Need::Scheduled))]
#[case::deletes(json!({"spec": {"deletionPolicy": "Delete"}, "status": {"phase": "Completed"}}), Some(Need::DeletesData))]
#[case::terminating(
    json!({"metadata": {"deletionTimestamp": "2026-02-03T04:05:06Z"}, "status": {"phase": "Completed"}}),
    Some(Need::Deleting)
)]
fn an_operation_needs_its_fleet_until_nothing_of_it_is_left_to_do(
    #[case] object: Value,
    #[case] need: Option<Need>,
) {
    assert_eq!(operation::<Backup>(object).need(), need);
}

#[test]
fn each_kind_names_its_fleets() {
    let backup = operation::<Backup>(json!({"spec": {"destination": {"fleet": "north"}}}));
    assert_eq!(backup.fleets().collect::<Vec<_>>(), ["north"]);

    let spec = json!({"sourceCluster": {"fleet": "north"}, "targetCluster": {"fleet": "south"}});
    let migrate = operation::<Migrate>(json!({"spec": spec}));
    assert_eq!(migrate.fleets().collect::<Vec<_>>(), ["north", "south"]);

    let spec = json!({"backupName": "weekly", "sourceCluster": {"name": "bergen"}});
    let restore = operation::<Restore>(json!({"spec": spec}));
    assert_eq!(restore.fleets().count(), 0);
    assert_eq!(restore.borrowed_from(), Some("weekly"));

    let spec = json!({"backupName": "weekly", "destination": {"fleet": "south"}});
    let restore = operation::<Restore>(json!({"spec": spec}));
    assert_eq!(restore.borrowed_from(), None);
    assert_eq!(restore.fleets().collect::<Vec<_>>(), ["south"]);
}

#[rstest]
#[case(json!({"backupDetails": [{"clusterName": "bergen", "clusterKind": "AttachedCluster"}]}), true)]
#[case(json!({"backupDetails": [{"clusterName": "bergen"}]}), true)]
#[case(json!({"backupDetails": [{"clusterName": "bergen", "clusterKind": "Cluster"}]}), false)]
#[case(json!({"backupDetails": [{"clusterName": "hamar", "clusterKind": "AttachedCluster"}]}), false)]
#[case(json!({"formerClusters": [{"clusterName": "bergen", "clusterKind": "AttachedCluster"}]}), true)]
#[case(json!({"formerClusters": [{"clusterName": "bergen", "released": true}]}), false)]
#[case(json!({"formerClusters": [{"clusterName": "bergen", "replaced": true}]}), false)]
#[case(json!({"formerClusters": [{"clusterName": "bergen", "released": true}, {"clusterName": "bergen"}]}), true)]
#[case(json!({"restoreDetails": [{"clusterName": "bergen", "clusterKind": "AttachedCluster"}]}), true)]
#[case(json!({"targetClusterStatus": [{"clusterName": "bergen", "clusterKind": "AttachedCluster"}]}), true)]
#[case(json!({"sourceClusterStatus": {"clusterName": "bergen", "clusterKind": "AttachedCluster"}}), true)]
#[case(json!({"backupDetails": null, "phase": null}), false)]
fn a_status_names_a_cluster_by_kind_and_name(#[case] status: Value, #[case] named: bool) {
    let operation = operation::<Backup>(json!({"status": status}));
    assert_eq!(
        operation.names(&ClusterKey::attached("oslo", "bergen")),
        named
    );
    assert!(!operation.names(&ClusterKey::attached("elsewhere", "bergen")));
}

#[test]
fn the_clusters_of_a_fleet_are_told_apart_from_those_of_another() {
    let names = |entries: Vec<Entry>| -> Vec<String> {
        let names = entries.into_iter().filter_map(|entry| entry.cluster_name);
        names.map(String::from).collect()
    };
    let spec = json!({"sourceCluster": {"fleet": "north"}, "targetCluster": {"fleet": "south"}});
    let status = json!({
        "sourceClusterStatus": {"clusterName": "bergen"},
        "targetClusterStatus": [{"clusterName": "roma"}, {"clusterName": "bari"}],
    });
    let migrate = operation::<Migrate>(json!({"spec": spec, "status": status}));
    assert_eq!(names(migrate.clusters_of("north", 9)), ["bergen"]);
    assert_eq!(names(migrate.clusters_of("south", 9)), ["bari", "roma"]);
    assert_eq!(names(migrate.clusters_of("south", 1)), ["bari"]);

    let status = json!({
        "backupDetails": [{"clusterName": "bergen"}, {"clusterName": "hamar"}],
        "formerClusters": [
            {"clusterName": "bergen"},
            {"clusterName": "bodo"},
            {"clusterName": "moss", "released": true},
        ],
    });
    let backup = operation::<Backup>(json!({"status": status}));
    let clusters = names(backup.clusters_of("north", 9));
    assert_eq!(clusters, ["bergen", "bodo", "hamar"]);
    let fresh = operation::<Backup>(json!({}));
    assert_eq!(fresh.clusters_of("north", 9), []);
}

#[test]
fn progress_alone_changes_nothing_that_is_held() {
    let at = |phase: &str, items: u32| {
        let progress = json!({"progress": {"itemsBackedUp": items}});
        let details = json!([{"clusterName": "bergen", "backupStatusInCluster": progress}]);
        operation::<Backup>(json!({"status": {"phase": phase, "backupDetails": details}}))
    };
    assert!(at("InProgress", 1).holds_as(&at("InProgress", 2)));
    assert!(!at("InProgress", 2).holds_as(&at("Completed", 2)));

    let former = |released: bool| {
        let former = json!([{"clusterName": "bergen", "released": released}]);
        operation::<Backup>(json!({"status": {"formerClusters": former}}))
    };
    assert!(!former(false).holds_as(&former(true)), "it lets go");
}

#[test]
fn a_holder_says_what_it_is_and_why_it_holds() {
    let running = operation::<Backup>(json!({"status": {"phase": "InProgress"}}));
    assert_eq!(
        running.holder().unwrap().to_string(),
        "Backup nightly (InProgress)"
    );
    let done = operation::<Restore>(json!({"status": {"phase": "Completed"}}));
    assert_eq!(done.holder(), None);
}
