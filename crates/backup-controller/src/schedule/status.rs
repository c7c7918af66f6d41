//! The whole status, computed from what is known. Pure.

use api_types::aggregate::{self, Decision, Fault, Scheduled};
use api_types::backup::{Backup, BackupDetail, BackupStatus, FormerCluster};
use api_types::condition::{ConditionStatus, reason};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Problem;
use super::detail::{self, Shown, View};
use super::pass::Row;
use super::plan::Terms;
use crate::operation::conclude;

/// What a status has beside its entries.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    pub former: Vec<FormerCluster>,
    /// The last value of the annotation that was acted on, and when.
    pub run_now: Option<(String, Timestamp)>,
}

/// The status of a scheduled Backup that is not being deleted.
pub fn status(
    backup: &Backup,
    rows: &[Row],
    notes: &Notes,
    terms: &Terms<'_>,
    view: View,
) -> BackupStatus {
    let shown: Vec<Shown> = rows
        .iter()
        .map(|row| detail::show(row, terms, view))
        .collect();
    let clusters: Vec<_> = shown.iter().map(|shown| shown.cluster).collect();
    let decision = aggregate::decide_scheduled(&Scheduled {
        paused: terms.spec.paused,
        fleet_found: terms.spec.fleet_found,
        clusters: &clusters,
        waiting_for: waiting_for(&shown),
    });
    let message = message(backup, &decision, &shown);
    let mut status = backup.status.clone().unwrap_or_default();
    status.backup_details = shown.into_iter().map(|shown| shown.detail).collect();
    status.former_clusters.clone_from(&notes.former);
    if let Some((value, time)) = &notes.run_now {
        status.last_run_now = Some(value.clone());
        status.last_run_now_time = Some(Time(*time));
    }
    // A set that follows the spec is never fixed, and so nothing ever completes.
    (status.start_time, status.completion_time) = (None, None);
    conclude::conclude(backup, &mut status, &decision, &message, terms.now);
    status.last_success_time = oldest_success(&status.backup_details);
    status.next_run_time = next_run(rows, terms, view).map(Time);
    let expiration = rows.iter().filter_map(|row| row.runs.expiration());
    let shown = status.expiration_time.take().map(|time| time.0);
    status.expiration_time = expiration.chain(shown).min().map(Time);
    status
}

/// The status of a scheduled Backup whose spec cannot work as it is. The clusters keep the Schedules
/// that they have, and their runs.
pub fn refused(
    backup: &Backup,
    details: Vec<BackupDetail>,
    refusal: &Problem,
    now: Timestamp,
) -> BackupStatus {
    let mut status = backup.status.clone().unwrap_or_default();
    status.backup_details = details;
    let decision = aggregate::refused_schedule(refusal.reason);
    conclude::conclude(backup, &mut status, &decision, &refusal.message, now);
    status.last_success_time = oldest_success(&status.backup_details);
    status.next_run_time = None;
    status
}

/// The oldest of the newest successes of all clusters, while each has one.
fn oldest_success(details: &[BackupDetail]) -> Option<Time> {
    let successes = details
        .iter()
        .map(|detail| detail.last_success_time.clone());
    // `None` is less than any time.
    successes.min().flatten()
}

/// When the next run is due in any cluster. Where Velero is late for long, the run after that.
fn next_run(rows: &[Row], terms: &Terms<'_>, view: View) -> Option<Timestamp> {
    if terms.spec.paused {
        return None;
    }
    let when = &terms.spec.when;
    let due = |row: &Row| {
        let due = row.due(terms)?;
        let late = terms.now.duration_since(due).unsigned_abs() > view.run_missed;
        if due < terms.now && late {
            when.next(terms.now)
        } else {
            Some(due)
        }
    };
    rows.iter().filter_map(due).min()
}

/// The reason that all waiting clusters have in common.
fn waiting_for(shown: &[Shown]) -> Option<&str> {
    let mut waiting = shown
        .iter()
        .filter(|shown| shown.cluster.fault == Some(Fault::Waiting))
        .map(|shown| shown.detail.reason.as_deref());
    let first = waiting.next()??;
    waiting
        .all(|reason| reason == Some(first))
        .then_some(first)
        // That is what the whole is: it says nothing of why.
        .filter(|reason| *reason != reason::QUEUED)
}

/// One sentence about the whole.
fn message(backup: &Backup, decision: &Decision, shown: &[Shown]) -> String {
    let fleet = &backup.spec.destination.fleet;
    let total = shown.len();
    if decision.reason == reason::FLEET_NOT_FOUND {
        return format!("there is no Fleet {fleet} in this namespace: create it");
    }
    if total == 0 {
        return format!(
            "no cluster of Fleet {fleet} is selected: mend the Fleet or the destination"
        );
    }
    if decision.ready == ConditionStatus::True {
        return match decision.reason.as_str() {
            reason::PAUSED => format!("no run is started in any of {total} clusters"),
            _ => format!("{total} of {total} clusters back up by the schedule"),
        };
    }
    let well = shown
        .iter()
        .filter(|shown| shown.cluster.fault.is_none())
        .count();
    let worst = shown
        .iter()
        .filter(|shown| shown.cluster.fault.is_some())
        .min_by_key(|shown| shown.cluster.fault);
    let cause = worst.map_or_else(String::new, |shown| {
        let detail = &shown.detail;
        let why = detail.message.as_deref().unwrap_or_default();
        format!("; {}: {why}", detail.cluster_name)
    });
    format!("{well} of {total} clusters are as they should be{cause}")
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
