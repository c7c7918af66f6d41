//! Gathers what a pass needs to know, from local stores: no write and no call to a member.

use std::collections::BTreeMap;

use api_types::common::{ClusterRef, Destination};
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::restore::{Restore, RestoreDetail};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::core::Selector;
use kube::runtime::reflector::ObjectRef;
use velero_kit::identity::{self, Owner};
use velero_kit::{NAMESPACE, location};

use super::Problem;
use super::plan::{Entry, Facts};
use super::results::Results;
use super::source::{self, Origin, Run, Source};
use super::validate::Validated;
use crate::context::Context;
use crate::operation::destination::{self, Requested};
use crate::operation::entry;
use crate::operation::member::{self, HubObject, Link};

/// What a Restore reads.
pub fn source(ctx: &Context, restore: &Restore) -> Source {
    let namespace = restore.namespace().unwrap_or_default();
    let backup = ctx
        .hub_backups
        .get(&ObjectRef::new(&restore.spec.backup_name).within(&namespace));
    Source::new(restore, backup)
}

/// One entry a requested cluster. Once `startTime` is set the clusters are those of the status;
/// until then they follow the destination, which is the Backup's own unless one is given.
pub fn entries(
    ctx: &Context,
    restore: &Restore,
    spec: &Validated,
    source: &Source,
    (owner, now): (&Owner, Timestamp),
) -> Vec<Entry> {
    let namespace = &owner.namespace;
    let status = restore.status.clone().unwrap_or_default();
    let stored: BTreeMap<ClusterKey, RestoreDetail> = status
        .restore_details
        .into_iter()
        .filter_map(|detail| Some((entry::key_of(namespace, &detail)?, detail)))
        .collect();
    let wanted = wanted(restore, spec, source);
    let mut requested = wanted.as_ref().map_or_else(Requested::new, |wanted| {
        destination::requested(
            ctx,
            namespace,
            &wanted.destination,
            wanted.selector.as_ref(),
        )
    });
    if status.start_time.is_some() {
        let wanted = wanted.map(|wanted| wanted.destination).unwrap_or_default();
        let fleet_found = destination::fleet(ctx, namespace, &wanted.fleet).is_some();
        requested = destination::frozen(&stored, requested, &wanted, fleet_found, |key| {
            member::hub_object(ctx, key) != HubObject::Absent
        });
    }
    // Many targets may have one origin.
    let mut runs = BTreeMap::new();
    requested
        .into_iter()
        .map(|(key, problem)| {
            let origin = source
                .origin(&key)
                .map(|origin| with_place(ctx, origin, source));
            let run = match &origin {
                Ok(origin) => runs
                    .entry(origin.cluster.clone())
                    .or_insert_with(|| run(ctx, source, origin, now))
                    .clone(),
                Err(problem) => Err(problem.clone()),
            };
            Entry {
                stored: stored
                    .get(&key)
                    .cloned()
                    .unwrap_or_else(|| entry::fresh(&key)),
                problem,
                origin,
                run,
                stuck: None,
                results: Results::None,
                facts: facts(ctx, &key, &owner.uid),
                key,
            }
        })
        .collect()
}

/// Whether the very member that an origin's backups were made in answers now.
pub fn is_up(ctx: &Context, origin: &Origin) -> bool {
    member::link(ctx, &origin.cluster)
        == Link::Up {
            member_uid: origin.member_uid.clone(),
        }
}

/// Where a backup lies was written down when it was claimed; what is older is told by its member.
fn with_place(ctx: &Context, mut origin: Origin, source: &Source) -> Origin {
    if origin.place.is_none() && is_up(ctx, &origin) {
        let policy = source.backup.as_ref().and_then(|b| b.spec.policy.as_ref());
        let location = policy
            .and_then(|policy| policy.storage_location.as_deref())
            .filter(|name| !name.is_empty())
            .unwrap_or(labels::DEFAULT_STORAGE_LOCATION);
        let location = ctx.locations.get(&origin.cluster, NAMESPACE, location);
        origin.place = location.as_deref().map(location::storage);
    }
    origin
}

/// The run of an origin that is to be restored now.
fn run(ctx: &Context, source: &Source, origin: &Origin, now: Timestamp) -> Result<Run, Problem> {
    let key = &origin.cluster;
    let backup = source.backup.as_ref();
    let uid = backup.and_then(|backup| backup.uid());
    let shown = backup.is_some_and(|backup| backup.spec.is_scheduled())
        && is_up(ctx, origin)
        && member::is_live(&ctx.backups.state(key));
    let seen = shown.then(|| {
        let mut seen = ctx.backups.list(key);
        seen.retain(|object| identity::owner_uid(&object.metadata) == uid.as_deref());
        seen
    });
    source.run(origin, seen.as_deref(), now)
}

/// The clusters that are to be restored.
struct Wanted {
    destination: Destination,
    selector: Option<Selector>,
}

fn wanted(restore: &Restore, spec: &Validated, source: &Source) -> Option<Wanted> {
    if let Some(destination) = &restore.spec.destination {
        return Some(Wanted {
            destination: destination.clone(),
            selector: spec.selector.clone(),
        });
    }
    let backup = source.backup.as_deref()?;
    let own = &backup.spec.destination;
    let status = backup.status.as_ref();
    if status.is_some_and(|status| status.start_time.is_some()) {
        // What the Backup has settled on, whatever its own destination would mean today.
        let clusters = source::clusters(backup)
            .iter()
            .map(|key| ClusterRef::new(key.kind, &key.name))
            .collect();
        return Some(Wanted {
            destination: Destination {
                fleet: own.fleet.clone(),
                clusters,
                cluster_selector: None,
            },
            selector: None,
        });
    }
    // A selector that cannot be read selects nothing; the Backup itself says so.
    let selector = match own.cluster_selector.clone().map(Selector::try_from) {
        Some(Err(_)) => return None,
        Some(Ok(selector)) => Some(selector),
        None => None,
    };
    Some(Wanted {
        destination: own.clone(),
        selector,
    })
}

/// What is known about one member now.
fn facts(ctx: &Context, key: &ClusterKey, owner_uid: &str) -> Facts {
    let objects = ctx
        .restores
        .list(key)
        .into_iter()
        .filter(|object| identity::owner_uid(&object.metadata) == Some(owner_uid))
        .collect();
    Facts {
        hub: member::hub_object(ctx, key),
        link: member::link(ctx, key),
        velero: member::served(ctx, key),
        objects_synced: member::is_live(&ctx.restores.state(key)),
        objects,
    }
}
