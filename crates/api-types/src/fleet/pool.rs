//! Pools of a Ceph cluster and the StorageClasses for them.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// What a pool of any kind has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::C40)]
pub struct Pool {
    /// Name of the pool.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::C41)]
    pub name: String,
    /// Copies of each object; absent means 3. Excludes erasureCoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub replicas: Option<i32>,
    /// Stores data in chunks instead of copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasure_coding: Option<ErasureCoding>,
    /// What copies are kept apart by, such as host, rack or osd; absent means host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub failure_domain: Option<String>,
    /// Devices to use, such as ssd; absent means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub device_class: Option<String>,
}

/// Chunks of an erasure-coded pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErasureCoding {
    /// Chunks that hold data.
    #[schemars(range(min = 1, max = 32))]
    pub data_chunks: i32,
    /// Chunks that may be lost.
    #[schemars(range(min = 1, max = 16))]
    pub coding_chunks: i32,
}

/// A pool of block storage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockPool {
    /// The pool.
    #[serde(flatten)]
    pub pool: Pool,
    /// The StorageClass of the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<VolumeStorageClass>,
}

/// A shared file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Filesystem {
    /// The pool of its data.
    #[serde(flatten)]
    pub pool: Pool,
    /// Copies of its metadata; absent means 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub metadata_replicas: Option<i32>,
    /// Metadata servers that work at a time, each with one in reserve; absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub active_metadata_servers: Option<i32>,
    /// The StorageClass of the file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<VolumeStorageClass>,
}

/// An object store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStore {
    /// The pool of its data.
    #[serde(flatten)]
    pub pool: Pool,
    /// Copies of its metadata; absent means 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub metadata_replicas: Option<i32>,
    /// The servers that speak S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// The StorageClass for buckets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<BucketStorageClass>,
}

/// The servers that speak S3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// Port for http; absent means 80.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Port for https; absent means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub secure_port: Option<i32>,
    /// Number of servers; absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub instances: Option<i32>,
    /// Secret of the namespace rook-ceph in the member with the certificate for https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub ssl_certificate_ref: Option<String>,
}

/// A StorageClass for volumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeStorageClass {
    /// Name of the StorageClass; absent means the name of the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// Whether it is the default of the cluster; absent means no. It is not made the default beside another one.
    #[serde(default, rename = "default", skip_serializing_if = "Option::is_none")]
    pub is_default: Option<bool>,
    /// What becomes of a volume when its claim is deleted.
    #[serde(default)]
    pub reclaim_policy: ReclaimPolicy,
    /// Whether volumes can grow.
    #[serde(default = "yes")]
    pub allow_volume_expansion: bool,
    /// Options for mounting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(max = 253)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub mount_options: Vec<String>,
}

fn yes() -> bool {
    true
}

impl Default for VolumeStorageClass {
    fn default() -> Self {
        Self {
            name: None,
            is_default: None,
            reclaim_policy: ReclaimPolicy::default(),
            allow_volume_expansion: true,
            mount_options: Vec::new(),
        }
    }
}

/// A StorageClass for buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BucketStorageClass {
    /// Name of the StorageClass; absent means the name of the object store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// What becomes of a bucket when its claim is deleted.
    #[serde(default)]
    pub reclaim_policy: ReclaimPolicy,
}

/// What becomes of a volume or bucket when its claim is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReclaimPolicy {
    /// It goes too.
    #[default]
    Delete,
    /// It stays.
    Retain,
}
