//! What of a backup is restored, in the terms that Velero's Restore has. Pure.
//!
//! Velero's Restore knows one list of included and one of excluded resources. The four scoped lists
//! of our filter are merged into them; what that would not express is refused, never dropped.

use api_types::common::ResourceFilter;
use api_types::labels;

/// Velero's own objects. Restored elsewhere, they would start the schedules and requests of the
/// cluster that was backed up.
const NEVER: [&str; 7] = [
    "backups.velero.io",
    "backupstoragelocations.velero.io",
    "deletebackuprequests.velero.io",
    "downloadrequests.velero.io",
    "restores.velero.io",
    "schedules.velero.io",
    "serverstatusrequests.velero.io",
];

/// The filters of a Velero Restore that our merging and exclusions concern.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    pub included_namespaces: Vec<String>,
    pub excluded_namespaces: Vec<String>,
    pub included_resources: Vec<String>,
    pub excluded_resources: Vec<String>,
    pub include_cluster_resources: Option<bool>,
}

/// Whether a resource is Velero's own and never restored.
pub fn is_velero_s_own(resource: &str) -> bool {
    NEVER.contains(&resource)
}

/// Merges and completes a filter, or says why Velero's Restore cannot express it.
pub fn scope(filter: &ResourceFilter) -> Result<Scope, String> {
    let (included, excluded) = merge(filter)?;
    if let Some(name) = included.iter().find(|name| is_velero_s_own(name)) {
        return Err(format!(
            "{name} is Velero's own and never restored: remove it from the included resources"
        ));
    }
    if excluded.iter().any(|name| name == "*") {
        return Err(
            "a restore cannot exclude '*': name each resource, or set includeClusterResources: \
             false to leave out all that lies outside of namespaces"
                .to_owned(),
        );
    }
    if let Some(name) = included.iter().find(|name| excluded.contains(name)) {
        return Err(format!(
            "{name} is both included and excluded: remove it from one of the lists"
        ));
    }
    let mut excluded_resources = excluded;
    for name in NEVER {
        add(&mut excluded_resources, name);
    }
    let included_namespaces = filter.included_namespaces.0.clone();
    let mut excluded_namespaces = filter.excluded_namespaces.0.clone();
    let mut include_cluster_resources = filter.include_cluster_resources;
    if !included_namespaces
        .iter()
        .any(|name| name == labels::VELERO_NAMESPACE)
    {
        // Velero takes cluster-scoped resources along by itself only while no namespace is excluded;
        // ours must not change that.
        let everywhere = excluded_namespaces.is_empty()
            && matches!(included_namespaces.as_slice(), [] | [_])
            && included_namespaces.iter().all(|name| name == "*");
        if everywhere && include_cluster_resources.is_none() {
            include_cluster_resources = Some(true);
        }
        add(&mut excluded_namespaces, labels::VELERO_NAMESPACE);
    }
    Ok(Scope {
        included_namespaces,
        excluded_namespaces,
        included_resources: included,
        excluded_resources,
        include_cluster_resources,
    })
}

/// The included and the excluded resources.
fn merge(filter: &ResourceFilter) -> Result<(Vec<String>, Vec<String>), String> {
    let native = !filter.included_resources.is_empty()
        || !filter.excluded_resources.is_empty()
        || filter.include_cluster_resources.is_some();
    let included = [
        &filter.included_cluster_scoped_resources.0,
        &filter.included_namespace_scoped_resources.0,
    ];
    let excluded = [
        &filter.excluded_cluster_scoped_resources.0,
        &filter.excluded_namespace_scoped_resources.0,
    ];
    let scoped = included
        .iter()
        .chain(&excluded)
        .any(|names| !names.is_empty());
    if !scoped {
        return Ok((
            filter.included_resources.0.clone(),
            filter.excluded_resources.0.clone(),
        ));
    }
    if native {
        return Err(
            "includedResources, excludedResources and includeClusterResources do not mix with the \
             four ...ScopedResources fields: use one family"
                .to_owned(),
        );
    }
    let included = union(&included);
    if included.len() > 1 && included.iter().any(|name| name == "*") {
        return Err(
            "a restore cannot take '*' of one scope and names of the other: name the resources of \
             both scopes"
                .to_owned(),
        );
    }
    Ok((included, union(&excluded)))
}

fn union(lists: &[&Vec<String>]) -> Vec<String> {
    let mut all = Vec::new();
    for name in lists.iter().copied().flatten() {
        add(&mut all, name);
    }
    all
}

fn add(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

#[cfg(test)]
#[path = "scope_tests.rs"]
mod tests;
