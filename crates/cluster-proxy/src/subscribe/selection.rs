//! Which clusters a subscription or an inventory stream is about.

use std::collections::{BTreeMap, HashSet};

use api_types::{
    key::{ClusterKey, ClusterKind},
    labels,
};
use kube::core::{Selector, SelectorExt};
use proxy_client::proto;

use crate::{
    error::CallError,
    request::{name, selector},
};

/// The most clusters that may be named.
const CLUSTERS_MAX: usize = 10_000;

/// A checked `ClusterSet`.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    named: Option<HashSet<ClusterKey>>,
    fleet: Option<(String, String)>,
    labels: Selector,
}

impl Selection {
    /// Checks what a caller sent; nothing selects everything.
    pub fn from_proto(set: Option<proto::ClusterSet>) -> Result<Self, CallError> {
        let Some(set) = set else {
            return Ok(Self::default());
        };
        if set.clusters.len() > CLUSTERS_MAX {
            return Err(CallError::invalid("clusters", "at most 10000 may be named"));
        }
        let named = set
            .clusters
            .into_iter()
            .map(|cluster| cluster_key(Some(cluster)))
            .collect::<Result<HashSet<_>, _>>()?;
        let fleet = match (set.fleet_namespace.as_str(), set.fleet.as_str()) {
            ("", "") => None,
            (namespace, fleet) => {
                name::namespace(namespace)?;
                name::object(fleet)?;
                let value = api_types::names::label_value(fleet);
                Some((namespace.to_owned(), value))
            }
        };
        let field = "clusters.label_selector";
        name::selector(field, &set.label_selector)?;
        Ok(Self {
            named: (!named.is_empty()).then_some(named),
            fleet,
            labels: selector::parse(field, &set.label_selector)?,
        })
    }

    /// Whether a member belongs to the set.
    pub fn matches(&self, key: &ClusterKey, object_labels: &BTreeMap<String, String>) -> bool {
        let named = self.named.as_ref().is_none_or(|named| named.contains(key));
        let fleet = self.fleet.as_ref().is_none_or(|(namespace, fleet)| {
            key.namespace == *namespace && object_labels.get(labels::FLEET_NAME) == Some(fleet)
        });
        named && fleet && self.labels.matches(object_labels)
    }

    /// The clusters that were named.
    pub fn named(&self) -> impl Iterator<Item = &ClusterKey> {
        self.named.iter().flatten()
    }

    /// Takes clusters out of a set that names them.
    pub fn without(&mut self, gone: &HashSet<ClusterKey>) {
        if let Some(named) = &mut self.named {
            named.retain(|key| !gone.contains(key));
        }
    }
}

/// Checks a reference to a cluster; an empty kind means Cluster.
pub fn cluster_key(cluster: Option<proto::ClusterRef>) -> Result<ClusterKey, CallError> {
    let cluster = cluster.ok_or_else(|| CallError::invalid("cluster", "is required"))?;
    let kind = match cluster.kind.as_str() {
        "" => ClusterKind::Cluster,
        kind => kind
            .parse()
            .map_err(|e| CallError::invalid("cluster.kind", e))?,
    };
    name::namespace(&cluster.namespace)?;
    name::object(&cluster.name)?;
    Ok(ClusterKey::new(cluster.namespace, kind, cluster.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_selects_its_members_in_its_namespace_only() {
        let selection = Selection::from_proto(Some(proto::ClusterSet {
            fleet_namespace: "ns".into(),
            fleet: "quickstart".into(),
            ..Default::default()
        }))
        .unwrap();
        let labels = BTreeMap::from([(labels::FLEET_NAME.to_owned(), "quickstart".to_owned())]);
        assert!(selection.matches(&ClusterKey::attached("ns", "m"), &labels));
        assert!(!selection.matches(&ClusterKey::attached("other", "m"), &labels));
        assert!(!selection.matches(&ClusterKey::attached("ns", "m"), &BTreeMap::new()));
    }

    #[test]
    fn references_are_checked_and_an_empty_kind_is_cluster() {
        let key = |namespace: &str, kind: &str, name: &str| {
            cluster_key(Some(proto::ClusterRef {
                namespace: namespace.into(),
                kind: kind.into(),
                name: name.into(),
            }))
        };
        assert_eq!(key("ns", "", "m").unwrap().kind, ClusterKind::Cluster);
        assert!(key("ns", "Node", "m").is_err());
        assert!(key("ns/..", "AttachedCluster", "m").is_err());
        assert!(key("ns", "AttachedCluster", "").is_err());
        assert!(cluster_key(None).is_err());
    }
}
