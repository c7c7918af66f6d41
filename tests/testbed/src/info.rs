//! What a script needs to know about a running bed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The content of `bed.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BedInfo {
    /// The bed's own loopback address.
    pub address: String,
    /// Logs and kubeconfigs.
    pub dir: PathBuf,
    /// A first port on the address that no part of the bed uses; thousands after it are free, too.
    pub free_port: u16,
    /// The hub.
    pub hub: ClusterInfo,
    /// The members in the order in which they were asked for.
    pub members: Vec<ClusterInfo>,
    /// The object store, if there is one.
    pub s3: Option<S3Info>,
}

/// One cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterInfo {
    /// Its name.
    pub name: String,
    /// Where its API server listens.
    pub url: String,
    /// An administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// For a member: a kubeconfig that leads through the bed's relay.
    pub relayed_kubeconfig: Option<PathBuf>,
    /// For a member with Velero: the prefix of its storage in [`S3Info::bucket`].
    pub velero_prefix: Option<String>,
}

/// The object store.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Info {
    /// Its address as a URL.
    pub endpoint: String,
    /// Its region.
    pub region: String,
    /// Its access key.
    pub access_key: String,
    /// Its secret key.
    pub secret_key: String,
    /// The bucket in which each member's Velero has a prefix.
    pub bucket: String,
    /// The directory whose sub-directories are the buckets.
    pub data: PathBuf,
}
