//! Events on the hub object: one a phase change, one a cluster that fails or falls silent.

use std::collections::BTreeMap;

use api_types::backup::{Backup, BackupDetail, BackupStatus};
use api_types::condition::{self, reason};
use api_types::phase::{EntryPhase, Phase};
use controller_kit::event::{Event, Severity};
use k8s_openapi::api::core::v1::ObjectReference;

use crate::context::Context;

/// Publishes what changed from the former status to the present one.
pub fn publish(ctx: &Context, backup: &Backup, before: &BackupStatus) {
    let Some(status) = &backup.status else { return };
    ctx.metrics.observe(before, status);
    for event in of_clusters(backup.metadata.namespace.as_deref(), before, status) {
        ctx.events.publish_cluster(backup, event);
    }
    if let Some(event) = of_whole(before, status) {
        ctx.events.publish(backup, event);
    }
}

/// The event of a change of the whole.
fn of_whole(before: &BackupStatus, status: &BackupStatus) -> Option<Event> {
    let (severity, name) = headline(status)?;
    let same_phase = before.phase == status.phase;
    let news = headline(before).map(|(_, name)| name) != Some(name);
    // A deletion that is not blocked any more is no other phase.
    if !news || same_phase && severity == Severity::Normal {
        return None;
    }
    let ready = condition::find(&status.conditions, condition::READY)?;
    Some(event(severity, name, ready.message.clone()))
}

/// What a status is worth telling, if anything.
fn headline(status: &BackupStatus) -> Option<(Severity, &'static str)> {
    let ready = condition::find(&status.conditions, condition::READY);
    let because = |reason| ready.is_some_and(|ready| ready.reason == reason);
    let phase = status.phase?;
    match phase {
        Phase::Pending if because(reason::NO_CLUSTERS) => {
            Some((Severity::Warning, reason::NO_CLUSTERS))
        }
        Phase::Deleting if because(reason::DELETION_BLOCKED) => {
            Some((Severity::Warning, reason::DELETION_BLOCKED))
        }
        Phase::InProgress | Phase::Completed | Phase::Deleting => {
            Some((Severity::Normal, phase.as_str()))
        }
        Phase::FailedValidation => Some((Severity::Warning, reason::INVALID_SPEC)),
        Phase::Failed | Phase::PartiallyFailed => Some((Severity::Warning, phase.as_str())),
        _ => None,
    }
}

fn of_clusters(
    namespace: Option<&str>,
    before: &BackupStatus,
    status: &BackupStatus,
) -> Vec<Event> {
    let former: BTreeMap<(&str, &str), &BackupDetail> = before
        .backup_details
        .iter()
        .map(|detail| {
            (
                (detail.cluster_name.as_str(), detail.cluster_kind.as_str()),
                detail,
            )
        })
        .collect();
    status
        .backup_details
        .iter()
        .filter_map(|detail| {
            let key = (detail.cluster_name.as_str(), detail.cluster_kind.as_str());
            of_cluster(namespace, former.get(&key).copied(), detail)
        })
        .collect()
}

/// The event of one cluster, for the reasons that `api.md` 7 lists.
fn of_cluster(
    namespace: Option<&str>,
    before: Option<&BackupDetail>,
    detail: &BackupDetail,
) -> Option<Event> {
    let changed =
        before.is_none_or(|before| before.phase != detail.phase || before.reason != detail.reason);
    if !changed {
        return None;
    }
    let cause = detail.reason.as_deref().unwrap_or_default();
    let name = match (detail.phase, cause) {
        (_, reason::UNREACHABLE) => reason::UNREACHABLE,
        (_, reason::NAME_TAKEN) => reason::NAME_TAKEN,
        (EntryPhase::Failed, reason::START_DEADLINE_EXCEEDED) => reason::START_DEADLINE_EXCEEDED,
        (EntryPhase::Failed, _) => reason::FAILED,
        (EntryPhase::PartiallyFailed, _) => reason::PARTIALLY_FAILED,
        _ => return None,
    };
    let message = detail.message.as_deref().unwrap_or(cause);
    let note = format!("{}: {message}", detail.cluster_name);
    Some(Event {
        // Events of one reason are merged unless they are about different objects.
        related: Some(ObjectReference {
            kind: Some(detail.cluster_kind.clone()),
            name: Some(detail.cluster_name.clone()),
            namespace: namespace.map(str::to_owned),
            ..ObjectReference::default()
        }),
        ..event(Severity::Warning, name, note)
    })
}

fn event(severity: Severity, reason: &'static str, note: String) -> Event {
    Event {
        severity,
        reason,
        action: "Backup",
        note,
        related: None,
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
