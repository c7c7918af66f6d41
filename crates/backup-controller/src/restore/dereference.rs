//! Gathers what a pass needs to know, from local stores: no write and no call to a member.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api_types::common::{ClusterRef, Destination};
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::MemberId;
use api_types::restore::{Restore, RestoreDetail};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::core::Selector;
use kube::runtime::reflector::ObjectRef;
use velero_kit::identity::{self, Owner};
use velero_kit::reading::elsewhere::{self, up_member};
use velero_kit::reading::opening::own_location;
use velero_kit::reading::settled;
use velero_kit::{NAMESPACE, location};

use super::origin::is_made_in;
use super::plan::{Entry, Facts};
use super::results::Results;
use super::source::{self, Origin, Run, Source, Which};
use super::wanted::location_of;
use super::{Problem, place};
use crate::context::Context;
use crate::operation::destination;
use crate::operation::member;
use crate::operation::{entry, inherited, silence};

/// What a Restore reads.
pub fn source(ctx: &Context, restore: &Restore) -> Source {
    let namespace = restore.namespace().unwrap_or_default();
    let backup = ctx
        .hub_backups
        .get(&ObjectRef::new(&restore.spec.backup_name).within(&namespace));
    let mut source = Source::new(restore, backup);
    // Only what a cluster restores of itself is its own.
    if source.cluster.is_none() {
        let keys = source.backup.iter().flat_map(|of| source::clusters(of));
        let adopted = keys.map(|key| (member::adopted(ctx, &key), key));
        source.adopted = adopted
            .filter(|(ids, _)| !ids.is_empty())
            .map(|(ids, key)| (key, ids))
            .collect();
    }
    source
}

/// One entry a requested cluster. Once `startTime` is set the clusters are those of the status;
/// until then they follow the destination, which is the Backup's own unless one is given.
pub fn entries(
    ctx: &Context,
    restore: &Restore,
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
    let wanted = wanted(restore, source).and_then(selected);
    let by = wanted
        .as_ref()
        .map(|(wanted, selector)| (wanted, selector.as_ref()));
    let requested = destination::of_once(ctx, namespace, by, &stored, status.start_time.is_some());
    let wanted = wanted.map(|(wanted, _)| wanted).unwrap_or_default();
    // Many targets may have one origin.
    let mut known = BTreeMap::new();
    inherited::entries(stored, requested, &wanted, now)
        .into_iter()
        .map(|(key, problem, stored)| {
            let (origin, run) = match source.origin(&key) {
                Ok(origin) => known
                    .entry(origin.cluster.clone())
                    .or_insert_with(|| Found::new(ctx, source, origin, now))
                    .of(ctx, source, &stored),
                Err(problem) => (Err(problem.clone()), Err(problem)),
            };
            let mut entry = Entry {
                stored,
                problem,
                origin,
                run,
                stuck: None,
                rested: false,
                results: Results::None,
                facts: facts(ctx, &key, &owner.uid),
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

/// What is known of an origin, for all targets that have it.
struct Found {
    /// All members that it may be.
    origin: Origin,
    /// The run that is to be chosen, and those that may have made it.
    run: Result<(Origin, Run), Problem>,
}

impl Found {
    fn new(ctx: &Context, source: &Source, origin: Origin, now: Timestamp) -> Self {
        let mut origin = with_place(ctx, origin, source);
        // Its own backup is that of the member that answers.
        if source.cluster.is_none()
            && let Some(up) = up_member(ctx, &origin).cloned()
        {
            let key = origin.cluster.clone();
            origin = origin
                .narrowed(|member| member.uid == up.uid || source.is_adopted(&key, &member.uid));
        }
        shown(ctx, &mut origin);
        Self {
            run: run(ctx, source, &origin, now),
            origin,
        }
    }

    /// What it means to an entry: a run that was chosen is of whichever member made it.
    fn of(
        &self,
        ctx: &Context,
        source: &Source,
        stored: &RestoreDetail,
    ) -> (Result<Origin, Problem>, Result<Run, Problem>) {
        let chosen = stored.backup_name_in_cluster.as_deref();
        match &self.run {
            Ok((narrow, run)) => {
                let origin = if chosen.is_some() {
                    &self.origin
                } else {
                    narrow
                };
                let origin = match (chosen, &run.which) {
                    (Some(name), _) => where_it_lies(ctx, origin.clone(), source, name),
                    (None, Which::Named(name)) => where_it_lies(ctx, origin.clone(), source, name),
                    (None, Which::Newest(_)) => origin.clone(),
                };
                (Ok(origin), Ok(run.clone()))
            }
            Err(problem) => (Ok(self.origin.clone()), Err(problem.clone())),
        }
    }
}

/// The location that the Backup names now.
fn location_named(source: &Source) -> &str {
    let policy = source.backup.as_ref().and_then(|b| b.spec.policy.as_ref());
    policy
        .and_then(|policy| policy.storage_location.as_deref())
        .filter(|name| !name.is_empty())
        .unwrap_or(labels::DEFAULT_STORAGE_LOCATION)
}

/// Where a backup lies was written down when it was claimed; what is older is told by its member.
/// What no member tells, the Fleet does.
fn with_place(ctx: &Context, mut origin: Origin, source: &Source) -> Origin {
    let named = location_named(source);
    if source.is_lost() {
        // Who has the name now may have made what it has stored.
        let own = ctx.locations.get(&origin.cluster, NAMESPACE, named);
        let own = own.map(|own| place::nameless(Some(location::storage(&own))));
        origin.members = own.into_iter().chain(origin.members).collect();
    } else if up_member(ctx, &origin).is_some_and(|up| up.place.is_none()) {
        origin = placed(ctx, origin, named);
    }
    let known = origin.members.iter().all(|member| member.place.is_some());
    if known || named != labels::DEFAULT_STORAGE_LOCATION {
        return origin;
    }
    let namespace = &origin.cluster.namespace;
    let fleet = source.fleet.as_deref();
    let fleet = fleet.and_then(|fleet| destination::fleet(ctx, namespace, fleet));
    match fleet.and_then(|fleet| place::of_fleet(&fleet, &origin.cluster)) {
        Some(place) => place::filled(origin, &place),
        None => origin,
    }
}

/// What lies at a place that a location of the member's own is at, Velero shows there.
fn shown(ctx: &Context, origin: &mut Origin) {
    let Some(uid) = up_member(ctx, origin).map(|up| up.uid.clone()) else {
        return;
    };
    let key = origin.cluster.clone();
    for member in origin.members.iter_mut().filter(|member| member.uid == uid) {
        let place = member.place.as_ref();
        if place.is_some_and(|place| own_location(ctx, &key, place).is_some()) {
            member.last = None;
        }
    }
}

/// A run lies in the location that its member shows it in, unless that was given another place since:
/// be it that this is not written down yet, or that Velero has still to look there.
fn where_it_lies(ctx: &Context, origin: Origin, source: &Source, run: &str) -> Origin {
    let object = ctx.backups.get(&origin.cluster, NAMESPACE, run);
    let Some(object) = object.filter(|object| is_made_in(&origin.made_in(), object)) else {
        return origin;
    };
    let name = location_of(&object);
    let Some(found) = ctx.locations.get(&origin.cluster, NAMESPACE, &name) else {
        return origin;
    };
    let here = origin.narrowed(|member| {
        let made_in = [MemberId::from_uid(&member.uid)].into();
        let place = member.place.as_ref();
        is_made_in(&made_in, &object) && place.is_some_and(|place| location::is_at(&found, place))
    });
    if here.members.is_empty() {
        if name == location_named(source) {
            return origin;
        }
        return placed(ctx, origin, &name);
    }
    if origin.places().len() == 1 || settled::is_sure(ctx, &origin.cluster, &found) {
        here
    } else {
        origin
    }
}

/// What keeps the runs that a member shows from being trusted, where it has stored in several places.
fn unsettled(ctx: &Context, origin: &Origin, seen: &[Arc<velero::Backup>]) -> Option<Problem> {
    if origin.places().len() < 2 {
        return None;
    }
    let key = &origin.cluster;
    let names: BTreeSet<String> = seen.iter().map(|run| location_of(run)).collect();
    let found = names
        .iter()
        .filter_map(|name| ctx.locations.get(key, NAMESPACE, name));
    let mut unsure = found.filter(|found| !settled::is_sure(ctx, key, found));
    let first = unsure.next()?;
    Some(settled::unsettled(key, &first.name_any()))
}

/// A run that Velero is bringing back from the bucket: others may follow, in no order of time.
fn returning(ctx: &Context, key: &ClusterKey, seen: &[Arc<velero::Backup>]) -> Option<Problem> {
    let is_whole = |run: &Arc<velero::Backup>| {
        let location = ctx.locations.get(key, NAMESPACE, &location_of(run));
        location.is_none_or(|location| elsewhere::is_whole(run, &location))
    };
    let partial = seen.iter().find(|run| !is_whole(run))?;
    Some(elsewhere::not_whole(key, &partial.name_any()))
}

/// The origin with the place of this location of the member that answers, if that has it.
fn placed(ctx: &Context, mut origin: Origin, location: &str) -> Origin {
    let found = ctx.locations.get(&origin.cluster, NAMESPACE, location);
    let uid = up_member(ctx, &origin).map(|up| up.uid.clone());
    let mut members = origin.members.iter_mut();
    let up = members.find(|member| Some(&member.uid) == uid.as_ref());
    if let (Some(up), Some(found)) = (up, found) {
        up.place = Some(location::storage(&found));
    }
    origin
}

/// The run of an origin that is to be restored now.
fn run(
    ctx: &Context,
    source: &Source,
    origin: &Origin,
    now: Timestamp,
) -> Result<(Origin, Run), Problem> {
    let key = &origin.cluster;
    let backup = source.backup.as_ref();
    let uid = backup.and_then(|backup| backup.uid());
    let is_shown = backup.is_some_and(|backup| backup.spec.is_scheduled())
        && member::is_live(&ctx.backups.state(key));
    let seen = up_member(ctx, origin).filter(|_| is_shown).map(|up| {
        let made_in = [MemberId::from_uid(&up.uid)].into();
        let mut seen = ctx.backups.list(key);
        seen.retain(|object| {
            identity::owner_uid(&object.metadata) == uid.as_deref() && is_made_in(&made_in, object)
        });
        (up.uid.as_str(), seen)
    });
    if let Some((uid, seen)) = &seen {
        let own = origin.narrowed(|member| member.uid == *uid);
        if let Some(problem) = unsettled(ctx, &own, seen).or_else(|| returning(ctx, key, seen)) {
            return Err(problem);
        }
    }
    let seen = seen.as_ref().map(|(uid, seen)| (*uid, seen.as_slice()));
    source.run(origin, seen, now)
}

/// The clusters that a Restore that cannot work asks for.
pub fn meant(ctx: &Context, restore: &Restore, source: &Source) -> Vec<ClusterKey> {
    let namespace = restore.namespace().unwrap_or_default();
    let wanted = wanted(restore, source);
    let meant = wanted.map(|wanted| destination::meant(ctx, &namespace, &wanted));
    meant.unwrap_or_default()
}

/// The clusters that are to be restored, if that is known.
fn wanted(restore: &Restore, source: &Source) -> Option<Destination> {
    if let Some(destination) = &restore.spec.destination {
        return Some(destination.clone());
    }
    let backup = source.backup.as_deref()?;
    let own = &backup.spec.destination;
    let status = backup.status.as_ref();
    if status.is_none_or(|status| status.start_time.is_none()) {
        return Some(own.clone());
    }
    // What the Backup has settled on, whatever its own destination would mean today.
    let clusters = source::clusters(backup)
        .iter()
        .map(|key| ClusterRef::new(key.kind, &key.name))
        .collect();
    Some(Destination {
        fleet: own.fleet.clone(),
        clusters,
        cluster_selector: None,
    })
}

/// Where it is restored, with the selector that was read. A selector of the Backup's that cannot be read
/// selects nothing; the Backup itself says so.
fn selected(wanted: Destination) -> Option<(Destination, Option<Selector>)> {
    let selector = wanted.cluster_selector.clone().map(Selector::try_from);
    Some((wanted, selector.transpose().ok()?))
}

/// What is known about one member now.
fn facts(ctx: &Context, key: &ClusterKey, owner_uid: &str) -> Facts {
    let watch = ctx.restores.state(key);
    let objects = ctx
        .restores
        .list(key)
        .into_iter()
        .filter(|object| identity::owner_uid(&object.metadata) == Some(owner_uid))
        .collect();
    Facts {
        hub: member::hub_object(ctx, key),
        link: member::link(ctx, key),
        adopted: member::adopted(ctx, key),
        velero: member::served_by(member::served(ctx, key), watch.link),
        objects_synced: member::is_live(&watch),
        objects,
    }
}
