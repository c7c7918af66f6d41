//! The writes of Velero objects to members: each with a result of its own.

use crate::identity::Owner;
use crate::problem::Problem;
use crate::{NAMESPACE, carry, location};
use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::external::velero::BackupStorageLocation;
use api_types::key::ClusterKey;
use api_types::names::{self, MemberId, Purpose};
use k8s_openapi::api::core::v1::ConfigMap;
use proxy_client::{Error, MemberApi, MemberResource};

use super::context::{Context, Process};

/// How many members are written to at a time, for one hub object.
pub const PARALLEL: usize = 64;

/// What became of creating or confirming an object on a member.
#[derive(Debug, Clone)]
pub enum Applied<O> {
    /// It is there, made now or before.
    Present(Box<O>),
    /// Another owner holds the name.
    Taken,
    /// It is not there.
    Absent,
    /// The member did not do it.
    Failed(Problem),
}

/// One member to write to, and the claimed name.
#[derive(Debug, Clone)]
pub struct Target {
    pub key: ClusterKey,
    pub member: MemberId,
    pub name: String,
}

/// Velero's objects of one kind on a member.
pub fn velero<O: MemberResource>(ctx: &Context<impl Process>, key: &ClusterKey) -> MemberApi<O> {
    ctx.members.api::<O>(key).namespace(NAMESPACE)
}

/// The name that an object for this owner would have in full.
pub fn full_name(owner: &Owner, purpose: Purpose, key: &ClusterKey) -> String {
    names::full_name(&key.name, purpose, &owner.namespace, &owner.name)
}

/// The first name that is free or already ours, by live reads.
pub async fn choose_name<O: MemberResource>(
    ctx: &Context<impl Process>,
    owner: &Owner,
    full: &str,
    (key, member): (&ClusterKey, &MemberId),
) -> Result<String, Problem> {
    let api = velero::<O>(ctx, key);
    for name in names::candidates(full, &owner.uid, names::MAX_NAME) {
        match api.get_opt(&name).await {
            Ok(None) => return Ok(name),
            Ok(Some(found)) if owner.owns(found.meta(), member) => return Ok(name),
            Ok(Some(_)) => {}
            Err(error) => return Err(Problem::from(&error)),
        }
    }
    Err(every_name_taken(owner, key))
}

/// The name to try after `taken`, which turned out to be; `Err` when there is none left.
pub fn next_name(
    owner: &Owner,
    purpose: Purpose,
    key: &ClusterKey,
    taken: &str,
) -> Result<String, Problem> {
    let full = full_name(owner, purpose, key);
    let next = names::next_candidate(&full, &owner.uid, names::MAX_NAME, taken);
    next.ok_or_else(|| every_name_taken(owner, key))
}

fn every_name_taken(owner: &Owner, key: &ClusterKey) -> Problem {
    Problem::new(
        reason::NAME_TAKEN,
        format!(
            "every name for the Velero object is taken in {}, or in its bucket: rename this {}",
            key.name, owner.kind
        ),
    )
}

/// What to say of an object that is made under another name than its first choice; `what`: the word
/// for it, such as `backup`.
pub fn other_name(
    owner: &Owner,
    purpose: Purpose,
    key: &ClusterKey,
    (what, name): (&str, &str),
) -> Option<Problem> {
    let full = full_name(owner, purpose, key);
    let candidates = names::candidates(&full, &owner.uid, names::MAX_NAME);
    let first = candidates.first().filter(|first| *first != name)?;
    Some(Problem::new(
        reason::NAME_TAKEN,
        format!(
            "{first} is taken in {}: the {what} is named {name}",
            key.name
        ),
    ))
}

/// Where a backup would lie that is made in a location now, by the member itself: the watch of locations
/// may be behind, and Velero fails a Backup for good in one that it cannot use.
pub async fn location_usable(
    ctx: &Context<impl Process>,
    key: &ClusterKey,
    name: &str,
) -> Result<StoragePlace, Problem> {
    let locations = velero::<BackupStorageLocation>(ctx, key);
    match locations.get_opt(name).await {
        Ok(found) => location::usable(name, found.as_ref()),
        Err(error) => Err(Problem::from(&error)),
    }
}

/// Whether a location can be used, and is where the backup that is to be made in it is written down to
/// lie. Where it is not, its watch will show its new place, and then that is written down.
pub async fn location_unmoved(
    ctx: &Context<impl Process>,
    key: &ClusterKey,
    name: &str,
    written: Option<&StoragePlace>,
) -> Result<(), Problem> {
    let here = location_usable(ctx, key, name).await?;
    if written.is_some_and(|written| location::is_same(written, &here)) {
        return Ok(());
    }
    Err(Problem::new(
        reason::STORAGE_LOCATION_UNAVAILABLE,
        format!("BackupStorageLocation {name} has just been given another place"),
    ))
}

/// Creates a claimed object.
pub async fn create<O: MemberResource>(
    ctx: &Context<impl Process>,
    owner: &Owner,
    target: &Target,
    object: &O,
) -> Applied<O> {
    let api = velero::<O>(ctx, &target.key);
    match api.create(object, ctx.manager()).await {
        Ok(created) => Applied::Present(Box::new(created)),
        // A lost answer may hide a success: what is there now decides.
        Err(Error::AlreadyExists(_) | Error::OutcomeUnknown(_)) => {
            confirm(ctx, owner, target).await
        }
        Err(error) => Applied::Failed(Problem::from(&error)),
    }
}

/// Reads the claimed object from the member.
pub async fn confirm<O: MemberResource>(
    ctx: &Context<impl Process>,
    owner: &Owner,
    target: &Target,
) -> Applied<O> {
    match velero::<O>(ctx, &target.key).get_opt(&target.name).await {
        Ok(Some(found)) if owner.owns(found.meta(), &target.member) => {
            Applied::Present(Box::new(found))
        }
        Ok(Some(_)) => Applied::Taken,
        // With the type all objects of it went.
        Ok(None) | Err(Error::NotServed(_)) => Applied::Absent,
        Err(error) => Applied::Failed(Problem::from(&error)),
    }
}

/// Copies a ConfigMap of the hub to the member; returns the copy's name.
pub async fn carry_over(
    ctx: &Context<impl Process>,
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
        .apply(&name, &copy, ctx.manager(), true)
        .await
        .map_err(|error| Problem::from(&error))?;
    Ok(name)
}
