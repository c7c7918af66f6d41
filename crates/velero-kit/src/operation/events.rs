//! Events on the hub object: one a phase change, one a cluster that fails or falls silent.

use std::collections::BTreeMap;

use api_types::backup::BackupDetail;
use api_types::condition::{self, reason};
use api_types::phase::{EntryPhase, Phase};
use controller_kit::event::{Event, Severity};
use k8s_openapi::api::core::v1::ObjectReference;

use super::context::{Context, Process};
use super::{Detail, Operation, State};

/// The event that names the run that is restored.
const BACKUP_SELECTED: &str = "BackupSelected";

/// Why a Migrate, or a part of it, has failed: their events have names of their own.
const OF_FAILURE: [&str; 4] = [
    reason::CANCELLED,
    reason::DEADLINE_EXCEEDED,
    reason::SOURCE_BACKUP_FAILED,
    reason::SOURCE_BACKUP_PARTIALLY_FAILED,
];

/// Publishes what changed from the former status to the present one.
pub fn publish<K: Operation>(ctx: &Context<impl Process>, object: &K, before: &K::Status) {
    let Some(status) = object.state() else { return };
    ctx.metrics.observe(before, status);
    for event in of_clusters(object.meta().namespace.as_deref(), before, status) {
        ctx.events.publish_cluster(object, event);
    }
    let milestone = milestone(before, status).into_iter();
    for event in milestone.chain(of_whole(before, status)) {
        ctx.events.publish(object, event);
    }
}

/// The event of a milestone that was not reached before.
fn milestone<S: State>(before: &S, status: &S) -> Option<Event> {
    let (name, note) = status.milestone()?;
    let is_new = before.milestone().is_none();
    is_new.then(|| event::<S>(Severity::Normal, name, note.to_owned()))
}

/// The event of a change of the whole.
fn of_whole<S: State>(before: &S, status: &S) -> Option<Event> {
    let (severity, name) = headline(status)?;
    let same_phase = before.phase() == status.phase();
    let news = headline(before).map(|(_, name)| name) != Some(name);
    // A deletion that is not blocked any more is no other phase.
    if !news || same_phase && severity == Severity::Normal {
        return None;
    }
    let ready = condition::find(status.conditions(), condition::READY)?;
    Some(event::<S>(severity, name, ready.message.clone()))
}

/// What a status is worth telling, if anything.
fn headline(status: &impl State) -> Option<(Severity, &'static str)> {
    let ready = condition::find(status.conditions(), condition::READY);
    let because = |reason| ready.is_some_and(|ready| ready.reason == reason);
    let phase = status.phase()?;
    match phase {
        Phase::Pending if because(reason::NO_CLUSTERS) => {
            Some((Severity::Warning, reason::NO_CLUSTERS))
        }
        Phase::Deleting if because(reason::DELETION_BLOCKED) => {
            Some((Severity::Warning, reason::DELETION_BLOCKED))
        }
        Phase::InProgress
        | Phase::BackupInProgress
        | Phase::RestoreInProgress
        | Phase::Completed
        | Phase::Scheduled
        | Phase::Paused
        | Phase::Deleting => Some((Severity::Normal, phase.as_str())),
        Phase::FailedValidation if because(reason::SCHEDULE_REJECTED) => {
            Some((Severity::Warning, reason::SCHEDULE_REJECTED))
        }
        Phase::FailedValidation => Some((Severity::Warning, reason::INVALID_SPEC)),
        Phase::Failed => {
            let finer = OF_FAILURE.into_iter().find(|word| because(word));
            Some((Severity::Warning, finer.unwrap_or(reason::FAILED)))
        }
        Phase::PartiallyFailed => Some((Severity::Warning, reason::PARTIALLY_FAILED)),
        _ => None,
    }
}

fn of_clusters<S: State>(namespace: Option<&str>, before: &S, status: &S) -> Vec<Event> {
    let name = |detail: &S::Detail| {
        (
            detail.cluster_name().to_owned(),
            detail.cluster_kind().to_owned(),
        )
    };
    let former: BTreeMap<_, &S::Detail> = before
        .details()
        .iter()
        .map(|detail| (name(detail), detail))
        .collect();
    let of_source = status.source_entry().and_then(|source| {
        let event = of_source::<S>(before.source_entry(), source)?;
        Some(about(namespace, source, event))
    });
    // Which run a Migrate restores, its source's entry tells.
    let chooses = status.source_entry().is_none();
    let of_entries = status.details().iter().flat_map(|detail| {
        let before = former.get(&name(detail)).copied();
        let chosen = chosen::<S>(before, detail).filter(|_| chooses);
        let events = [chosen, of_cluster::<S, _>(before, detail)];
        let events = events.into_iter().flatten();
        events.map(move |event| about(namespace, detail, event))
    });
    of_source.into_iter().chain(of_entries).collect()
}

/// Events of one reason are merged unless they are about different objects.
pub fn about(namespace: Option<&str>, detail: &impl Detail, event: Event) -> Event {
    Event {
        related: Some(ObjectReference {
            kind: Some(detail.cluster_kind().to_owned()),
            name: Some(detail.cluster_name().to_owned()),
            namespace: namespace.map(str::to_owned),
            ..ObjectReference::default()
        }),
        ..event
    }
}

/// The event of a source that is apart from the entries.
fn of_source<S: State>(before: Option<&BackupDetail>, source: &BackupDetail) -> Option<Event> {
    let event = of_cluster::<S, _>(before, source)?;
    let reason = match event.reason {
        reason::FAILED => reason::SOURCE_BACKUP_FAILED,
        reason::PARTIALLY_FAILED => reason::SOURCE_BACKUP_PARTIALLY_FAILED,
        other => other,
    };
    Some(Event { reason, ..event })
}

/// The event of one cluster, for the reasons that `api.md` 7 lists.
fn of_cluster<S: State, D: Detail>(before: Option<&D>, detail: &D) -> Option<Event> {
    // The latter is the next run of a schedule.
    let ended = before.is_none_or(|before| {
        before.phase() != detail.phase() || before.object_name() != detail.object_name()
    });
    if !ended && before.is_some_and(|before| before.reason() == detail.reason()) {
        return None;
    }
    let cause = detail.reason().unwrap_or_default();
    let is_new = before.is_none_or(|before| before.reason() != Some(cause));
    let finer = OF_FAILURE.into_iter().find(|word| *word == cause);
    let name = match (detail.phase(), cause) {
        (_, reason::UNREACHABLE) => reason::UNREACHABLE,
        (_, reason::NAME_TAKEN) => reason::NAME_TAKEN,
        (_, reason::SCHEDULE_REJECTED) => reason::SCHEDULE_REJECTED,
        (_, reason::RUN_MISSED) => reason::RUN_MISSED,
        (EntryPhase::Failed | EntryPhase::PartiallyFailed, reason::RUN_FAILED) => {
            reason::RUN_FAILED
        }
        (EntryPhase::Failed, reason::START_DEADLINE_EXCEEDED) => reason::START_DEADLINE_EXCEEDED,
        // What else comes to be said of an outcome that was told is none.
        (EntryPhase::Failed, _) if ended => finer.unwrap_or(reason::FAILED),
        (EntryPhase::PartiallyFailed, _) if ended => reason::PARTIALLY_FAILED,
        (_, reason::BACKUP_NOT_FOUND) => reason::BACKUP_NOT_FOUND,
        (_, reason::NO_COMPLETED_BACKUP) => reason::NO_COMPLETED_BACKUP,
        (_, reason::API_VERSION_NOT_SERVED) if is_new => reason::API_VERSION_NOT_SERVED,
        _ => return None,
    };
    let message = detail.message().unwrap_or(cause);
    Some(event::<S>(
        Severity::Warning,
        name,
        format!("{}: {message}", detail.cluster_name()),
    ))
}

/// The event of a run that has just been chosen to be restored.
fn chosen<S: State>(before: Option<&S::Detail>, detail: &S::Detail) -> Option<Event> {
    let run = detail.chosen_run()?;
    if before.and_then(Detail::chosen_run).is_some() {
        return None;
    }
    Some(event::<S>(
        Severity::Normal,
        BACKUP_SELECTED,
        format!("{}: {run}", detail.cluster_name()),
    ))
}

fn event<S: State>(severity: Severity, reason: &'static str, note: String) -> Event {
    Event {
        severity,
        reason,
        action: S::KIND,
        note,
        related: None,
    }
}

/// The reasons of what is told of a change, those of clusters first.
pub fn reasons<S: State>(before: &S, status: &S) -> Vec<&'static str> {
    let clusters = of_clusters(None, before, status).into_iter();
    let all = clusters.chain(of_whole(before, status));
    all.map(|event| event.reason).collect()
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
