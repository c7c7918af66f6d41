//! Fleet: a group of clusters, and the plugins that are installed on them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{ClusterRef, Leftover, StringMap};
use crate::condition::Condition;
use crate::phase::{FleetPhase, PluginPhase};
use crate::text::null_as_default;

mod plugin;
mod pool;
mod storage;

pub use plugin::*;
pub use pool::*;
pub use storage::*;

/// Plugin name in `status.plugins`: Prometheus and Thanos.
pub const PLUGIN_METRIC: &str = "metric";
/// Plugin name in `status.plugins`: Grafana on the hub.
pub const PLUGIN_GRAFANA: &str = "grafana";
/// Plugin name in `status.plugins`: Kyverno.
pub const PLUGIN_POLICY: &str = "policy";
/// Plugin name in `status.plugins`: Velero.
pub const PLUGIN_BACKUP: &str = "backup";
/// Plugin name in `status.plugins`: Rook and Ceph.
pub const PLUGIN_DISTRIBUTED_STORAGE: &str = "distributedStorage";

/// The clusters of the fleet and what is installed on them.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "fleet.kurator.dev",
    version = "v1alpha1",
    kind = "Fleet",
    doc = "A group of clusters, and the plugins that are installed on them.",
    namespaced,
    plural = "fleets",
    singular = "fleet",
    shortname = "kfl",
    category = "kurator-dev",
    status = "FleetStatus",
    derive = "PartialEq",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Clusters",
        type_ = "string",
        json_path = ".status.display.clusters"
    ),
    printcolumn(
        name = "Plugins",
        type_ = "string",
        json_path = ".status.display.plugins"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct FleetSpec {
    /// The members of the fleet. An entry without kind is a Cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "atomic"))]
    pub clusters: Vec<ClusterRef>,
    /// What to install on the members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginConfig>,
}

/// What is known of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    /// Generation of the spec that this status speaks about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Pending, Running, Ready, Failed, Terminating, TerminateFailed or TerminateSucceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub phase: Option<FleetPhase>,
    /// Ready always; Reconciling and Stalled when they hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// The reason of the condition Ready, while the fleet is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Always null: a control plane of the fleet is not offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub credential_secret: Option<String>,
    /// Accepted for objects that Kurator v0.5.0 stored; never written.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub plugin_endpoints: BTreeMap<String, Vec<String>>,
    /// Members that are ready.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub ready_clusters: i32,
    /// Members that are missing or not ready.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub un_ready_clusters: i32,
    /// One entry for each entry of spec.clusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "atomic"))]
    pub members: Vec<MemberStatus>,
    /// One entry for each plugin, each written by the controller that serves the plugin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub plugins: Vec<PluginStatus>,
    /// What the columns of kubectl get show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<FleetDisplay>,
    /// What a forced deletion leaves behind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub leftovers: Vec<Leftover>,
}

/// What the columns show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetDisplay {
    /// Ready clusters of all, such as 1/2.
    #[serde(default)]
    pub clusters: String,
    /// Ready plugins of all, such as 1/2.
    #[serde(default)]
    pub plugins: String,
}

/// One member of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Name of the cluster.
    #[serde(default)]
    pub cluster_name: String,
    /// Kind of the cluster.
    #[serde(default)]
    pub cluster_kind: String,
    /// Whether it can be used.
    #[serde(default)]
    pub ready: bool,
    /// One word that says why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// What is the matter and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// When ready last changed; absent while it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
}

/// One plugin on the whole fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginStatus {
    /// metric, grafana, policy, backup or distributedStorage.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Generation of the spec that this entry speaks about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Pending, Installing, Ready, Degraded, Failed or Removing: the worst of its clusters.
    #[serde(default)]
    #[schemars(with = "String")]
    pub phase: PluginPhase,
    /// One word that says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// What is the matter and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Version that is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Clusters where it is ready.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub ready_clusters: i32,
    /// Clusters that get it.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub clusters_total: i32,
    /// Ready clusters of all, such as 1/2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    /// When the phase last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// distributedStorage: whether the last cleanup.confirmation that was seen allows to destroy data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup_confirmed: Option<bool>,
    /// What was decided once and is kept, such as the layout of the object storage.
    #[serde(default, skip_serializing_if = "StringMap::is_empty")]
    pub details: StringMap,
    /// One entry for each cluster that gets the plugin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "atomic"))]
    pub clusters: Vec<PluginClusterStatus>,
}

/// One plugin on one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginClusterStatus {
    /// Name of the cluster.
    #[serde(default)]
    pub cluster_name: String,
    /// Kind of the cluster.
    #[serde(default)]
    pub cluster_kind: String,
    /// Pending, Installing, Ready, Degraded, Failed or Removing.
    #[serde(default)]
    #[schemars(with = "String")]
    pub phase: PluginPhase,
    /// One word that says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// What is the matter in this cluster and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Version that is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When the phase last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// More about it, such as the state of its BackupStorageLocation or of Ceph.
    #[serde(default, skip_serializing_if = "StringMap::is_empty")]
    pub details: StringMap,
}
