//! Another member's backup, made to be seen on the target: a location for reading it, marked as ours,
//! and a copy of the Velero Backup in it.

use std::sync::Arc;

use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::external::velero::{self, BackupRecord, BackupStorageLocation};
use api_types::key::ClusterKey;
use api_types::labels;
use jiff::Timestamp;
use kube::ResourceExt;
use proxy_client::{Error as CallError, ListOptions, MemberApi};
use velero_kit::borrowed::{self, Use};
use velero_kit::identity::Owner;
use velero_kit::{copy, location};

use super::Problem;
use super::dereference::is_up;
use super::look::newest;
use super::source::{Origin, Which};
use super::wanted::{Wanted, restorable};
use crate::context::Context;
use crate::operation::calls::NotNow;
use crate::operation::objects::{self, Target};

/// Looks for the backup on a target that did not make it.
pub async fn look(
    ctx: &Context,
    owner: &Owner,
    target: &Target,
    origin: &Origin,
    wanted: &Wanted,
) -> Result<velero::Backup, NotNow> {
    let Some(place) = &origin.place else {
        return Err(NotNow::Waits(Problem::new(
            reason::STORAGE_LOCATION_NOT_FOUND,
            format!(
                "it is not known where the backup of {} lies",
                origin.cluster.name
            ),
        )));
    };
    let location = open(ctx, owner, &target.key, place).await?;
    let reading = Reading {
        ctx,
        owner,
        key: &target.key,
        location,
        origin,
        wanted,
    };
    match &wanted.which {
        Which::Named(name) => reading.named(name).await,
        Which::Newest(not_after) => reading.newest(*not_after).await,
    }
}

/// A location of the target at this place: one of its own, or a read-only one that is made for it.
async fn open(
    ctx: &Context,
    owner: &Owner,
    key: &ClusterKey,
    place: &StoragePlace,
) -> Result<BackupStorageLocation, NotNow> {
    let api = objects::velero::<BackupStorageLocation>(ctx, key);
    let location = match own_location(ctx, key, place) {
        Some(name) => api.get_opt(&name).await?,
        None => None,
    };
    let location = match location.filter(|location| location::is_at(location, place)) {
        Some(own) => own,
        None => borrow(&api, place, &use_of(ctx, owner)).await?,
    };
    location::available(&location.name_any(), &location).map_err(NotNow::Waits)?;
    Ok(location)
}

/// Name of a location of the target's own at this place.
fn own_location(ctx: &Context, key: &ClusterKey, place: &StoragePlace) -> Option<String> {
    let locations = ctx.locations.list(key);
    let mut own = locations
        .iter()
        .filter(|location| location::is_at(location, place))
        .map(|location| location.name_any())
        .filter(|name| !borrowed::is_borrowed(name));
    let first = own.next()?;
    // Of several the one that Velero itself prefers.
    let default = own.find(|name| name == labels::DEFAULT_STORAGE_LOCATION);
    Some(default.unwrap_or(first))
}

/// The use that this operation makes of a location.
fn use_of(ctx: &Context, owner: &Owner) -> Use {
    Use {
        uid: owner.uid.clone(),
        hub: ctx.hub_uid.clone(),
        kind: owner.kind.to_owned(),
        namespace: owner.namespace.clone(),
        name: owner.name.clone(),
    }
}

/// The read-only location at this place, marked as used.
async fn borrow(
    api: &MemberApi<BackupStorageLocation>,
    place: &StoragePlace,
    by: &Use,
) -> Result<BackupStorageLocation, NotNow> {
    let own = labels::DEFAULT_STORAGE_LOCATION;
    let own = api.get_opt(own).await?.ok_or_else(|| {
        NotNow::Waits(Problem::new(
            reason::STORAGE_LOCATION_NOT_FOUND,
            format!(
                "Velero has no BackupStorageLocation {own} here, whose credentials are needed to \
                 read the backup: create it in namespace velero"
            ),
        ))
    })?;
    let wanted = borrowed::build(place, &own).map_err(NotNow::Waits)?;
    let location = borrowed::ensure(api, &wanted).await?;
    if borrowed::claim(api, &location, by).await? {
        return Ok(location);
    }
    Err(NotNow::Failed(Problem::new(
        reason::STORAGE_LOCATION_UNAVAILABLE,
        format!(
            "BackupStorageLocation {} was removed by another operation that had ended: it is made \
             again",
            location.name_any()
        ),
    )))
}

/// Why no copy is made by us: only a minute is lost by that.
struct NotSafe(String);

impl From<CallError> for NotSafe {
    fn from(error: CallError) -> Self {
        Self(error.to_string())
    }
}

/// One look at a target through an open location.
struct Reading<'a> {
    ctx: &'a Context,
    owner: &'a Owner,
    key: &'a ClusterKey,
    location: BackupStorageLocation,
    origin: &'a Origin,
    wanted: &'a Wanted,
}

impl Reading<'_> {
    /// The copy of a backup whose name is known. One that is not there is made, if that is safe.
    async fn named(&self, name: &str) -> Result<velero::Backup, NotNow> {
        let api = objects::velero::<velero::Backup>(self.ctx, self.key);
        let found = api.get_opt(name).await?;
        if let Some(found) = &found
            && !(self.wanted.is(found) && copy::lies_in(&found.metadata, &self.location.name_any()))
        {
            return Err(NotNow::Waits(self.hidden(name)));
        }
        let complete = found
            .as_ref()
            .is_some_and(|found| copy::is_complete(found, &self.location));
        let found = match found {
            Some(found) if complete => found,
            found => {
                let record = self.record(name).await.map_err(|NotSafe(why)| {
                    tracing::debug!(cluster = %self.origin.cluster, %name, %why, "no own copy");
                    NotNow::Waits(self.not_synced(name))
                })?;
                match found {
                    Some(found) => found,
                    None => self.copy(&record).await?,
                }
            }
        };
        let now = Timestamp::now();
        restorable(self.wanted, name, self.key, Some(found), now).map_err(NotNow::Waits)
    }

    /// The newest of the copies that Velero's sync has brought.
    async fn newest(&self, not_after: Option<Timestamp>) -> Result<velero::Backup, NotNow> {
        if !copy::is_synced(&self.location) {
            return Err(NotNow::Waits(self.not_synced(&self.wanted.backup)));
        }
        let copies = ListOptions {
            labels: self.wanted.selector(),
            ..ListOptions::default()
        };
        let api = objects::velero::<velero::Backup>(self.ctx, self.key);
        let mut copies = api.list(&copies).await?;
        let name = self.location.name_any();
        copies.retain(|found| {
            copy::lies_in(&found.metadata, &name) && copy::is_complete(found, &self.location)
        });
        newest(self.wanted, self.key, &copies, not_after).map_err(NotNow::Waits)
    }

    /// The backup as its own member has it, if that answers and a copy by us would lack nothing. It
    /// is asked once for all targets; nothing is added to a backup that has ended.
    async fn record(&self, name: &str) -> Result<BackupRecord, NotSafe> {
        let source = &self.origin.cluster;
        let cell = self.ctx.memory.with(&self.owner.uid, |memory| {
            let key = (source.clone(), name.to_owned());
            Arc::clone(memory.records.entry(key).or_default())
        });
        let ask = || async {
            if !is_up(self.ctx, self.origin) {
                return Err(NotSafe(format!("{} does not answer", source.name)));
            }
            let records = objects::velero::<BackupRecord>(self.ctx, source);
            let record = records.get_opt(name).await?.filter(copy::is_plain);
            let record =
                record.ok_or_else(|| NotSafe("it has snapshots, or is gone".to_owned()))?;
            let by_file = objects::velero::<velero::PodVolumeBackup>(self.ctx, source);
            let moved = objects::velero::<velero::DataUpload>(self.ctx, source);
            if copy::has_volumes(&by_file, name).await? || copy::has_volumes(&moved, name).await? {
                return Err(NotSafe("it has volumes".to_owned()));
            }
            Ok(record)
        };
        cell.get_or_try_init(ask).await.cloned()
    }

    async fn copy(&self, record: &BackupRecord) -> Result<velero::Backup, NotNow> {
        let copy = copy::build(record, &self.location.name_any());
        let api = objects::velero::<BackupRecord>(self.ctx, self.key);
        // One that was there already is looked at next time.
        let made = api.create(&copy, labels::BACKUP_MANAGER).await?;
        Ok(velero::Backup {
            metadata: made.metadata,
            status: made.status,
            ..velero::Backup::default()
        })
    }

    fn not_synced(&self, what: &str) -> Problem {
        let last = self.location.last_synced_time();
        let last = last.map_or_else(String::new, |last| format!(", last at {last}"));
        Problem::new(
            reason::BACKUP_NOT_SYNCED,
            format!(
                "Velero in {} has not taken over {what} of {} yet: it looks once a minute{last}",
                self.key.name, self.origin.cluster.name
            ),
        )
    }

    fn hidden(&self, name: &str) -> Problem {
        Problem::new(
            reason::BACKUP_NOT_SYNCED,
            format!(
                "another Velero Backup {name} in {} hides the one of {}: delete it there if it is \
                 not needed",
                self.key.name, self.origin.cluster.name
            ),
        )
    }
}
