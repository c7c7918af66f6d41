//! Which members a part of the policy is about.

use std::collections::{BTreeMap, HashSet};

use api_types::key::ClusterKey;
use kube::core::{Selector, SelectorExt};
use serde::{Deserialize, Deserializer};

use super::{Pattern, file::pattern};
use crate::{
    error::CallError,
    request::{name, selector},
};

/// A member, as the hub has it.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a> {
    /// Its key.
    pub key: &'a ClusterKey,
    /// The labels of its object on the hub.
    pub labels: &'a BTreeMap<String, String>,
}

/// The members of which all of this is true; by default every one.
#[derive(Clone, Debug, Default)]
pub(super) struct Clusters {
    namespaces: Option<HashSet<String>>,
    names: Option<Vec<Pattern>>,
    labels: Selector,
}

impl Clusters {
    pub(super) fn covers(&self, cluster: Cluster<'_>) -> bool {
        let Cluster { key, labels } = cluster;
        let namespaces = self.namespaces.as_ref();
        let names = self.names.as_ref();
        namespaces.is_none_or(|known| known.contains(&key.namespace))
            && names.is_none_or(|names| names.iter().any(|name| name.matches(&key.name)))
            && self.labels.matches(labels)
    }
}

/// `clusters` of the policy file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FileClusters {
    #[serde(default, deserialize_with = "given")]
    namespaces: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    names: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    label_selector: Option<String>,
}

/// A field that is there has a value: left empty by mistake, it must not mean every cluster.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    value: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// What restricts nothing is refused: it is said by leaving it out.
pub(super) fn compile(file: &FileClusters) -> Result<Clusters, String> {
    const LABELS: &str = "clusters.labelSelector";
    let FileClusters {
        namespaces,
        names,
        label_selector,
    } = file;
    if namespaces.is_none() && names.is_none() && label_selector.is_none() {
        return Err("clusters is empty: leave it out for every cluster".to_owned());
    }
    for (field, list) in [("namespaces", namespaces), ("names", names)] {
        if list.as_ref().is_some_and(Vec::is_empty) {
            return Err(format!("clusters.{field} is empty: it covers no cluster"));
        }
    }
    for namespace in namespaces.iter().flatten() {
        name::namespace(namespace).map_err(|e| format!("clusters: {}", e.into_message()))?;
    }
    let names = names.as_ref().map(|names| {
        let names = names.iter().map(|name| pattern(name));
        names.collect::<Result<_, _>>()
    });
    let labels = match label_selector {
        None => Selector::default(),
        Some(text) => {
            name::selector(LABELS, text).map_err(CallError::into_message)?;
            let labels = selector::parse(LABELS, text).map_err(CallError::into_message)?;
            if labels.selects_all() {
                return Err(format!("{LABELS} is empty: leave it out for all labels"));
            }
            labels
        }
    };
    Ok(Clusters {
        namespaces: namespaces.as_ref().map(|all| all.iter().cloned().collect()),
        names: names
            .transpose()
            .map_err(|why: String| format!("clusters: {why}"))?,
        labels,
    })
}
