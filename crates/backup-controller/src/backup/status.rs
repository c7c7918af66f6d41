//! The whole status, computed from what is known. Pure.

use std::time::Duration;

use api_types::aggregate::{self, Decision, Deletion, Motion, Operation, VeleroPhase};
use api_types::backup::{Backup, BackupDetail, BackupStatus};
use api_types::common::Leftover;
use api_types::condition::{self, ConditionStatus, SUCCEEDED, reason};
use api_types::external::velero;
use api_types::names;
use api_types::phase::{EntryPhase, Phase};
use controller_kit::condition::{Activity, Aspect, Conditions, MESSAGE_BYTES};
use controller_kit::text::truncate;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::delete::Left;
use super::detail::{detail, say, transition};
use super::pass::Row;
use super::plan::Next;
use super::validate::{InvalidSpec, Validated};
use super::{Problem, apply};

/// The present time as statuses have it: whole seconds, never in the future.
pub fn now() -> Timestamp {
    whole_seconds(Timestamp::now())
}

/// The second that a time lies in.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The status of a Backup that is not being deleted.
pub fn status(backup: &Backup, rows: &[Row], spec: &Validated, now: Timestamp) -> BackupStatus {
    let stored = backup.status.clone().unwrap_or_default();
    let mut status = BackupStatus {
        backup_details: rows
            .iter()
            .map(|row| {
                let mut detail = detail(&row.entry, &row.next, now);
                if let Some(taken) = name_taken(backup, row) {
                    say(&mut detail, &taken);
                }
                detail
            })
            .collect(),
        ..stored.clone()
    };
    let claimed = status
        .backup_details
        .iter()
        .any(|detail| detail.member_uid.is_some());
    if claimed && status.start_time.is_none() {
        status.start_time = Some(Time(now));
    }
    let decision = aggregate::decide(&Operation {
        stored_phase: stored.phase,
        stored_succeeded: succeeded(&stored),
        deletion: None,
        spec_valid: true,
        fleet_found: spec.fleet_found,
        deadline_passed: now >= spec.deadline,
        entries: &status.backup_details,
        now,
    });
    let Some(mut decision) = decision else {
        return stored;
    };
    if decision.motion == Motion::Reconciling && nothing_moves(&status.backup_details) {
        decision.motion = Motion::Stalled;
        reason::NO_PROGRESS.clone_into(&mut decision.reason);
    }
    let message = message(backup, &decision, &status.backup_details);
    conclude(backup, &mut status, &decision, &message, now);
    status
}

/// What to say of an object that is about to be created under another name than its first choice.
fn name_taken(backup: &Backup, row: &Row) -> Option<Problem> {
    let name = row.entry.claimed_name()?;
    let Next::Create { expired: false } = row.next else {
        return None;
    };
    let owner = super::owner(backup);
    let full = apply::full_name(&owner, &row.entry.key);
    let candidates = names::candidates(&full, &owner.uid, names::MAX_NAME);
    let first = candidates.first().filter(|first| *first != name)?;
    Some(Problem::new(
        reason::NAME_TAKEN,
        format!(
            "{first} is held by another owner in {}: the backup is named {name}",
            row.entry.key.name
        ),
    ))
}

/// The status of a Backup whose spec can never work.
pub fn refused(backup: &Backup, invalid: &InvalidSpec, now: Timestamp) -> BackupStatus {
    let mut status = backup.status.clone().unwrap_or_default();
    let decision = aggregate::decide(&Operation {
        stored_phase: status.phase,
        stored_succeeded: succeeded(&status),
        deletion: None,
        spec_valid: false,
        fleet_found: true,
        deadline_passed: false,
        entries: &status.backup_details,
        now,
    });
    let Some(decision) = decision else {
        return status;
    };
    let advice = match decision.succeeded {
        Some(_) => "make a new Backup",
        // What has begun goes on once the spec can be read again.
        None => "mend it",
    };
    let message = format!("spec.{invalid}: {advice}");
    conclude(backup, &mut status, &decision, &message, now);
    status
}

/// The status of a scheduled Backup, which this version stores and does not run.
pub fn not_served(backup: &Backup, now: Timestamp) -> BackupStatus {
    let mut status = backup.status.clone().unwrap_or_default();
    let decision = Decision {
        phase: Phase::Pending,
        ready: ConditionStatus::False,
        reason: reason::NO_CONTROLLER.to_owned(),
        motion: Motion::Stalled,
        succeeded: None,
    };
    let message = "this version runs one-time Backups only: nothing is backed up by this schedule";
    conclude(backup, &mut status, &decision, message, now);
    status
}

/// The status of a Backup that is being deleted.
pub fn deleting(backup: &Backup, left: &[Left], blocked: bool, now: Timestamp) -> BackupStatus {
    let mut status = backup.status.clone().unwrap_or_default();
    status.backup_details = left.iter().map(|left| deleting_detail(left, now)).collect();
    let decision = aggregate::decide(&Operation {
        stored_phase: status.phase,
        stored_succeeded: succeeded(&status),
        deletion: Some(if blocked {
            Deletion::Blocked
        } else {
            Deletion::Going
        }),
        spec_valid: true,
        fleet_found: true,
        deadline_passed: false,
        entries: &status.backup_details,
        now,
    });
    let Some(decision) = decision else {
        return status;
    };
    let waits: Vec<String> = left
        .iter()
        .filter_map(|left| {
            let problem = left.problem.as_ref()?;
            Some(format!("{}: {}", left.detail.cluster_name, problem.message))
        })
        .collect();
    conclude(backup, &mut status, &decision, &waits.join("; "), now);
    status
}

fn deleting_detail(left: &Left, now: Timestamp) -> BackupDetail {
    let mut detail = left.detail.clone();
    detail.phase = EntryPhase::Deleting;
    if let Some(problem) = &left.problem {
        say(&mut detail, problem);
    } else {
        detail.reason = None;
        detail.message = Some("nothing of this Backup is there any more".to_owned());
    }
    transition(&mut detail, left.detail.phase, now);
    detail
}

/// The last status of a Backup that is let go by force: what stays behind is named.
pub fn leftovers(backup: &Backup, open: &[&Left], now: Timestamp) -> BackupStatus {
    let mut status = backup.status.clone().unwrap_or_default();
    status.leftovers = open
        .iter()
        .take(100)
        .map(|left| Leftover {
            cluster_name: left.detail.cluster_name.clone(),
            cluster_kind: left.detail.cluster_kind.clone(),
            kind: "velero.io/Backup".to_owned(),
            name: left
                .detail
                .backup_name_in_cluster
                .clone()
                .unwrap_or_default(),
            message: left
                .problem
                .as_ref()
                .map_or_else(String::new, |p| truncate(&p.message, MESSAGE_BYTES)),
        })
        .collect();
    let decision = Decision {
        phase: Phase::Deleting,
        ready: ConditionStatus::False,
        reason: reason::DELETING.to_owned(),
        motion: Motion::Reconciling,
        succeeded: succeeded(&status),
    };
    let message = format!("let go by force; left behind in {} clusters", open.len());
    conclude(backup, &mut status, &decision, &message, now);
    status
}

/// Phase, conditions, counts and times of a status whose entries are there.
fn conclude(
    backup: &Backup,
    status: &mut BackupStatus,
    decision: &Decision,
    message: &str,
    now: Timestamp,
) {
    let generation = backup.metadata.generation;
    status.observed_generation = generation;
    status.phase = Some(decision.phase);
    status.summary = Some(aggregate::summarize(&status.backup_details));
    status.expiration_time = status
        .backup_details
        .iter()
        .filter(|detail| {
            matches!(
                detail.phase,
                EntryPhase::Completed | EntryPhase::PartiallyFailed
            )
        })
        .filter_map(|detail| detail.backup_status_in_cluster.as_ref()?.expiration.clone())
        .min();
    let activity = match decision.motion {
        Motion::Still => Activity::Settled,
        Motion::Reconciling => Activity::Reconciling,
        Motion::Stalled => Activity::Stalled,
    };
    let mut conditions = Conditions {
        list: &mut status.conditions,
        generation,
        now,
    };
    conditions.ready(decision.ready, activity, &decision.reason, message);
    // Once there, the outcome stays as it was first written.
    let known = condition::find(conditions.list, SUCCEEDED).is_some();
    if let Some(succeeded) = decision.succeeded.filter(|_| !known) {
        conditions.set(&Aspect {
            type_: SUCCEEDED,
            status: succeeded.into(),
            reason: &decision.reason,
            message,
        });
        status.completion_time = Some(Time(now));
        if succeeded {
            status.last_success_time = last_success(&status.backup_details);
        }
    }
    status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    aggregate::fit_backup(status);
}

/// The oldest completion over all clusters.
fn last_success(details: &[BackupDetail]) -> Option<Time> {
    details
        .iter()
        .map(|detail| {
            detail
                .backup_status_in_cluster
                .as_ref()?
                .completion_timestamp
                .clone()
        })
        .min()
        .flatten()
}

/// The condition `Succeeded`, if it is there.
pub fn succeeded(status: &BackupStatus) -> Option<bool> {
    condition::find(&status.conditions, SUCCEEDED)
        .map(|condition| condition.status == ConditionStatus::True)
}

/// Whether a person has to act before anything goes on.
fn nothing_moves(details: &[BackupDetail]) -> bool {
    let mut open = details
        .iter()
        .filter(|detail| !detail.phase.is_final())
        .peekable();
    open.peek().is_some()
        && open.all(|detail| detail.reason.as_deref() == Some(reason::NO_PROGRESS))
}

/// One sentence about the whole: what it waits for, or how it went.
fn message(backup: &Backup, decision: &Decision, details: &[BackupDetail]) -> String {
    let fleet = &backup.spec.destination.fleet;
    if details.is_empty() {
        return if decision.reason == reason::FLEET_NOT_FOUND {
            format!("there is no Fleet {fleet} in this namespace: create it")
        } else {
            format!("no cluster of Fleet {fleet} is selected: mend the Fleet, or make a new Backup")
        };
    }
    let count = |phase| {
        details
            .iter()
            .filter(|detail| detail.phase == phase)
            .count()
    };
    let total = details.len();
    let first = details
        .iter()
        .find(|detail| detail.phase != EntryPhase::Completed && detail.message.is_some());
    let cause = first.map_or_else(String::new, |detail| {
        format!(
            "; {}: {}",
            detail.cluster_name,
            detail.message.as_deref().unwrap_or_default()
        )
    });
    match decision.phase {
        Phase::Completed => format!("completed in all {total} clusters"),
        _ => format!(
            "{} of {total} clusters completed{cause}",
            count(EntryPhase::Completed)
        ),
    }
}

/// Whether two statuses differ only in how far Velero is: such a write may wait for its turn.
pub fn only_progress(a: &BackupStatus, b: &BackupStatus) -> bool {
    without_progress(a) == without_progress(b)
}

fn without_progress(status: &BackupStatus) -> BackupStatus {
    let mut status = status.clone();
    for detail in &mut status.backup_details {
        if let Some(copy) = &mut detail.backup_status_in_cluster {
            copy.progress = None;
            copy.queue_position = None;
            copy.unknown.clear();
        }
    }
    if let Some(summary) = &mut status.summary {
        (summary.items_done, summary.items_total) = (0, 0);
        summary.items.clear();
    }
    status
}

/// Whether Velero will not change this object any more.
pub fn velero_is_done(object: &velero::Backup) -> bool {
    VeleroPhase::of(object.phase()).is_final()
}

/// How long an unfinished operation may be out of reach before it counts as stalled.
pub fn unreachable_limit() -> Duration {
    Duration::try_from(aggregate::unreachable_limit()).unwrap_or_default()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
