//! Which clusters does a destination mean, and what is in the way of each?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::problem::Problem;
use api_types::aggregate;
use api_types::common::{ClusterRef, Destination};
use api_types::condition::reason;
use api_types::fleet::Fleet;
use api_types::key::{ClusterKey, ClusterKind};
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use kube::runtime::reflector::ObjectRef;

use super::Detail;
use super::context::{Context, Process};
use super::member::{self, HubObject};

/// The clusters that are asked for, each with what keeps it from being used, if anything. One
/// entry a cluster, in the order of entries in a status.
pub type Requested = BTreeMap<ClusterKey, Option<Problem>>;

/// Labels of each AttachedCluster of a namespace; a cluster without an object is not in it.
pub type HubLabels = BTreeMap<String, BTreeMap<String, String>>;

/// The fleet of this name, if it is there.
pub fn fleet(ctx: &Context<impl Process>, namespace: &str, name: &str) -> Option<Arc<Fleet>> {
    ctx.fleets.get(&ObjectRef::new(name).within(namespace))
}

/// Resolves a destination against what the hub has now. A fleet that is being deleted keeps all of
/// its clusters from beginning anything.
pub fn requested(
    ctx: &Context<impl Process>,
    namespace: &str,
    destination: &Destination,
    selector: Option<&Selector>,
) -> Requested {
    let fleet = fleet(ctx, namespace, &destination.fleet);
    let hub: HubLabels = ctx
        .clusters
        .state()
        .into_iter()
        .filter(|cluster| cluster.namespace().as_deref() == Some(namespace))
        .map(|cluster| (cluster.name_any(), cluster.labels().clone()))
        .collect();
    let mut requested = resolve(namespace, destination, selector, fleet.as_deref(), &hub);
    if let Some(fleet) = fleet.filter(|fleet| fleet.metadata.deletion_timestamp.is_some()) {
        let problem = Problem::new(
            reason::FLEET_NOT_FOUND,
            format!(
                "Fleet {} is being deleted: nothing new is started for it",
                fleet.name_any()
            ),
        );
        for value in requested.values_mut() {
            *value = Some(problem.clone());
        }
    }
    requested
}

/// Resolves a destination against its fleet. Without a fleet, only clusters that are listed by
/// name have entries; they wait for it. The result is empty if nothing is selected (yet).
pub fn resolve(
    namespace: &str,
    destination: &Destination,
    selector: Option<&Selector>,
    fleet: Option<&Fleet>,
    hub: &HubLabels,
) -> Requested {
    let Some(fleet) = fleet else {
        return destination
            .clusters
            .iter()
            .map(|listed| named(namespace, listed))
            .map(|key| (key, Some(no_fleet(namespace, &destination.fleet))))
            .collect();
    };
    let members: BTreeSet<ClusterKey> = fleet
        .spec
        .clusters
        .iter()
        .filter_map(|member| member.fleet_member(namespace))
        .collect();
    if !destination.clusters.is_empty() {
        let mut requested = Requested::new();
        for listed in &destination.clusters {
            let (key, problem) = find(namespace, &destination.fleet, listed, &members);
            let known = requested.entry(key).or_insert_with(|| problem.clone());
            // Of two entries that mean one cluster, the one that cannot work must be seen.
            if known.is_none() {
                *known = problem;
            }
        }
        return requested;
    }
    let labels = |member: &ClusterKey| {
        let attached = member.kind == ClusterKind::AttachedCluster;
        hub.get(&member.name).filter(|_| attached)
    };
    members
        .into_iter()
        .filter(|member| match (selector, labels(member)) {
            (Some(selector), Some(labels)) => selector.matches(labels),
            // Without an object it may match once it exists: it is kept, and waited for.
            (None, _) | (Some(_), None) => true,
        })
        .map(|member| (member, None))
        .collect()
}

fn no_fleet(namespace: &str, fleet: &str) -> Problem {
    Problem::new(
        reason::FLEET_NOT_FOUND,
        format!("there is no Fleet {namespace}/{fleet}: create it"),
    )
}

/// Where clusters are chosen by label, `ClusterNotFound` in a frozen set means: unknown when the set
/// froze. What is known takes another reason when its object goes, so that the two are never
/// mistaken for each other. For operations that run once, frozen or not.
fn known(
    mut requested: Requested,
    destination: &Destination,
    hub: impl Fn(&ClusterKey) -> HubObject,
) -> Requested {
    if destination.cluster_selector.is_some() {
        for (key, problem) in &mut requested {
            if problem.is_none() && hub(key) == HubObject::Terminating {
                *problem = Some(gone(key, "is being deleted: nothing new is started there"));
            }
        }
    }
    requested
}

/// What stands of a resolution once the set of clusters is frozen: no cluster joins it, and one
/// leaves only if it was unknown when it was chosen by label and has turned out not to match. What
/// was known then stays, whatever becomes of its object, of its labels and of the fleet.
fn frozen(
    stored: &BTreeMap<ClusterKey, impl Detail>,
    mut requested: Requested,
    destination: &Destination,
    fleet_found: bool,
    hub: impl Fn(&ClusterKey) -> HubObject,
) -> Requested {
    let by_label = destination.cluster_selector.is_some();
    stored
        .iter()
        .filter_map(|(key, detail)| {
            let begun = detail.member_uid().is_some() || detail.phase().is_final();
            if begun {
                return Some((key.clone(), None));
            }
            let unknown = by_label && detail.reason() == Some(reason::CLUSTER_NOT_FOUND);
            let absent = hub(key) == HubObject::Absent;
            if let Some(problem) = requested.remove(key) {
                let lost = by_label && !unknown && absent;
                let problem =
                    problem.or_else(|| lost.then(|| gone(key, "is gone: create it again")));
                return Some((key.clone(), problem));
            }
            if !fleet_found {
                let problem = no_fleet(&key.namespace, &destination.fleet);
                return Some((key.clone(), Some(problem)));
            }
            if unknown && !absent {
                return None;
            }
            let labels = if by_label { ", with its labels" } else { "" };
            let problem = Problem::new(
                reason::CLUSTER_NOT_IN_FLEET,
                format!(
                    "{} is not selected any more, and nothing has begun there: bring it back into \
                     the Fleet{labels}",
                    key.name
                ),
            );
            Some((key.clone(), Some(problem)))
        })
        .collect()
}

/// The clusters that an operation which runs once works on now: those that its destination and
/// selector mean, until the set is frozen. `None`: what it would take them from is not there.
pub fn of_once<D: Detail>(
    ctx: &Context<impl Process>,
    namespace: &str,
    wanted: Option<(&Destination, Option<&Selector>)>,
    stored: &BTreeMap<ClusterKey, D>,
    is_frozen: bool,
) -> Requested {
    let nowhere = Destination::default();
    let now = wanted.map_or_else(Requested::new, |(destination, selector)| {
        requested(ctx, namespace, destination, selector)
    });
    let destination = wanted.map_or(&nowhere, |(destination, _)| destination);
    let hub = |key: &ClusterKey| member::hub_object(ctx, key);
    let now = known(now, destination, hub);
    if !is_frozen {
        return now;
    }
    let fleet_found = fleet(ctx, namespace, &destination.fleet).is_some();
    frozen(stored, now, destination, fleet_found, hub)
}

/// Why nothing begins for a set of clusters that is not fixed yet: what became of them all could not
/// be written down.
pub fn too_many<'a>(
    kind: &str,
    clusters: impl ExactSizeIterator<Item = &'a ClusterKey>,
) -> Option<Problem> {
    let count = clusters.len();
    let fit = aggregate::too_many(clusters.map(|key| key.name.as_str()))?;
    Some(Problem::new(
        reason::INVALID_SPEC,
        format!("selects {count} clusters, and one {kind} can hold about {fit}: split it"),
    ))
}

/// The clusters that a destination means today, for an object that cannot work. None where its selector
/// cannot be read, or where they are more than one status holds.
pub fn meant(
    ctx: &Context<impl Process>,
    namespace: &str,
    destination: &Destination,
) -> Vec<ClusterKey> {
    let selector = destination.cluster_selector.clone().map(Selector::try_from);
    let Ok(selector) = selector.transpose() else {
        return Vec::new();
    };
    let requested = requested(ctx, namespace, destination, selector.as_ref());
    match too_many("object", requested.keys()) {
        Some(_) => Vec::new(),
        None => requested.into_keys().collect(),
    }
}

fn gone(key: &ClusterKey, what: &str) -> Problem {
    let message = format!("{} {} {what}", key.kind, key.name);
    Problem::new(reason::UNREACHABLE, message)
}

/// The member that a listed cluster means.
fn find(
    namespace: &str,
    fleet: &str,
    listed: &ClusterRef,
    members: &BTreeSet<ClusterKey>,
) -> (ClusterKey, Option<Problem>) {
    let found: Vec<&ClusterKey> = members
        .iter()
        .filter(|member| listed.selects(member))
        .collect();
    match found.as_slice() {
        [member] => ((*member).clone(), None),
        [] => (
            named(namespace, listed),
            Some(Problem::new(
                reason::CLUSTER_NOT_IN_FLEET,
                format!(
                    "{} is not a member of Fleet {fleet}: add it to spec.clusters there",
                    listed.name
                ),
            )),
        ),
        _ => (
            named(namespace, listed),
            Some(Problem::new(
                reason::AMBIGUOUS_CLUSTER,
                format!(
                    "Fleet {fleet} has two members named {}: write the kind",
                    listed.name
                ),
            )),
        ),
    }
}

/// The key of a listed cluster that no fleet vouches for; without a kind it is taken for an
/// AttachedCluster, the kind that can be reached.
fn named(namespace: &str, listed: &ClusterRef) -> ClusterKey {
    ClusterKey::new(
        namespace,
        listed.kind().unwrap_or(ClusterKind::AttachedCluster),
        &listed.name,
    )
}

#[cfg(test)]
#[path = "destination_tests.rs"]
mod tests;
