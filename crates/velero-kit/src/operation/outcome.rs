//! What a Velero object says, written into the entry that follows it. Pure.

use crate::classify;
use crate::problem::Problem;
use crate::results::read::Results;
use api_types::aggregate::{EntryState, Seen, VeleroPhase, sanitize_backup, sanitize_restore};
use api_types::backup::BackupDetail;
use api_types::common::StoragePlace;
use api_types::external::velero;
use api_types::phase::EntryPhase;
use api_types::restore::RestoreDetail;
use controller_kit::condition::MESSAGE_BYTES;
use controller_kit::text::truncate;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Detail;
use super::conclude::velero_is_done;
use super::entry::{self, say_trouble, waiting_message};

/// What is known of a followed object, beside what it says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside<'a> {
    /// What its silence means, if it is silent.
    pub stuck: Option<&'a Problem>,
    /// What its results say, if it went wrong.
    pub results: Option<&'a Results>,
    /// What else is to be known of it, where it says nothing itself.
    pub caveat: Option<&'a Problem>,
}

/// Writes down what a Velero Backup says.
pub fn of_backup(detail: &mut BackupDetail, object: &velero::Backup, beside: Beside<'_>) {
    let Some(state) = state(detail, object.phase(), &object.metadata) else {
        return;
    };
    let copy = sanitize_backup(&object.status);
    let name = object.metadata.name.clone().unwrap_or_default();
    let told = Told {
        message: classify::failure_message(&name, &copy.status),
        finer: classify::failure_reason(&copy.status),
        invalid: &copy.invalid,
    };
    told.write(detail, state, object.phase(), beside);
    detail.backup_status_in_cluster = Some(copy.status);
    detail.backup_name_in_cluster = Some(name);
}

/// Writes down where a Velero Backup lies. Velero looks its location up when it begins: what has changed
/// of that before counts, and what changes later does not.
pub fn lies_at(detail: &mut BackupDetail, object: &velero::Backup, present: Option<StoragePlace>) {
    let waits = VeleroPhase::of(object.phase()) == VeleroPhase::Waiting;
    if let Some(place) = present.filter(|_| waits || detail.storage.is_none()) {
        detail.storage = Some(place);
    }
}

/// Writes down what a Velero Restore says.
pub fn of_restore(detail: &mut RestoreDetail, object: &velero::Restore, beside: Beside<'_>) {
    let Some(state) = state(detail, object.phase(), &object.metadata) else {
        return;
    };
    let copy = sanitize_restore(&object.status);
    let name = object.metadata.name.clone().unwrap_or_default();
    // A final entry never changes, so it is final only with all that it will say.
    let awaited = beside.results == Some(&Results::Awaited) && state.phase.is_final();
    let state = if awaited {
        EntryState {
            phase: EntryPhase::InProgress,
            reason: None,
        }
    } else {
        state
    };
    let lines: &[String] = match beside.results {
        Some(Results::Lines(lines)) => lines,
        _ => &[],
    };
    let told = Told {
        message: classify::restore_failure_message(&name, &copy.status, lines).filter(|_| !awaited),
        finer: classify::restore_failure_reason(&copy.status),
        invalid: &copy.invalid,
    };
    told.write(detail, state, object.phase(), beside);
    detail.restore_status_in_cluster = Some(copy.status);
    detail.restore_name_in_cluster = Some(name);
}

/// The Velero Restore as it ended, if that was seen while its results were awaited: whatever becomes of
/// it since, it ended so.
pub fn ended(detail: &RestoreDetail) -> Option<velero::Restore> {
    let copy = detail.restore_status_in_cluster.as_ref()?;
    detail.member_uid.as_ref()?;
    if !velero_is_done(copy.phase.as_deref().unwrap_or_default()) {
        return None;
    }
    let name = detail.restore_name_in_cluster.as_deref()?;
    let mut object = velero::Restore::new(name, velero::RestoreSpec::default());
    object.status = serde_json::to_value(copy).ok()?;
    Some(object)
}

/// What the phase of an object makes of its entry; `None`: the entry stays.
fn state<D: Detail>(detail: &D, phase: &str, meta: &ObjectMeta) -> Option<EntryState> {
    let seen = Seen::Present {
        phase,
        deleting: meta.deletion_timestamp.is_some(),
    };
    api_types::aggregate::entry_state(D::WORK, detail.phase(), seen, false)
}

/// What an object says, beside its phase.
struct Told<'a> {
    /// How it failed.
    message: Option<String>,
    /// A reason that tells more than the phase.
    finer: Option<&'static str>,
    /// Fields of its status that cannot be read.
    invalid: &'a [&'static str],
}

impl Told<'_> {
    fn write(self, detail: &mut impl Detail, state: EntryState, phase: &str, beside: Beside<'_>) {
        let finer = self.finer.filter(|_| state.phase == EntryPhase::Failed);
        let message = self
            .message
            .or_else(|| waiting_message(phase, state.reason))
            .map(|text| truncate(&text, MESSAGE_BYTES));
        let common = detail.common();
        *common.phase = state.phase;
        *common.reason = finer.or(state.reason).map(str::to_owned);
        *common.message = message;
        if let Some(caveat) = beside.caveat.filter(|_| entry::is_plain(detail)) {
            entry::say(detail, caveat);
        }
        say_trouble(detail, self.invalid, beside.stuck);
    }
}
