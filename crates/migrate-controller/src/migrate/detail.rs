//! The entries of a Migrate: what is told of the source and of each target. Pure.

use api_types::backup::BackupDetail;
use api_types::condition::reason;
use api_types::external::velero;
use api_types::phase::EntryPhase;
use api_types::restore::RestoreDetail;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use velero_kit::operation::entry::{self, say, say_being_created};
use velero_kit::operation::outcome::{self, Beside};
use velero_kit::problem::Problem;

use super::facts::{Source, Target};
use super::transition::{Gate, Next, Run};

/// What a target is restored from.
#[derive(Debug, Clone, Copy)]
pub(super) struct From<'a> {
    /// Name of the source.
    pub(super) source: &'a str,
    pub(super) gate: &'a Gate,
}

/// Writes down where the source's backup is made and under which name, before it is.
pub fn claim_source(detail: &mut BackupDetail, member_uid: &str, name: &str) {
    detail.member_uid = Some(member_uid.to_owned());
    detail.backup_name_in_cluster = Some(name.to_owned());
    // A name that was found taken takes what was seen under it along.
    detail.backup_status_in_cluster = None;
}

/// Writes down where a restore is made and under which name, before it is.
pub fn claim_target(detail: &mut RestoreDetail, member_uid: &str, name: &str) {
    detail.member_uid = Some(member_uid.to_owned());
    detail.restore_name_in_cluster = Some(name.to_owned());
    detail.restore_status_in_cluster = None;
}

/// Writes down which backup is restored, before it is.
pub fn choose(detail: &mut RestoreDetail, source: &str, run: &Run) {
    detail.backup_name_in_cluster = Some(run.name.clone());
    detail.source_cluster_name = Some(source.to_owned());
    detail.backup_time = run.started.map(Time);
}

/// What a target says while its source has no backup.
pub(super) fn waits_for(source: &str) -> Problem {
    Problem::new(
        reason::SOURCE_NOT_READY,
        format!("waits for the backup of {source}"),
    )
}

/// The entry of the source.
pub(super) fn of_source(
    source: &Source,
    next: &Next<velero::Backup>,
    now: Timestamp,
) -> BackupDetail {
    let mut detail = source.stored.clone();
    if matches!(next, Next::Final) {
        return detail;
    }
    entry::wake(&mut detail, &source.member.link);
    match next {
        Next::Hold | Next::Confirm if entry::is_new(&detail) => say_being_created(&mut detail),
        Next::Final | Next::Hold | Next::Confirm => {}
        Next::Wait(problem) | Next::Look(problem) | Next::Retry(problem) => {
            say(&mut detail, problem);
        }
        Next::Survey => say(&mut detail, &asked()),
        Next::Claim
        | Next::Prepare
        | Next::Transfer
        | Next::Choose
        | Next::Move
        | Next::Create
        | Next::Rename => say_being_created(&mut detail),
        Next::Follow(object) => {
            let beside = Beside {
                stuck: source.stuck.as_ref(),
                ..Beside::default()
            };
            outcome::of_backup(&mut detail, object, beside);
            outcome::lies_at(&mut detail, object, source.location.clone().ok());
        }
        Next::Fail(problem) => entry::fail(&mut detail, problem),
    }
    let before = source.stored.phase;
    entry::settle(&mut detail, &source.member.link, before, now);
    detail
}

/// The entry of a target.
pub(super) fn of_target(
    target: &Target,
    next: &Next<velero::Restore>,
    from: &From<'_>,
    now: Timestamp,
) -> RestoreDetail {
    let mut detail = target.stored.clone();
    if matches!(next, Next::Final) {
        return detail;
    }
    entry::wake(&mut detail, &target.member.link);
    let caveat = caveat(target, from);
    match next {
        Next::Hold | Next::Confirm if entry::is_new(&detail) => say_being_created(&mut detail),
        Next::Final | Next::Hold | Next::Confirm => {}
        Next::Wait(problem) if problem.reason == reason::SOURCE_NOT_READY => {
            say_waits(&mut detail, target, from.source);
        }
        Next::Wait(problem) | Next::Look(problem) | Next::Retry(problem) => {
            say(&mut detail, problem);
        }
        Next::Survey | Next::Prepare => say_waits(&mut detail, target, from.source),
        Next::Claim if !matches!(from.gate, Gate::Open(_)) => {
            say_waits(&mut detail, target, from.source);
        }
        Next::Transfer => say(&mut detail, &on_its_way(from.source)),
        Next::Claim | Next::Choose | Next::Move | Next::Create | Next::Rename => {
            say_being_created(&mut detail);
        }
        Next::Follow(object) => {
            let beside = Beside {
                stuck: target.stuck.as_ref(),
                results: Some(&target.results),
                caveat: caveat.as_ref(),
            };
            outcome::of_restore(&mut detail, object, beside);
        }
        Next::Fail(problem) => entry::fail(&mut detail, problem),
    }
    if let Some(caveat) = caveat.filter(|_| gives_way(&detail)) {
        say(&mut detail, &caveat);
    }
    let before = target.stored.phase;
    entry::settle(&mut detail, &target.member.link, before, now);
    detail
}

/// What a target says while its source is backed up: what would keep it from reading that, else which
/// namespaces it comes into.
fn say_waits(detail: &mut RestoreDetail, target: &Target, source: &str) {
    let waits = waits_for(source);
    let told = match (&target.storage, &target.notes.namespaces) {
        (Some(problem), _) => problem.clone(),
        (None, Some(note)) => Problem::new(waits.reason, format!("{}; {note}", waits.message)),
        // Known no more after a restart, but said.
        (None, None) if detail.reason.as_deref() == Some(waits.reason) => return,
        (None, None) => waits,
    };
    say(detail, &told);
}

/// Whether an entry says nothing that is worth more than a caveat.
fn gives_way(detail: &RestoreDetail) -> bool {
    let plain = matches!(
        detail.reason.as_deref(),
        None | Some(
            reason::QUEUED
                | reason::SOURCE_NOT_READY
                | reason::API_VERSION_NOT_SERVED
                | reason::SOURCE_BACKUP_PARTIALLY_FAILED
        )
    );
    plain && detail.phase != EntryPhase::Failed
}

/// What else is to be known of a target that goes on or has completed. Once said it stays said, but
/// where a new process finds another reason in its place.
fn caveat(target: &Target, from: &From<'_>) -> Option<Problem> {
    let partial = matches!(from.gate, Gate::Open(Run { partial: true, .. })).then(|| {
        Problem::new(
            reason::SOURCE_BACKUP_PARTIALLY_FAILED,
            format!(
                "restored from a backup that is only PartiallyFailed: what failed in {} is not in it",
                from.source
            ),
        )
    });
    let was_warned = target.stored.reason.as_deref() == Some(reason::API_VERSION_NOT_SERVED);
    let said = target.stored.message.clone().filter(|_| was_warned);
    let said = said.map(|message| Problem::new(reason::API_VERSION_NOT_SERVED, message));
    match (partial, target.notes.warning.clone().or(said)) {
        (Some(partial), Some(warning)) => Some(Problem::new(
            partial.reason,
            format!("{}; {}", partial.message, warning.message),
        )),
        (partial, warning) => partial.or(warning),
    }
}

fn asked() -> Problem {
    Problem::new(
        reason::QUEUED,
        "source and targets are asked what they serve, and which namespaces they have",
    )
}

fn on_its_way(source: &str) -> Problem {
    Problem::new(
        reason::BACKUP_NOT_SYNCED,
        format!("the backup of {source} is being brought there"),
    )
}
