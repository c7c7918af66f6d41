//! What is looked at before anything is created: would the targets take what the source has? Pure.
//!
//! It warns, and stops nothing: only Velero knows which objects there are.

use std::collections::BTreeSet;

use api_types::common::{ResourceFilter, StringMap};
use api_types::condition::reason;
use glob::Pattern;
use kube::core::Version;
use velero_kit::problem::Problem;

/// One resource type that a member serves, as the proxy's `Discover` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Empty for Kubernetes' first group.
    pub group: String,
    pub version: String,
    /// Its plural name.
    pub resource: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
}

/// What Velero never restores, wherever it is.
const NEVER: [&str; 7] = [
    "nodes",
    "events",
    "events.events.k8s.io",
    "csinodes.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "resticrepositories.velero.io",
    "backuprepositories.velero.io",
];
/// What a resource must allow for Velero to take it.
const NEEDED: [&str; 4] = ["list", "create", "get", "delete"];
/// Definitions of custom resources, as filters may write them.
const DEFINITIONS: [&str; 2] = [
    "customresourcedefinitions",
    "customresourcedefinitions.apiextensions.k8s.io",
];
/// How much of a message is for the names.
const NAMES_BYTES: usize = 150;

impl Served {
    /// As filters write it in full.
    fn name(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    fn is_in(&self, names: &[String]) -> bool {
        let full = self.name();
        let means = |name: &String| *name == self.resource || matches(name, &full);
        names.iter().any(means)
    }

    fn is_same_type(&self, other: &Self) -> bool {
        (&self.group, &self.resource) == (&other.group, &other.resource)
    }

    /// Whether Velero can take and bring back such objects.
    fn can_move(&self) -> bool {
        let name = self.name();
        !self.resource.contains('/')
            && !NEVER.contains(&name.as_str())
            && !velero_kit::scope::is_velero_s_own(&name)
            && NEEDED
                .iter()
                .all(|verb| self.verbs.iter().any(|known| known == verb))
    }
}

/// Whether the filter selects such objects, where there are any, as Velero 1.18 reads it; `everywhere`:
/// no namespace is left out. Of what is not selected only what selected objects refer to is taken.
pub fn selects(filter: &ResourceFilter, of: &Served, everywhere: bool) -> bool {
    if *filter == ResourceFilter::default() {
        // Then the Velero Backup asks for the whole cluster.
        return true;
    }
    let scoped = |included: &[String], excluded: &[String], empty_means: bool| {
        let named = included.is_empty() && empty_means || of.is_in(included);
        named && !of.is_in(excluded)
    };
    let (included, excluded) = (&filter.included_resources, &filter.excluded_resources);
    let all = filter.include_cluster_resources;
    if all.is_some() || !included.is_empty() || !excluded.is_empty() {
        let in_scope = of.namespaced || all.unwrap_or(everywhere);
        return in_scope && scoped(included, excluded, true);
    }
    if of.namespaced {
        let included = &filter.included_namespace_scoped_resources;
        scoped(included, &filter.excluded_namespace_scoped_resources, true)
    } else {
        let included = &filter.included_cluster_scoped_resources;
        scoped(included, &filter.excluded_cluster_scoped_resources, false)
    }
}

/// Whether the filter leaves no namespace out of those that the source has, as far as they are known.
fn is_everywhere(filter: &ResourceFilter, source: Option<&[Namespace]>) -> bool {
    filter.excluded_namespaces.is_empty()
        && filter.included_namespaces.iter().all(|name| name == "*")
        && source.is_none_or(|all| !all.iter().any(|of| of.left_out))
}

/// A type that the source backs up.
#[derive(Debug, Clone)]
pub struct Selected {
    /// In the version that it is backed up in.
    of: Served,
    /// Whether its definition is migrated with it.
    comes_along: bool,
}

/// The types that the filter selects of those that the source serves; `namespaces`: those that it has, if
/// they are known.
pub fn selected(
    filter: &ResourceFilter,
    source: &[Served],
    namespaces: Option<&[Namespace]>,
) -> Vec<Selected> {
    let everywhere = is_everywhere(filter, namespaces);
    preferred(source)
        .filter(|of| of.can_move() && selects(filter, of, everywhere))
        .map(|of| Selected {
            of: of.clone(),
            comes_along: comes_along(filter, of),
        })
        .collect()
}

/// What a target does not serve of what is backed up, in the version that it is backed up in. `None`:
/// it serves all of it.
pub fn not_served(selected: &[Selected], (target, served): (&str, &[Served])) -> Option<Problem> {
    let mut missing = BTreeSet::new();
    for Selected { of, comes_along } in selected {
        let there: Vec<&Served> = served.iter().filter(|it| it.is_same_type(of)).collect();
        let fits = there.iter().any(|it| it.version == of.version);
        if fits || there.is_empty() && *comes_along {
            continue;
        }
        missing.insert(tell(of, &there));
    }
    let names = some_of(&missing)?;
    Some(Problem::new(
        reason::API_VERSION_NOT_SERVED,
        format!("{target} does not serve {names}: such objects are not restored there"),
    ))
}

/// Velero takes each type in the version that its API server prefers.
fn preferred(source: &[Served]) -> impl Iterator<Item = &Served> {
    source.iter().filter(|of| {
        let mine = Version::parse(&of.version).priority();
        let mut others = source.iter().filter(|other| other.is_same_type(of));
        others.all(|other| Version::parse(&other.version).priority() <= mine)
    })
}

/// Whether the definition of a custom resource is migrated with it.
fn comes_along(filter: &ResourceFilter, of: &Served) -> bool {
    let custom = of.group.contains('.') && !of.group.ends_with(".k8s.io");
    let names_definitions = |names: &[String]| {
        let means = |name: &String| *name == "*" || DEFINITIONS.contains(&name.as_str());
        names.iter().any(means)
    };
    let included = &filter.included_resources;
    custom
        && (included.is_empty() || names_definitions(included))
        && filter.include_cluster_resources != Some(false)
        && !names_definitions(&filter.excluded_resources)
        && !names_definitions(&filter.excluded_cluster_scoped_resources)
}

fn tell(of: &Served, there: &[&Served]) -> String {
    let group = match of.group.as_str() {
        "" => of.version.clone(),
        group => format!("{group}/{}", of.version),
    };
    let versions: Vec<&str> = there.iter().map(|it| it.version.as_str()).collect();
    if versions.is_empty() {
        format!("{group} {}", of.resource)
    } else {
        format!("{group} {} (it has {})", of.resource, versions.join(", "))
    }
}

/// A namespace of a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    pub name: String,
    /// It is being deleted.
    pub going: bool,
    /// Velero leaves it out of every backup, by its label.
    pub left_out: bool,
}

/// Which namespaces what is migrated comes into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// They are not there yet, and are created.
    pub created: BTreeSet<String>,
    /// They are there: what is in them stays as it is.
    pub present: BTreeSet<String>,
    /// They are being deleted: Velero waits until they are gone, some minutes at most.
    pub going: BTreeSet<String>,
}

/// The names that the namespaces get which the filter selects of those that the source has.
pub fn arriving(
    filter: &ResourceFilter,
    mapping: &StringMap,
    source: &[Namespace],
) -> BTreeSet<String> {
    let included = &filter.included_namespaces;
    let taken = |of: &&Namespace| {
        let name = &of.name;
        !of.left_out
            && (included.is_empty() || included.iter().any(|pattern| matches(pattern, name)))
            && !filter
                .excluded_namespaces
                .iter()
                .any(|pattern| matches(pattern, name))
            && (name != velero_kit::NAMESPACE || included.contains(name))
    };
    let taken = source.iter().filter(taken);
    taken
        .map(|of| mapping.get(&of.name).unwrap_or(&of.name).clone())
        .collect()
}

/// What the namespaces of these names find in a target that has those of `there`.
pub fn namespaces(arriving: &BTreeSet<String>, there: &[Namespace]) -> Namespaces {
    let mut namespaces = Namespaces::default();
    for name in arriving {
        let list = match there.iter().find(|there| there.name == *name) {
            None => &mut namespaces.created,
            Some(Namespace { going: true, .. }) => &mut namespaces.going,
            Some(_) => &mut namespaces.present,
        };
        list.insert(name.clone());
    }
    namespaces
}

impl Namespaces {
    /// One sentence that names them. Only Velero knows in which there is something to migrate.
    pub fn note(&self) -> Option<String> {
        let parts = [
            some_of(&self.created).map(|names| format!("creates {names}")),
            some_of(&self.present)
                .map(|names| format!("finds {names}, where what is there stays as it is")),
            some_of(&self.going).map(|names| format!("waits until {names} is deleted there")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let told = parts.join("; ");
        (!parts.is_empty()).then(|| format!("of namespaces with something to migrate, it {told}"))
    }
}

/// Whether a name is meant by a pattern of Velero's: `*` any text, `?` any character, `[ab]` and `[a-c]`
/// one of these. Velero refuses what is none.
fn matches(pattern: &str, name: &str) -> bool {
    Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(name))
}

/// The first names, as many as a message has room for. `None`: there are none.
pub fn some_of(names: &BTreeSet<String>) -> Option<String> {
    let mut text = String::new();
    for (number, name) in names.iter().enumerate() {
        if number > 0 && text.len() + name.len() > NAMES_BYTES {
            return Some(format!("{text} and {} more", names.len() - number));
        }
        if number > 0 {
            text.push_str(", ");
        }
        text.push_str(name);
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
#[path = "preflight_tests.rs"]
mod tests;
