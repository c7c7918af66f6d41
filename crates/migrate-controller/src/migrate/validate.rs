//! A spec into values that cannot be wrong, or the sentence that says why it can never work.
//!
//! The schema and its CEL rules refuse most mistakes at admission; what is left here is what they
//! cannot see, and what objects stored by an older version may hold.

use api_types::common::{ClusterRef, DeletionPolicy, Destination, ResourceFilter, StringMap};
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::migrate::{Migrate, MigratePolicy, PartialFailure};
use jiff::Timestamp;
use kube::core::Selector;
pub use velero_kit::operation::spec::InvalidSpec;
use velero_kit::operation::spec::{check_filter, deadline, parse_duration, parse_selector};
use velero_kit::scope::{self, Scope};

/// What the spec says, parsed.
#[derive(Debug, Clone)]
pub struct Validated {
    /// The one cluster to migrate from, as it is written.
    pub source: ClusterRef,
    /// Which clusters of the targets' fleet, when chosen by the labels of their AttachedCluster.
    pub selector: Option<Selector>,
    /// When what has not begun fails.
    pub deadline: Timestamp,
    /// Nothing new begins.
    pub cancel: bool,
    /// Whether targets go on with a backup that is only partial.
    pub partial_failure: PartialFailure,
    /// What deletion does to the backup in between.
    pub deletion_policy: DeletionPolicy,
    /// What of the backup is restored, as Velero's Restore says it.
    pub scope: Scope,
    /// Why the source cannot be a target too.
    pub(super) unmoved: Option<String>,
}

/// Checks a Migrate, before its clusters are known.
pub fn validate(migrate: &Migrate) -> Result<Validated, InvalidSpec> {
    let spec = &migrate.spec;
    let source = one_source(&spec.source_cluster)?;
    let selector = spec.target_cluster.cluster_selector.clone();
    let selector = selector
        .map(|selector| parse_selector("targetCluster.clusterSelector", selector))
        .transpose()?;
    let policy = spec.policy.clone().unwrap_or_default();
    check_policy(&policy)?;
    let filter = policy.resource_filter.unwrap_or_default();
    let validated = Validated {
        deadline: deadline(&migrate.metadata, ("deadline", &spec.deadline))?,
        cancel: spec.cancel.unwrap_or(false),
        partial_failure: policy.partial_failure,
        deletion_policy: spec.deletion_policy,
        scope: restored(&filter)?,
        unmoved: unmoved(&filter, &policy.namespace_mapping),
        source: source.clone(),
        selector,
    };
    // What the spec itself says is refused at once; a selection may still turn out without the source.
    let same_fleet = spec.source_cluster.fleet == spec.target_cluster.fleet;
    let listed = spec.target_cluster.clusters.iter().any(|target| {
        target.name == source.name
            && (target.kind == source.kind || target.kind.is_empty() || source.kind.is_empty())
    });
    if same_fleet && listed {
        validated.check_clone(&source.name)?;
    }
    Ok(validated)
}

impl Validated {
    /// Checks the targets once they are known, before the first object is made.
    ///
    /// # Errors
    /// When the source is among them and would be restored onto itself.
    pub fn check_targets<'a>(
        &self,
        source: &ClusterKey,
        mut targets: impl Iterator<Item = &'a ClusterKey>,
    ) -> Result<(), InvalidSpec> {
        if targets.any(|target| target == source) {
            self.check_clone(&source.name)?;
        }
        Ok(())
    }

    fn check_clone(&self, source: &str) -> Result<(), InvalidSpec> {
        let Some(why) = &self.unmoved else {
            return Ok(());
        };
        Err(InvalidSpec {
            field: "targetCluster",
            problem: format!(
                "{source} is source and target, so every namespace must be restored under another \
                 name: {why}, or take {source} out of the targets"
            ),
        })
    }
}

fn one_source(source: &Destination) -> Result<&ClusterRef, InvalidSpec> {
    match source.clusters.as_slice() {
        [one] if !one.name.is_empty() && source.cluster_selector.is_none() => Ok(one),
        _ => Err(InvalidSpec {
            field: "sourceCluster",
            problem: "sourceCluster names exactly one cluster: write one entry under \
                      sourceCluster.clusters"
                .to_owned(),
        }),
    }
}

fn check_policy(policy: &MigratePolicy) -> Result<(), InvalidSpec> {
    if let Some(ttl) = &policy.ttl {
        parse_duration("policy.ttl", ttl)?;
    }
    for (from, to) in &policy.namespace_mapping {
        if from.is_empty() || !is_namespace(to) {
            return Err(InvalidSpec {
                field: "policy.namespaceMapping",
                problem: format!(
                    "{from:?} cannot become {to:?}: a namespace has up to 63 lower-case letters, \
                     digits and '-', and begins and ends with a letter or digit"
                ),
            });
        }
    }
    policy.resource_filter.as_ref().map_or(Ok(()), check_filter)
}

/// What of the backup is restored: all of it, since the filter was applied when it was made, but what
/// is Velero's own.
fn restored(filter: &ResourceFilter) -> Result<Scope, InvalidSpec> {
    let refuse = |problem| InvalidSpec {
        field: "policy.resourceFilter",
        problem,
    };
    let named = filter
        .included_resources
        .iter()
        .chain(filter.included_cluster_scoped_resources.iter())
        .chain(filter.included_namespace_scoped_resources.iter());
    if let Some(name) = named.into_iter().find(|name| scope::is_velero_s_own(name)) {
        return Err(refuse(format!(
            "{name} is Velero's own and never restored: remove it from the included resources"
        )));
    }
    let mut scope = scope::scope(&ResourceFilter::default()).map_err(refuse)?;
    let velero_named = filter
        .included_namespaces
        .iter()
        .any(|name| name == labels::VELERO_NAMESPACE);
    if velero_named {
        scope.excluded_namespaces.clear();
    }
    Ok(scope)
}

/// Why a restore of this into the cluster that it comes from would meet itself, if it would.
fn unmoved(filter: &ResourceFilter, mapping: &StringMap) -> Option<String> {
    let named = &filter.included_namespaces;
    let pattern = |name: &&String| name.contains(['*', '?', '[']);
    if named.is_empty() || named.iter().any(|name| pattern(&name)) {
        let how = "name them in policy.resourceFilter.includedNamespaces and map each of them in \
                   policy.namespaceMapping";
        return Some(how.to_owned());
    }
    let stays = |name: &&String| mapping.get(*name).is_none_or(|to| to == *name);
    if let Some(name) = named.iter().find(stays) {
        return Some(format!("map {name} in policy.namespaceMapping"));
    }
    let mut met = named.iter().filter_map(|name| mapping.get(name));
    if let Some(to) = met.find(|to| named.contains(to)) {
        return Some(format!("map nothing to {to}, which is migrated itself"));
    }
    // No mapping moves what lies in no namespace.
    let of_cluster = if filter.include_cluster_resources == Some(true) {
        "includeClusterResources"
    } else if !filter.included_cluster_scoped_resources.is_empty() {
        "includedClusterScopedResources"
    } else {
        return None;
    };
    Some(format!(
        "remove {of_cluster} from policy.resourceFilter, since such objects keep their names"
    ))
}

fn is_namespace(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 63
        && name.starts_with(letter)
        && name.ends_with(letter)
        && name.chars().all(|c| letter(c) || c == '-')
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
