//! Backup: one object that backs up many clusters, once or by a schedule.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{
    ConfigMapRef, DeletionPolicy, Destination, Duration, Leftover, ResourceFilter, StoragePlace,
    StringMap, Summary,
};
use crate::condition::Condition;
use crate::phase::{EntryPhase, Phase};
use crate::rules;
use crate::text::null_as_default;
mod hooks;

pub use crate::velero_status::{VeleroBackupProgress, VeleroBackupStatus, VeleroHookStatus};
pub use hooks::*;

/// What to back up, where and when.
#[derive(Clone, Debug, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "backup.kurator.dev",
    version = "v1alpha1",
    kind = "Backup",
    doc = "Backs up applications and resources of the clusters of a fleet, once or by a schedule.",
    namespaced,
    plural = "backups",
    singular = "backup",
    shortname = "kbk",
    category = "kurator-dev",
    status = "BackupStatus",
    derive = "PartialEq",
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Clusters",
        type_ = "string",
        json_path = ".status.summary.display"
    ),
    printcolumn(
        name = "Last-Success",
        type_ = "date",
        json_path = ".status.lastSuccessTime"
    ),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextRunTime"),
    printcolumn(
        name = "Errors",
        type_ = "integer",
        json_path = ".status.summary.errors"
    ),
    printcolumn(
        name = "Fleet",
        type_ = "string",
        json_path = ".spec.destination.fleet",
        priority = 1
    ),
    printcolumn(
        name = "Store",
        type_ = "string",
        json_path = ".spec.policy.storageLocation",
        priority = 1
    ),
    printcolumn(
        name = "Expires",
        type_ = "string",
        json_path = ".status.expirationTime",
        priority = 1
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
#[x_kube(
    validation = rules::C1, validation = rules::C2, validation = rules::C3,
    validation = rules::C4, validation = rules::C5, validation = rules::C6
)]
pub struct BackupSpec {
    /// When to back up, as five cron fields, @daily, @hourly or '@every 6h'; empty means once, now.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = rules::C7)]
    pub schedule: String,
    /// Time zone of the schedule, such as Europe/Berlin; absent means UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = rules::C8)]
    pub time_zone: Option<String>,
    /// Starts no run while true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// One-time Backup: clusters where it has not begun this long after creation fail with StartDeadlineExceeded.
    #[serde(default = "default_start_deadline")]
    pub start_deadline: Duration,
    /// Scheduled Backup: finished runs shown per cluster.
    #[serde(default = "default_history_limit")]
    #[schemars(range(min = 1, max = 10))]
    pub history_limit: i32,
    /// What deleting this object does to stored backups: Retain keeps them until their ttl, Delete removes them everywhere.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// The clusters to back up.
    pub destination: Destination,
    /// What to back up and how; absent means everything, with Velero's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<BackupPolicy>,
}

fn default_start_deadline() -> Duration {
    "1h".into()
}

fn default_history_limit() -> i32 {
    3
}

impl Default for BackupSpec {
    fn default() -> Self {
        Self {
            schedule: String::new(),
            time_zone: None,
            paused: None,
            start_deadline: default_start_deadline(),
            history_limit: default_history_limit(),
            deletion_policy: DeletionPolicy::default(),
            destination: Destination::default(),
            policy: None,
        }
    }
}

impl BackupSpec {
    /// Whether it runs by a schedule.
    pub fn is_scheduled(&self) -> bool {
        !self.schedule.is_empty()
    }
}

/// What to back up and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::C14)]
pub struct BackupPolicy {
    /// What to back up; absent means everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::C15)]
    pub resource_filter: Option<ResourceFilter>,
    /// How long the backup is kept, such as 720h; absent or 0 means Velero's default, 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// Per resource type, such as pods, a comma-separated list of objects (namespace/name) to back up first, in this order.
    #[serde(
        default,
        skip_serializing_if = "StringMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    #[schemars(extend("nullable" = true, "maxProperties" = 256))]
    pub ordered_resources: StringMap,
    /// Commands to run in Pods before and after they are backed up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<BackupHooks>,
    /// Whether to take snapshots of volumes; absent means Velero's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_volumes: Option<bool>,
    /// Whether to move CSI snapshots into the object storage; absent means Velero's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_move_data: Option<bool>,
    /// Whether to back up volumes file by file unless a Pod opts out; absent means Velero's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_volumes_to_fs_backup: Option<bool>,
    /// How long to wait for a CSI snapshot; absent means Velero's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csi_snapshot_timeout: Option<Duration>,
    /// How long asynchronous operations of plugins may take; absent means Velero's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_operation_timeout: Option<Duration>,
    /// ConfigMap of this namespace with Velero's rules for volumes; it is carried to each cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_policy: Option<ConfigMapRef>,
    /// Settings of the uploader of file-system backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploader_config: Option<BackupUploaderConfig>,
    /// BackupStorageLocation of each cluster to store in; absent means default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub storage_location: Option<String>,
}

/// Settings of the uploader of file-system backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupUploaderConfig {
    /// Files uploaded at a time; absent means Velero's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub parallel_files_upload: Option<i32>,
}

/// What became of the Backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// Generation of the spec that this status speaks about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Pending, InProgress, Completed, PartiallyFailed, Failed, FailedValidation, Deleting; with a schedule Pending, Scheduled, Paused, FailedValidation, Deleting. Completed means that every cluster that was asked for completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub phase: Option<Phase>,
    /// Ready always; Reconciling and Stalled when they hold; Succeeded once a one-time Backup is final.
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
    pub backup_details: Vec<BackupDetail>,
    /// The oldest, over all clusters, of the times of their newest completed run; absent while one of them has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_time: Option<Time>,
    /// When the next run is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_time: Option<Time>,
    /// Clusters that left a scheduled Backup or were built anew, until nothing that they have stored is kept any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "atomic"))]
    pub former_clusters: Vec<FormerCluster>,
    /// The earliest time at which a backup that could be restored expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<Time>,
    /// Last value of the annotation kurator.dev/run-now that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_now: Option<String>,
    /// When it was acted on; it names those runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_now_time: Option<Time>,
    /// What a forced deletion leaves behind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub leftovers: Vec<Leftover>,
}

/// The backup of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupDetail {
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
    /// Name of the Velero Backup in the cluster; with a schedule of its newest run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_name_in_cluster: Option<String>,
    /// Velero's status of that Backup, copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_status_in_cluster: Option<VeleroBackupStatus>,
    /// The uid of the cluster's namespace kube-system, written before the first object is created there.
    #[serde(default, rename = "memberUID", skip_serializing_if = "Option::is_none")]
    pub member_uid: Option<String>,
    /// Where this backup lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StoragePlace>,
    /// Since when the cluster has not answered; the rest of the entry is the last known state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable_since: Option<Time>,
    /// Scheduled Backup: when the newest completed run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_time: Option<Time>,
    /// Scheduled Backup: runs that did not complete since the last one that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub consecutive_failures: Option<i32>,
    /// Scheduled Backup: lastRunNowTime of the newest run asked for by annotation that was seen here; it is never made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_now_time: Option<Time>,
    /// Scheduled Backup: older finished runs, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub runs: Vec<BackupRun>,
}

/// One finished run of a scheduled Backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupRun {
    /// Name of the Velero Backup.
    pub name: String,
    /// Velero's phase.
    #[serde(default)]
    pub phase: String,
    /// When Velero began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When Velero ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
}

/// A cluster that left a scheduled Backup, or that another one has taken the name of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormerCluster {
    /// Name of the cluster.
    pub cluster_name: String,
    /// Kind of the cluster.
    #[serde(default)]
    pub cluster_kind: String,
    /// The uid of the cluster's namespace kube-system.
    #[serde(default, rename = "memberUID", skip_serializing_if = "Option::is_none")]
    pub member_uid: Option<String>,
    /// Where its runs lie, as its entry had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StoragePlace>,
    /// Its Schedules are gone, and what it has stored is only remembered: it does not hold its AttachedCluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
    /// Another cluster answers under its name, so it cannot be asked: it does not hold the AttachedCluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
    /// When the last of its known runs is past its ttl; if it cannot be asked, it is forgotten then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<Time>,
}
