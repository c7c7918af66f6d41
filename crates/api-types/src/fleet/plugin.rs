//! Settings of the plugins metric, grafana, policy and backup.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::common::{ClusterRef, StringMap};
use crate::fleet::DistributedStorageConfig;
use crate::rules;
use crate::text::null_as_default;

/// The plugins of a fleet. Removing one uninstalls it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginConfig {
    /// Prometheus on each member, Thanos on the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<MetricConfig>,
    /// Grafana on the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grafana: Option<GrafanaConfig>,
    /// Kyverno on each member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyConfig>,
    /// Velero on each member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupConfig>,
    /// Rook and a Ceph cluster on each member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distributed_storage: Option<DistributedStorageConfig>,
}

/// The Helm chart to install. What is empty keeps its built-in value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChartConfig {
    /// URL of the Helm repository; oci:// is understood.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2048))]
    pub repository: String,
    /// Name of the chart.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub name: String,
    /// Version of the chart.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub version: String,
}

/// Prometheus on each member, Thanos on the hub.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricConfig {
    /// The members that get it; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "atomic"))]
    pub clusters: Vec<ClusterRef>,
    /// Thanos on the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thanos: Option<ThanosConfig>,
    /// Prometheus on each member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusConfig>,
}

/// Thanos on the hub.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ThanosConfig {
    /// The Helm chart; absent means oci://registry-1.docker.io/bitnamicharts, thanos, 12.5.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartConfig>,
    /// Where Thanos stores.
    pub object_store_config: ObjectStoreConfig,
    /// More values of the Helm chart.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    #[schemars(schema_with = "crate::text::any_json")]
    pub extra_args: Value,
}

/// Where Thanos stores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStoreConfig {
    /// Secret of this namespace with Thanos' object store configuration under the key objstore.yml.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// Prometheus on each member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusConfig {
    /// The Helm chart; absent means oci://registry-1.docker.io/bitnamicharts, kube-prometheus, 8.9.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartConfig>,
    /// The exporter of node metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_exporter: Option<ExporterConfig>,
    /// The exporter of the states of Kubernetes objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_state_metrics: Option<ExporterConfig>,
    /// More values of the Helm chart.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    #[schemars(schema_with = "crate::text::any_json")]
    pub extra_args: Value,
}

/// An exporter of metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExporterConfig {
    /// Whether it is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// Grafana on the hub.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrafanaConfig {
    /// The Helm chart; absent means oci://registry-1.docker.io/bitnamicharts, grafana, 8.2.33.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartConfig>,
    /// More values of the Helm chart.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    #[schemars(schema_with = "crate::text::any_json")]
    pub extra_args: Value,
}

/// Kyverno on each member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyConfig {
    /// The members that get it; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "atomic"))]
    pub clusters: Vec<ClusterRef>,
    /// Kyverno and its policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kyverno: Option<KyvernoConfig>,
}

/// Kyverno and its policies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KyvernoConfig {
    /// The Helm chart; absent means https://kyverno.github.io/kyverno/, kyverno, 3.0.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartConfig>,
    /// Installs the policies of the Pod Security Standards when present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security: Option<PodSecurityConfig>,
    /// More values of the kyverno chart.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    #[schemars(schema_with = "crate::text::any_json")]
    pub extra_args: Value,
}

/// The policies of the Pod Security Standards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSecurityConfig {
    /// The standard; absent means baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["privileged", "baseline", "restricted"]))]
    pub standard: Option<String>,
    /// How severe a violation is; absent means medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["low", "medium", "high"]))]
    pub severity: Option<String>,
    /// Whether a violation is refused or only reported; absent means Audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Enforce", "Audit"]))]
    pub validation_failure_action: Option<String>,
}

/// Velero on each member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupConfig {
    /// The members that get it; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "atomic"))]
    pub clusters: Vec<ClusterRef>,
    /// The Helm chart; absent means https://vmware-tanzu.github.io/helm-charts, velero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartConfig>,
    /// Where backups are stored.
    pub storage: BackupStorage,
    /// More values of the Helm chart.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    #[schemars(schema_with = "crate::text::any_json")]
    pub extra_args: Value,
}

/// Where backups are stored, and with which credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStorage {
    /// The object storage.
    pub location: BackupLocation,
    /// Secret of this namespace with the credentials: access-key and secret-key for aws and huaweicloud, cloud for gcp, storage-account-key or a service principal for azure.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// An object storage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::C31, validation = rules::C32)]
pub struct BackupLocation {
    /// Bucket. It must exist.
    #[schemars(length(min = 1, max = 222))]
    #[x_kube(validation = rules::C33)]
    pub bucket: String,
    /// Who provides the object storage: aws (and everything that speaks S3), huaweicloud, gcp or azure.
    #[schemars(extend("enum" = ["aws", "huaweicloud", "gcp", "azure"]))]
    pub provider: String,
    /// URL of the object storage; absent means the provider's own. Ignored for gcp and azure.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::C34)]
    pub endpoint: String,
    /// Region of the object storage.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub region: String,
    /// More settings of Velero's object store plugin, such as s3ForcePathStyle or kmsKeyId.
    #[serde(
        default,
        skip_serializing_if = "StringMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    #[schemars(extend("maxProperties" = 64), schema_with = "config_map")]
    pub config: StringMap,
    /// Folder in the bucket under which everything lies.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = rules::C35)]
    pub prefix: String,
    /// PerCluster stores each cluster under its own path, Shared stores all at the root of the bucket as Kurator v0.5.0 did; absent means Shared where backups lie there already, else PerCluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<StorageLayout>,
    /// Certificate authority of the endpoint, PEM in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144), extend("format" = "byte"))]
    pub ca_cert: Option<String>,
}

fn config_map(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": { "type": "string", "maxLength": 4096 },
    })
}

/// How clusters share a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StorageLayout {
    /// Each cluster has its own path.
    PerCluster,
    /// All clusters share the root of the bucket.
    Shared,
}
