//! The decision for one cluster: what may be done about its Schedule now?

use std::sync::Arc;

use api_types::backup::{BackupDetail, BackupPolicy};
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::names::MemberId;
use jiff::Timestamp;
use velero_kit::identity::Owner;
use velero_kit::location;

use super::Problem;
use super::build::{self, Change};
use super::validate::Validated;
use crate::backup::build::Place;
use crate::operation::member;
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
    /// The location that runs are stored in, as last seen.
    pub location: Option<Arc<velero::BackupStorageLocation>>,
    /// Whether `schedules` is complete: the watch has been synced and is connected.
    pub schedules_live: bool,
    /// The Velero Schedules that this hub object owns there, by name.
    pub schedules: Vec<Arc<velero::Schedule>>,
    /// Whether `runs` were complete at some time, be it before the member fell silent.
    pub runs_known: bool,
    /// Whether `runs` is complete now.
    pub runs_live: bool,
    /// The Velero Backups that this hub object owns there.
    pub runs: Vec<Arc<velero::Backup>>,
}

impl Facts {
    /// The uid of the member, if calls to it can be made.
    pub fn member_uid(&self) -> Option<&str> {
        match &self.link {
            Link::Up { member_uid } => Some(member_uid),
            Link::Down { .. } => None,
        }
    }

    /// The one Schedule that counts.
    pub fn schedule(&self) -> Option<&Arc<velero::Schedule>> {
        self.schedules.first()
    }
}

/// What a member made of a Schedule that we applied, for members that write its fields otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    pub wanted: velero::ScheduleSpec,
    pub got: velero::ScheduleSpec,
}

/// One requested cluster.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: ClusterKey,
    /// As the hub has it; a fresh one for a cluster that has none yet, or whose member was replaced.
    pub stored: BackupDetail,
    /// What the fleet says against it.
    pub problem: Option<Problem>,
    pub facts: Facts,
    /// What was made of the last Schedule that we applied, if not what we wanted.
    pub accepted: Option<Accepted>,
    /// What the silence of Velero means, if it is silent.
    pub stuck: Option<Problem>,
}

/// What holds for all clusters of a Backup.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    pub owner: &'a Owner,
    pub spec: &'a Validated,
    pub policy: Option<&'a BackupPolicy>,
    /// Name that the carried ConfigMap has on members.
    pub carried: Option<&'a str>,
    /// What keeps all clusters from getting a Schedule, such as a missing ConfigMap.
    pub hold: Option<&'a Problem>,
    pub now: Timestamp,
}

/// What comes next for a cluster.
#[derive(Debug, Clone)]
pub enum Next {
    /// It cannot have its Schedule yet.
    Wait(Problem),
    /// A call to the member failed: try again soon.
    Retry(Problem),
    /// It may have one: the member is to be written down.
    Claim,
    /// Claimed, and the Schedule is missing or not as it should be.
    Put,
    /// It has its Schedule, as last seen.
    Keep(Arc<velero::Schedule>),
    /// Keep what was last known.
    Hold,
}

/// Decides for one cluster. Pure: the same facts give the same answer.
pub fn plan(entry: &Entry, terms: &Terms<'_>) -> Next {
    let facts = &entry.facts;
    let Some(member_uid) = facts.member_uid() else {
        return match (&entry.stored.member_uid, &facts.link) {
            (None, Link::Down { problem, .. }) => {
                Next::Wait(obstacle(entry, terms).unwrap_or_else(|| problem.clone()))
            }
            _ => Next::Hold,
        };
    };
    if entry.stored.member_uid.as_deref() != Some(member_uid) {
        return obstacle(entry, terms).map_or(Next::Claim, Next::Wait);
    }
    if !facts.schedules_live {
        return match member::no_velero(&entry.key, facts.velero) {
            Some(problem) if facts.velero != Served::Unknown => Next::Wait(problem),
            _ => Next::Hold,
        };
    }
    let Some(live) = facts.schedule() else {
        return obstacle(entry, terms).map_or(Next::Put, Next::Wait);
    };
    if facts.schedules.len() == 1 && is_right(entry, live, terms) {
        return Next::Keep(Arc::clone(live));
    }
    Next::Put
}

fn is_right(entry: &Entry, live: &velero::Schedule, terms: &Terms<'_>) -> bool {
    let Some(wanted) = wanted(entry, terms) else {
        return false;
    };
    match build::change(live, &wanted) {
        Change::None => true,
        Change::Renew => false,
        Change::Apply => entry
            .accepted
            .as_ref()
            .is_some_and(|accepted| accepted.wanted == wanted.spec && accepted.got == live.spec),
    }
}

/// The Schedule that this cluster should have, under the name of the one that is there.
pub fn wanted(entry: &Entry, terms: &Terms<'_>) -> Option<velero::Schedule> {
    let member = MemberId::from_uid(entry.facts.member_uid()?);
    let live = entry.facts.schedule();
    let place = Place {
        cluster: &entry.key,
        member: &member,
        name: live
            .and_then(|live| live.metadata.name.as_deref())
            .unwrap_or_default(),
    };
    // While the ConfigMap is missing, the rest of the spec still reaches what is there.
    let known = live
        .filter(|_| terms.hold.is_some())
        .and_then(|live| live.spec.template.resource_policy.as_ref())
        .map(|known| known.name.as_str());
    let carried = terms.carried.or(known);
    Some(build::build(
        terms.owner,
        place,
        terms.spec,
        terms.policy,
        carried,
    ))
}

/// The first thing that keeps a cluster from getting its Schedule.
fn obstacle(entry: &Entry, terms: &Terms<'_>) -> Option<Problem> {
    let facts = &entry.facts;
    let problem = entry.problem.clone();
    problem
        .or_else(|| member::obstacle(&entry.key, facts.hub, &facts.link, facts.velero))
        .or_else(|| terms.hold.cloned())
        .or_else(|| location::usable(&terms.spec.location, facts.location.as_deref()).err())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
