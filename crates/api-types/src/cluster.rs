//! AttachedCluster: a member cluster, reached with the kubeconfig in a Secret.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::rules;

// The server checks a default against the rules of its own place, so the rule that `{}` breaks sits
// on the whole object and only speaks of `spec`.
/// How to reach the cluster.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, CustomResource, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "cluster.kurator.dev",
    version = "v1alpha1",
    kind = "AttachedCluster",
    doc = "A cluster that exists already and is reached with the kubeconfig in a Secret.",
    namespaced,
    plural = "attachedclusters",
    singular = "attachedcluster",
    shortname = "kac",
    category = "kurator-dev",
    status = "AttachedClusterStatus",
    derive = "PartialEq",
    validation = Rule::from(rules::C43).field_path(".spec"),
    printcolumn(name = "Ready", type_ = "boolean", json_path = ".status.ready"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.mode"),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.kubernetesVersion"
    ),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.nodes"),
    printcolumn(name = "Last-Seen", type_ = "date", json_path = ".status.lastSeenTime"),
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
#[schemars(extend("default" = {}))]
pub struct AttachedClusterSpec {
    /// The Secret that holds the kubeconfig of the cluster. It must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<SecretKeyRef>,
}

/// A key of a Secret in the namespace of this object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::C44)]
    pub name: String,
    /// Key of the Secret whose value is the kubeconfig.
    #[serde(default = "default_key")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::C45)]
    pub key: String,
}

fn default_key() -> String {
    "value".to_owned()
}

/// What is known of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachedClusterStatus {
    /// Generation of the spec that this status speaks about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Whether the cluster's API server answers with these credentials.
    #[serde(default)]
    pub ready: bool,
    /// Ready, Connected, CredentialsValid, AccessGranted; Reconciling and Stalled when they hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// How the cluster is reached: Direct or Tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Kubernetes version of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Number of its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub nodes: Option<i32>,
    /// The uid of the cluster's namespace kube-system: what tells one cluster from another.
    #[serde(
        default,
        rename = "clusterUID",
        skip_serializing_if = "Option::is_none"
    )]
    pub cluster_uid: Option<String>,
    /// The Fleet that has claimed this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<String>,
    /// When the credentials expire, if the kubeconfig says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_expiration_time: Option<Time>,
    /// When the cluster last answered: exact when it is not ready, else refreshed now and then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_time: Option<Time>,
}
