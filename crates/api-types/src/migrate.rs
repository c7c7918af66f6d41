//! Migrate: one object that backs up one cluster and restores that into others.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup::BackupDetail;
use crate::common::{
    DeletionPolicy, Destination, Duration, Leftover, PreserveStatus, ResourceFilter, StringMap,
    Summary,
};
use crate::condition::Condition;
use crate::phase::Phase;
use crate::restore::RestoreDetail;
use crate::rules;
use crate::text::null_as_default;

/// What to migrate, from which cluster, into which others.
#[derive(Clone, Debug, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "backup.kurator.dev",
    version = "v1alpha1",
    kind = "Migrate",
    doc = "Migrates applications and resources from one cluster of a fleet to others.",
    namespaced,
    plural = "migrates",
    singular = "migrate",
    shortname = "kmg",
    category = "kurator-dev",
    status = "MigrateStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Source",
        type_ = "string",
        json_path = ".spec.sourceCluster.clusters[0].name"
    ),
    printcolumn(
        name = "Targets",
        type_ = "string",
        json_path = ".status.summary.display"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
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
#[x_kube(validation = rules::C27, validation = rules::C28, validation = rules::C29)]
pub struct MigrateSpec {
    /// The cluster to migrate from: exactly one entry in its clusters.
    #[x_kube(validation = rules::C30)]
    pub source_cluster: Destination,
    /// The clusters to migrate to. The source may be among them if namespaceMapping renames all that is migrated.
    pub target_cluster: Destination,
    /// What to migrate and how; absent means everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<MigratePolicy>,
    /// Starts nothing new once true. What Velero runs already cannot be stopped and is awaited. It cannot be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<bool>,
    /// Source and targets that have not begun this long after creation fail with DeadlineExceeded.
    #[serde(default = "default_deadline")]
    pub deadline: Duration,
    /// What deleting this object does to the backup in between: Retain keeps it until its ttl, Delete removes it.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

fn default_deadline() -> Duration {
    "24h".into()
}

impl Default for MigrateSpec {
    fn default() -> Self {
        Self {
            source_cluster: Destination::default(),
            target_cluster: Destination::default(),
            policy: None,
            cancel: None,
            deadline: default_deadline(),
            deletion_policy: DeletionPolicy::default(),
        }
    }
}

/// What to migrate and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigratePolicy {
    /// What to take from the source; absent means everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::C15)]
    pub resource_filter: Option<ResourceFilter>,
    /// Per resource type, such as pods, a comma-separated list of objects (namespace/name) to back up first, in this order.
    #[serde(
        default,
        skip_serializing_if = "StringMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    #[schemars(extend("nullable" = true, "maxProperties" = 256))]
    pub ordered_resources: StringMap,
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
    pub migrate_status: Option<PreserveStatus>,
    /// Whether Services keep their node ports; absent means no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub preserve_node_ports: Option<bool>,
    /// What to do when some items of the source could not be backed up: Stop, or Continue with the rest.
    #[serde(default)]
    pub partial_failure: PartialFailure,
    /// How long the backup in between is kept, such as 720h; absent means Velero's default, 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
}

/// What to do when the source backup is only partial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PartialFailure {
    /// Fail.
    #[default]
    Stop,
    /// Go on with what was backed up.
    Continue,
}

/// What became of the Migrate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrateStatus {
    /// Generation of the spec that this status speaks about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Pending, BackupInProgress, RestoreInProgress, Completed, PartiallyFailed, Failed, FailedValidation or Deleting. Completed means that the source and every target completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub phase: Option<Phase>,
    /// Ready and sourceReady always; Reconciling and Stalled when they hold; Succeeded once it is final.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// When the set of clusters was fixed and the source was about to begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the outcome became final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// When what has not begun fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_time: Option<Time>,
    /// Backup, Transfer, Restore or Done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Part of all items of the backup and the restores that is done, such as 66%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Counts over all targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// The backup of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_cluster_status: Option<BackupDetail>,
    /// One entry for each target, sorted by name and kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "atomic"))]
    pub target_cluster_status: Vec<RestoreDetail>,
    /// What a forced deletion leaves behind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub leftovers: Vec<Leftover>,
}
