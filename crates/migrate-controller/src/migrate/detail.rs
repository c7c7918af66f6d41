//! The entries of a Migrate: what is told of the source and of each target. Pure.

use api_types::aggregate::{
    EntryState, Seen, Work, entry_state, sanitize_backup, sanitize_restore,
};
use api_types::backup::BackupDetail;
use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::phase::EntryPhase;
use api_types::restore::RestoreDetail;
use controller_kit::condition::MESSAGE_BYTES;
use controller_kit::text::truncate;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use velero_kit::classify;
use velero_kit::problem::Problem;

use super::entry::{self, Common};
use super::facts::{Results, Source, Target};
use super::transition::{Gate, Next, Run};

/// What a target is restored from.
#[derive(Debug, Clone, Copy)]
pub(super) struct From<'a> {
    /// Name of the source.
    pub(super) source: &'a str,
    pub(super) gate: &'a Gate,
}

/// The entry of a source that has none yet.
pub fn fresh_source(key: &ClusterKey) -> BackupDetail {
    BackupDetail {
        cluster_name: key.name.clone(),
        cluster_kind: key.kind.to_string(),
        ..BackupDetail::default()
    }
}

/// The entry of a target that has none yet.
pub fn fresh_target(key: &ClusterKey) -> RestoreDetail {
    RestoreDetail {
        cluster_name: key.name.clone(),
        cluster_kind: key.kind.to_string(),
        ..RestoreDetail::default()
    }
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
    let mut common = Common::of_backup(&mut detail);
    common.wake(&source.member.link);
    match next {
        Next::Hold if common.is_new() => common.say(&being_created("Backup")),
        Next::Final | Next::Hold | Next::Confirm => {}
        Next::Wait(problem) | Next::Look(problem) | Next::Retry(problem) => common.say(problem),
        Next::Survey
        | Next::Claim
        | Next::Prepare
        | Next::Transfer
        | Next::Choose
        | Next::Create
        | Next::Rename => common.say(&being_created("Backup")),
        Next::Follow(object) => follow_backup(&mut detail, source, object),
        Next::Fail(problem) => common.fail(problem),
    }
    let claimed = detail.member_uid.is_some();
    let before = source.stored.phase;
    Common::of_backup(&mut detail).settle(&source.member.link, claimed, before, now);
    detail
}

fn follow_backup(detail: &mut BackupDetail, source: &Source, object: &velero::Backup) {
    let seen = Seen::Present {
        phase: object.phase(),
        deleting: object.metadata.deletion_timestamp.is_some(),
    };
    let Some(state) = entry_state(Work::Backup, source.stored.phase, seen, false) else {
        return;
    };
    let copy = sanitize_backup(&object.status);
    let name = object.metadata.name.clone().unwrap_or_default();
    let told = Told {
        message: classify::failure_message(&name, &copy.status)
            .or_else(|| entry::waiting_message(object.phase(), state.reason)),
        finer: classify::failure_reason(&copy.status),
        invalid: &copy.invalid,
        stuck: source.stuck.as_ref(),
    };
    told.write(state, &mut Common::of_backup(detail));
    detail.backup_status_in_cluster = Some(copy.status);
    detail.backup_name_in_cluster = Some(name);
    if detail.storage.is_none() {
        detail.storage = source.location.clone().ok();
    }
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
    let mut common = Common::of_restore(&mut detail);
    common.wake(&target.member.link);
    match next {
        Next::Hold if common.is_new() => common.say(&being_created("Restore")),
        Next::Final | Next::Hold | Next::Confirm => {}
        Next::Wait(problem) | Next::Look(problem) | Next::Retry(problem) => common.say(problem),
        Next::Survey | Next::Prepare => common.say(&waits_for(from.source)),
        Next::Claim if !matches!(from.gate, Gate::Open(_)) => common.say(&waits_for(from.source)),
        Next::Transfer => common.say(&Problem::new(
            reason::BACKUP_NOT_SYNCED,
            format!("the backup of {} is being brought there", from.source),
        )),
        Next::Claim | Next::Choose | Next::Create | Next::Rename => {
            common.say(&being_created("Restore"));
        }
        Next::Follow(object) => follow_restore(&mut detail, target, object),
        Next::Fail(problem) => common.fail(problem),
    }
    say_caveats(&mut detail, target, from);
    let claimed = detail.member_uid.is_some();
    let before = target.stored.phase;
    Common::of_restore(&mut detail).settle(&target.member.link, claimed, before, now);
    detail
}

fn follow_restore(detail: &mut RestoreDetail, target: &Target, object: &velero::Restore) {
    let seen = Seen::Present {
        phase: object.phase(),
        deleting: object.metadata.deletion_timestamp.is_some(),
    };
    let Some(state) = entry_state(Work::Restore, target.stored.phase, seen, false) else {
        return;
    };
    let copy = sanitize_restore(&object.status);
    let name = object.metadata.name.clone().unwrap_or_default();
    // A final entry never changes, so it is final only with all that it will say.
    let awaited = target.results == Results::Awaited && state.phase.is_final();
    let state = if awaited {
        EntryState {
            phase: EntryPhase::InProgress,
            reason: None,
        }
    } else {
        state
    };
    let lines: &[String] = match &target.results {
        Results::Lines(lines) => lines,
        Results::None | Results::Awaited => &[],
    };
    let told = Told {
        message: classify::restore_failure_message(&name, &copy.status, lines)
            .filter(|_| !awaited)
            .or_else(|| entry::waiting_message(object.phase(), state.reason)),
        finer: classify::restore_failure_reason(&copy.status),
        invalid: &copy.invalid,
        stuck: target.stuck.as_ref(),
    };
    told.write(state, &mut Common::of_restore(detail));
    detail.restore_status_in_cluster = Some(copy.status);
    detail.restore_name_in_cluster = Some(name);
}

/// What a Velero object says, beside its phase.
struct Told<'a> {
    message: Option<String>,
    /// A reason that tells more than the phase.
    finer: Option<&'static str>,
    /// Fields of its status that cannot be read.
    invalid: &'a [&'static str],
    stuck: Option<&'a Problem>,
}

impl Told<'_> {
    fn write(self, state: EntryState, common: &mut Common<'_>) {
        *common.phase = state.phase;
        let finer = self.finer.filter(|_| state.phase == EntryPhase::Failed);
        *common.reason = finer.or(state.reason).map(str::to_owned);
        *common.message = self.message.map(|text| truncate(&text, MESSAGE_BYTES));
        common.say_trouble(self.invalid, self.stuck);
    }
}

/// What else is to be known of a target that goes on or has completed. Once said it stays said.
fn say_caveats(detail: &mut RestoreDetail, target: &Target, from: &From<'_>) {
    let plain = matches!(
        detail.reason.as_deref(),
        None | Some(
            reason::QUEUED
                | reason::SOURCE_NOT_READY
                | reason::API_VERSION_NOT_SERVED
                | reason::SOURCE_BACKUP_PARTIALLY_FAILED
        )
    );
    if !plain || detail.phase == EntryPhase::Failed {
        return;
    }
    let partial = matches!(from.gate, Gate::Open(Run { partial: true, .. })).then(|| {
        Problem::new(
            reason::SOURCE_BACKUP_PARTIALLY_FAILED,
            format!(
                "restored from a backup that is only PartiallyFailed: what failed in {} is not in it",
                from.source
            ),
        )
    });
    let said = target
        .stored
        .message
        .clone()
        .filter(|_| target.stored.reason.as_deref() == Some(reason::API_VERSION_NOT_SERVED));
    let said = said.map(|message| Problem::new(reason::API_VERSION_NOT_SERVED, message));
    let caveat = match (partial, target.warning.clone().or(said)) {
        (Some(partial), Some(warning)) => Some(Problem::new(
            partial.reason,
            format!("{}; {}", partial.message, warning.message),
        )),
        (partial, warning) => partial.or(warning),
    };
    if let Some(caveat) = caveat {
        Common::of_restore(detail).say(&caveat);
    }
}

fn being_created(kind: &str) -> Problem {
    Problem::new(
        reason::QUEUED,
        format!("the Velero {kind} is being created"),
    )
}
