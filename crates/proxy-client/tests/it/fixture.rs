//! The members and objects of these tests.

use api_types::key::ClusterKey;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

pub(crate) fn oslo() -> ClusterKey {
    ClusterKey::attached("default", "oslo")
}

pub(crate) fn bergen() -> ClusterKey {
    ClusterKey::attached("default", "bergen")
}

/// A ConfigMap in namespace `shop`; uid and resourceVersion as given, `data.value` too.
pub(crate) fn config_map(name: &str, uid: &str, version: u32, value: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "namespace": "shop", "name": name, "uid": uid, "resourceVersion": version.to_string(),
            "labels": { "owner": format!("owner-of-{name}") },
        },
        "data": { "value": value },
    })
}

pub(crate) fn value(map: &ConfigMap) -> String {
    map.data.as_ref().unwrap()["value"].clone()
}
