//! The decision for one entry: what may be done about it now?

use std::collections::BTreeSet;
use std::sync::Arc;

use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::names::MemberId;
use api_types::restore::RestoreDetail;
use jiff::Timestamp;
use velero_kit::classify;
use velero_kit::reading::wanted::is_for_good;

use super::Problem;
use super::results::Results;
use super::source::{Origin, Run};
use crate::operation::calls::NotNow;
use crate::operation::conclude::velero_is_done;
use crate::operation::member::{self, HubObject, Link, Served, too_late};
use crate::operation::objects::Applied;
use crate::operation::outcome;

/// What is known about one member, gathered without asking it anything.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its object on the hub.
    pub hub: HubObject,
    /// How cluster-proxy reaches it.
    pub link: Link,
    /// The members whose stores it takes over.
    pub adopted: BTreeSet<MemberId>,
    /// Whether it serves Velero's API.
    pub velero: Served,
    /// Whether `objects` is complete: the watch has been synced and is connected.
    pub objects_synced: bool,
    /// The Velero Restores that this hub object owns there.
    pub objects: Vec<Arc<velero::Restore>>,
}

/// One requested cluster of a Restore.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: ClusterKey,
    /// As the hub has it; a fresh one for a cluster that has none yet.
    pub stored: RestoreDetail,
    /// What the fleet says against it.
    pub problem: Option<Problem>,
    /// The cluster that it is restored from, as the hub's Backup knows it.
    pub origin: Result<Origin, Problem>,
    /// The backup of that, as the hub and its member show it.
    pub run: Result<Run, Problem>,
    pub facts: Facts,
    /// What the silence of its object means, if it is silent.
    pub stuck: Option<Problem>,
    /// Whether its object is as it is for so long that another one may be tried in its place.
    pub rested: bool,
    /// What its object's results say, if it went wrong.
    pub results: Results,
}

/// What holds for all entries of a Restore.
#[derive(Debug, Clone)]
pub struct Terms<'a> {
    /// What keeps the whole Restore from beginning, by what it reads.
    pub source: Option<&'a Problem>,
    /// The Backup is being deleted with its data.
    pub going: bool,
    /// What else keeps it from beginning, such as a missing ConfigMap.
    pub hold: Option<&'a Problem>,
    /// Another member's backup is asked for: that its own member answers does not matter.
    pub elsewhere: bool,
    /// The Backup was made once: no run comes after the one that there is.
    pub once: bool,
    /// When entries that have not begun fail.
    pub deadline: Timestamp,
    pub now: Timestamp,
}

/// What comes next for an entry.
#[derive(Debug, Clone)]
pub enum Next {
    /// Nothing, for ever.
    Final,
    /// It cannot begin yet; a watch will tell when it can.
    Wait(Problem),
    /// A look at the member has shown that it cannot begin yet: look again now and then.
    Look(Problem),
    /// A call to the member failed: try again soon.
    Retry(Problem),
    /// It may begin: name and member are to be written down.
    Claim,
    /// Claimed: the run that is restored is to be looked at and written down.
    Choose,
    /// Its run is chosen, and nothing is known of its object: create it.
    Create,
    /// Velero refused the object too early: claim the next name.
    Rename,
    /// Nothing is created any more, for this reason: make sure that there is nothing, then end.
    GiveUp(Problem),
    /// Its object was seen and is not in the watch any more: ask the member.
    Confirm,
    /// Its object, as last seen.
    Follow(Arc<velero::Restore>),
    /// Keep what was last known.
    Hold,
    /// It ends here.
    Fail(Problem),
}

impl Facts {
    /// Whether calls to the member can be made.
    pub fn is_up(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }
}

impl Entry {
    /// The name that was claimed.
    pub fn claimed_name(&self) -> Option<&str> {
        self.stored
            .member_uid
            .as_ref()
            .and(self.stored.restore_name_in_cluster.as_deref())
    }

    /// Its object, as last seen.
    pub fn object(&self) -> Option<&Arc<velero::Restore>> {
        let name = self.claimed_name()?;
        let mut objects = self.facts.objects.iter();
        objects.find(|object| object.metadata.name.as_deref() == Some(name))
    }

    /// Why Velero refused its object, if only for what it had not seen yet.
    pub fn premature(&self) -> Option<Problem> {
        classify::premature(&self.key.name, &self.object()?.status)
    }

    /// Whether the run that is restored was written down.
    pub fn has_chosen(&self) -> bool {
        self.stored.backup_name_in_cluster.is_some()
    }

    /// Whether the object was ever seen: its status is copied from then on, be it empty.
    pub fn seen(&self) -> bool {
        self.stored.restore_status_in_cluster.is_some()
    }
}

/// Decides for one entry. Pure: the same facts give the same answer.
pub fn plan(entry: &Entry, terms: &Terms<'_>) -> Next {
    if entry.stored.phase.is_final() {
        return Next::Final;
    }
    match entry.claimed_name() {
        Some(_) => plan_claimed(entry, terms),
        None => before_choice(entry, terms, Next::Claim),
    }
}

fn plan_claimed(entry: &Entry, terms: &Terms<'_>) -> Next {
    let facts = &entry.facts;
    if let Link::Up { member_uid } = &facts.link
        && entry.stored.member_uid.as_deref() != Some(member_uid)
    {
        return Next::Fail(Problem::new(
            reason::MEMBER_REPLACED,
            format!(
                "another cluster answers as {}: the restore was claimed in the former one; make a \
                 new Restore",
                entry.key.name
            ),
        ));
    }
    if !entry.has_chosen() {
        // Without a chosen run nothing was ever created.
        return before_choice(entry, terms, Next::Choose);
    }
    let (object, premature) = (entry.object(), entry.premature());
    let blind = facts.is_up() && !facts.objects_synced;
    let trouble = member::no_velero(&entry.key, facts.velero)
        .filter(|_| blind && facts.velero != Served::Unknown);
    let expired = terms.now >= terms.deadline;
    match (object, trouble) {
        (Some(object), None) => {
            return match premature {
                None => Next::Follow(Arc::clone(object)),
                Some(_) if !facts.is_up() || blind => Next::Hold,
                Some(_) if entry.rested => Next::Rename,
                Some(problem) => Next::Retry(problem),
            };
        }
        (Some(object), Some(_)) if premature.is_none() && velero_is_done(object.phase()) => {
            return Next::Follow(Arc::clone(object));
        }
        // With their API the objects went; until the deadline it may come back.
        (_, Some(_)) if expired && facts.velero == Served::No => {}
        (_, Some(problem)) => return Next::Wait(problem),
        (None, None) if blind => return Next::Hold,
        (None, None) => {}
    }
    if let Some(ended) = outcome::ended(&entry.stored) {
        return Next::Follow(Arc::new(ended));
    }
    if !facts.is_up() {
        return Next::Hold;
    }
    if entry.seen() || object.is_some() {
        return Next::Confirm;
    }
    if expired {
        return Next::GiveUp(too_late(last_problem(entry)));
    }
    if terms.going {
        return Next::GiveUp(going());
    }
    match terms.hold {
        // Created without what its policy refers to, it would restore something else.
        Some(problem) => Next::Wait(problem.clone()),
        None => Next::Create,
    }
}

/// What comes next for an entry that has chosen no run: `go`, unless something is in the way.
fn before_choice(entry: &Entry, terms: &Terms<'_>, go: Next) -> Next {
    let obstacle = obstacle(entry, terms);
    if let Some(problem) = obstacle.as_ref().filter(|_| terms.once)
        && is_for_good(problem)
    {
        return Next::Fail(problem.clone());
    }
    if terms.now >= terms.deadline {
        let cause = obstacle.as_ref().map(|problem| problem.message.as_str());
        return Next::Fail(too_late(cause.or_else(|| last_problem(entry))));
    }
    obstacle.map_or(go, Next::Wait)
}

/// What comes next after a look at the run before anything was created. `once`: there is no other one.
pub fn looked(not_now: NotNow, once: bool) -> Next {
    match later(not_now) {
        Next::Look(problem) if once && is_for_good(&problem) => Next::Fail(problem),
        next => next,
    }
}

/// What comes next after a look at a run that was chosen: it is the only one from then on.
pub fn looked_again(not_now: NotNow) -> Next {
    match later(not_now) {
        Next::Look(problem) if is_for_good(&problem) => Next::GiveUp(problem),
        next => next,
    }
}

fn later(not_now: NotNow) -> Next {
    match not_now {
        NotNow::Waits(problem) => Next::Look(problem),
        NotNow::Failed(problem) => Next::Retry(problem),
    }
}

/// The first thing that keeps an entry from beginning.
fn obstacle(entry: &Entry, terms: &Terms<'_>) -> Option<Problem> {
    let facts = &entry.facts;
    if let Some(problem) = terms.source.or(entry.problem.as_ref()) {
        return Some(problem.clone());
    }
    if let Some(problem) = member::no_cluster(&entry.key, facts.hub) {
        return Some(problem);
    }
    let origin = match (&entry.origin, &entry.run) {
        (Ok(origin), Ok(_)) => origin,
        (Err(problem), _) | (_, Err(problem)) => return Some(problem.clone()),
    };
    match &facts.link {
        Link::Down { problem, .. } => return Some(problem.clone()),
        Link::Up { member_uid } if !origin.has(member_uid) => {
            let made_in = origin.made_in();
            let is_own = !made_in.is_disjoint(&facts.adopted);
            if let Some(problem) = cannot_read(&entry.key, origin, terms.elsewhere || is_own) {
                return Some(problem);
            }
        }
        Link::Up { .. } => {}
    }
    member::no_velero(&entry.key, facts.velero).or_else(|| terms.hold.cloned())
}

/// Why a member does not read what another one has stored.
fn cannot_read(key: &ClusterKey, origin: &Origin, elsewhere: bool) -> Option<Problem> {
    let (name, from) = (&key.name, &origin.cluster.name);
    if !elsewhere {
        return Some(Problem::new(
            reason::MEMBER_REPLACED,
            format!(
                "another cluster answers as {name}: its backup was made in the former one; to \
                 restore that here, write sourceCluster: {{name: {name}}} and a destination"
            ),
        ));
    }
    origin.places().is_empty().then(|| {
        Problem::new(
            reason::STORAGE_LOCATION_NOT_FOUND,
            format!(
                "it is not known where the backup of {from} lies: it was not written down, {from} \
                 does not answer, and the Fleet has no backup plugin with a layout that is decided"
            ),
        )
    })
}

/// Why nothing new reads a Backup.
pub fn going() -> Problem {
    Problem::new(
        reason::BACKUP_NOT_FOUND,
        "the Backup is being deleted with its data: nothing was restored from it",
    )
}

/// What comes next after the member has answered. `None`: another owner holds the name, and the
/// next one is to be claimed.
pub fn answered(entry: &Entry, asked: &Next, applied: Applied<velero::Restore>) -> Option<Next> {
    let name = &entry.key.name;
    Some(match (applied, asked) {
        (Applied::Present(object), _) => match classify::premature(name, &object.status) {
            Some(problem) => Next::Retry(problem),
            None => Next::Follow(Arc::from(object)),
        },
        (Applied::Failed(problem), _) => Next::Retry(problem),
        (Applied::Absent | Applied::Taken, Next::Confirm) => Next::Fail(Problem::new(
            reason::OBJECT_DISAPPEARED,
            format!(
                "the Velero Restore was removed in {name} before it ended: find who deletes there"
            ),
        )),
        (Applied::Absent | Applied::Taken, Next::GiveUp(why)) => Next::Fail(why.clone()),
        (Applied::Absent, _) => Next::Retry(Problem::new(
            reason::UNREACHABLE,
            format!("the answer of {name} to creating the restore was lost"),
        )),
        (Applied::Taken, _) => return None,
    })
}

/// What kept a claimed entry from getting its object, by its status.
fn last_problem(entry: &Entry) -> Option<&str> {
    let reason = entry.stored.reason.as_deref()?;
    let trouble = !matches!(
        reason,
        reason::QUEUED | reason::NAME_TAKEN | reason::BACKUP_PARTIALLY_FAILED
    );
    entry.stored.message.as_deref().filter(|_| trouble)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
