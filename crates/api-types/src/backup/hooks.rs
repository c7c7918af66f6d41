//! Commands that Velero runs in Pods around their backup.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{Duration, Names};

/// Commands to run in Pods around their backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupHooks {
    /// Which Pods, and what to run in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub resources: Vec<BackupResourceHook>,
}

/// Commands for the Pods that the filters match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupResourceHook {
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
    /// Run before the Pod is backed up, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub pre: Vec<BackupHook>,
    /// Run after the Pod is backed up, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub post: Vec<BackupHook>,
}

/// One command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupHook {
    /// The command and where to run it.
    pub exec: ExecHook,
}

/// A command to run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecHook {
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
    /// What a failure of the command does to the backup of the Pod; absent means Fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<HookErrorMode>,
    /// How long the command may take; absent means 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// What to do when a hook fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HookErrorMode {
    /// Go on.
    Continue,
    /// Count it as an error.
    Fail,
}
