//! The whole status of a Migrate, from its entries. Pure.

use api_types::aggregate::{
    Decision, Migration, Motion, SourceOutcome, decide_migrate, source_outcome,
};
use api_types::backup::BackupDetail;
use api_types::condition::{ConditionStatus, SOURCE_READY, reason};
use api_types::migrate::{Migrate, MigrateStatus};
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::RestoreDetail;
use controller_kit::condition::{Aspect, Conditions};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use velero_kit::operation::{Detail, conclude, entry};
use velero_kit::problem::Problem;

use super::facts::Terms;
use super::progress;
use super::validate::InvalidSpec;

/// The entries of a Migrate, targets sorted by name and kind.
#[derive(Debug, Clone)]
pub struct Entries {
    pub source: BackupDetail,
    pub targets: Vec<RestoreDetail>,
}

/// The status of a Migrate that is not being deleted. A final one is given back as it is stored.
pub fn status(migrate: &Migrate, entries: Entries, terms: &Terms) -> MigrateStatus {
    let stored = migrate.status.clone().unwrap_or_default();
    let late = terms.now >= terms.deadline;
    let stopped = match (terms.cancel, late) {
        (true, _) => Some(reason::CANCELLED),
        (false, true) => Some(reason::DEADLINE_EXCEEDED),
        (false, false) => None,
    };
    let no_targets = terms.no_targets.as_ref();
    let decision = decide_migrate(&Migration {
        partial_failure: terms.partial_failure,
        no_targets: no_targets.map_or(reason::NO_CLUSTERS, |problem| problem.reason),
        stopped,
        ..migration(&stored, &entries, terms.now)
    });
    let Some(mut decision) = decision else {
        return stored;
    };
    if decision.motion == Motion::Reconciling && nothing_moves(&entries, decision.phase) {
        decision.motion = Motion::Stalled;
        reason::NO_PROGRESS.clone_into(&mut decision.reason);
    }
    let nobody = no_targets.filter(|problem| problem.reason == decision.reason);
    let message = match nobody {
        Some(problem) => problem.message.clone(),
        None => message(&decision, &entries),
    };
    let message = match (terms.cancel, decision.succeeded) {
        (true, None) => format!("cancelled, so nothing new begins; {message}"),
        _ => message,
    };
    let mut status = stored;
    if entries.source.member_uid.is_some() && status.start_time.is_none() {
        status.start_time = Some(Time(terms.now));
    }
    status.deadline_time = Some(Time(terms.deadline));
    let source_ready = source_ready(&entries.source, terms);
    status.source_cluster_status = Some(entries.source);
    status.target_cluster_status = entries.targets;
    set_source_ready(migrate, &mut status, source_ready, terms.now);
    status.step = Some(progress::step(&status, &decision).to_owned());
    conclude::conclude(migrate, &mut status, &decision, &message, terms.now);
    status.progress = progress::progress(&status);
    status
}

/// The status of a Migrate whose spec can never work.
pub fn refused(
    migrate: &Migrate,
    entries: Entries,
    invalid: &InvalidSpec,
    now: Timestamp,
) -> MigrateStatus {
    let stored = migrate.status.clone().unwrap_or_default();
    let decision = decide_migrate(&Migration {
        spec_valid: false,
        ..migration(&stored, &entries, now)
    });
    let Some(decision) = decision else {
        return stored;
    };
    let mend = match decision.succeeded {
        Some(_) => "make a new Migrate",
        // What has begun goes on once the spec can be read again.
        None => "mend it",
    };
    let message = format!("spec.{invalid}: {mend}");
    let mut status = stored;
    if status.start_time.is_none() {
        // A source that is none is in no status.
        let is_known = !entries.source.cluster_name.is_empty();
        let problem = Problem::new(reason::INVALID_SPEC, format!("spec.{invalid}"));
        let Entries { source, targets } = entries;
        let source = is_known.then(|| never(source, &problem, now));
        let targets = targets.into_iter();
        status.source_cluster_status = source;
        status.target_cluster_status = targets.map(|of| never(of, &problem, now)).collect();
        let never = (
            ConditionStatus::False,
            reason::SOURCE_NOT_READY,
            message.clone(),
        );
        set_source_ready(migrate, &mut status, never, now);
    }
    status.step = Some(progress::step(&status, &decision).to_owned());
    conclude::conclude(migrate, &mut status, &decision, &message, now);
    status
}

/// The entry of a cluster in which nothing will be done.
fn never<D: Detail>(mut entry: D, problem: &Problem, now: Timestamp) -> D {
    let before = entry.phase();
    if !before.is_final() {
        entry::fail(&mut entry, problem);
        entry::transition(&mut entry, before, now);
    }
    entry
}

fn migration<'a>(stored: &MigrateStatus, entries: &'a Entries, now: Timestamp) -> Migration<'a> {
    Migration {
        stored_phase: stored.phase,
        stored_succeeded: conclude::succeeded(&stored.conditions),
        deletion: None,
        spec_valid: true,
        partial_failure: api_types::migrate::PartialFailure::default(),
        source: &entries.source,
        targets: &entries.targets,
        no_targets: reason::NO_CLUSTERS,
        stopped: None,
        now,
    }
}

/// Status, reason and message of `sourceReady`.
type SourceReady = (ConditionStatus, &'static str, String);

fn source_ready(source: &BackupDetail, terms: &Terms) -> SourceReady {
    let name = &source.cluster_name;
    let told = source.message.clone().unwrap_or_default();
    let partial = source.phase == EntryPhase::PartiallyFailed;
    match source_outcome(source, terms.partial_failure) {
        SourceOutcome::Usable if partial => (
            ConditionStatus::True,
            reason::BACKUP_PARTIALLY_FAILED,
            format!("the backup of {name} is only partial and is restored so: {told}"),
        ),
        SourceOutcome::Usable => (
            ConditionStatus::True,
            reason::BACKUP_COMPLETED,
            format!("the backup of {name} is completed"),
        ),
        SourceOutcome::Lost if partial => (
            ConditionStatus::False,
            reason::BACKUP_PARTIALLY_FAILED,
            format!("the backup of {name} is only partial, and partialFailure is Stop: {told}"),
        ),
        SourceOutcome::Open if source.phase != EntryPhase::Pending => (
            ConditionStatus::False,
            reason::BACKUP_IN_PROGRESS,
            told_of(name, "is being backed up", &told),
        ),
        _ => (
            ConditionStatus::False,
            reason::SOURCE_NOT_READY,
            told_of(name, "has no backup", &told),
        ),
    }
}

fn told_of(name: &str, what: &str, told: &str) -> String {
    if told.is_empty() {
        format!("{name} {what}")
    } else {
        format!("{name} {what}: {told}")
    }
}

fn set_source_ready(
    migrate: &Migrate,
    status: &mut MigrateStatus,
    (holds, why, message): SourceReady,
    now: Timestamp,
) {
    let mut conditions = Conditions {
        list: &mut status.conditions,
        generation: migrate.metadata.generation,
        now,
    };
    conditions.set(&Aspect {
        type_: SOURCE_READY,
        status: holds,
        reason: why,
        message: &message,
    });
    status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
}

/// Whether a person has to act before anything goes on.
fn nothing_moves(entries: &Entries, phase: Phase) -> bool {
    let stuck = |why: &Option<String>| why.as_deref() == Some(reason::NO_PROGRESS);
    if phase != Phase::RestoreInProgress {
        return stuck(&entries.source.reason);
    }
    let open = entries
        .targets
        .iter()
        .filter(|target| !target.phase.is_final());
    open.clone().count() > 0 && open.into_iter().all(|target| stuck(&target.reason))
}

/// One sentence about the whole: what it waits for, or how it went.
fn message(decision: &Decision, entries: &Entries) -> String {
    let source = &entries.source;
    let told = |name: &str, message: Option<&str>| {
        message.map_or_else(String::new, |message| format!("; {name}: {message}"))
    };
    let of_source = told(&source.cluster_name, source.message.as_deref());
    match decision.phase {
        Phase::Pending => format!("waits for the backup of {}{of_source}", source.cluster_name),
        Phase::BackupInProgress => format!("{} is being backed up{of_source}", source.cluster_name),
        _ => {
            let completed = |target: &&RestoreDetail| target.phase == EntryPhase::Completed;
            let total = entries.targets.len();
            let done = entries.targets.iter().filter(completed).count();
            // Of a completed entry there is something to tell only if it is not plain success.
            let telling = |target: &&RestoreDetail| {
                target.message.is_some()
                    && (!completed(target) || decision.phase == Phase::Completed)
            };
            let first = entries.targets.iter().find(telling);
            let cause = match first {
                Some(target) => told(&target.cluster_name, target.message.as_deref()),
                None if source.phase != EntryPhase::Completed => of_source.clone(),
                None => String::new(),
            };
            match decision.phase {
                Phase::Completed => format!("completed in all {total} targets{cause}"),
                _ if total == 0 => format!("nothing was migrated{of_source}"),
                _ => format!("{done} of {total} targets completed{cause}"),
            }
        }
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod outcome_tests;
