//! Our types read every manifest under `tests/examples` and lose nothing of it.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{backup, cluster, fleet, migrate, restore};

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/examples");
    let mut folders = vec![root];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn again<K: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<K>(object.clone())?)
}

fn through_our_types(object: &Value) -> Option<Result<Value, serde_json::Error>> {
    Some(match object["kind"].as_str()? {
        "AttachedCluster" => again::<cluster::AttachedCluster>(object),
        "Fleet" => again::<fleet::Fleet>(object),
        "Backup" => again::<backup::Backup>(object),
        "Restore" => again::<restore::Restore>(object),
        "Migrate" => again::<migrate::Migrate>(object),
        _ => return None,
    })
}

/// Where `kept` lacks something of `wanted` or says something else. What `kept` adds does not matter.
fn lost(path: &str, wanted: &Value, kept: Option<&Value>) -> Vec<String> {
    match (wanted, kept) {
        (Value::Object(members), Some(Value::Object(kept))) => {
            let lost_of = |(name, value): (&String, &Value)| {
                lost(&format!("{path}.{name}"), value, kept.get(name))
            };
            members.iter().flat_map(lost_of).collect()
        }
        (Value::Array(items), Some(Value::Array(kept))) if items.len() == kept.len() => {
            let pairs = items.iter().zip(kept).enumerate();
            pairs
                .flat_map(|(index, (item, kept))| {
                    lost(&format!("{path}[{index}]"), item, Some(kept))
                })
                .collect()
        }
        (wanted, Some(kept)) if wanted == kept => Vec::new(),
        _ => vec![format!("{path}: {wanted} became {kept:?}")],
    }
}

#[test]
fn every_example_passes_through_our_types_without_a_lost_field() {
    let mut ours = 0;
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert!(!objects.is_empty(), "{}", file.display());
        for object in objects {
            let Some(kept) = through_our_types(&object) else {
                continue;
            };
            let kept = kept.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert_eq!(
                lost("", &object, Some(&kept)),
                Vec::<String>::new(),
                "{}",
                file.display()
            );
            ours += 1;
        }
    }
    assert!(ours >= 24, "only {ours} objects found");
}

#[test]
fn a_lost_field_is_noticed() {
    let wanted = json!({ "spec": { "list": [{ "a": 1 }, { "b": 2 }] } });
    let kept = json!({ "spec": { "list": [{ "a": 1 }, {}] }, "more": true });
    assert_eq!(
        lost("", &wanted, Some(&kept)),
        [".spec.list[1].b: 2 became None"]
    );
}

#[test]
fn the_status_of_the_announcement_passes_through_our_types() {
    let status = json!({
        "conditions": [{ "lastTransitionTime": "2023-10-28T15:55:23Z", "status": "True", "type": "sourceReady" }],
        "phase": "Completed",
        "sourceClusterStatus": {
            "backupNameInCluster": "kurator-member1-migrate-default-select-labels",
            "backupStatusInCluster": {
                "completionTimestamp": "2023-10-28T15:55:18Z",
                "expiration": "2023-11-27T15:55:13Z",
                "formatVersion": "1.1.0",
                "phase": "Completed",
                "progress": {},
                "startTimestamp": "2023-10-28T15:55:13Z",
                "version": 1,
            },
            "clusterKind": "AttachedCluster",
            "clusterName": "kurator-member1",
        },
        "targetClusterStatus": [{
            "clusterKind": "AttachedCluster",
            "clusterName": "kurator-member2",
            "restoreNameInCluster": "kurator-member2-migrate-default-select-labels",
            "restoreStatusInCluster": {
                "completionTimestamp": "2023-10-28T15:56:00Z",
                "phase": "Completed",
                "startTimestamp": "2023-10-28T15:55:58Z",
            },
        }],
    });
    let kept = again::<migrate::MigrateStatus>(&status).unwrap();
    assert_eq!(lost("", &status, Some(&kept)), Vec::<String>::new());
}

#[test]
fn nulls_that_kurator_stored_read_as_nothing() {
    let spec = json!({
        "destination": { "fleet": "quickstart" },
        "policy": {
            "resourceFilter": {
                "includedNamespaces": null,
                "includeClusterResources": null,
                "labelSelector": null,
                "orLabelSelectors": null,
            },
            "orderedResources": null,
        },
    });
    let spec: backup::BackupSpec = serde_json::from_value(spec).unwrap();
    assert_eq!(
        spec.policy.unwrap().resource_filter,
        Some(crate::common::ResourceFilter::default())
    );
    let storage = json!({
        "monitor": null,
        "storage": { "devices": null, "nodes": [null, { "name": "node-1", "devices": null }] },
    });
    let storage: fleet::CephStorage = serde_json::from_value(storage).unwrap();
    assert_eq!(storage.storage.unwrap().nodes.len(), 1);
}
