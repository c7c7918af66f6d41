//! Events that only a scheduled Backup has: a run that completed, a run that was asked for.

use api_types::backup::{Backup, BackupDetail, BackupStatus};
use controller_kit::event::{Event, Severity};
use k8s_openapi::api::core::v1::ObjectReference;

use crate::context::Context;
use crate::operation::State;

/// Publishes what changed from the former status to the present one.
pub fn publish(ctx: &Context, backup: &Backup, before: &BackupStatus) {
    let Some(status) = &backup.status else { return };
    if let Some(event) = run_now(before, status) {
        ctx.events.publish(backup, event);
    }
    for event in completed(backup.metadata.namespace.as_deref(), before, status) {
        ctx.events.publish_cluster(backup, event);
    }
}

fn run_now(before: &BackupStatus, status: &BackupStatus) -> Option<Event> {
    if before.last_run_now_time == status.last_run_now_time {
        return None;
    }
    let value = status.last_run_now.as_deref()?;
    Some(event("RunNow", format!("a run was asked for: {value}")))
}

fn completed(namespace: Option<&str>, before: &BackupStatus, status: &BackupStatus) -> Vec<Event> {
    let news = |detail: &&BackupDetail| {
        let former = before.backup_details.iter().find(|former| {
            former.cluster_name == detail.cluster_name && former.cluster_kind == detail.cluster_kind
        });
        detail.last_success_time > former.and_then(|former| former.last_success_time.clone())
    };
    let about = |detail: &BackupDetail| Event {
        related: Some(ObjectReference {
            kind: Some(detail.cluster_kind.clone()),
            name: Some(detail.cluster_name.clone()),
            namespace: namespace.map(str::to_owned),
            ..ObjectReference::default()
        }),
        ..event(
            "RunCompleted",
            format!(
                "{}: {}",
                detail.cluster_name,
                detail.backup_name_in_cluster.as_deref().unwrap_or_default()
            ),
        )
    };
    status
        .backup_details
        .iter()
        .filter(news)
        .map(about)
        .collect()
}

fn event(reason: &'static str, note: String) -> Event {
    Event {
        severity: Severity::Normal,
        reason,
        action: BackupStatus::KIND,
        note,
        related: None,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::schedule::fixtures::at;

    fn with_success(second: Option<i64>) -> BackupStatus {
        BackupStatus {
            backup_details: vec![BackupDetail {
                cluster_name: "oslo".to_owned(),
                backup_name_in_cluster: Some("run-1".to_owned()),
                last_success_time: second.map(|second| Time(at(second))),
                ..BackupDetail::default()
            }],
            ..BackupStatus::default()
        }
    }

    #[test]
    fn each_completed_run_is_told_once() {
        let told =
            |before, after| completed(None, &with_success(before), &with_success(after)).len();
        assert_eq!(told(None, None), 0);
        assert_eq!(told(None, Some(1)), 1);
        assert_eq!(told(Some(1), Some(1)), 0);
        assert_eq!(told(Some(1), Some(2)), 1);
        let event = &completed(None, &with_success(None), &with_success(Some(1)))[0];
        assert_eq!(
            (event.reason, event.note.as_str()),
            ("RunCompleted", "oslo: run-1")
        );
    }

    #[test]
    fn a_run_that_was_asked_for_is_told_once() {
        let acted = BackupStatus {
            last_run_now: Some("before-upgrade".to_owned()),
            last_run_now_time: Some(Time(at(5))),
            ..BackupStatus::default()
        };
        assert!(run_now(&BackupStatus::default(), &acted).is_some());
        assert!(run_now(&acted, &acted).is_none());
    }
}
