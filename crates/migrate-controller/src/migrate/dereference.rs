//! Gathers what a pass needs to know, from local stores: no write and no call to a member.

use std::collections::BTreeMap;

use api_types::backup::BackupDetail;
use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::migrate::Migrate;
use api_types::restore::RestoreDetail;
use jiff::Timestamp;
use kube::ResourceExt;
use proxy_client::{MemberResource, MemberWatch};
use velero_kit::identity::owner_uid;
use velero_kit::operation::destination::{self, Requested};
use velero_kit::operation::{Detail as _, entry, inherited, member, silence};
use velero_kit::problem::Problem;
use velero_kit::reading::opening;
use velero_kit::{NAMESPACE, location};

use super::facts::{Member, Readable, Results, Seen, Source, Target, Terms};
use super::status::Entries;
use super::validate::Validated;
use crate::context::Context;

/// A target, what the fleet says against it, and its entry.
type Entry = (ClusterKey, Option<Problem>, RestoreDetail);

/// What is known of a Migrate and of its members.
#[derive(Debug)]
pub struct Known {
    pub source: Source,
    /// By name and kind.
    pub targets: Vec<Target>,
    pub terms: Terms,
}

/// Gathers it. Once `startTime` is set the clusters are those of the status.
pub fn gather(ctx: &Context, migrate: &Migrate, spec: &Validated, now: Timestamp) -> Known {
    let requested = targets_of(ctx, migrate, spec);
    let no_targets = requested.is_empty().then(|| nobody(ctx, migrate));
    let (key, mut stored, problem) = source_entry(ctx, migrate);
    let to = &migrate.spec.target_cluster;
    let mut entries = inherited::entries(stored_targets(migrate), requested, to, now);
    end_inherited(&mut stored, &mut entries, now);
    let source = source(ctx, migrate, (key, stored, problem));
    let place = source.stored.storage.as_ref();
    let place = place.or_else(|| source.location.as_ref().ok());
    let targets = entries.into_iter();
    let targets = targets.map(|entry| target(ctx, migrate, entry, place));
    Known {
        targets: targets.collect(),
        source,
        terms: Terms {
            cancel: spec.cancel,
            deadline: spec.deadline,
            now,
            partial_failure: spec.partial_failure,
            unmoved: spec.unmoved.clone(),
            no_targets,
            surveyed: false,
        },
    }
}

/// The entries that a Migrate that cannot work has, or would have by what it asks for.
pub fn meant(ctx: &Context, migrate: &Migrate) -> Entries {
    let namespace = migrate.namespace().unwrap_or_default();
    let (_, source, _) = source_entry(ctx, migrate);
    let stored = migrate.status.clone().unwrap_or_default();
    let mut targets = stored.target_cluster_status;
    if targets.is_empty() {
        let meant = destination::meant(ctx, &namespace, &migrate.spec.target_cluster);
        targets = meant.iter().map(entry::fresh).collect();
    }
    Entries { source, targets }
}

/// What Kurator v0.5.0 has begun ends as it was last seen, all of it: nothing proves whose its objects
/// are, and nothing of it begins again.
fn end_inherited(source: &mut BackupDetail, targets: &mut [Entry], now: Timestamp) {
    let theirs = inherited::is_inherited(source)
        || targets
            .iter()
            .any(|(.., target)| inherited::is_inherited(target));
    if !theirs {
        return;
    }
    inherited::end(source, now);
    for (.., target) in targets {
        inherited::end(target, now);
    }
}

fn stored_targets(migrate: &Migrate) -> BTreeMap<ClusterKey, RestoreDetail> {
    let namespace = migrate.namespace().unwrap_or_default();
    let status = migrate.status.clone().unwrap_or_default();
    let stored = status.target_cluster_status.into_iter();
    stored
        .filter_map(|detail| Some((entry::key_of(&namespace, &detail)?, detail)))
        .collect()
}

/// The targets that are asked for.
fn targets_of(ctx: &Context, migrate: &Migrate, spec: &Validated) -> Requested {
    let namespace = migrate.namespace().unwrap_or_default();
    let wanted = &migrate.spec.target_cluster;
    let by = Some((wanted, spec.selector.as_ref()));
    let status = migrate.status.as_ref();
    let is_frozen = status.is_some_and(|status| status.start_time.is_some());
    destination::of_once(ctx, &namespace, by, &stored_targets(migrate), is_frozen)
}

/// Why there is no target.
fn nobody(ctx: &Context, migrate: &Migrate) -> Problem {
    let namespace = migrate.namespace().unwrap_or_default();
    let fleet = &migrate.spec.target_cluster.fleet;
    if destination::fleet(ctx, &namespace, fleet).is_none() {
        let message = format!("there is no Fleet {fleet} in this namespace: create it");
        return Problem::new(reason::FLEET_NOT_FOUND, message);
    }
    let message = format!(
        "no cluster of Fleet {fleet} is selected as a target: mend the Fleet, or make a new Migrate"
    );
    Problem::new(reason::NO_CLUSTERS, message)
}

/// The source's cluster, its entry, and what the fleet says against it.
fn source_entry(ctx: &Context, migrate: &Migrate) -> (ClusterKey, BackupDetail, Option<Problem>) {
    let namespace = migrate.namespace().unwrap_or_default();
    let stored = migrate.status.as_ref();
    let stored = stored.and_then(|status| status.source_cluster_status.clone());
    let known = stored.and_then(|stored| Some((entry::key_of(&namespace, &stored)?, stored)));
    if let Some((key, stored)) = known.clone()
        && (stored.object_name().is_some() || stored.phase.is_final())
    {
        return (key, stored, None);
    }
    let wanted = &migrate.spec.source_cluster;
    let requested = destination::requested(ctx, &namespace, wanted, None).pop_first();
    // The spec names exactly one.
    let (key, problem) =
        requested.unwrap_or_else(|| (ClusterKey::attached(namespace.as_str(), ""), None));
    let stored = known.filter(|(known, _)| *known == key);
    let stored = stored.map_or_else(|| entry::fresh(&key), |(_, stored)| stored);
    (key, stored, problem)
}

fn source(
    ctx: &Context,
    migrate: &Migrate,
    (key, stored, problem): (ClusterKey, BackupDetail, Option<Problem>),
) -> Source {
    let name = labels::DEFAULT_STORAGE_LOCATION;
    let at = ctx.locations.get(&key, NAMESPACE, name);
    let claimed = stored.backup_name_in_cluster.as_deref();
    let mut source = Source {
        member: look_at(ctx, &key, problem, &ctx.backups),
        location: location::usable(name, at.as_deref()),
        seen: seen(&ctx.backups, migrate, &key, claimed),
        stuck: None,
        rested: false,
        stored,
        key,
    };
    source.rested =
        source.premature().is_some() && has_rested(ctx, migrate, &source.key, &source.seen);
    source
}

/// Whether a claimed object is as it is for so long that another one may be tried in its place.
fn has_rested<K: MemberResource>(
    ctx: &Context,
    migrate: &Migrate,
    key: &ClusterKey,
    seen: &Seen<K>,
) -> bool {
    let uid = migrate.metadata.uid.as_deref().unwrap_or_default();
    let object = seen.object();
    object.is_some_and(|object| silence::has_rested(ctx, uid, key, &**object))
}

fn target(
    ctx: &Context,
    migrate: &Migrate,
    (key, problem, stored): Entry,
    place: Option<&StoragePlace>,
) -> Target {
    let name = stored.restore_name_in_cluster.as_deref();
    let uid = migrate.uid().unwrap_or_default();
    let notes = ctx.memory.with(&uid, |memory| {
        let of = memory.clusters.get(&key);
        of.map(|of| of.own.notes.clone())
    });
    let mut target = Target {
        member: look_at(ctx, &key, problem, &ctx.restores),
        seen: seen(&ctx.restores, migrate, &key, name),
        storage: opening::cannot_open(ctx, &key, place),
        notes: notes.unwrap_or_default(),
        readable: Readable::NotAsked,
        stuck: None,
        rested: false,
        results: Results::None,
        stored,
        key,
    };
    target.rested =
        target.premature().is_some() && has_rested(ctx, migrate, &target.key, &target.seen);
    target
}

/// What is known of a member; `problem`: what the fleet says against it.
fn look_at<K: MemberResource>(
    ctx: &Context,
    key: &ClusterKey,
    problem: Option<Problem>,
    watch: &MemberWatch<K>,
) -> Member {
    let on_hub = || member::no_cluster(key, member::hub_object(ctx, key));
    let served = member::served_by(member::served(ctx, key), watch.state(key).link);
    Member {
        problem: problem.or_else(on_hub),
        link: member::link(ctx, key),
        no_velero: member::no_velero(key, served),
    }
}

/// The claimed object, as the watch shows it.
fn seen<K: MemberResource>(
    watch: &MemberWatch<K>,
    migrate: &Migrate,
    key: &ClusterKey,
    name: Option<&str>,
) -> Seen<K> {
    let uid = migrate.metadata.uid.as_deref();
    let object = name.and_then(|name| watch.get(key, NAMESPACE, name));
    let object = object.filter(|object| owner_uid(object.meta()) == uid);
    match object {
        Some(object) => Seen::Present(object),
        None if member::is_live(&watch.state(key)) => Seen::NotShown,
        None => Seen::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use api_types::phase::EntryPhase;
    use serde_json::json;

    use super::super::fixtures::{BACKUP, RESTORE, at, key, source, target, uid_of};
    use super::*;

    #[test]
    fn what_kurator_v0_5_0_has_begun_ends_as_it_was_last_seen_and_never_begins_again() {
        let entry = |name: &str| (key(name), None, target(name).stored);
        let mut of_source = source().stored;
        let mut targets = vec![entry("bergen"), entry("turku")];
        end_inherited(&mut of_source, &mut targets, at(5));
        assert_eq!(of_source.phase, EntryPhase::Pending, "it is ours");

        let velero = |phase: &str| serde_json::from_value(json!({ "phase": phase })).unwrap();
        of_source.backup_name_in_cluster = Some(BACKUP.to_owned());
        of_source.backup_status_in_cluster = Some(velero("Completed"));
        targets[0].2.restore_name_in_cluster = Some(RESTORE.to_owned());
        targets[0].2.restore_status_in_cluster = serde_json::from_value(json!({
            "phase": "PartiallyFailed",
        }))
        .unwrap();
        end_inherited(&mut of_source, &mut targets, at(5));
        assert_eq!(of_source.phase, EntryPhase::Completed);
        let said = |at: usize| {
            let target = &targets[at].2;
            (target.phase, target.reason.clone().unwrap_or_default())
        };
        let partial = "RestorePartiallyFailed".to_owned();
        assert_eq!(said(0), (EntryPhase::PartiallyFailed, partial));
        assert_eq!(said(1), (EntryPhase::Failed, "NotFollowed".to_owned()));

        // With the source's alone: no target is begun with it.
        let mut of_source = source().stored;
        of_source.backup_name_in_cluster = Some(BACKUP.to_owned());
        let mut targets = vec![entry("bergen")];
        end_inherited(&mut of_source, &mut targets, at(5));
        assert!(of_source.phase.is_final() && targets[0].2.phase.is_final());

        let mut ours = source().stored;
        ours.backup_name_in_cluster = Some(BACKUP.to_owned());
        ours.member_uid = Some(uid_of("oslo"));
        let mut targets = vec![entry("bergen")];
        end_inherited(&mut ours, &mut targets, at(5));
        assert_eq!(targets[0].2.phase, EntryPhase::Pending);
    }
}
