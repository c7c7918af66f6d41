//! Restore: one object that restores a Backup into many clusters.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backup::HookErrorMode;
use crate::common::{
    ConfigMapRef, Destination, Duration, Leftover, Names, PreserveStatus, ResourceFilter,
    StringMap, Summary, UserTime,
};
use crate::condition::Condition;
use crate::key::{ClusterKey, ClusterKind};
use crate::phase::{EntryPhase, Phase};
use crate::rules;
use crate::text::null_as_default;
pub use crate::velero_status::{VeleroRestoreProgress, VeleroRestoreStatus};

/// What to restore, from where, into which clusters.
#[derive(Clone, Debug, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "backup.kurator.dev",
    version = "v1alpha1",
    kind = "Restore",
    doc = "Restores what a Backup stored into clusters of a fleet.",
    namespaced,
    plural = "restores",
    singular = "restore",
    shortname = "krs",
    category = "kurator-dev",
    status = "RestoreStatus",
    derive = "PartialEq",
    printcolumn(name = "Backup", type_ = "string", json_path = ".spec.backupName"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Clusters",
        type_ = "string",
        json_path = ".status.summary.display"
    ),
    printcolumn(name = "Items", type_ = "string", json_path = ".status.summary.items"),
    printcolumn(
        name = "Warnings",
        type_ = "integer",
        json_path = ".status.summary.warnings"
    ),
    printcolumn(
        name = "Errors",
        type_ = "integer",
        json_path = ".status.summary.errors"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::C24, validation = rules::C25, validation = rules::C26)]
pub struct RestoreSpec {
    /// The Backup of this namespace to restore.
    #[schemars(length(min = 1, max = 253))]
    pub backup_name: String,
    /// The clusters to restore into; absent means the destination of the Backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
    /// Restores the newest completed run that did not start after this time; absent means the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_in_time: Option<UserTime>,
    /// Restores the backup of this cluster into every cluster of the destination; absent means that each cluster restores its own. The cluster need not exist any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_cluster: Option<SourceCluster>,
    /// Clusters where it has not begun this long after creation fail with StartDeadlineExceeded.
    #[serde(default = "default_start_deadline")]
    pub start_deadline: Duration,
    /// What to restore and how; absent means everything in the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<RestorePolicy>,
}

fn default_start_deadline() -> Duration {
    "24h".into()
}

impl Default for RestoreSpec {
    fn default() -> Self {
        Self {
            backup_name: String::new(),
            destination: None,
            point_in_time: None,
            source_cluster: None,
            start_deadline: default_start_deadline(),
            policy: None,
        }
    }
}

/// The cluster whose backup is restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceCluster {
    /// Kind of the cluster: AttachedCluster or Cluster; empty means the one of this name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(extend("enum" = ["", "AttachedCluster", "Cluster"]))]
    pub kind: String,
    /// Name of the cluster.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

impl SourceCluster {
    /// Whether this means `member`.
    pub fn selects(&self, member: &ClusterKey) -> bool {
        self.name == member.name
            && (self.kind.is_empty() || self.kind.parse::<ClusterKind>() == Ok(member.kind))
    }
}

/// What to restore and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestorePolicy {
    /// What to restore of the backup; absent means everything. The two include lists are taken together, and the two exclude lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_filter: Option<ResourceFilter>,
    /// Restores the objects of one namespace into another: source to target.
    #[serde(
        default,
        skip_serializing_if = "StringMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    #[schemars(extend("maxProperties" = 500))]
    pub namespace_mapping: StringMap,
    /// The kinds of resources whose status is restored too; absent means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub preserve_status: Option<PreserveStatus>,
    /// Whether Services keep their node ports; absent means no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub preserve_node_ports: Option<bool>,
    /// What to do with an object that exists already: leave it alone (none) or patch it (update); absent means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_resource_policy: Option<ExistingResourcePolicy>,
    /// Whether to restore volumes from snapshots; absent means Velero's own choice.
    #[serde(
        default,
        rename = "restorePVs",
        skip_serializing_if = "Option::is_none"
    )]
    pub restore_pvs: Option<bool>,
    /// Commands and init containers to run in restored Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<RestoreHooks>,
    /// ConfigMap of this namespace with Velero's rules for changing objects as they are restored; it is carried to each cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_modifier: Option<ConfigMapRef>,
    /// How long asynchronous operations of plugins may take; absent means Velero's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_operation_timeout: Option<Duration>,
}

/// What to do with an object that exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ExistingResourcePolicy {
    /// Leave it alone.
    None,
    /// Patch it.
    Update,
}

/// What to run in restored Pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreHooks {
    /// Which Pods, and what to run in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub resources: Vec<RestoreResourceHook>,
}

/// Hooks for the Pods that the filters match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreResourceHook {
    /// Name of the hook.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Namespaces where it applies; empty means all.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub included_namespaces: Names,
    /// Namespaces where it does not apply.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub excluded_namespaces: Names,
    /// Resources to which it applies; Velero runs hooks for pods only.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub included_resources: Names,
    /// Resources to which it does not apply.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub excluded_resources: Names,
    /// Applies only to objects with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Run after the Pod is restored, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub post_hooks: Vec<RestoreHook>,
}

/// A command or init containers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreHook {
    /// A command to run once a container runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecRestoreHook>,
    /// Init containers to add to the Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitRestoreHook>,
}

/// A command to run in a container of a restored Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecRestoreHook {
    /// Container of the Pod; absent means its first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub container: Option<String>,
    /// The command and its arguments.
    #[schemars(
        length(min = 1, max = 128),
        inner(length(max = 4096)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub command: Vec<String>,
    /// What a failure of the command does to the restore; absent means Continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<HookErrorMode>,
    /// How long the command may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec_timeout: Option<Duration>,
    /// How long to wait for the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_timeout: Option<Duration>,
    /// Whether to wait until the container is ready, not only until it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_ready: Option<bool>,
}

/// Init containers to add to a restored Pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InitRestoreHook {
    /// The containers, as a Pod has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "containers")]
    pub init_containers: Vec<Value>,
    /// How long they may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

fn containers(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        "maxItems": 16,
        "x-kubernetes-list-type": "atomic",
    })
}

/// What became of the Restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreStatus {
    /// Generation of the spec that this status speaks about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Pending, InProgress, Completed, PartiallyFailed, Failed, FailedValidation or Deleting. Completed means that every cluster that was asked for completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub phase: Option<Phase>,
    /// Ready always; Reconciling and Stalled when they hold; Succeeded once it is final.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// When the set of clusters was fixed and the first one was about to begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the outcome became final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Counts over all clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// One entry for each cluster that was asked for, sorted by name and kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "atomic"))]
    pub restore_details: Vec<RestoreDetail>,
    /// What a forced deletion leaves behind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub leftovers: Vec<Leftover>,
}

/// The restore into one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreDetail {
    /// Name of the cluster.
    #[serde(default)]
    pub cluster_name: String,
    /// Kind of the cluster.
    #[serde(default)]
    pub cluster_kind: String,
    /// Pending, InProgress, Completed, PartiallyFailed, Failed or Deleting.
    #[serde(default)]
    #[schemars(with = "String")]
    pub phase: EntryPhase,
    /// One word that says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// What is the matter in this cluster and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// When the phase last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// Name of the Velero Restore in the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_name_in_cluster: Option<String>,
    /// Velero's status of that Restore, copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_status_in_cluster: Option<VeleroRestoreStatus>,
    /// Name of the Velero Backup that was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_name_in_cluster: Option<String>,
    /// The cluster whose backup it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_cluster_name: Option<String>,
    /// When that backup began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_time: Option<Time>,
    /// The uid of the cluster's namespace kube-system, written before the first object is created there.
    #[serde(default, rename = "memberUID", skip_serializing_if = "Option::is_none")]
    pub member_uid: Option<String>,
    /// Since when the cluster has not answered; the rest of the entry is the last known state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable_since: Option<Time>,
}
