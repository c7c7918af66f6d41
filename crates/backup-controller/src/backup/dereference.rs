//! Gathers what a pass needs to know, from local stores: no write and no call to a member.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::backup::{Backup, BackupDetail};
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use kube::ResourceExt;
use velero_kit::NAMESPACE;
use velero_kit::identity::Owner;

use super::plan::{Entry, Facts};
use super::validate::Validated;
use crate::context::Context;
use crate::operation::{conclude, destination, entry, inherited, member, silence};

/// The fleet that a Backup names, if it is there.
pub fn fleet(ctx: &Context, backup: &Backup) -> Option<Arc<Fleet>> {
    let namespace = backup.namespace().unwrap_or_default();
    destination::fleet(ctx, &namespace, &backup.spec.destination.fleet)
}

/// One entry a requested cluster. Once `startTime` is set the clusters are those of the status;
/// until then they follow the destination. An entry that has not begun needs its place in the
/// fleet in any case; one that has begun goes on whatever happens to the fleet.
pub fn entries(ctx: &Context, backup: &Backup, spec: &Validated, owner: &Owner) -> Vec<Entry> {
    let namespace = &owner.namespace;
    let status = backup.status.clone().unwrap_or_default();
    let stored: BTreeMap<ClusterKey, BackupDetail> = status
        .backup_details
        .into_iter()
        .filter_map(|detail| Some((entry::key_of(namespace, &detail)?, detail)))
        .collect();
    let wanted = &backup.spec.destination;
    let by = Some((wanted, spec.selector.as_ref()));
    let requested = destination::of_once(ctx, namespace, by, &stored, status.start_time.is_some());
    inherited::entries(stored, requested, wanted, conclude::now())
        .into_iter()
        .map(|(key, problem, stored)| {
            let mut entry = Entry {
                stored,
                problem,
                stuck: None,
                rested: false,
                facts: facts(ctx, &key, &spec.location, &owner.uid),
                key,
            };
            entry.rested = entry.premature().is_some()
                && entry.object().is_some_and(|object| {
                    silence::has_rested(ctx, &owner.uid, &entry.key, &**object)
                });
            entry
        })
        .collect()
}

/// What is known about one member now.
pub fn facts(ctx: &Context, key: &ClusterKey, location: &str, owner_uid: &str) -> Facts {
    let watch = ctx.backups.state(key);
    let objects = ctx
        .backups
        .list(key)
        .into_iter()
        .filter(|object| velero_kit::identity::owner_uid(&object.metadata) == Some(owner_uid))
        .collect();
    Facts {
        hub: member::hub_object(ctx, key),
        link: member::link(ctx, key),
        velero: member::served_by(member::served(ctx, key), watch.link),
        location: ctx.locations.get(key, NAMESPACE, location),
        objects_synced: member::is_live(&watch),
        objects,
    }
}
