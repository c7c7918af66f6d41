//! The decision for one entry: what may be done about it now?

use std::sync::Arc;

use api_types::backup::BackupDetail;
use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use jiff::Timestamp;
use velero_kit::{classify, location};

use super::Problem;
use super::apply::Applied;
use crate::operation::member::{self, too_late};
pub use crate::operation::member::{HubObject, Link, Served};

/// What is known about one member, gathered without asking it anything.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its object on the hub.
    pub hub: HubObject,
    /// How cluster-proxy reaches it.
    pub link: Link,
    /// Whether it serves Velero's API.
    pub velero: Served,
    /// The location that the backup is to be made in, as last seen.
    pub location: Option<Arc<velero::BackupStorageLocation>>,
    /// Whether `objects` is complete: the watch has been synced and is connected.
    pub objects_synced: bool,
    /// The Velero Backups that this hub object owns there.
    pub objects: Vec<Arc<velero::Backup>>,
}

impl Facts {
    /// Whether calls to the member can be made.
    pub fn is_up(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// Where a backup that is made now would lie.
    pub fn place(&self) -> Option<StoragePlace> {
        self.location.as_deref().map(location::storage)
    }
}

/// One requested cluster of a Backup.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: ClusterKey,
    /// As the hub has it; a fresh one for a cluster that has none yet.
    pub stored: BackupDetail,
    /// What the fleet says against it.
    pub problem: Option<Problem>,
    pub facts: Facts,
    /// What the silence of its object means, if it is silent.
    pub stuck: Option<Problem>,
    /// Whether its object is as it is for so long that another one may be tried in its place.
    pub rested: bool,
}

/// What holds for all entries of a Backup.
#[derive(Debug, Clone)]
pub struct Terms<'a> {
    /// Name of the location in each member.
    pub location: &'a str,
    /// What keeps the whole Backup from starting anything, such as a missing ConfigMap.
    pub hold: Option<&'a Problem>,
    /// When entries that have not begun fail.
    pub deadline: Timestamp,
    pub now: Timestamp,
}

/// What comes next for an entry.
#[derive(Debug, Clone)]
pub enum Next {
    /// Nothing, for ever.
    Final,
    /// It cannot begin yet.
    Wait(Problem),
    /// A call to the member failed: try again soon.
    Retry(Problem),
    /// It may begin: name and member are to be written down.
    Claim,
    /// Claimed, and nothing is known of its object: create it, or past the deadline make sure
    /// that there is none.
    Create { expired: bool },
    /// Velero has the name's folder in the bucket, or refused the object too early: claim the next name.
    Rename,
    /// Its object was seen and is not in the watch any more: ask the member.
    Confirm,
    /// Its object, as last seen.
    Follow(Arc<velero::Backup>),
    /// Keep what was last known.
    Hold,
    /// It ends here.
    Fail(Problem),
}

impl Entry {
    /// The name that was claimed.
    pub fn claimed_name(&self) -> Option<&str> {
        self.stored
            .member_uid
            .as_ref()
            .and(self.stored.backup_name_in_cluster.as_deref())
    }

    /// Its object, as last seen.
    pub fn object(&self) -> Option<&Arc<velero::Backup>> {
        let name = self.claimed_name()?;
        let mut objects = self.facts.objects.iter();
        objects.find(|object| object.metadata.name.as_deref() == Some(name))
    }

    /// Why Velero refused its object, if only for what it had not seen yet.
    pub fn premature(&self) -> Option<Problem> {
        classify::premature(&self.key.name, &self.object()?.status)
    }

    /// Whether a backup that is made now would lie elsewhere than is written down.
    pub fn has_moved(&self) -> bool {
        let written = self.stored.storage.as_ref();
        let place = self.facts.place();
        place.is_some_and(|place| !written.is_some_and(|known| location::is_same(known, &place)))
    }

    /// Whether the object was ever seen: its status is copied from then on, be it empty.
    pub fn seen(&self) -> bool {
        self.stored.backup_status_in_cluster.is_some()
    }
}

/// Decides for one entry. Pure: the same facts give the same answer.
pub fn plan(entry: &Entry, terms: &Terms<'_>) -> Next {
    if entry.stored.phase.is_final() {
        return Next::Final;
    }
    match entry.claimed_name() {
        Some(_) => plan_claimed(entry, terms),
        None => plan_unclaimed(entry, terms),
    }
}

fn plan_claimed(entry: &Entry, terms: &Terms<'_>) -> Next {
    let facts = &entry.facts;
    let claimed_uid = entry.stored.member_uid.as_deref();
    if let Link::Up { member_uid } = &facts.link
        && claimed_uid != Some(member_uid)
    {
        return Next::Fail(Problem::new(
            reason::MEMBER_REPLACED,
            format!(
                "another cluster answers as {}: the backup was made in the former one; make a new Backup",
                entry.key.name
            ),
        ));
    }
    let (object, premature) = (entry.object(), entry.premature());
    let blind = facts.is_up() && !facts.objects_synced;
    let trouble = member::no_velero(&entry.key, facts.velero)
        .filter(|_| blind && facts.velero != Served::Unknown);
    let expired = terms.now >= terms.deadline;
    match (object, trouble) {
        (Some(object), _) if classify::name_in_bucket(object) => return Next::Rename,
        (Some(object), None) => {
            return match premature {
                None => Next::Follow(Arc::clone(object)),
                Some(_) if !facts.is_up() || blind => Next::Hold,
                Some(_) if entry.rested => Next::Rename,
                Some(problem) => Next::Retry(problem),
            };
        }
        (Some(object), Some(_)) if premature.is_none() && super::status::velero_is_done(object) => {
            return Next::Follow(Arc::clone(object));
        }
        // With their API the objects went; until the deadline it may come back.
        (_, Some(_)) if expired && facts.velero == Served::No => {}
        (_, Some(problem)) => return Next::Wait(problem),
        (None, None) if !facts.is_up() || blind => return Next::Hold,
        (None, None) => {}
    }
    if entry.seen() || object.is_some() {
        return Next::Confirm;
    }
    match not_now(entry, terms) {
        Some(problem) if !expired => Next::Wait(problem),
        _ => Next::Create { expired },
    }
}

/// What a Velero Backup must not be created without: without what its policy refers to it would back
/// up something else, and in a location that cannot be used it would fail for good.
fn not_now(entry: &Entry, terms: &Terms<'_>) -> Option<Problem> {
    let facts = &entry.facts;
    member::no_velero(&entry.key, facts.velero)
        .or_else(|| terms.hold.cloned())
        .or_else(|| location::usable(terms.location, facts.location.as_deref()).err())
}

fn plan_unclaimed(entry: &Entry, terms: &Terms<'_>) -> Next {
    let obstacle = obstacle(entry, terms);
    if terms.now >= terms.deadline {
        let cause = obstacle.as_ref().map(|problem| problem.message.as_str());
        return Next::Fail(too_late(cause));
    }
    obstacle.map_or(Next::Claim, Next::Wait)
}

/// The first thing that keeps an entry from beginning.
fn obstacle(entry: &Entry, terms: &Terms<'_>) -> Option<Problem> {
    let facts = &entry.facts;
    let problem = entry.problem.clone();
    problem
        .or_else(|| member::obstacle(&entry.key, facts.hub, &facts.link, facts.velero))
        .or_else(|| not_now(entry, terms))
}

/// What comes next after the member has answered. `None`: another owner or the bucket holds the name,
/// and the next one is to be claimed.
pub fn answered(entry: &Entry, asked: &Next, applied: Applied) -> Option<Next> {
    let expired = matches!(asked, Next::Create { expired: true });
    let confirming = matches!(asked, Next::Confirm);
    Some(match applied {
        Applied::Present(object) if classify::name_in_bucket(&object) => return None,
        Applied::Present(object) => match classify::premature(&entry.key.name, &object.status) {
            Some(problem) => Next::Retry(problem),
            None => Next::Follow(Arc::from(object)),
        },
        Applied::Failed(problem) => Next::Retry(problem),
        Applied::Absent | Applied::Taken if confirming => Next::Fail(Problem::new(
            reason::OBJECT_DISAPPEARED,
            format!(
                "the Velero Backup was removed in {} before it ended: find who deletes there",
                entry.key.name
            ),
        )),
        Applied::Absent | Applied::Taken if expired => Next::Fail(too_late(last_problem(entry))),
        Applied::Absent => Next::Retry(Problem::new(
            reason::UNREACHABLE,
            format!(
                "the answer of {} to creating the backup was lost",
                entry.key.name
            ),
        )),
        Applied::Taken => return None,
    })
}

/// What kept a claimed entry from getting its object, by its status.
fn last_problem(entry: &Entry) -> Option<&str> {
    let reason = entry.stored.reason.as_deref()?;
    let trouble = !matches!(reason, reason::QUEUED | reason::NAME_TAKEN);
    entry.stored.message.as_deref().filter(|_| trouble)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
