//! Types that several kinds share: references, destinations, filters, counts.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::key::{ClusterKey, ClusterKind};
use crate::rules;
pub use crate::text::{Duration, DurationError, Names, UserTime};

/// One cluster of a list. All seven fields of a Kubernetes object reference are accepted, since
/// stored manifests may carry them; only `kind` and `name` are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::C12, validation = rules::C13)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ClusterRef {
    /// Accepted and ignored.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub api_version: String,
    /// Accepted and ignored.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub field_path: String,
    /// Kind of the cluster: AttachedCluster or Cluster.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub kind: String,
    /// Name of the cluster. It lies in the namespace of the object that refers to it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub name: String,
    /// Accepted and ignored: a cluster always lies in the namespace of the object that refers to it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub namespace: String,
    /// Accepted and ignored.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub resource_version: String,
    /// Accepted and ignored.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub uid: String,
}

impl ClusterRef {
    /// A reference of this kind and name.
    pub fn new(kind: ClusterKind, name: impl Into<String>) -> Self {
        Self {
            kind: kind.as_str().to_owned(),
            name: name.into(),
            ..Self::default()
        }
    }

    /// The kind that is written; `None` when it is empty or not one of ours.
    pub fn kind(&self) -> Option<ClusterKind> {
        self.kind.parse().ok()
    }

    /// The member that an entry of `Fleet.spec.clusters` means: an empty kind is `Cluster` there.
    /// `None` for a kind that the schema refuses.
    pub fn fleet_member(&self, namespace: &str) -> Option<ClusterKey> {
        let kind = if self.kind.is_empty() {
            ClusterKind::Cluster
        } else {
            self.kind()?
        };
        Some(ClusterKey::new(namespace, kind, &self.name))
    }

    /// Whether this entry of a destination or a plugin's `clusters` means `member`: an empty kind
    /// means the member of that name, whatever its kind.
    pub fn selects(&self, member: &ClusterKey) -> bool {
        self.name == member.name && (self.kind.is_empty() || self.kind() == Some(member.kind))
    }
}

/// The clusters that an operation works on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::C10)]
pub struct Destination {
    /// Name of the Fleet, in the namespace of this object. It cannot change.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::C11)]
    pub fleet: String,
    /// The clusters of the fleet to work on; empty means all of them. An entry without `kind` means the member of that name, whatever its kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "atomic"))]
    pub clusters: Vec<ClusterRef>,
    /// Selects clusters of the fleet by the labels of their AttachedClusters, instead of `clusters`; `{}` selects all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub cluster_selector: Option<LabelSelector>,
}

/// Which resources to take. The filters are Velero's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::C16, validation = rules::C17, validation = rules::C18,
    validation = rules::C19, validation = rules::C20, validation = rules::C21,
    validation = rules::C22
)]
pub struct ResourceFilter {
    /// Namespaces to take; empty or `*` means all.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub included_namespaces: Names,
    /// Namespaces to leave out.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub excluded_namespaces: Names,
    /// Resources to take, such as `pods` or `deployments.apps`; empty or `*` means all.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub included_resources: Names,
    /// Resources to leave out.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub excluded_resources: Names,
    /// Whether to take cluster-scoped resources: true all, false none, absent those that belong to what is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub include_cluster_resources: Option<bool>,
    /// Cluster-scoped resources to take. Does not mix with includedResources, excludedResources and includeClusterResources.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub included_cluster_scoped_resources: Names,
    /// Cluster-scoped resources to leave out. Does not mix with includedResources, excludedResources and includeClusterResources.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub excluded_cluster_scoped_resources: Names,
    /// Namespaced resources to take. Does not mix with includedResources, excludedResources and includeClusterResources.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub included_namespace_scoped_resources: Names,
    /// Namespaced resources to leave out. Does not mix with includedResources, excludedResources and includeClusterResources.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub excluded_namespace_scoped_resources: Names,
    /// Takes only objects with these labels. Excludes `orLabelSelectors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub label_selector: Option<LabelSelector>,
    /// Takes objects that one of these selectors matches. Excludes `labelSelector`.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::text::null_as_default"
    )]
    #[schemars(length(max = 128), extend("nullable" = true, "x-kubernetes-list-type" = "atomic"))]
    pub or_label_selectors: Vec<LabelSelector>,
}

/// A ConfigMap of this object's namespace, carried to each member before it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapRef {
    /// Accepted and ignored: a ConfigMap has no group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub api_group: Option<String>,
    /// Must be configmap, in any case.
    #[schemars(length(max = 63))]
    #[x_kube(validation = rules::C23)]
    pub kind: String,
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Whether what an operation stored or planned goes when its object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Schedules stop; what is stored stays until its ttl.
    #[default]
    Retain,
    /// Data and objects are removed from every cluster and from the object storage.
    Delete,
}

/// The kinds of resources whose status a restore brings back. Presence alone turns it on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreserveStatus {
    /// Resources whose status is restored; empty means all.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub included_resources: Names,
    /// Resources whose status is not restored; wins over the includes.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub excluded_resources: Names,
}

/// Where a backup lies: what a restore elsewhere needs when the source is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoragePlace {
    /// Provider of the object storage.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// Endpoint of the object storage; empty means the provider's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// Bucket.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bucket: String,
    /// Path in the bucket; empty means its root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// Counts over all entries. pending, inProgress, completed, partiallyFailed and failed add up to total.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Clusters asked for.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub total: i32,
    /// Clusters where nothing has started yet.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub pending: i32,
    /// Clusters where it runs.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub in_progress: i32,
    /// Clusters where it completed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub completed: i32,
    /// Clusters where some items failed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub partially_failed: i32,
    /// Clusters where it failed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub failed: i32,
    /// Clusters that do not answer now; each is counted once more above.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub unreachable: i32,
    /// Warnings of all clusters.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warnings: i32,
    /// Errors of all clusters.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub errors: i32,
    /// Items done in all clusters.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub items_done: i64,
    /// Items found in all clusters so far.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub items_total: i64,
    /// Completed and reachable clusters of all, such as 3/4.
    #[serde(default)]
    pub display: String,
    /// Items done of those found, such as 45/90.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub items: String,
}

/// Something that a forced deletion left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Leftover {
    /// Cluster where it is.
    pub cluster_name: String,
    /// Kind of that cluster.
    #[serde(default)]
    pub cluster_kind: String,
    /// Kind of what was left.
    #[serde(default)]
    pub kind: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Why it could not be removed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// A map of strings, as `orderedResources` and `namespaceMapping` are.
pub type StringMap = BTreeMap<String, String>;
