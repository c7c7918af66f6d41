//! The key of a member cluster, the same everywhere: in maps, in calls, in logs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The kinds that a member of a fleet can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ClusterKind {
    /// A cluster that exists and is reached with a kubeconfig.
    AttachedCluster,
    /// A cluster that Kurator's cluster operator made. The type is not ours; where the hub serves it,
    /// its members are reached with the kubeconfig that their status names.
    Cluster,
}

impl ClusterKind {
    /// As manifests write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AttachedCluster => "AttachedCluster",
            Self::Cluster => "Cluster",
        }
    }
}

impl fmt::Display for ClusterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kind that is not one of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a kind of cluster: AttachedCluster or Cluster")]
pub struct UnknownClusterKind(pub String);

impl FromStr for ClusterKind {
    type Err = UnknownClusterKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "AttachedCluster" => Ok(Self::AttachedCluster),
            "Cluster" => Ok(Self::Cluster),
            other => Err(UnknownClusterKind(other.to_owned())),
        }
    }
}

/// One member cluster. Sorts by namespace, name, kind: the order of entries in a status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterKey {
    /// Namespace on the hub.
    pub namespace: String,
    /// Name on the hub.
    pub name: String,
    /// Kind on the hub.
    pub kind: ClusterKind,
}

impl ClusterKey {
    /// The key of a cluster of any kind.
    pub fn new(namespace: impl Into<String>, kind: ClusterKind, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            kind,
        }
    }

    /// The key of an AttachedCluster.
    pub fn attached(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self::new(namespace, ClusterKind::AttachedCluster, name)
    }

    /// `<Kind>/<name>`, as the annotation `kurator.dev/cluster-ref` has it.
    pub fn cluster_ref(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_prints_kind_namespace_and_name() {
        let key = ClusterKey::attached("default", "member1");
        assert_eq!(key.to_string(), "AttachedCluster default/member1");
        assert_eq!(key.cluster_ref(), "AttachedCluster/member1");
    }

    #[test]
    fn keys_sort_by_name_before_kind() {
        let mut keys = [
            ClusterKey::new("default", ClusterKind::Cluster, "bergen"),
            ClusterKey::attached("default", "oslo"),
            ClusterKey::attached("default", "bergen"),
        ];
        keys.sort();
        let printed: Vec<String> = keys.iter().map(ClusterKey::cluster_ref).collect();
        assert_eq!(
            printed,
            [
                "AttachedCluster/bergen",
                "Cluster/bergen",
                "AttachedCluster/oslo"
            ]
        );
    }

    #[test]
    fn kinds_parse_only_as_they_are_written() {
        assert_eq!("Cluster".parse(), Ok(ClusterKind::Cluster));
        assert!("cluster".parse::<ClusterKind>().is_err());
        assert!("".parse::<ClusterKind>().is_err());
    }
}
