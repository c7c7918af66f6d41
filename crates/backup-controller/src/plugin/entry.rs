//! The entry of one cluster from what is known. Pure.

use api_types::common::{StoragePlace, StringMap};
use api_types::condition::reason;
use api_types::external::velero::BackupStorageLocation;
use api_types::fleet::PluginClusterStatus;
use api_types::phase::PluginPhase;
use controller_kit::condition::MESSAGE_BYTES;
use controller_kit::text::truncate;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use velero_kit::location;
use velero_kit::problem::Problem;

use super::layout::{BUCKET, ENDPOINT, PREFIX};
use super::leave::Leave;
use super::validate::{Keep, Planned, Stand};

const STATE: &str = "storageLocation";
const STATE_MESSAGE: &str = "storageLocationMessage";

/// The entry; `None`: there is nothing (left) to say of this cluster.
pub fn entry(
    planned: &Planned,
    answer: Option<&Result<(), Problem>>,
    now: Timestamp,
) -> Option<PluginClusterStatus> {
    let Planned { member, stand } = planned;
    let old = member.entry.as_ref();
    let before = old.map(|old| old.details.clone()).unwrap_or_default();
    let (phase, problem, details) = match stand {
        Stand::Blocked(phase, problem) => (*phase, Some(problem.clone()), before),
        Stand::Kept(keep) => kept(keep, answer, &member.key.name),
        Stand::Leaving(leave) => {
            let problem = leaving(leave, answer, &member.key.name)?;
            (PluginPhase::Removing, Some(problem), before)
        }
    };
    let since = old.filter(|old| old.phase == phase);
    let since = since.and_then(|old| old.last_transition_time.clone());
    Some(PluginClusterStatus {
        cluster_name: member.key.name.clone(),
        cluster_kind: member.key.kind.as_str().to_owned(),
        phase,
        reason: problem.as_ref().map(|problem| problem.reason.to_owned()),
        message: problem.map(|problem| truncate(&problem.message, MESSAGE_BYTES)),
        version: None,
        last_transition_time: since.or(Some(Time(now))),
        details,
    })
}

fn kept(
    keep: &Keep,
    answer: Option<&Result<(), Problem>>,
    cluster: &str,
) -> (PluginPhase, Option<Problem>, StringMap) {
    let found = keep.found.as_deref();
    let details = details(&keep.place, found);
    let (phase, problem) = judge(keep, found, answer, cluster);
    (phase, problem, details)
}

/// First match wins: what is certainly wrong, then what is not done yet, then what only warns.
fn judge(
    keep: &Keep,
    found: Option<&BackupStorageLocation>,
    answer: Option<&Result<(), Problem>>,
    cluster: &str,
) -> (PluginPhase, Option<Problem>) {
    if let Some(problem) = &keep.collision {
        return (PluginPhase::Failed, Some(problem.clone()));
    }
    let refused = answer.and_then(|answer| answer.as_ref().err());
    let there = match found {
        None => Err(installing(cluster, &keep.leftovers)),
        Some(found) => Ok(found),
    };
    let found = match (there, refused) {
        (Ok(found), _) => found,
        (Err(_), Some(problem)) => return (failed_call(problem), Some(problem.clone())),
        (Err(missing), None) => return (PluginPhase::Installing, Some(missing)),
    };
    if found.phase().is_empty() {
        return (PluginPhase::Installing, Some(unchecked(cluster)));
    }
    if let Err(problem) = location::available(&format!("default of {cluster}"), found) {
        return (PluginPhase::Failed, Some(problem));
    }
    match keep.credential.as_ref().or(refused) {
        Some(problem) => (PluginPhase::Degraded, Some(problem.clone())),
        None => (PluginPhase::Ready, None),
    }
}

fn failed_call(problem: &Problem) -> PluginPhase {
    match problem.reason {
        reason::NAME_TAKEN | reason::INSTALL_FAILED => PluginPhase::Failed,
        _ => PluginPhase::Pending,
    }
}

fn installing(cluster: &str, leftovers: &[String]) -> Problem {
    let mut message = format!("the Secret and location default of {cluster} are being written");
    if !leftovers.is_empty() {
        message.push_str("; the Fleet does not set, so it is removed: ");
        message.push_str(&leftovers.join(", "));
    }
    Problem::new(reason::INSTALLING, message)
}

fn unchecked(cluster: &str) -> Problem {
    Problem::new(
        reason::INSTALLING,
        format!("Velero in {cluster} has not checked location default yet: is Velero running?"),
    )
}

fn leaving(leave: &Leave, answer: Option<&Result<(), Problem>>, cluster: &str) -> Option<Problem> {
    match (leave, answer) {
        (Leave::Gone | Leave::LetGo(_), _) => None,
        (Leave::Waits(problem), _) | (Leave::Release, Some(Err(problem))) => Some(Problem::new(
            reason::REMOVAL_BLOCKED,
            format!(
                "location default of {cluster} waits to be given up: {}: {}",
                problem.reason, problem.message
            ),
        )),
        (Leave::Release, _) => Some(Problem::new(
            reason::REMOVING,
            format!("location default of {cluster} is being given up; it stays as it is"),
        )),
    }
}

fn details(place: &StoragePlace, found: Option<&BackupStorageLocation>) -> StringMap {
    let mut details = StringMap::new();
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            details.insert(key.to_owned(), truncate(value, MESSAGE_BYTES));
        }
    };
    add(ENDPOINT, &place.endpoint);
    add(BUCKET, &place.bucket);
    add(PREFIX, &place.prefix);
    if let Some(found) = found {
        add(STATE, found.phase());
        if !found.is_available() {
            add(STATE_MESSAGE, &location::said(found));
        }
    }
    details
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
