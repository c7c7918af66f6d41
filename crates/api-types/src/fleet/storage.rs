//! Settings of the plugin distributedStorage: Rook and a Ceph cluster on each member.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    NodeAffinity, PodAffinity, PodAntiAffinity, Toleration, TopologySpreadConstraint,
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::common::{ClusterRef, StringMap};
use crate::fleet::{BlockPool, ChartConfig, Filesystem, ObjectStore};
use crate::rules;
use crate::text::{null_as_default, null_items_dropped};

/// Rook and a Ceph cluster on each member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DistributedStorageConfig {
    /// The members that get it; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "atomic"))]
    pub clusters: Vec<ClusterRef>,
    /// The Helm chart; absent means https://charts.rook.io/release, rook-ceph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartConfig>,
    /// The Ceph cluster.
    pub storage: CephStorage,
    /// More values of the Helm charts.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    #[schemars(schema_with = "crate::text::any_json")]
    pub extra_args: Value,
}

/// A Ceph cluster and what it offers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::C36, validation = rules::C37)]
pub struct CephStorage {
    /// Path on the hosts for the configuration and data of Ceph. It cannot change while the storage exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), regex(pattern = r"^/(\S+)"))]
    pub data_dir_host_path: Option<String>,
    /// The monitors of Ceph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub monitor: Option<MonitorSpec>,
    /// The managers of Ceph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub manager: Option<ManagerSpec>,
    /// The devices that Ceph takes. None is taken unless it is selected here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub storage: Option<DeviceSelection>,
    /// Pools of block storage. Without any of blockPools, filesystems and objectStores there is one of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub block_pools: Option<Vec<BlockPool>>,
    /// Shared file systems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub filesystems: Option<Vec<Filesystem>>,
    /// Object stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub object_stores: Option<Vec<ObjectStore>>,
    /// What removing this storage may destroy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<Cleanup>,
}

/// The monitors of Ceph.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MonitorSpec {
    /// Number of monitors; absent means 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    pub count: Option<i32>,
    /// How their Pods are run.
    #[serde(flatten)]
    pub pods: DaemonPods,
}

/// The managers of Ceph.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagerSpec {
    /// Number of managers; absent means 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2))]
    pub count: Option<i32>,
    /// How their Pods are run.
    #[serde(flatten)]
    pub pods: DaemonPods,
}

/// How the Pods of a Ceph daemon are run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DaemonPods {
    /// Annotations of the Pods.
    #[serde(
        default,
        skip_serializing_if = "StringMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    #[schemars(extend("nullable" = true))]
    pub annotations: StringMap,
    /// Labels of the Pods. They do not select nodes.
    #[serde(
        default,
        skip_serializing_if = "StringMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    #[schemars(extend("nullable" = true))]
    pub labels: StringMap,
    /// Where the Pods may run. The map form of Kurator v0.5.0 is accepted and has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub placement: Option<Placement>,
}

/// Where Pods may run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Nodes that they want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<NodeAffinity>,
    /// Pods that they want to be near.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_affinity: Option<PodAffinity>,
    /// Pods that they want to be away from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_anti_affinity: Option<PodAntiAffinity>,
    /// Taints that they tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// How they spread.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// What this version does not know; it has no effect.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// The devices that Ceph takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::C38)]
pub struct DeviceSelection {
    /// Whether to use every node; absent means no. With true, nodes has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_all_nodes: Option<bool>,
    /// Whether to take every empty device; absent means no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_all_devices: Option<bool>,
    /// Regular expression of the short names of the devices to take, such as ^nvme[1-9]n1$.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub device_filter: String,
    /// Devices to take on every node.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_items_dropped"
    )]
    #[schemars(length(max = 256), extend("nullable" = true, "x-kubernetes-list-type" = "atomic"))]
    pub devices: Vec<Device>,
    /// Nodes to use, each with its devices.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_items_dropped"
    )]
    #[schemars(length(max = 1000), extend("nullable" = true, "x-kubernetes-list-type" = "atomic"))]
    pub nodes: Vec<StorageNode>,
}

/// A node and the devices to take there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("nullable" = true))]
pub struct StorageNode {
    /// Name of the node: its label kubernetes.io/hostname.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub name: String,
    /// Devices to take on this node.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_items_dropped"
    )]
    #[schemars(length(max = 256), extend("nullable" = true, "x-kubernetes-list-type" = "atomic"))]
    pub devices: Vec<Device>,
    /// What this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::C39)]
pub struct Device {
    /// Name, such as sdb or /dev/disk/by-id/...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub name: Option<String>,
    /// Full path, in the older form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub fullpath: Option<String>,
    /// Settings of the device.
    #[serde(
        default,
        skip_serializing_if = "StringMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    #[schemars(extend("nullable" = true, "maxProperties" = 64))]
    pub config: StringMap,
    /// What this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// What removing the storage may destroy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cleanup {
    /// Write yes-really-destroy-data to let removal wipe all data of this storage; anything else keeps it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = rules::C42)]
    pub confirmation: String,
    /// How disks are wiped: quick overwrites what marks them, complete overwrites everything; absent means quick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<WipeMethod>,
}

/// How disks are wiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WipeMethod {
    /// Overwrites what marks them.
    Quick,
    /// Overwrites everything.
    Complete,
}
