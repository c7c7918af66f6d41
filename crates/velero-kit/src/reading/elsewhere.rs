//! A backup that lies where the target does not store, such as another member's, made to be seen there:
//! a location for reading it, marked as ours, and a copy of the Velero Backup in it.

use std::sync::Arc;
use std::time::Duration;

use api_types::condition::reason;
use api_types::external::velero::{self, BackupRecord, BackupStorageLocation};
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::MemberId;
use jiff::Timestamp;
use kube::ResourceExt;
use proxy_client::{Error as CallError, ListOptions};
use tokio::time::{Instant, timeout};

use super::look::newest;
use super::opening::open_all;
use super::origin::{Member, Origin, is_made_in};
use super::settled;
use super::wanted::{Wanted, Which, location_of, restorable};
use crate::identity::Owner;
use crate::operation::calls::NotNow;
use crate::operation::context::{Context, Process};
use crate::operation::member::{self, Link};
use crate::operation::objects::{self, Target};
use crate::problem::Problem;
use crate::{NAMESPACE, borrowed, copy, location};

/// Looks for the backup on a target that did not make it, or does not store there any more.
pub async fn look(
    ctx: &Context<impl Process>,
    owner: &Owner,
    target: &Target,
    origin: &Origin,
    wanted: &Wanted,
) -> Result<velero::Backup, NotNow> {
    let (locations, closed) = open_all(ctx, owner, target, origin).await?;
    let reading = Reading {
        ctx,
        owner,
        target,
        locations,
        origin,
        wanted,
    };
    let found = match &wanted.which {
        Which::Named(name) => reading.named(name).await,
        Which::Newest(not_after) => reading.newest(*not_after).await,
    };
    among(found, closed, |found| {
        let named = matches!(wanted.which, Which::Named(_));
        named || reading.is_of_present(found)
    })
}

/// What was found, beside a place that cannot be read: what that hides may be another, unless what was
/// found is the one for sure.
fn among<T>(
    found: Result<T, NotNow>,
    closed: Option<NotNow>,
    is_sure: impl FnOnce(&T) -> bool,
) -> Result<T, NotNow> {
    match (found, closed) {
        (Ok(found), Some(_)) if is_sure(&found) => Ok(found),
        (_, Some(why)) => Err(why),
        (found, None) => found,
    }
}

/// Whether a backup that a member made itself has all that belongs to it there: Velero may have brought
/// it back from the bucket, and then its volumes' records come after it.
pub fn is_whole(found: &velero::Backup, location: &BackupStorageLocation) -> bool {
    is_original(found) || copy::is_complete(found, location)
}

/// What is said of a backup that is not whole yet.
pub fn not_whole(key: &ClusterKey, name: &str) -> Problem {
    Problem::new(
        reason::BACKUP_NOT_SYNCED,
        format!(
            "Velero in {} is bringing back {name} from its storage: it looks once a minute",
            key.name
        ),
    )
}

/// Whether a backup is the object that it was made with, and no copy that Velero has made of it later.
fn is_original(found: &velero::Backup) -> bool {
    let made = found.metadata.creation_timestamp.as_ref();
    let began = found.start_timestamp();
    made.zip(began).is_none_or(|(made, began)| made.0 <= began)
}

/// The member of an origin that answers now.
pub fn up_member<'a>(ctx: &Context<impl Process>, origin: &'a Origin) -> Option<&'a Member> {
    match member::link(ctx, &origin.cluster) {
        Link::Up { member_uid } => origin.members.iter().find(|of| of.uid == member_uid),
        Link::Down { .. } => None,
    }
}

/// Why no copy is made by us: only a minute is lost by that.
struct NotSafe(String);

impl From<CallError> for NotSafe {
    fn from(error: CallError) -> Self {
        Self(error.to_string())
    }
}

/// A member is asked for this long for all that is to be known of one backup: many targets may wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a member has told of one of its backups.
#[derive(Debug, Default)]
pub enum Asked {
    /// Nothing.
    #[default]
    Nothing,
    /// The backup as it has it. Nothing is added to one that has ended.
    Told(Box<BackupRecord>),
    /// Why no copy can be made by us, as it was then.
    Not(Instant, String),
}

impl Asked {
    /// What is known without asking again; a refusal or a silence holds for `limit`, so that targets do
    /// not ask one after the other.
    fn known(&self, limit: Duration) -> Option<Result<BackupRecord, NotSafe>> {
        match self {
            Self::Nothing => None,
            Self::Told(record) => Some(Ok(BackupRecord::clone(record))),
            Self::Not(at, why) => (at.elapsed() < limit).then(|| Err(NotSafe(why.clone()))),
        }
    }
}

/// One look at a target through open locations.
struct Reading<'a, P: Process> {
    ctx: &'a Context<P>,
    owner: &'a Owner,
    target: &'a Target,
    /// One for each place of the origin.
    locations: Vec<BackupStorageLocation>,
    origin: &'a Origin,
    wanted: &'a Wanted,
}

impl<P: Process> Reading<'_, P> {
    /// Whether the member that has the name now made a backup where it stores now: it is newer than all
    /// of former ones, as far as is known.
    fn is_of_present(&self, found: &velero::Backup) -> bool {
        let Some(member) = self.origin.members.first() else {
            return false;
        };
        let lies_in = self.lies_in(found);
        let is_at = |place| lies_in.is_some_and(|location| location::is_at(location, place));
        is_made_in(&[MemberId::from_uid(&member.uid)].into(), found)
            && member.place.as_ref().is_none_or(is_at)
            && !self.origin.may_hide_newer(&member.uid, found)
    }

    /// The copy of a backup whose name is known. One that is not there is made, if that is safe.
    async fn named(&self, name: &str) -> Result<velero::Backup, NotNow> {
        let key = &self.target.key;
        let api = objects::velero::<velero::Backup>(self.ctx, key);
        let found = api.get_opt(name).await?;
        let lies_in = found.as_ref().and_then(|found| self.lies_in(found));
        if let Some(found) = &found
            && !(self.wanted.is(found) && lies_in.is_some())
        {
            let stale = self.is_own(found) && self.wanted.is(found);
            let problem = if stale {
                settled::unsettled(key, &location_of(found))
            } else {
                self.hidden(name)
            };
            return Err(NotNow::Waits(problem));
        }
        let complete = found
            .as_ref()
            .zip(lies_in)
            .is_some_and(|(found, location)| self.is_complete(found, location));
        let found = match found {
            Some(found) if complete => found,
            found => {
                let record = self.record(name).await;
                let record = record.map_err(|NotSafe(why)| {
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
        restorable(self.wanted, name, key, Some(found), now).map_err(NotNow::Waits)
    }

    /// The newest of the copies that Velero's sync has brought.
    async fn newest(&self, not_after: Option<Timestamp>) -> Result<velero::Backup, NotNow> {
        if !self.locations.iter().all(copy::is_synced) {
            return Err(NotNow::Waits(self.not_synced(&self.wanted.name)));
        }
        let copies = ListOptions {
            labels: self.wanted.selector(),
            ..ListOptions::default()
        };
        let api = objects::velero::<velero::Backup>(self.ctx, &self.target.key);
        let mut copies = api.list(&copies).await?;
        copies.retain(|found| {
            let location = self.lies_in(found);
            location.is_some_and(|location| self.is_complete(found, location))
        });
        newest(self.wanted, &self.target.key, &copies, not_after).map_err(NotNow::Waits)
    }

    /// The open location that a backup lies in.
    fn lies_in(&self, found: &velero::Backup) -> Option<&BackupStorageLocation> {
        let mut locations = self.locations.iter();
        locations.find(|location| copy::lies_in(&found.metadata, &location.name_any()))
    }

    /// Whether the target made a backup itself.
    fn is_own(&self, found: &velero::Backup) -> bool {
        is_made_in(&[self.target.member.clone()].into(), found)
    }

    /// Whether all that belongs to a backup is there: so it is where it was made, unless Velero has
    /// brought it back from a place where the member stored before.
    fn is_complete(&self, found: &velero::Backup, location: &BackupStorageLocation) -> bool {
        if self.is_own(found) {
            is_whole(found, location)
        } else {
            copy::is_complete(found, location)
        }
    }

    /// The backup as its own member has it, if that answers and a copy by us would lack nothing. It
    /// is asked once for all targets.
    async fn record(&self, name: &str) -> Result<BackupRecord, NotSafe> {
        let source = &self.origin.cluster;
        let up = up_member(self.ctx, self.origin);
        let up = up.ok_or_else(|| NotSafe("it does not answer".to_owned()))?;
        if *source == self.target.key || self.origin.places().len() > 1 {
            let why = "in which of its places it lies, only Velero's sync tells";
            return Err(NotSafe(why.to_owned()));
        }
        let cell = self.ctx.memory.with(&self.owner.uid, |memory| {
            let key = (source.clone(), name.to_owned());
            Arc::clone(memory.records.entry(key).or_default())
        });
        let mut asked = cell.lock().await;
        if let Some(known) = asked.known(self.ctx.timings.look_again) {
            return known;
        }
        let told = timeout(PATIENCE, self.ask(up, name)).await;
        let told = told.unwrap_or_else(|_| {
            let why = format!("{} did not answer within {PATIENCE:?}", source.name);
            Err(NotSafe(why))
        });
        *asked = match &told {
            Ok(record) => Asked::Told(Box::new(record.clone())),
            Err(NotSafe(why)) => Asked::Not(Instant::now(), why.clone()),
        };
        told
    }

    /// Asks its own member for a backup.
    async fn ask(&self, up: &Member, name: &str) -> Result<BackupRecord, NotSafe> {
        let source = &self.origin.cluster;
        let known = |why: &str| NotSafe(why.to_owned());
        let own = MemberId::from_uid(&up.uid);
        // A copy there does not tell whether the backup has volumes.
        let is_own = |record: &BackupRecord| {
            record.labels().get(labels::MEMBER).map(String::as_str) == Some(own.as_str())
        };
        let records = objects::velero::<BackupRecord>(self.ctx, source);
        let record = records.get_opt(name).await?.filter(is_own);
        let record = record.filter(|record| copy::is_plain(record) && self.lies_at(up, record));
        let record = record.ok_or_else(|| known("it has snapshots, has moved or is gone"))?;
        let by_file = objects::velero::<velero::PodVolumeBackup>(self.ctx, source);
        let moved = objects::velero::<velero::DataUpload>(self.ctx, source);
        if copy::has_volumes(&by_file, name).await? || copy::has_volumes(&moved, name).await? {
            return Err(known("it has volumes"));
        }
        Ok(record)
    }

    /// Whether the location that its own member shows a backup in is where that member stores, as far
    /// as is known.
    fn lies_at(&self, up: &Member, record: &BackupRecord) -> bool {
        let name = record.spec["storageLocation"].as_str();
        let name = name.filter(|name| !name.is_empty());
        let name = name.unwrap_or(labels::DEFAULT_STORAGE_LOCATION);
        let source = &self.origin.cluster;
        let found = self.ctx.locations.get(source, NAMESPACE, name);
        let place = up.place.as_ref();
        found
            .zip(place)
            .is_some_and(|(found, place)| location::is_at(&found, place))
    }

    /// Makes a copy. In a location of the target's own Velero may delete by a copy what lies there, if it
    /// outlives its backup: there its own sync is awaited, which removes it in time.
    async fn copy(&self, record: &BackupRecord) -> Result<velero::Backup, NotNow> {
        let up = up_member(self.ctx, self.origin).and_then(|up| up.place.as_ref());
        let mut locations = self.locations.iter();
        let location = up
            .and_then(|place| locations.find(|location| location::is_at(location, place)))
            .filter(|location| borrowed::is_borrowed(&location.name_any()))
            .ok_or_else(|| NotNow::Waits(self.not_synced(&record.name_any())))?;
        let copy = copy::build(record, &location.name_any());
        let api = objects::velero::<BackupRecord>(self.ctx, &self.target.key);
        // One that was there already is looked at next time.
        let made = api.create(&copy, P::MANAGER).await?;
        Ok(velero::Backup {
            metadata: made.metadata,
            status: made.status,
            ..velero::Backup::default()
        })
    }

    fn not_synced(&self, what: &str) -> Problem {
        Problem::new(
            reason::BACKUP_NOT_SYNCED,
            format!(
                "Velero in {} has not taken over {what} of {} yet: it looks once a minute",
                self.target.key.name, self.origin.cluster.name
            ),
        )
    }

    fn hidden(&self, name: &str) -> Problem {
        Problem::new(
            reason::BACKUP_NOT_SYNCED,
            format!(
                "another Velero Backup {name} in {} hides the one of {}: delete it there if it is \
                 not needed",
                self.target.key.name, self.origin.cluster.name
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{closed, said};
    use super::*;

    #[test]
    fn what_was_found_counts_if_no_place_that_cannot_be_read_may_hide_the_right_one() {
        let none = || Err(closed("not there"));
        assert!(among(Ok(1), None, |_| false).is_ok());
        assert!(among(Ok(1), Some(closed("north")), |_| true).is_ok());
        let unsure = among(Ok(1), Some(closed("north")), |_| false);
        assert_eq!(said(unsure), "north");
        assert_eq!(said(among::<u8>(none(), None, |_| true)), "not there");
        let missing = among::<u8>(none(), Some(closed("north")), |_| true);
        assert_eq!(said(missing), "north");
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_cannot_tell_is_not_asked_by_every_target_in_turn() {
        let limit = Duration::from_secs(10);
        assert!(Asked::default().known(limit).is_none());
        let not = Asked::Not(Instant::now(), "it has volumes".to_owned());
        assert!(matches!(not.known(limit), Some(Err(_))));
        tokio::time::advance(limit).await;
        assert!(not.known(limit).is_none());
    }
}
