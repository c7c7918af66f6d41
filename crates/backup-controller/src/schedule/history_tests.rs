use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schedule::fixtures::{at, run};

/// Name, phase, and when it began.
type Of = (&'static str, &'static str, i64);

fn runs(of: &[Of]) -> Runs {
    Runs::new(
        of.iter()
            .map(|(name, phase, second)| run(name, phase, *second)),
    )
}

fn written(runs: &Runs, older: usize) -> BackupDetail {
    let mut detail = BackupDetail::default();
    runs.write(&mut detail, older);
    detail
}

fn names(detail: &BackupDetail) -> Vec<&str> {
    detail.runs.iter().map(|run| run.name.as_str()).collect()
}

#[test]
fn the_newest_run_is_the_entry_and_older_ones_that_ended_follow_it() {
    let runs = runs(&[
        ("c", "Completed", 300),
        ("a", "Completed", 100),
        ("e", "InProgress", 500),
        ("b", "Failed", 200),
        ("d", "PartiallyFailed", 400),
    ]);
    let detail = written(&runs, 2);
    assert_eq!(detail.backup_name_in_cluster.as_deref(), Some("e"));
    assert_eq!(detail.phase, EntryPhase::InProgress);
    assert_eq!(names(&detail), ["d", "c"]);
    assert_eq!(detail.runs[0].phase, "PartiallyFailed");
    assert_eq!(detail.runs[0].start_timestamp, Some(Time(at(400))));
    assert_eq!(detail.runs[0].completion_timestamp, Some(Time(at(460))));
    assert_eq!(detail.last_success_time, Some(Time(at(360))));
    assert_eq!(detail.consecutive_failures, Some(1));
    assert_eq!(names(&written(&runs, 0)), Vec::<&str>::new());
}

#[test]
fn a_run_that_waits_counts_from_its_creation() {
    let runs = runs(&[("old", "Completed", 100), ("new", "New", 200)]);
    let detail = written(&runs, 2);
    assert_eq!(detail.backup_name_in_cluster.as_deref(), Some("new"));
    assert_eq!(detail.phase, EntryPhase::Pending);
    assert_eq!(runs.unfinished().unwrap().name_any(), "new");
    assert!(runs.failure().is_none(), "the newest that ended completed");
}

#[test]
fn a_run_whose_time_is_over_holds_up_nothing() {
    let runs = runs(&[("old", "Deleting", 100), ("new", "Completed", 200)]);
    assert!(runs.unfinished().is_none());
    let detail = written(&runs, 2);
    assert_eq!(detail.phase, EntryPhase::Completed);
    assert!(detail.runs.is_empty(), "{detail:?}");
}

#[test]
fn failures_count_since_the_last_success() {
    let table: [(&[Of], Option<i32>, bool); 5] = [
        (&[], None, false),
        (&[("a", "Completed", 1)], Some(0), false),
        (&[("a", "Completed", 1), ("b", "Failed", 2)], Some(1), true),
        (
            &[
                ("a", "Failed", 1),
                ("b", "FailedValidation", 2),
                ("c", "InProgress", 3),
            ],
            Some(2),
            true,
        ),
        (&[("a", "Failed", 1), ("b", "Completed", 2)], Some(0), false),
    ];
    for (of, count, failing) in table {
        let runs = runs(of);
        assert_eq!(written(&runs, 3).consecutive_failures, count, "{of:?}");
        assert_eq!(runs.failure().is_some(), failing, "{of:?}");
    }
    let failure = runs(&[("b", "Failed", 2)]).failure().unwrap();
    assert!(failure.starts_with("run b: "), "{failure}");
}

#[test]
fn what_ended_outlives_its_object_until_a_newer_run_is_there() {
    let mut detail = written(&runs(&[("a", "Completed", 100), ("b", "Failed", 200)]), 2);
    let before = detail.clone();
    runs(&[("a", "Completed", 100)]).write(&mut detail, 2);
    assert_eq!(detail.backup_name_in_cluster.as_deref(), Some("b"));
    assert_eq!(detail.phase, EntryPhase::Failed);
    assert_eq!(names(&detail), ["a"]);

    let mut expired = before.clone();
    Runs::default().write(&mut expired, 2);
    assert_eq!(
        expired.backup_name_in_cluster,
        before.backup_name_in_cluster
    );
    assert_eq!(expired.phase, EntryPhase::Failed);
    assert_eq!(expired.last_success_time, before.last_success_time);
    assert_eq!(expired.consecutive_failures, Some(1));
    assert_eq!(
        names(&expired),
        Vec::<&str>::new(),
        "what can be restored is listed"
    );

    runs(&[("c", "Completed", 300)]).write(&mut expired, 2);
    assert_eq!(expired.backup_name_in_cluster.as_deref(), Some("c"));
    assert_eq!(expired.consecutive_failures, Some(0));
}

#[test]
fn a_run_that_never_ended_and_is_gone_makes_place() {
    let mut detail = written(
        &runs(&[("a", "Completed", 100), ("b", "InProgress", 200)]),
        2,
    );
    runs(&[("a", "Completed", 100)]).write(&mut detail, 2);
    assert_eq!(detail.backup_name_in_cluster.as_deref(), Some("a"));
    assert_eq!(detail.phase, EntryPhase::Completed);
}

#[test]
fn the_earliest_restorable_run_expires_first() {
    let runs = runs(&[
        ("a", "Failed", 100),
        ("b", "PartiallyFailed", 200),
        ("c", "Completed", 300),
    ]);
    assert_eq!(runs.expiration(), Some(at(3800)));
}

#[test]
fn a_member_s_lies_break_nothing() {
    let mut odd = velero::Backup::new("odd", velero::BackupSpec::default());
    odd.status = json!({ "phase": "Completed", "startTimestamp": 5, "completionTimestamp": ["x"] });
    let detail = written(&Runs::new([Arc::new(odd)]), 2);
    assert_eq!(detail.phase, EntryPhase::Completed);
    assert_eq!(detail.last_success_time, None);
}

#[test]
fn many_clusters_list_fewer_runs() {
    let table = [
        (3, 0, 2),
        (3, 1, 2),
        (10, 2, 9),
        (10, 500, 3),
        (10, 1000, 1),
        (10, 4096, 0),
        (1, 2, 0),
    ];
    for (limit, clusters, expected) in table {
        assert_eq!(
            older_runs(limit, clusters),
            expected,
            "{limit} of {clusters}"
        );
    }
}

proptest! {
    #[test]
    fn the_history_is_bounded_sorted_and_never_repeats_the_entry(
        of in prop::collection::vec((0i64..1000, 0usize..6), 0..40),
        older in 0usize..10,
    ) {
        let phases = ["New", "InProgress", "Completed", "PartiallyFailed", "Failed", "Deleting"];
        let runs = Runs::new(of.iter().enumerate().map(|(number, (second, phase))| {
            run(&format!("run-{number}"), phases[*phase], *second)
        }));
        let detail = written(&runs, older);
        prop_assert!(detail.runs.len() <= older);
        prop_assert!(detail.runs.is_sorted_by(|a, b| a.start_timestamp >= b.start_timestamp));
        prop_assert_eq!(detail.backup_name_in_cluster.is_some(), !of.is_empty());
        for listed in &detail.runs {
            prop_assert!(detail.backup_name_in_cluster.as_ref() != Some(&listed.name));
            prop_assert!(VeleroPhase::of(&listed.phase).is_final());
        }
        let mut again = detail.clone();
        runs.write(&mut again, older);
        prop_assert_eq!(again, detail);
    }
}

#[test]
fn a_run_that_goes_before_its_end_has_failed_until_a_newer_one_is_there() {
    let mut detail = written(
        &runs(&[("a", "Completed", 100), ("b", "InProgress", 200)]),
        2,
    );
    let left = runs(&[("a", "Completed", 100)]);
    assert!(left.has_lost(&detail));
    detail.phase = EntryPhase::Failed;
    left.write(&mut detail, 2);
    assert_eq!(detail.backup_name_in_cluster.as_deref(), Some("b"));
    assert_eq!(detail.phase, EntryPhase::Failed);
    assert_eq!(detail.consecutive_failures, Some(1));
    left.write(&mut detail, 2);
    assert_eq!(detail.consecutive_failures, Some(1), "it is counted once");
    assert!(!left.has_lost(&detail));

    runs(&[("a", "Completed", 100), ("c", "Completed", 300)]).write(&mut detail, 2);
    assert_eq!(detail.backup_name_in_cluster.as_deref(), Some("c"));
    assert_eq!(detail.consecutive_failures, Some(0));

    let just_made = written(&runs(&[("n", "", 0)]), 2);
    let mut unseen = just_made;
    if let Some(status) = &mut unseen.backup_status_in_cluster {
        status.start_timestamp = None;
    }
    assert!(!runs(&[]).has_lost(&unseen), "the watch may lag behind");
}
