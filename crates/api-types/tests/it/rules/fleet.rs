//! Fleets.

use api_types::rules;
use serde_json::{Value, json};

use super::{case, check, with};

#[tokio::test]
async fn a_fleet_is_refused_when_it_does_not_say_which_clusters_it_has() {
    let f = "Fleet";
    check(vec![
        case(
            rules::C12,
            f,
            json!({ "clusters": [{ "kind": "AttachedCluster", "name": "" }] }),
            json!({ "clusters": [{ "name": "a" }, { "name": "a" }] }),
        ),
        case(
            rules::C13,
            f,
            json!({ "clusters": [{ "kind": "attachedcluster", "name": "a" }] }),
            json!({ "clusters": [{ "kind": "Cluster", "name": "a" }, { "kind": "AttachedCluster", "name": "a" }] }),
        ),
    ])
    .await;
}

fn location(more: &Value) -> Value {
    let location = with(json!({ "bucket": "velero", "provider": "aws" }), more);
    json!({ "plugin": { "backup": { "storage": { "location": location, "secretName": "s3" } } } })
}

#[tokio::test]
async fn a_backup_location_is_refused_when_it_names_no_place() {
    let f = "Fleet";
    let prefix = |prefix: &str| location(&json!({ "prefix": prefix }));
    check(vec![
        case(
            rules::C31,
            f,
            location(&json!({ "provider": "huaweicloud" })),
            location(&json!({ "provider": "huaweicloud", "endpoint": "https://obs.example.org" })),
        ),
        case(
            rules::C32,
            f,
            location(&json!({ "layout": "Shared", "prefix": "a" })),
            location(&json!({ "layout": "Shared", "prefix": "" })),
        ),
        case(
            rules::C33,
            f,
            location(&json!({ "bucket": "a/b" })),
            location(&json!({ "bucket": "a" })),
        ),
        case(
            rules::C34,
            f,
            location(&json!({ "endpoint": "s3.example.org" })),
            location(&json!({ "endpoint": "http://s3.example.org:9000" })),
        ),
        case(rules::C35, f, prefix("/a"), prefix("a/b_c.d-e")),
        case(rules::C35, f, prefix("a//b"), prefix("")),
    ])
    .await;
}

fn storage(storage: &Value) -> Value {
    json!({ "plugin": { "distributedStorage": { "storage": storage } } })
}

#[tokio::test]
async fn storage_is_refused_when_it_contradicts_itself() {
    let f = "Fleet";
    let default = |name: &str, is_default: bool| json!([{ "name": name, "storageClass": { "default": is_default } }]);
    let devices = |more: &Value| storage(&json!({ "storage": more }));
    let pools = |more: &Value| storage(&json!({ "objectStores": [more] }));
    let erasure = json!({ "dataChunks": 2, "codingChunks": 1 });
    let cleanup = |text: &str| storage(&json!({ "cleanup": { "confirmation": text } }));
    check(vec![
        case(
            rules::C36,
            f,
            storage(&json!({ "blockPools": default("a", true), "filesystems": default("b", true) })),
            storage(&json!({ "blockPools": default("a", true), "filesystems": default("b", false) })),
        ),
        case(
            rules::C38,
            f,
            devices(&json!({ "useAllDevices": true, "deviceFilter": "^sd" })),
            devices(&json!({ "useAllDevices": false, "deviceFilter": "^sd" })),
        ),
        case(
            rules::C39,
            f,
            devices(&json!({ "devices": [{ "config": { "a": "b" } }] })),
            devices(&json!({ "nodes": [{ "name": "node-1", "devices": [{ "fullpath": "/dev/sdb" }] }] })),
        ),
        case(
            rules::C40,
            f,
            pools(&json!({ "name": "a", "replicas": 3, "erasureCoding": erasure })),
            pools(&json!({ "name": "a", "erasureCoding": erasure })),
        ),
        case(rules::C41, f, pools(&json!({ "name": "A" })), pools(&json!({ "name": "a.b-1" }))),
        case(rules::C42, f, cleanup("yes"), cleanup("yes-really-destroy-data")),
    ])
    .await;
}
