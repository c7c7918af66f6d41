use api_types::backup::BackupPolicy;
use api_types::names::MemberId;
use serde_json::{Value, json};

use super::super::fixtures::{MEMBER_UID, NAME, backup, key};
use super::*;

fn built(policy: Option<Value>, resource_policy: Option<&str>) -> Value {
    let policy: Option<BackupPolicy> = policy.map(|policy| serde_json::from_value(policy).unwrap());
    let member = MemberId::from_uid(MEMBER_UID);
    let oslo = key("oslo");
    let place = Place {
        cluster: &oslo,
        member: &member,
        name: NAME,
    };
    let hub = backup(api_types::backup::BackupStatus::default());
    let owner = super::super::owner(&hub);
    serde_json::to_value(build(&owner, place, policy.as_ref(), resource_policy)).unwrap()
}

/// The spec for a policy, without what is written where the policy says nothing: the location
/// `default`, and without a filter all cluster-scoped objects.
fn spec(policy: Value) -> Value {
    let filtered = policy
        .get("resourceFilter")
        .is_some_and(|filter| *filter != json!({}));
    let named = policy.get("storageLocation").is_some_and(|name| name != "");
    let mut spec = built(Some(policy), None)["spec"].take();
    if !named {
        let location = spec.as_object_mut().unwrap().remove("storageLocation");
        assert_eq!(location, Some(json!("default")));
    }
    if !filtered {
        let whole = spec
            .as_object_mut()
            .unwrap()
            .remove("includeClusterResources");
        assert_eq!(whole, Some(json!(true)));
    }
    spec
}

#[test]
fn without_a_policy_the_whole_cluster_is_taken_and_velero_s_other_defaults_hold() {
    assert_eq!(
        built(None, None)["spec"],
        json!({ "storageLocation": "default", "includeClusterResources": true })
    );
    assert_eq!(spec(json!({})), json!({}));
    assert_eq!(
        spec(json!({ "resourceFilter": {}, "storageLocation": "", "uploaderConfig": null })),
        json!({})
    );
}

#[test]
fn an_object_says_whose_it_is_and_has_no_status_of_ours() {
    let object = built(None, None);
    assert_eq!(object["apiVersion"], "velero.io/v1");
    assert_eq!(object["kind"], "Backup");
    assert_eq!(object["metadata"]["name"], NAME);
    assert_eq!(object["metadata"]["namespace"], "velero");
    let labels = &object["metadata"]["labels"];
    assert_eq!(labels["kurator.dev/backup-name"], "nightly-shop");
    assert_eq!(labels["fleet.kurator.dev/fleet-name"], "production");
    assert_eq!(
        labels["kurator.dev/member"],
        MemberId::from_uid(MEMBER_UID).as_str()
    );
    assert_eq!(
        object["metadata"]["annotations"]["kurator.dev/hub-object"],
        "Backup/team-a/nightly-shop"
    );
    assert_eq!(object.get("status"), None);
}

#[test]
fn the_filters_of_the_first_family_reach_velero_under_its_names() {
    let filter = json!({
        "includedNamespaces": ["shop", "shop-db"],
        "excludedNamespaces": ["kube-system"],
        "includedResources": ["pods", "deployments.apps"],
        "excludedResources": ["events"],
        "includeClusterResources": false,
        "labelSelector": { "matchLabels": { "app": "shop" } },
    });
    assert_eq!(spec(json!({ "resourceFilter": filter })), filter);
}

#[test]
fn the_filters_of_the_scoped_family_reach_velero_under_its_names() {
    let filter = json!({
        "includedClusterScopedResources": ["storageclasses"],
        "excludedClusterScopedResources": ["nodes"],
        "includedNamespaceScopedResources": ["configmaps"],
        "excludedNamespaceScopedResources": ["secrets"],
        "orLabelSelectors": [
            { "matchLabels": { "app": "shop" } },
            { "matchExpressions": [{ "key": "tier", "operator": "In", "values": ["db"] }] },
        ],
    });
    assert_eq!(spec(json!({ "resourceFilter": filter })), filter);
}

#[test]
fn every_option_reaches_velero_under_its_name_and_as_it_was_written() {
    let options = json!({
        "ttl": "336h",
        "orderedResources": { "pods": "shop-db/primary-0,shop-db/replica-0" },
        "snapshotVolumes": false,
        "snapshotMoveData": false,
        "defaultVolumesToFsBackup": true,
        "csiSnapshotTimeout": "15m",
        "itemOperationTimeout": "2h",
        "uploaderConfig": { "parallelFilesUpload": 4 },
        "storageLocation": "second",
        "hooks": {
            "resources": [{
                "name": "quiet-database",
                "includedNamespaces": ["shop-db"],
                "excludedNamespaces": ["shop"],
                "includedResources": ["pods"],
                "excludedResources": ["events"],
                "labelSelector": { "matchLabels": { "role": "primary" } },
                "pre": [{ "exec": {
                    "container": "db", "command": ["/bin/freeze"], "onError": "Fail", "timeout": "30s",
                } }],
                "post": [{ "exec": { "command": ["/bin/thaw"] } }],
            }],
        },
    });
    assert_eq!(spec(options.clone()), options);
}

#[test]
fn three_state_options_stay_unset_unless_they_are_set() {
    for field in [
        "snapshotVolumes",
        "snapshotMoveData",
        "defaultVolumesToFsBackup",
    ] {
        assert_eq!(spec(json!({ field: true })), json!({ field: true }));
        assert_eq!(spec(json!({ field: false })), json!({ field: false }));
    }
}

#[test]
fn a_resource_policy_is_named_as_it_was_carried_and_in_the_kind_that_velero_reads() {
    let policy = json!({ "resourcePolicy": { "kind": "ConfigMap", "name": "skip-caches" } });
    let object = built(Some(policy), Some("skip-caches-ca978112ca"));
    assert_eq!(
        object["spec"]["resourcePolicy"],
        json!({ "kind": "configmap", "name": "skip-caches-ca978112ca" })
    );
}
