//! What the server stores: defaults, bounds, and a status with whatever Velero may say.

use api_types::backup::{Backup, BackupDetail};
use api_types::common::DeletionPolicy;
use api_types::migrate::Migrate;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::{apply_status, client, create, objects, refusal};

#[tokio::test]
async fn the_definitions_are_structural_and_their_names_accepted() {
    let crds: Api<CustomResourceDefinition> = Api::all(client().await);
    let mut ours = crds.list(&ListParams::default()).await.unwrap().items;
    ours.retain(|crd| crd.spec.group.ends_with("kurator.dev"));
    assert_eq!(ours.len(), 5);
    for crd in ours {
        let conditions = crd.status.unwrap().conditions.unwrap();
        let bad: Vec<_> = conditions
            .iter()
            .filter(|c| c.type_ == "NonStructuralSchema" || c.status != "True")
            .collect();
        assert!(bad.is_empty(), "{bad:?}");
    }
}

#[tokio::test]
async fn only_the_documented_defaults_are_written() {
    let client = client().await;
    let cluster = json!({ "name": "oslo" });
    let place = json!({ "fleet": "quickstart", "clusters": [cluster] });
    let class = json!([{ "name": "a", "storageClass": {} }]);
    let filled = json!([{ "name": "a", "storageClass": { "allowVolumeExpansion": true, "reclaimPolicy": "Delete" } }]);
    let storage =
        |lists: Value| json!({ "plugin": { "distributedStorage": { "storage": lists } } });
    let cases = [
        (
            "Backup",
            json!({ "destination": { "fleet": "quickstart" } }),
            json!({
                "destination": { "fleet": "quickstart" },
                "startDeadline": "1h", "historyLimit": 3, "deletionPolicy": "Retain",
            }),
        ),
        (
            "Restore",
            json!({ "backupName": "a", "policy": {} }),
            json!({ "backupName": "a", "policy": {}, "startDeadline": "24h" }),
        ),
        (
            "Migrate",
            json!({ "sourceCluster": place, "targetCluster": place, "policy": {} }),
            json!({
                "sourceCluster": place, "targetCluster": place, "policy": { "partialFailure": "Stop" },
                "deadline": "24h", "deletionPolicy": "Retain",
            }),
        ),
        (
            "AttachedCluster",
            json!({ "kubeconfig": { "name": "a" } }),
            json!({ "kubeconfig": { "name": "a", "key": "value" } }),
        ),
        (
            "Fleet",
            storage(json!({ "blockPools": class, "filesystems": class, "objectStores": class })),
            storage(json!({
                "blockPools": filled, "filesystems": filled,
                "objectStores": [{ "name": "a", "storageClass": { "reclaimPolicy": "Delete" } }],
            })),
        ),
    ];
    for (kind, sent, stored) in cases {
        let object = create(&client, kind, &sent).await.unwrap();
        assert_eq!(object.data["spec"], stored, "{kind}");
    }
}

#[tokio::test]
async fn null_is_a_default_or_nothing_where_kurator_had_no_null() {
    let client = client().await;
    let spec = json!({
        "destination": { "fleet": "quickstart" },
        "startDeadline": null, "deletionPolicy": null,
        "policy": { "snapshotVolumes": null, "resourceFilter": { "includedNamespaces": null } },
    });
    let stored = create(&client, "Backup", &spec).await.unwrap();
    let expected = json!({ "resourceFilter": { "includedNamespaces": null } });
    assert_eq!(stored.data["spec"]["policy"], expected);
    let backup: Backup = serde_json::from_value(serde_json::to_value(&stored).unwrap()).unwrap();
    assert_eq!(backup.spec.start_deadline.0, "1h");
    assert_eq!(backup.spec.deletion_policy, DeletionPolicy::Retain);
}

#[tokio::test]
async fn numbers_texts_and_words_out_of_bounds_are_refused() {
    let client = client().await;
    let backup = |more: Value| {
        let mut spec = json!({ "destination": { "fleet": "quickstart" } });
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        spec
    };
    let upload =
        |files: i64| json!({ "policy": { "uploaderConfig": { "parallelFilesUpload": files } } });
    let bad = [
        ("Backup", backup(json!({ "historyLimit": 0 }))),
        ("Backup", backup(json!({ "historyLimit": 11 }))),
        ("Backup", backup(upload(3_000_000_000))),
        ("Backup", backup(json!({ "deletionPolicy": "Forget" }))),
        ("Backup", backup(json!({ "destination": { "fleet": "" } }))),
        ("Backup", json!({})),
        ("Restore", json!({ "backupName": "" })),
        (
            "Restore",
            json!({ "backupName": "a", "pointInTime": "yesterday" }),
        ),
        (
            "Restore",
            json!({ "backupName": "a", "sourceCluster": { "kind": "Pod", "name": "a" } }),
        ),
        (
            "AttachedCluster",
            json!({ "kubeconfig": { "name": "", "key": "value" } }),
        ),
        (
            "Fleet",
            json!({ "plugin": { "policy": { "kyverno": { "podSecurity": { "severity": "huge" } } } } }),
        ),
        (
            "Fleet",
            json!({ "plugin": { "distributedStorage": { "storage": { "monitor": { "count": 10 } } } } }),
        ),
    ];
    for (kind, spec) in bad {
        refusal(
            &format!("{kind} {spec}"),
            create(&client, kind, &spec).await,
        );
    }
    create(&client, "Backup", &backup(upload(1024)))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_largest_lists_that_are_allowed_are_affordable() {
    let client = client().await;
    let clusters: Vec<Value> = (0..4096)
        .map(|n| json!({ "kind": "AttachedCluster", "name": format!("{:0>60}-{n}", "m") }))
        .collect();
    let names = |letter: &str| {
        (0..500)
            .map(|n| format!("{}-{n}", letter.repeat(58)))
            .collect::<Vec<_>>()
    };
    let spec = json!({
        "destination": { "fleet": "quickstart", "clusters": clusters },
        "policy": { "resourceFilter": {
            "includedNamespaces": names("a"), "excludedNamespaces": names("b"),
            "includedResources": names("c"), "excludedResources": names("d"),
        } },
    });
    create(&client, "Backup", &spec).await.unwrap();
    create(&client, "Fleet", &json!({ "clusters": clusters }))
        .await
        .unwrap();
}

async fn stored_status(kind: &str, spec: &Value, status: &Value) -> Value {
    let client = client().await;
    let name = create(&client, kind, spec).await.unwrap().name_any();
    apply_status(&client, kind, &name, status).await.unwrap();
    objects(&client, kind).get_status(&name).await.unwrap().data["status"].clone()
}

#[tokio::test]
async fn what_a_newer_velero_says_is_stored_as_it_is() {
    let status = json!({
        "backupDetails": [{
            "clusterName": "oslo",
            "clusterKind": "AttachedCluster",
            "phase": "InProgress",
            "backupStatusInCluster": {
                "phase": "Hibernating",
                "progress": { "totalItems": 3, "bytes": 9_007_199_254_740_993_i64 },
                "hookStatus": { "hooksAttempted": 1, "hooksSkipped": 2 },
                "encryption": { "algorithm": "aes" },
            },
        }],
    });
    let stored = stored_status(
        "Backup",
        &json!({ "destination": { "fleet": "quickstart" } }),
        &status,
    )
    .await;
    assert_eq!(stored, status);
    let detail: BackupDetail = serde_json::from_value(stored["backupDetails"][0].clone()).unwrap();
    assert_eq!(
        serde_json::to_value(detail).unwrap(),
        status["backupDetails"][0]
    );
}

#[tokio::test]
async fn whatever_a_member_says_its_copy_is_accepted() {
    let answers = [
        json!({ "phase": 5, "startTimestamp": "now", "progress": "much", "odd": { "deep": [1, { "er": null }] } }),
        json!({ "expiration": "9999-12-31T23:59:59Z", "warnings": -5, "validationErrors": [1] }),
        json!(["not", "an", "object"]),
        json!({ "failureReason": "x".repeat(100_000), "": { "": "" } }),
    ];
    let details: Vec<Value> = answers
        .iter()
        .map(|answer| {
            let detail = BackupDetail {
                cluster_name: "oslo".to_owned(),
                backup_status_in_cluster: Some(
                    api_types::aggregate::sanitize_backup(answer).status,
                ),
                ..BackupDetail::default()
            };
            serde_json::to_value(detail).unwrap()
        })
        .collect();
    let status = json!({ "backupDetails": details });
    let stored = stored_status(
        "Backup",
        &json!({ "destination": { "fleet": "quickstart" } }),
        &status,
    )
    .await;
    assert_eq!(stored, status);
}

#[tokio::test]
async fn a_wrong_type_in_one_entry_refuses_the_whole_status() {
    let client = client().await;
    let spec = json!({ "destination": { "fleet": "quickstart" } });
    let name = create(&client, "Backup", &spec).await.unwrap().name_any();
    let status = json!({ "backupDetails": [{ "backupStatusInCluster": { "phase": 5 } }] });
    assert!(
        apply_status(&client, "Backup", &name, &status)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_status_that_kurator_stored_for_a_migrate_is_accepted_and_read() {
    let place = json!({ "fleet": "quickstart", "clusters": [{ "kind": "AttachedCluster", "name": "oslo" }] });
    let spec = json!({ "sourceCluster": place, "targetCluster": place });
    let status = json!({
        "conditions": [{ "lastTransitionTime": "2023-10-28T15:55:23Z", "status": "True", "type": "sourceReady" }],
        "phase": "Completed",
        "sourceClusterStatus": {
            "backupNameInCluster": "kurator-member1-migrate-default-select-labels",
            "backupStatusInCluster": { "phase": "Completed", "progress": {}, "version": 1 },
            "clusterKind": "AttachedCluster",
            "clusterName": "kurator-member1",
        },
    });
    let client = client().await;
    let name = create(&client, "Migrate", &spec).await.unwrap().name_any();
    apply_status(&client, "Migrate", &name, &status)
        .await
        .unwrap();
    let migrates: Api<Migrate> = Api::default_namespaced(client);
    let migrate = migrates.get(&name).await.unwrap();
    let conditions = migrate.status.unwrap().conditions;
    assert!(api_types::condition::is_true(
        &conditions,
        api_types::condition::SOURCE_READY
    ));
}

#[tokio::test]
async fn two_managers_share_the_plugins_of_a_fleet_and_touch_only_their_own() {
    use kube::api::{Patch, PatchParams};
    let client = client().await;
    let name = create(&client, "Fleet", &json!({}))
        .await
        .unwrap()
        .name_any();
    let fleets = objects(&client, "Fleet");
    let apply = async |manager: &str, status: Value| {
        let patch = Patch::Apply(json!({
            "apiVersion": "fleet.kurator.dev/v1alpha1", "kind": "Fleet", "metadata": { "name": name }, "status": status,
        }));
        fleets
            .patch_status(&name, &PatchParams::apply(manager).force(), &patch)
            .await
            .unwrap()
    };
    apply(
        "backup",
        json!({ "plugins": [{ "name": "backup", "phase": "Ready" }] }),
    )
    .await;
    apply(
        "storage",
        json!({ "plugins": [{ "name": "distributedStorage", "phase": "Installing" }] }),
    )
    .await;
    let both = apply(
        "backup",
        json!({ "plugins": [{ "name": "backup", "phase": "Degraded" }] }),
    )
    .await;
    let plugins = both.data["status"]["plugins"].as_array().unwrap().clone();
    assert_eq!(plugins.len(), 2);
    assert!(
        plugins
            .iter()
            .any(|p| p["name"] == "backup" && p["phase"] == "Degraded")
    );
    let one = apply("backup", json!({ "plugins": [] })).await;
    assert_eq!(one.data["status"]["plugins"].as_array().unwrap().len(), 1);
}
