//! Gathers what a pass needs to know, from local stores: no write and no call to a member.

use std::collections::BTreeMap;

use api_types::backup::BackupDetail;
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
use velero_kit::operation::{entry, member};
use velero_kit::problem::Problem;
use velero_kit::{NAMESPACE, location};

use super::detail::{fresh_source, fresh_target};
use super::facts::{Member, Readable, Results, Seen, Source, Target, Terms};
use super::validate::Validated;
use crate::context::Context;

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
    let mut stored = stored_targets(migrate);
    let targets = requested.into_iter().map(|(key, problem)| {
        let stored = stored.remove(&key).unwrap_or_else(|| fresh_target(&key));
        target(ctx, migrate, (key, stored, problem))
    });
    Known {
        targets: targets.collect(),
        source: source(ctx, migrate),
        terms: Terms {
            cancel: spec.cancel,
            deadline: spec.deadline,
            now,
            partial_failure: spec.partial_failure,
            no_targets,
            surveyed: false,
        },
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

fn source(ctx: &Context, migrate: &Migrate) -> Source {
    let namespace = migrate.namespace().unwrap_or_default();
    let wanted = &migrate.spec.source_cluster;
    let stored = migrate.status.as_ref();
    let stored = stored.and_then(|status| status.source_cluster_status.clone());
    let begun = stored.filter(|stored| stored.member_uid.is_some() || stored.phase.is_final());
    let begun = begun.and_then(|stored| Some((entry::key_of(&namespace, &stored)?, stored)));
    let (key, stored, problem) = begun.map_or_else(
        || {
            let requested = destination::requested(ctx, &namespace, wanted, None).pop_first();
            // The spec names exactly one.
            let (key, problem) =
                requested.unwrap_or_else(|| (ClusterKey::attached(namespace.as_str(), ""), None));
            (key.clone(), known_source(migrate, &key), problem)
        },
        |(key, stored)| (key, stored, None),
    );
    let at = ctx
        .locations
        .get(&key, NAMESPACE, labels::DEFAULT_STORAGE_LOCATION);
    let name = stored.backup_name_in_cluster.as_deref();
    Source {
        member: look_at(ctx, &key, problem, &ctx.backups),
        location: location::usable(labels::DEFAULT_STORAGE_LOCATION, at.as_deref()),
        seen: seen(&ctx.backups, migrate, &key, name),
        stuck: None,
        stored,
        key,
    }
}

/// The entry of a source that has not begun, if it is of that cluster.
fn known_source(migrate: &Migrate, key: &ClusterKey) -> BackupDetail {
    let stored = migrate.status.as_ref();
    let stored = stored.and_then(|status| status.source_cluster_status.clone());
    let same = |stored: &BackupDetail| entry::key_of(&key.namespace, stored).as_ref() == Some(key);
    stored.filter(same).unwrap_or_else(|| fresh_source(key))
}

fn target(
    ctx: &Context,
    migrate: &Migrate,
    (key, stored, problem): (ClusterKey, RestoreDetail, Option<Problem>),
) -> Target {
    let name = stored.restore_name_in_cluster.as_deref();
    Target {
        member: look_at(ctx, &key, problem, &ctx.restores),
        seen: seen(&ctx.restores, migrate, &key, name),
        warning: None,
        readable: Readable::NotAsked,
        stuck: None,
        results: Results::None,
        stored,
        key,
    }
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
