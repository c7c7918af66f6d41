//! Does somebody else store where a member does? Pure.

use std::collections::BTreeSet;

use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::labels;
use api_types::names::MemberId;
use velero_kit::location;
use velero_kit::problem::Problem;

use super::known::{Known, Member};

/// Why nothing may be written to a place, if somebody else's backups lie there or come there.
pub fn find(
    known: &Known,
    member: &Member,
    place: &StoragePlace,
    id: &MemberId,
) -> Option<Problem> {
    let name = &member.key.name;
    let lies = format!("{}/{}", place.bucket, place.prefix);
    let mut written = known.written.iter();
    let writer = written.find(|other| {
        other.member != *id
            && !member.adopted.contains(&other.member)
            && location::is_same(&other.place, place)
    });
    if let Some(other) = writer {
        return Some(Problem::new(
            reason::STORE_COLLISION,
            format!(
                "{} ({}) writes to {lies} too: give it another place, or annotate AttachedCluster \
                 {name} with {}: {}",
                other.by.name,
                other.member,
                labels::ADOPT_STORE,
                other.member
            ),
        ));
    }
    let survey = &member.memory.survey;
    if let Some(foreign) = survey.foreign() {
        let problem = foreign_backups(foreign, &member.adopted, name, &lies);
        // Those that were found have been adopted, or have gone for certain.
        if problem.is_some() || !foreign.is_empty() || survey.is_certain() {
            return problem;
        }
    }
    // After a restart, until Velero has looked there again: once to close it, twice to open it.
    let here = member.default_location().filter(|found| {
        known.marks().are_on(&found.metadata)
            && known.owner.owns(&found.metadata, id)
            && found.is_read_only()
            && location::is_at(found, place)
    });
    here.map(|found| undecided(location::collision(found), member, name))
}

fn foreign_backups(
    foreign: &BTreeSet<String>,
    adopted: &BTreeSet<MemberId>,
    name: &str,
    lies: &str,
) -> Option<Problem> {
    let is_own = |id: &str| adopted.iter().any(|adopted| adopted.as_str() == id);
    let other = foreign.iter().find(|id| !is_own(id))?;
    Some(Problem::new(
        reason::STORE_COLLISION,
        format!(
            "backups of member {other} lie in {lies}: choose another prefix, or, if {name} takes \
             its place, annotate AttachedCluster {name} with {}: {other}",
            labels::ADOPT_STORE
        ),
    ))
}

fn undecided(written: Option<&str>, member: &Member, name: &str) -> Problem {
    let said = written.map(str::to_owned).or_else(|| said(member));
    let message = said.unwrap_or_else(|| {
        format!("waiting for Velero in {name} to say whose backups lie in the location")
    });
    Problem::new(reason::STORE_COLLISION, message)
}

/// What its entry says of a collision.
fn said(member: &Member) -> Option<String> {
    member
        .entry
        .as_ref()
        .filter(|entry| entry.reason.as_deref() == Some(reason::STORE_COLLISION))
        .and_then(|entry| entry.message.clone())
}
