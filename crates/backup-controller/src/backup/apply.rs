//! The writes to members: for many at once, bounded, and each with a result of its own.

use api_types::backup::BackupPolicy;
use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::{self, MemberId};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use proxy_client::{Error, Preconditions};
use velero_kit::identity::{Owner, owner_uid};
use velero_kit::problem::Problem;
use velero_kit::{NAMESPACE, carry};

use super::build::{self, Place};
use crate::context::Context;

/// How many members are written to at a time, for one Backup.
pub const PARALLEL: usize = 64;

/// What became of creating or confirming an object on a member.
#[derive(Debug, Clone)]
pub enum Applied {
    /// It is there, made now or before.
    Present(Box<velero::Backup>),
    /// Another owner holds the name.
    Taken,
    /// It is not there.
    Absent,
    /// The member did not do it.
    Failed(Problem),
}

/// One member to write to.
#[derive(Debug, Clone)]
pub struct Target {
    pub key: ClusterKey,
    pub member: MemberId,
    pub name: String,
}

/// The name that an object for this owner would have in full.
pub fn full_name(owner: &Owner, key: &ClusterKey) -> String {
    names::full_name(
        &key.name,
        names::Purpose::Backup,
        &owner.namespace,
        &owner.name,
    )
}

/// The first name that is free or already ours, by live reads.
pub async fn choose_name(
    ctx: &Context,
    owner: &Owner,
    key: &ClusterKey,
    member: &MemberId,
) -> Result<String, Problem> {
    let api = ctx.members.api::<velero::Backup>(key).namespace(NAMESPACE);
    for name in names::candidates(&full_name(owner, key), &owner.uid, names::MAX_NAME) {
        match api.get_opt(&name).await {
            Ok(None) => return Ok(name),
            Ok(Some(found)) if owner.owns(&found.metadata, member) => return Ok(name),
            Ok(Some(_)) => {}
            Err(error) => return Err(Problem::from(&error)),
        }
    }
    Err(Problem::new(
        reason::NAME_TAKEN,
        format!(
            "every name for the backup is taken in {}: rename this Backup",
            key.name
        ),
    ))
}

/// The name after this one, for a name that turned out to be taken.
pub fn next_name(owner: &Owner, key: &ClusterKey, name: &str) -> Option<String> {
    names::next_candidate(&full_name(owner, key), &owner.uid, names::MAX_NAME, name)
}

/// Creates the claimed object, after the ConfigMap that it refers to.
pub async fn create(
    ctx: &Context,
    owner: &Owner,
    target: &Target,
    policy: Option<&BackupPolicy>,
    config_map: Option<&ConfigMap>,
) -> Applied {
    let carried = match config_map {
        Some(source) => match carry_over(ctx, owner, target, source).await {
            Ok(name) => Some(name),
            Err(problem) => return Applied::Failed(problem),
        },
        None => None,
    };
    let place = Place {
        cluster: &target.key,
        member: &target.member,
        name: &target.name,
    };
    let object = build::build(owner, place, policy, carried.as_deref());
    let api = ctx
        .members
        .api::<velero::Backup>(&target.key)
        .namespace(NAMESPACE);
    match api.create(&object, labels::BACKUP_MANAGER).await {
        Ok(created) => Applied::Present(Box::new(created)),
        // A lost answer may hide a success: what is there now decides.
        Err(Error::AlreadyExists(_) | Error::OutcomeUnknown(_)) => {
            confirm(ctx, owner, target).await
        }
        Err(error) => Applied::Failed(Problem::from(&error)),
    }
}

/// Reads the claimed object from the member.
pub async fn confirm(ctx: &Context, owner: &Owner, target: &Target) -> Applied {
    let api = ctx
        .members
        .api::<velero::Backup>(&target.key)
        .namespace(NAMESPACE);
    match api.get_opt(&target.name).await {
        Ok(Some(found)) if owner.owns(&found.metadata, &target.member) => {
            Applied::Present(Box::new(found))
        }
        Ok(Some(_)) => Applied::Taken,
        Ok(None) => Applied::Absent,
        Err(error) => Applied::Failed(Problem::from(&error)),
    }
}

async fn carry_over(
    ctx: &Context,
    owner: &Owner,
    target: &Target,
    source: &ConfigMap,
) -> Result<String, Problem> {
    let labels = owner.labels(&target.key, &target.member);
    let copy = carry::copy(source, labels)
        .map_err(|error| Problem::new(reason::BACKUP_REJECTED, error.to_string()))?;
    let name = copy.metadata.name.clone().unwrap_or_default();
    ctx.members
        .api::<ConfigMap>(&target.key)
        .namespace(NAMESPACE)
        .apply(&name, &copy, labels::BACKUP_MANAGER, true)
        .await
        .map_err(|error| Problem::from(&error))?;
    Ok(name)
}

/// Removes objects of an earlier name of ours that Velero refused because the bucket holds it.
/// Nothing was written under them, so a plain deletion leaves nothing behind.
pub async fn drop_stray(ctx: &Context, key: &ClusterKey, stray: &velero::Backup) {
    let name = stray.metadata.name.clone().unwrap_or_default();
    let only_if = Preconditions {
        uid: stray.metadata.uid.clone(),
        resource_version: None,
    };
    let api = ctx.members.api::<velero::Backup>(key).namespace(NAMESPACE);
    if let Err(error) = api.delete(&name, &only_if).await {
        tracing::warn!(cluster = %key, %name, %error, "a refused Velero Backup stays for now");
    }
}

/// Removes a carried ConfigMap, unless a Backup that has not ended reads or may read it.
pub async fn drop_carried(ctx: &Context, key: &ClusterKey, done: &velero::Backup) {
    let Some(name) = done
        .spec
        .resource_policy
        .as_ref()
        .map(|reference| reference.name.clone())
    else {
        return;
    };
    let owner = owner_uid(&done.metadata);
    let wanted = ctx.hub_backups.state().iter().any(|other| {
        other.uid().as_deref() != owner
            && !super::is_settled(other)
            && super::carries(other).is_some_and(|source| name.starts_with(&format!("{source}-")))
    });
    let used = wanted
        || ctx.backups.list(key).iter().any(|other| {
            other.metadata.uid != done.metadata.uid
                && !super::status::velero_is_done(other)
                && other
                    .spec
                    .resource_policy
                    .as_ref()
                    .is_some_and(|reference| reference.name == name)
        });
    if used {
        return;
    }
    let api = ctx.members.api::<ConfigMap>(key).namespace(NAMESPACE);
    if let Err(error) = api.delete(&name, &Preconditions::default()).await {
        tracing::warn!(cluster = %key, %name, %error, "a carried ConfigMap stays behind");
    }
}
