//! What a member's answers to discovery say.

use serde::Deserialize;

use crate::{
    error::{CallError, WriteOutcome},
    json,
    request::path::Gvr,
};

/// A member with every well-known operator serves some 3000 types in 300 groups; what is over these is
/// left out, since it is kept for as long as the link lives and the groups go to every controller.
pub(super) const TYPES_MAX: usize = 5000;
const GROUPS_MAX: usize = 1000;
/// Kubernetes has eight, and a few for single types.
const VERBS_MAX: usize = 16;
const VERB_MAX: usize = 32;
const KIND_MAX: usize = 63;

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
pub struct Catalogue(Vec<Served>);

impl Catalogue {
    /// As much of it as is believed.
    pub(super) fn new(mut types: Vec<Served>) -> Self {
        types.truncate(TYPES_MAX);
        types.shrink_to_fit();
        Self(types)
    }

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

    /// The groups' names, sorted, without the core group; no more than any member has.
    pub fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = self
            .0
            .iter()
            .map(|served| served.gvr.group().to_owned())
            .filter(|group| !group.is_empty())
            .collect();
        groups.sort();
        groups.dedup();
        groups.truncate(GROUPS_MAX);
        groups
    }
}

impl Served {
    /// A type as the member describes it. One whose name we would not send is one we cannot serve.
    pub(super) fn checked(
        gvr: Result<Gvr, CallError>,
        kind: String,
        namespaced: bool,
        verbs: Vec<String>,
    ) -> Option<Self> {
        let gvr = gvr.ok().filter(|_| kind.len() <= KIND_MAX)?;
        let mut kept: Vec<String> = verbs.into_iter().filter(|v| v.len() <= VERB_MAX).collect();
        kept.truncate(VERBS_MAX);
        kept.shrink_to_fit();
        Some(Self {
            gvr,
            kind,
            namespaced,
            verbs: kept,
        })
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
                all.extend(Served::checked(
                    Gvr::new(name, &version.version, &resource.resource),
                    resource.response_kind.map(|k| k.kind).unwrap_or_default(),
                    resource.scope == "Namespaced",
                    resource.verbs,
                ));
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
        let catalogue = Catalogue::new(parse_aggregated(body).unwrap().unwrap());
        let gvr = Gvr::new("velero.io", "v1", "backups").unwrap();
        assert_eq!(catalogue.kind(&gvr), Some("Backup"));
        assert_eq!(catalogue.groups(), ["velero.io"]);
        assert_eq!(catalogue.types("velero.io").count(), 1);
        assert_eq!(catalogue.types("apps").count(), 0);
    }

    #[test]
    fn no_more_is_kept_than_a_member_can_serve() {
        let resource = |n: usize, kind: &str| {
            let mut verbs = vec!["x".repeat(VERB_MAX + 1)];
            verbs.extend((0..1000).map(|v| format!("verb{v}")));
            serde_json::json!({"resource": format!("r{n}"), "responseKind": {"kind": kind},
                "verbs": verbs})
        };
        let group = |name: String, resources: Vec<serde_json::Value>| {
            serde_json::json!({"metadata": {"name": name},
                "versions": [{"version": "v1", "resources": resources}]})
        };
        let list = |items: Vec<serde_json::Value>| {
            let list = serde_json::json!({"kind": "APIGroupDiscoveryList", "items": items});
            Catalogue::new(
                parse_aggregated(list.to_string().as_bytes())
                    .unwrap()
                    .unwrap(),
            )
        };
        let long = "K".repeat(KIND_MAX + 1);
        let one = list(vec![group(
            "g".into(),
            vec![resource(1, "Kind"), resource(2, &long)],
        )]);
        assert_eq!(one.0.len(), 1, "a kind of this length is none");
        assert_eq!(one.0[0].verbs.len(), VERBS_MAX);
        assert_eq!(one.0[0].verbs[0], "verb0");

        let plain = |n: usize| serde_json::json!({"resource": format!("r{n}")});
        let groups = (0..TYPES_MAX + 7).map(|n| group(format!("g{n}"), vec![plain(n)]));
        let many = list(groups.collect());
        assert_eq!(many.0.len(), TYPES_MAX);
        assert_eq!(many.groups().len(), GROUPS_MAX);
    }

    #[test]
    fn an_old_servers_answer_asks_for_the_old_way() {
        let body = br#"{"kind":"APIGroupList","groups":[]}"#;
        assert_eq!(parse_aggregated(body).unwrap(), None);
        assert!(parse_aggregated(b"<html>").is_err());
    }
}
