//! Looks at and writes to members: each with a result of its own.

use api_types::backup::BackupStatus;
use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::{self, MemberId, Purpose};
use api_types::restore::RestorePolicy;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use velero_kit::identity::{self, Owner};
use velero_kit::location;

use super::filter::Scope;
use super::{Problem, build};
use crate::context::Context;
use crate::operation::calls::NotNow;
use crate::operation::conclude::velero_is_done;
use crate::operation::objects::{self, Applied, Target};
use crate::operation::{State, is_settled};

/// The Velero Backup that one cluster is to be restored from, and how it is known to be the right one.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The hub's Backup.
    pub backup: String,
    /// The uid of that, while the run has not been chosen.
    pub owner_uid: Option<String>,
    /// When it began, once the run has been chosen.
    pub started: Option<Timestamp>,
}

/// The full name of the Velero Restore.
pub fn full_name(owner: &Owner, key: &ClusterKey) -> String {
    objects::full_name(owner, Purpose::Restore, key)
}

/// The name after this one, for a name that turned out to be taken.
pub fn next_name(owner: &Owner, key: &ClusterKey, name: &str) -> Option<String> {
    names::next_candidate(&full_name(owner, key), &owner.uid, names::MAX_NAME, name)
}

/// Asks the member whether a Velero Backup can be restored now: Velero fails a Restore for good when
/// it cannot.
pub async fn look(
    ctx: &Context,
    owner: &Owner,
    target: &Target,
    wanted: &Wanted,
) -> Result<velero::Backup, NotNow> {
    let failed = |error: &proxy_client::Error| NotNow::Failed(Problem::from(error));
    let Target { key, member, .. } = target;
    let found = objects::velero::<velero::Backup>(ctx, key)
        .get_opt(&wanted.name)
        .await
        .map_err(|error| failed(&error))?;
    let backup =
        restorable(owner, (key, member), wanted, found, Timestamp::now()).map_err(NotNow::Waits)?;
    let name = location_of(&backup);
    let place = objects::velero::<velero::BackupStorageLocation>(ctx, key)
        .get_opt(&name)
        .await
        .map_err(|error| failed(&error))?;
    let usable = match place {
        Some(place) => location::available(&name, &place),
        None => Err(Problem::new(
            reason::STORAGE_LOCATION_NOT_FOUND,
            format!(
                "BackupStorageLocation {name}, where the backup lies, is not in {}: create it in \
                 namespace velero",
                key.name
            ),
        )),
    };
    usable.map_err(NotNow::Waits)?;
    Ok(backup)
}

/// Whether what was found is the backup that is wanted, and done. Pure.
pub fn restorable(
    owner: &Owner,
    (key, member): (&ClusterKey, &MemberId),
    wanted: &Wanted,
    found: Option<velero::Backup>,
    now: Timestamp,
) -> Result<velero::Backup, Problem> {
    let (name, cluster) = (&wanted.name, &key.name);
    let absent = |message: String| Err(Problem::new(reason::BACKUP_NOT_FOUND, message));
    let Some(found) = found else {
        return absent(format!(
            "Velero Backup {name} is not in {cluster}: it was deleted, or is not synced yet"
        ));
    };
    if !is_wanted(owner, member, wanted, &found) {
        return absent(format!(
            "Velero Backup {name} in {cluster} is not the one that Backup {} made there",
            wanted.backup
        ));
    }
    if found.metadata.deletion_timestamp.is_some() {
        return absent(format!(
            "Velero Backup {name} in {cluster} is being deleted"
        ));
    }
    let (reason, message) = match found.phase() {
        "Completed" | "PartiallyFailed" if found.expiration().is_some_and(|end| end <= now) => (
            reason::BACKUP_EXPIRED,
            format!("Velero Backup {name} in {cluster} is past its ttl"),
        ),
        "Completed" | "PartiallyFailed" => return Ok(found),
        "Deleting" => (
            reason::BACKUP_NOT_FOUND,
            format!("Velero Backup {name} in {cluster} is being deleted"),
        ),
        phase @ ("Failed" | "FailedValidation") => (
            reason::BACKUP_NOT_RESTORABLE,
            format!("Velero Backup {name} in {cluster} is {phase}"),
        ),
        _ => (
            reason::NO_COMPLETED_BACKUP,
            format!("Velero Backup {name} in {cluster} has not ended"),
        ),
    };
    Err(Problem::new(reason, message))
}

fn is_wanted(owner: &Owner, member: &MemberId, wanted: &Wanted, found: &velero::Backup) -> bool {
    let label = |key: &str| found.metadata.labels.as_ref()?.get(key).map(String::as_str);
    let of_hub = (
        BackupStatus::KIND,
        owner.namespace.as_str(),
        wanted.backup.as_str(),
    );
    label(labels::MEMBER) == Some(member.as_str())
        && identity::hub_object(&found.metadata) == Some(of_hub)
        && wanted
            .owner_uid
            .as_deref()
            .is_none_or(|uid| label(labels::OWNER_UID) == Some(uid))
        && wanted
            .started
            .is_none_or(|started| found.start_timestamp() == Some(started))
}

/// Name of the location that a backup lies in.
fn location_of(backup: &velero::Backup) -> String {
    backup
        .spec
        .storage_location
        .clone()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| labels::DEFAULT_STORAGE_LOCATION.to_owned())
}

/// What all Velero Restores of one hub object are made from.
#[derive(Debug)]
pub struct Order {
    pub scope: Scope,
    pub policy: RestorePolicy,
    pub config_map: Option<ConfigMap>,
}

/// Creates the claimed object, after the ConfigMap that it refers to.
pub async fn create(
    ctx: &Context,
    owner: &Owner,
    target: &Target,
    run: &str,
    order: &Order,
) -> Applied<velero::Restore> {
    let carried = match &order.config_map {
        Some(source) => match objects::carry_over(ctx, owner, target, source).await {
            Ok(name) => Some(name),
            Err(problem) => return Applied::Failed(of_restore(problem)),
        },
        None => None,
    };
    let what = (run, &order.scope);
    let object = build::build(owner, target, what, &order.policy, carried.as_deref());
    match objects::create(ctx, owner, target, &object).await {
        Applied::Failed(problem) => Applied::Failed(of_restore(problem)),
        other => other,
    }
}

/// What a member refuses is a restore here.
fn of_restore(problem: Problem) -> Problem {
    match problem.reason {
        reason::BACKUP_REJECTED => Problem::new(reason::RESTORE_REJECTED, problem.message),
        _ => problem,
    }
}

/// Removes a carried `ConfigMap`, unless a Restore that has not ended reads or may read it.
pub async fn drop_carried(ctx: &Context, key: &ClusterKey, done: &velero::Restore) {
    let reads = |restore: &velero::Restore| {
        let modifier = restore.spec.resource_modifier.as_ref()?;
        Some(modifier.name.clone())
    };
    let Some(name) = reads(done) else { return };
    let owner = identity::owner_uid(&done.metadata);
    let wanted = ctx.hub_restores.state().iter().any(|other| {
        other.uid().as_deref() != owner
            && !is_settled(&**other)
            && super::carries(other).is_some_and(|source| name.starts_with(&format!("{source}-")))
    });
    let used = wanted
        || ctx.restores.list(key).iter().any(|other| {
            other.metadata.uid != done.metadata.uid
                && !velero_is_done(other.phase())
                && reads(other).as_ref() == Some(&name)
        });
    if !used {
        objects::drop_carried(ctx, key, &name).await;
    }
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
