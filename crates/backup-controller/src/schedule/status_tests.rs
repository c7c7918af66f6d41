use std::sync::Arc;

use api_types::condition::{self, reason};
use api_types::phase::Phase;
use kube::ResourceExt;

use super::*;
use crate::backup::fixtures::{holds, ready_reason};
use crate::schedule::fixtures::{
    at, backup, claimed, fresh, placed, run, schedule, validated, view, with_terms,
};
use crate::schedule::plan::Next;

fn well(name: &str, completed: i64) -> Row {
    let mut entry = placed();
    entry.key.name = name.to_owned();
    entry.stored.cluster_name = name.to_owned();
    entry.facts.runs = vec![run(&format!("{name}-run"), "Completed", completed)];
    let mut live = schedule();
    live.metadata.name = Some(format!("{name}-backup-team-a-nightly-shop"));
    Row::new(entry, Next::Keep(Arc::new(live)))
}

fn waiting(reason: &'static str) -> Row {
    Row::new(
        fresh("turku"),
        Next::Wait(Problem::new(reason, "look there")),
    )
}

fn of(rows: &[Row]) -> BackupStatus {
    with_terms(&validated(), 1000, None, |terms| {
        status(&backup(), rows, &Notes::default(), &terms, view())
    })
}

#[test]
fn a_schedule_that_works_everywhere_is_ready_and_says_what_it_has_done() {
    let status = of(&[well("bergen", 100), well("oslo", 300)]);
    assert_eq!(status.phase, Some(Phase::Scheduled));
    assert!(holds(&status, "Ready") && !holds(&status, "Stalled"));
    assert_eq!(ready_reason(&status), "Scheduled");
    assert_eq!(status.last_success_time, Some(Time(at(160))), "the oldest");
    assert_eq!(status.expiration_time, Some(Time(at(3700))), "the earliest");
    let due = validated().when.next(at(0)).unwrap();
    assert_eq!(status.next_run_time, Some(Time(due)));
    assert_eq!(status.summary.unwrap().display, "2/2");
    assert_eq!(condition::find(&status.conditions, "Succeeded"), None);
    assert_eq!((status.start_time, status.completion_time), (None, None));
}

#[test]
fn while_one_cluster_has_no_success_the_whole_has_none() {
    let status = of(&[well("bergen", 100), waiting(reason::VELERO_NOT_INSTALLED)]);
    assert_eq!(status.last_success_time, None);
    assert_eq!(status.phase, Some(Phase::Scheduled));
    assert_eq!(ready_reason(&status), "VeleroNotInstalled");
    let ready = condition::find(&status.conditions, "Ready").unwrap();
    assert_eq!(
        ready.message,
        "1 of 2 clusters are as they should be; turku: look there"
    );
    assert!(holds(&status, "Reconciling"));
}

#[test]
fn several_causes_have_one_word_and_a_missing_fleet_another() {
    let rows = [
        waiting(reason::VELERO_NOT_INSTALLED),
        waiting(reason::UNREACHABLE),
    ];
    assert_eq!(ready_reason(&of(&rows)), "WaitingForClusters");
    assert_eq!(of(&rows).phase, Some(Phase::Pending));
    assert_eq!(ready_reason(&of(&[])), "NoClusters");
    let mut spec = validated();
    spec.fleet_found = false;
    let lost = with_terms(&spec, 1000, None, |terms| {
        status(
            &backup(),
            &[well("oslo", 1)],
            &Notes::default(),
            &terms,
            view(),
        )
    });
    assert_eq!(ready_reason(&lost), "FleetNotFound");
    assert_eq!(lost.phase, Some(Phase::Scheduled));
}

#[test]
fn paused_has_no_next_run() {
    let mut spec = validated();
    spec.paused = true;
    let paused = with_terms(&spec, 1000, None, |terms| {
        status(
            &backup(),
            &[well("oslo", 1)],
            &Notes::default(),
            &terms,
            view(),
        )
    });
    assert_eq!(paused.phase, Some(Phase::Paused));
    assert_eq!(ready_reason(&paused), "Paused");
    assert!(holds(&paused, "Ready"));
    assert_eq!(paused.next_run_time, None);
}

#[test]
fn paused_after_a_failed_run_is_ready_because_paused_and_tells_no_cluster_again() {
    use crate::operation::events::reasons;
    let mut failed = placed();
    failed.facts.runs = vec![run("a", "Failed", 100)];
    let row = |stored: Option<&BackupStatus>| {
        let mut entry = failed.clone();
        if let Some(stored) = stored {
            entry.stored = stored.backup_details[0].clone();
        }
        let live = Arc::clone(&entry.facts.schedules[0]);
        Row::new(entry, Next::Keep(live))
    };
    let failing = of(&[row(None)]);
    assert_eq!(ready_reason(&failing), "RunsFailing");
    assert!(holds(&failing, "Stalled") && !holds(&failing, "Ready"));
    assert_eq!(
        reasons(&BackupStatus::default(), &failing),
        ["RunFailed", "Scheduled"]
    );

    let mut spec = validated();
    spec.paused = true;
    let mut known = backup();
    known.status = Some(failing.clone());
    let paused = with_terms(&spec, 1000, None, |terms| {
        let rows = [row(Some(&failing))];
        status(&known, &rows, &Notes::default(), &terms, view())
    });
    assert_eq!(paused.phase, Some(Phase::Paused));
    assert_eq!(ready_reason(&paused), "Paused");
    assert!(holds(&paused, "Ready") && !holds(&paused, "Stalled"));
    assert_eq!(paused.backup_details, failing.backup_details);
    assert_eq!(reasons(&failing, &paused), ["Paused"]);

    known.status = Some(paused.clone());
    let again = with_terms(&validated(), 2000, None, |terms| {
        let rows = [row(Some(&paused))];
        status(&known, &rows, &Notes::default(), &terms, view())
    });
    assert_eq!(ready_reason(&again), "RunsFailing");
    assert_eq!(reasons(&paused, &again), ["Scheduled"]);
}

#[test]
fn a_name_that_another_owner_holds_is_told_once() {
    use crate::operation::events::reasons;
    let mut suffixed = schedule();
    suffixed.metadata.name = Some(format!("{}-abcdef", suffixed.name_any()));
    let row = |stored: Option<&BackupStatus>| {
        let mut entry = claimed();
        entry.facts.schedules = vec![Arc::new(suffixed.clone())];
        if let Some(stored) = stored {
            entry.stored = stored.backup_details[0].clone();
        }
        let live = Arc::clone(&entry.facts.schedules[0]);
        Row::new(entry, Next::Keep(live))
    };
    let first = of(&[row(None)]);
    let entry = &first.backup_details[0];
    assert_eq!(entry.reason.as_deref(), Some("NameTaken"));
    let message = entry.message.as_deref().unwrap();
    assert!(message.contains(&suffixed.name_any()), "{message}");
    assert!(holds(&first, "Ready"), "it works");
    assert_eq!(
        reasons(&BackupStatus::default(), &first),
        ["NameTaken", "Scheduled"]
    );
    let second = of(&[row(Some(&first))]);
    let reason = second.backup_details[0].reason.as_deref();
    assert_eq!(reason, Some("WaitingForFirstRun"));
    assert!(reasons(&first, &second).is_empty());
}

#[test]
fn a_run_that_velero_is_late_for_gives_way_to_the_next_one() {
    let due = validated().when.next(at(0)).unwrap();
    let at_due = due.as_second() - at(0).as_second();
    let next = |second| {
        with_terms(&validated(), second, None, |terms| {
            let rows = [well("oslo", 1)];
            status(&backup(), &rows, &Notes::default(), &terms, view()).next_run_time
        })
    };
    assert_eq!(next(at_due + 60), Some(Time(due)));
    assert_eq!(next(at_due + 301), validated().when.next(due).map(Time));
}

#[test]
fn notes_are_written_and_stay() {
    let notes = Notes {
        former: vec![FormerCluster {
            cluster_name: "turku".to_owned(),
            ..FormerCluster::default()
        }],
        run_now: Some(("before-upgrade".to_owned(), at(5))),
    };
    let mut known = backup();
    let first = with_terms(&validated(), 1000, None, |terms| {
        status(&known, &[well("oslo", 1)], &notes, &terms, view())
    });
    assert_eq!(first.former_clusters, notes.former);
    assert_eq!(first.last_run_now.as_deref(), Some("before-upgrade"));
    assert_eq!(first.last_run_now_time, Some(Time(at(5))));
    known.status = Some(first.clone());
    let later = Notes {
        former: notes.former.clone(),
        run_now: None,
    };
    let second = with_terms(&validated(), 2000, None, |terms| {
        status(&known, &[well("oslo", 1)], &later, &terms, view())
    });
    assert_eq!(second.last_run_now, first.last_run_now);
    assert_eq!(second.last_run_now_time, first.last_run_now_time);
}

#[test]
fn the_same_facts_give_the_same_status() {
    let rows = || [well("bergen", 100), waiting(reason::UNREACHABLE)];
    let mut known = backup();
    known.status = Some(of(&rows()));
    let mut again = rows();
    for (row, detail) in again
        .iter_mut()
        .zip(&known.status.as_ref().unwrap().backup_details)
    {
        row.entry.stored = detail.clone();
    }
    let second = with_terms(&validated(), 2000, None, |terms| {
        status(&known, &again, &Notes::default(), &terms, view())
    });
    assert_eq!(
        Some(second),
        known.status,
        "or it would be written for ever"
    );
}

#[test]
fn a_refused_schedule_keeps_what_is_known_and_is_not_final() {
    let mut known = backup();
    known.status = Some(of(&[well("oslo", 1)]));
    let refusal = Problem::new(reason::SCHEDULE_REJECTED, "spec.schedule: minute \"61\"");
    let details = known.status.clone().unwrap().backup_details;
    let status = refused(&known, details, &refusal, at(2000));
    assert_eq!(status.phase, Some(Phase::FailedValidation));
    assert_eq!(ready_reason(&status), "ScheduleRejected");
    assert!(holds(&status, "Stalled"));
    assert_eq!(condition::find(&status.conditions, "Succeeded"), None);
    assert_eq!(
        status.backup_details,
        known.status.clone().unwrap().backup_details
    );
    known.status = Some(status);
    assert!(!crate::operation::is_settled(&known), "it may be mended");
}

#[test]
fn the_schedule_is_counted_from_what_velero_did_last() {
    let mut live = schedule();
    live.status = serde_json::json!({ "phase": "Enabled", "lastBackup": at(90_000) });
    let row = Row::new(placed(), Next::Keep(Arc::new(live)));
    let next = with_terms(&validated(), 90_010, None, |terms| {
        status(&backup(), &[row], &Notes::default(), &terms, view()).next_run_time
    });
    assert_eq!(next, validated().when.next(at(90_000)).map(Time));
}
