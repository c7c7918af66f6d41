//! Velero's status of a Backup or Restore as our status repeats it: the documented fields typed for
//! `kubectl explain`, everything else kept. `sanitize` makes these from what a member says.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::text::null_as_default;

/// Velero's status of its Backup, copied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VeleroBackupStatus {
    /// Version of the backup format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
    /// Version of the backup format, with its minor part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format_version: Option<String>,
    /// When Velero may delete the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub expiration: Option<Time>,
    /// Velero's phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Position in Velero's queue, while it is Queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<i32>,
    /// Why Velero refused it.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    #[schemars(extend("nullable" = true, "x-kubernetes-list-type" = "atomic"))]
    pub validation_errors: Vec<String>,
    /// When Velero began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub start_timestamp: Option<Time>,
    /// When Velero ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub completion_timestamp: Option<Time>,
    /// Volume snapshots tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_snapshots_attempted: Option<i32>,
    /// Volume snapshots done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_snapshots_completed: Option<i32>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Number of warnings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnings: Option<i32>,
    /// Number of errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<i32>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub progress: Option<VeleroBackupProgress>,
    /// CSI volume snapshots tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csi_volume_snapshots_attempted: Option<i32>,
    /// CSI volume snapshots done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csi_volume_snapshots_completed: Option<i32>,
    /// Asynchronous operations of plugins tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_item_operations_attempted: Option<i32>,
    /// Asynchronous operations of plugins done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_item_operations_completed: Option<i32>,
    /// Asynchronous operations of plugins that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_item_operations_failed: Option<i32>,
    /// Hooks run in Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_status: Option<VeleroHookStatus>,
    /// What this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// How far a Velero Backup is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VeleroBackupProgress {
    /// Items found so far; it can grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_items: Option<i32>,
    /// Items stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_backed_up: Option<i32>,
    /// What this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// Velero's status of its Restore, copied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VeleroRestoreStatus {
    /// Velero's phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Why Velero refused it.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    #[schemars(extend("nullable" = true, "x-kubernetes-list-type" = "atomic"))]
    pub validation_errors: Vec<String>,
    /// Number of warnings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnings: Option<i32>,
    /// Number of errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<i32>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// When Velero began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub start_timestamp: Option<Time>,
    /// When Velero ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub completion_timestamp: Option<Time>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub progress: Option<VeleroRestoreProgress>,
    /// Asynchronous operations of plugins tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_item_operations_attempted: Option<i32>,
    /// Asynchronous operations of plugins done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_item_operations_completed: Option<i32>,
    /// Asynchronous operations of plugins that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_item_operations_failed: Option<i32>,
    /// Hooks run in Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_status: Option<VeleroHookStatus>,
    /// What this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// How far a Velero Restore is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VeleroRestoreProgress {
    /// Items found so far; it can grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_items: Option<i32>,
    /// Items restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_restored: Option<i32>,
    /// What this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// Counts of hooks that Velero ran in Pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VeleroHookStatus {
    /// Hooks tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks_attempted: Option<i32>,
    /// Hooks that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks_failed: Option<i32>,
    /// What this version does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}
