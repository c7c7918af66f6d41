//! The status of a Migrate that has ended, or never will begin.

use api_types::condition::{READY, RECONCILING, STALLED, find};
use api_types::external::velero;
use api_types::migrate::PartialFailure;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use velero_kit::operation::deletion::Left;
use velero_kit::operation::is_settled;
use velero_kit::problem::Problem;

use super::super::detail::{claim_source, claim_target};
use super::super::facts::Seen;
use super::super::fixtures::{
    at, backup, migrate, problem, restore, source, target, terms, uid_of, with_status,
};
use super::super::look::{claimed_source, look, restoring, says};
use super::*;

#[test]
fn completed_means_the_source_and_every_target() {
    let done = claimed_source(Seen::Present(backup("Completed")));
    let all = look(None, &done, &[restoring("Completed")], &terms());
    assert_eq!(all.phase, Some(Phase::Completed));
    says(
        &all,
        &[
            ("Ready", "True", "Completed"),
            ("Succeeded", "True", "Completed"),
            ("sourceReady", "True", "BackupCompleted"),
        ],
    );
    assert_eq!(all.completion_time, Some(Time(at(60))));
    let ready = find(&all.conditions, READY).unwrap();
    assert_eq!(ready.message, "completed in all 1 targets");

    let some = look(None, &done, &[restoring("PartiallyFailed")], &terms());
    assert_eq!(some.phase, Some(Phase::PartiallyFailed));
    assert!(find(&some.conditions, STALLED).is_some());
    assert!(find(&some.conditions, RECONCILING).is_none());
    let entry = &some.target_cluster_status[0];
    assert_eq!(entry.reason.as_deref(), Some("RestorePartiallyFailed"));
}

#[test]
fn an_outcome_stays_as_it_is() {
    let done = claimed_source(Seen::Present(backup("Completed")));
    let all = look(None, &done, &[restoring("Completed")], &terms());
    assert!(is_settled(&with_status(all.clone())));
    let later = Terms {
        now: at(9000),
        cancel: true,
        ..terms()
    };
    let failed = look(Some(all.clone()), &source(), &[restoring("Failed")], &later);
    assert_eq!(failed, all);
}

#[test]
fn a_partial_source_that_goes_on_says_so_in_every_target_and_ends_at_best_partial() {
    let carry_on = Terms {
        partial_failure: PartialFailure::Continue,
        ..terms()
    };
    let partial = claimed_source(Seen::Present(backup("PartiallyFailed")));
    let status = look(None, &partial, &[restoring("Completed")], &carry_on);
    assert_eq!(status.phase, Some(Phase::PartiallyFailed));
    let entry = &status.target_cluster_status[0];
    assert_eq!(entry.phase, EntryPhase::Completed);
    assert_eq!(entry.reason.as_deref(), Some("SourceBackupPartiallyFailed"));
    let told = &find(&status.conditions, READY).unwrap().message;
    assert!(told.contains("1 of 1 targets completed; oslo: "), "{told}");
}

#[test]
fn a_warning_of_the_preflight_is_told_from_the_beginning_to_the_end() {
    let warning = Problem::new(
        "ApiVersionNotServed",
        "bergen does not serve batch/v1 cronjobs",
    );
    let running = claimed_source(Seen::Present(backup("InProgress")));
    let mut warned = target("bergen");
    warned.notes.warning = Some(warning);
    let first = look(None, &running, &[warned], &terms());
    let said = first.target_cluster_status[0].clone();
    assert_eq!(said.reason.as_deref(), Some("ApiVersionNotServed"));
    // Known no more after a restart, but said.
    let done = claimed_source(Seen::Present(backup("Completed")));
    let mut restored = restoring("Completed");
    (restored.stored.reason, restored.stored.message) = (said.reason.clone(), said.message.clone());
    let last = look(Some(first), &done, &[restored], &terms());
    let entry = &last.target_cluster_status[0];
    assert_eq!(entry.phase, EntryPhase::Completed);
    assert_eq!(
        (&entry.reason, &entry.message),
        (&said.reason, &said.message)
    );
    let ready = find(&last.conditions, READY).unwrap();
    assert!(ready.message.contains("cronjobs"), "{ready:?}");
}

#[test]
fn a_cancelled_migrate_awaits_what_runs_and_then_fails_as_cancelled() {
    let cancelled = Terms {
        cancel: true,
        ..terms()
    };
    let running = claimed_source(Seen::Present(backup("InProgress")));
    let first = look(None, &running, &[target("bergen")], &cancelled);
    assert_eq!(first.phase, Some(Phase::BackupInProgress));
    let entry = &first.target_cluster_status[0];
    assert_eq!(
        (entry.phase, entry.reason.as_deref()),
        (EntryPhase::Failed, Some("Cancelled"))
    );

    let mut ended = running;
    ended.stored = first.source_cluster_status.clone().unwrap();
    ended.seen = Seen::Present(backup("Completed"));
    let mut target = target("bergen");
    target.stored = entry.clone();
    let last = look(Some(first), &ended, &[target], &cancelled);
    assert_eq!(last.phase, Some(Phase::Failed));
    says(
        &last,
        &[
            ("Ready", "False", "Cancelled"),
            ("Stalled", "True", "Cancelled"),
            ("Succeeded", "False", "Cancelled"),
            ("sourceReady", "True", "BackupCompleted"),
        ],
    );
}

#[test]
fn nobody_to_migrate_to_is_told_and_fails_in_the_end() {
    let mut nobody = Terms {
        no_targets: Some(problem("NoClusters")),
        ..terms()
    };
    let waits = look(None, &source(), &[], &nobody);
    assert_eq!(waits.phase, Some(Phase::Pending));
    let ready = find(&waits.conditions, READY).unwrap();
    assert_eq!(
        (ready.reason.as_str(), ready.message.as_str()),
        ("NoClusters", "the matter is NoClusters")
    );
    nobody.now = nobody.deadline;
    let over = look(Some(waits), &source(), &[], &nobody);
    assert_eq!(over.phase, Some(Phase::Failed));
    assert_eq!(find(&over.conditions, READY).unwrap().reason, "NoClusters");
}

#[test]
fn a_spec_that_can_never_work_is_refused_with_an_entry_for_every_cluster() {
    let invalid = InvalidSpec {
        field: "policy.ttl",
        problem: "not a duration".to_owned(),
    };
    let entries = Entries {
        source: source().stored,
        targets: vec![target("bergen").stored],
    };
    let status = refused(&migrate(json!({})), entries.clone(), &invalid, at(60));
    assert_eq!(status.phase, Some(Phase::FailedValidation));
    assert_eq!(status.target_cluster_status.len(), 1);
    says(
        &status,
        &[
            ("Ready", "False", "InvalidSpec"),
            ("Stalled", "True", "InvalidSpec"),
            ("Succeeded", "False", "InvalidSpec"),
            ("sourceReady", "False", "SourceNotReady"),
        ],
    );
    let ready = find(&status.conditions, READY).unwrap();
    assert_eq!(
        ready.message,
        "spec.policy.ttl: not a duration: make a new Migrate"
    );
    let again = refused(&with_status(status.clone()), entries, &invalid, at(90));
    assert_eq!(again, status);
}

#[test]
fn a_deletion_keeps_the_outcome_and_says_what_it_waits_for() {
    let done = claimed_source(Seen::Present(backup("Completed")));
    let all = look(None, &done, &[restoring("Completed")], &terms());
    let runs = Problem::new("DeletionPending", "it runs");
    let left = [Left::new(all.target_cluster_status[0].clone(), Some(runs))];
    let of_source = Left::new(all.source_cluster_status.clone().unwrap(), None);
    let stored = with_status(all);
    let going = conclude::deleting(&stored, &left, Some(&of_source), true, at(90));
    assert_eq!(going.phase, Some(Phase::Deleting));
    assert_eq!(conclude::succeeded(&going.conditions), Some(true));
    let ready = find(&going.conditions, READY).unwrap();
    assert_eq!(
        (ready.reason.as_str(), ready.message.as_str()),
        ("DeletionBlocked", "bergen: it runs")
    );
    let source = going.source_cluster_status.unwrap();
    assert_eq!(source.phase, EntryPhase::Deleting);
}

/// What is in `wanted` and not in `kept`.
fn lost(path: &str, wanted: &Value, kept: Option<&Value>) -> Vec<String> {
    match (wanted, kept) {
        (Value::Object(fields), Some(Value::Object(others))) => fields
            .iter()
            .flat_map(|(name, value)| lost(&format!("{path}.{name}"), value, others.get(name)))
            .collect(),
        (Value::Array(items), Some(Value::Array(others))) => items
            .iter()
            .zip(others)
            .enumerate()
            .flat_map(|(at, (item, other))| lost(&format!("{path}[{at}]"), item, Some(other)))
            .collect(),
        (wanted, kept) if Some(wanted) == kept => Vec::new(),
        (wanted, kept) => vec![format!("{path}: {wanted} became {kept:?}")],
    }
}

#[test]
fn the_announcement_s_example_has_the_status_that_it_shows() {
    let velero = json!({
        "completionTimestamp": "2023-10-28T15:55:18Z",
        "expiration": "2023-11-27T15:55:13Z",
        "formatVersion": "1.1.0",
        "phase": "Completed",
        "progress": {},
        "startTimestamp": "2023-10-28T15:55:13Z",
        "version": 1,
    });
    let of_restore = json!({
        "completionTimestamp": "2023-10-28T15:56:00Z",
        "phase": "Completed",
        "startTimestamp": "2023-10-28T15:55:58Z",
    });
    let names = [
        "kurator-member1-migrate-default-select-labels",
        "kurator-member2-migrate-default-select-labels",
    ];
    let mut of_source = source();
    of_source.key.name = "kurator-member1".to_owned();
    of_source.stored.cluster_name = "kurator-member1".to_owned();
    claim_source(&mut of_source.stored, &uid_of("oslo"), names[0]);
    let mut object = velero::Backup::clone(&backup(""));
    object.metadata.name = Some(names[0].to_owned());
    object.status = velero.clone();
    of_source.seen = Seen::Present(object.into());
    let mut of_target = restoring("");
    of_target.key.name = "kurator-member2".to_owned();
    of_target.stored.cluster_name = "kurator-member2".to_owned();
    claim_target(&mut of_target.stored, &uid_of("bergen"), names[1]);
    let mut object = velero::Restore::clone(&restore(names[1], ""));
    object.status = of_restore.clone();
    of_target.seen = Seen::Present(object.into());
    let shown = json!({
        "conditions": [{ "status": "True", "type": "sourceReady" }],
        "phase": "Completed",
        "sourceClusterStatus": {
            "backupNameInCluster": names[0],
            "backupStatusInCluster": velero,
            "clusterKind": "AttachedCluster",
            "clusterName": "kurator-member1",
        },
        "targetClusterStatus": [{
            "clusterKind": "AttachedCluster",
            "clusterName": "kurator-member2",
            "restoreNameInCluster": names[1],
            "restoreStatusInCluster": of_restore,
        }],
    });
    let mut status = look(None, &of_source, &[of_target], &terms());
    status
        .conditions
        .retain(|condition| condition.type_ == SOURCE_READY);
    let status = serde_json::to_value(status).unwrap();
    assert_eq!(lost("", &shown, Some(&status)), Vec::<String>::new());
}
