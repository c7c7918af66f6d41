//! What a member's answers to discovery say.

use serde::Deserialize;

use crate::{
    error::{CallError, WriteOutcome},
    json,
    request::path::Gvr,
};

/// One resource type that a member serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The type.
    pub gvr: Gvr,
    /// Its kind.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Kubernetes' verbs.
    pub verbs: Vec<String>,
}

/// All that a member serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue(pub(super) Vec<Served>);

impl Catalogue {
    /// Every type, or those of one group.
    pub fn types<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Served> {
        self.0
            .iter()
            .filter(move |served| group.is_empty() || served.gvr.group() == group)
    }

    /// The kind of a type.
    pub fn kind(&self, gvr: &Gvr) -> Option<&str> {
        self.0
            .iter()
            .find(|served| served.gvr == *gvr)
            .map(|served| served.kind.as_str())
    }

    /// The groups' names, sorted, without the core group.
    pub fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = self
            .0
            .iter()
            .map(|served| served.gvr.group().to_owned())
            .filter(|group| !group.is_empty())
            .collect();
        groups.sort();
        groups.dedup();
        groups
    }
}

/// An answer as it is.
pub(super) fn parse<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, CallError> {
    json::text(body)
        .and_then(|text| json::parse(text))
        .map_err(|e| CallError::malformed(format_args!("discovery: {e}"), WriteOutcome::NotSent))
}

/// None if the server does not know aggregated discovery.
pub(super) fn parse_aggregated(body: &[u8]) -> Result<Option<Vec<Served>>, CallError> {
    let list: Aggregated = parse(body)?;
    if list.kind != "APIGroupDiscoveryList" {
        return Ok(None);
    }
    let mut all = Vec::new();
    for group in list.items {
        for version in group.versions {
            for resource in version.resources {
                let name = group.metadata.name.as_deref().unwrap_or_default();
                // A type whose name we would not send is a type we cannot serve.
                let Ok(gvr) = Gvr::new(name, &version.version, &resource.resource) else {
                    continue;
                };
                all.push(Served {
                    gvr,
                    kind: resource.response_kind.map(|k| k.kind).unwrap_or_default(),
                    namespaced: resource.scope == "Namespaced",
                    verbs: resource.verbs,
                });
            }
        }
    }
    Ok(Some(all))
}

#[derive(Deserialize)]
struct Aggregated {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    items: Vec<AggregatedGroup>,
}

#[derive(Deserialize)]
struct AggregatedGroup {
    #[serde(default)]
    metadata: GroupMeta,
    #[serde(default)]
    versions: Vec<AggregatedVersion>,
}

#[derive(Deserialize, Default)]
struct GroupMeta {
    name: Option<String>,
}

#[derive(Deserialize)]
struct AggregatedVersion {
    version: String,
    #[serde(default)]
    resources: Vec<AggregatedResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AggregatedResource {
    resource: String,
    response_kind: Option<ResponseKind>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct ResponseKind {
    #[serde(default)]
    kind: String,
}

/// `/apis` of an old server.
#[derive(Deserialize)]
pub(super) struct GroupList {
    #[serde(default)]
    pub(super) groups: Vec<LegacyGroup>,
}

/// A group of it.
#[derive(Deserialize)]
pub(super) struct LegacyGroup {
    pub(super) name: String,
    #[serde(default)]
    pub(super) versions: Vec<LegacyVersion>,
}

/// A version of a group.
#[derive(Deserialize)]
pub(super) struct LegacyVersion {
    pub(super) version: String,
}

/// What a group version of an old server holds.
#[derive(Deserialize)]
pub(super) struct ResourceList {
    #[serde(default)]
    pub(super) resources: Vec<LegacyResource>,
}

/// A type of it.
#[derive(Deserialize)]
pub(super) struct LegacyResource {
    pub(super) name: String,
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) namespaced: bool,
    #[serde(default)]
    pub(super) verbs: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregated_discovery_becomes_a_catalogue() {
        let body = br#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[
            {"metadata":{"name":"velero.io"},"versions":[{"version":"v1","resources":[
                {"resource":"backups","responseKind":{"group":"","version":"","kind":"Backup"},"scope":"Namespaced","verbs":["get","list"]},
                {"resource":"../evil","responseKind":{"kind":"X"},"scope":"Cluster"}]}]}]}"#;
        let catalogue = Catalogue(parse_aggregated(body).unwrap().unwrap());
        let gvr = Gvr::new("velero.io", "v1", "backups").unwrap();
        assert_eq!(catalogue.kind(&gvr), Some("Backup"));
        assert_eq!(catalogue.groups(), ["velero.io"]);
        assert_eq!(catalogue.types("velero.io").count(), 1);
        assert_eq!(catalogue.types("apps").count(), 0);
    }

    #[test]
    fn an_old_servers_answer_asks_for_the_old_way() {
        let body = br#"{"kind":"APIGroupList","groups":[]}"#;
        assert_eq!(parse_aggregated(body).unwrap(), None);
        assert!(parse_aggregated(b"<html>").is_err());
    }
}
