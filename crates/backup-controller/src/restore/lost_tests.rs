use std::sync::Arc;

use serde_json::{Value, json};

use super::super::fixtures::{at, backup, fresh, key, problem, restore, short, terms};
use super::super::place;
use super::super::plan::{Terms, plan};
use super::*;
use api_types::phase::EntryPhase;

fn source(spec: Value, backup: Option<Backup>) -> Source {
    let mut spec = spec;
    spec["destination"] = json!({ "fleet": "production" });
    Source::new(&restore(spec), backup.map(Arc::new))
}

fn lost(which: Which) -> Lost {
    let source = source(json!({ "sourceCluster": { "name": "oslo" } }), None);
    Lost::new(&source, "team-a", which).unwrap()
}

fn newest() -> Lost {
    lost(Which::Newest(None))
}

/// A run that says of itself whose it is.
fn run(name: &str, phase: &str, start: i64, (hub, cluster): (&str, &str)) -> velero::Backup {
    let object = json!({
        "metadata": {
            "name": name,
            "labels": { "kurator.dev/owner-uid": "of a Backup that is gone" },
            "annotations": {
                "kurator.dev/hub-object": hub,
                "kurator.dev/cluster-ref": cluster,
            },
        },
        "status": {
            "phase": phase,
            "startTimestamp": at(start).to_string(),
            "expiration": at(start + 1000).to_string(),
        },
    });
    serde_json::from_value(object).unwrap()
}

const OURS: (&str, &str) = ("Backup/team-a/nightly-shop", "AttachedCluster/oslo");

#[test]
fn without_its_backup_only_a_restore_that_names_a_cluster_has_a_source() {
    let named = || json!({ "sourceCluster": { "name": "oslo" } });
    let without = source(named(), None);
    assert!(without.is_lost());
    assert_eq!(without.obstacle().map(|problem| problem.reason), None);
    let origin = without.origin(&key("bergen")).unwrap();
    assert_eq!(origin.cluster, key("oslo"));
    let (_, found) = without.run(&origin, None, at(0)).unwrap();
    assert_eq!(found.which, Which::Newest(None));
    assert!(
        !without.is_once(),
        "its next run may come with the next sync"
    );

    let own = source(json!({}), None);
    let there = source(named(), Some(backup(EntryPhase::Completed)));
    assert!(!own.is_lost() && !there.is_lost());
    assert_eq!(own.obstacle().unwrap().reason, "BackupNotFound");
    assert!(Lost::new(&there, "team-a", Which::Newest(None)).is_none());
}

#[test]
fn it_begins_once_it_is_known_where_the_cluster_stored() {
    let without = source(json!({ "sourceCluster": { "name": "oslo" } }), None);
    let mut entry = fresh();
    let origin = without.origin(&key("bergen")).unwrap();
    entry.origin = Ok(origin.clone());
    let terms = Terms {
        elsewhere: true,
        ..terms(1)
    };
    assert_eq!(short(&plan(&entry, &terms)), "Wait StorageLocationNotFound");
    let known = super::super::fixtures::member("", Some("fleet-backups"));
    entry.origin = Ok(place::filled(origin, &known.place.unwrap()));
    assert_eq!(short(&plan(&entry, &terms)), "Claim");
    entry.problem = Some(problem("ClusterNotInFleet"));
    assert_eq!(short(&plan(&entry, &terms)), "Wait ClusterNotInFleet");
}

#[test]
fn a_run_is_known_by_what_it_says_of_itself() {
    let table = [
        (OURS, true),
        (("Backup/team-b/nightly-shop", OURS.1), false),
        (("Backup/team-a/nightly", OURS.1), false),
        (("Migrate/team-a/nightly-shop", OURS.1), false),
        ((OURS.0, "AttachedCluster/bergen"), false),
        ((OURS.0, "Cluster/oslo"), true),
        ((OURS.0, "oslo"), false),
    ];
    for (says, expected) in table {
        assert_eq!(
            newest().is(&run("a", "Completed", 0, says)),
            expected,
            "{says:?}"
        );
    }
    let mut nothing = run("a", "Completed", 0, OURS);
    nothing.metadata.annotations = None;
    assert!(!newest().is(&nothing));
    // Where the kind is named, it counts.
    let mut of_kind = newest();
    of_kind.cluster.kind = "AttachedCluster".to_owned();
    assert!(of_kind.is(&run("a", "Completed", 0, OURS)));
    assert!(!of_kind.is(&run("a", "Completed", 0, (OURS.0, "Cluster/oslo"))));
}

#[test]
fn a_run_of_v0_5_0_is_known_by_its_name_and_labels() {
    const NAME: &str = "oslo-backup-team-a-nightly-shop";
    let of_v050 = |name: &str, schedule: Option<&str>| {
        let mut run = run(name, "Completed", 0, OURS);
        run.metadata.annotations = None;
        let mut labels = json!({
            "kurator.dev/backup-name": "nightly-shop",
            "fleet.kurator.dev/fleet-name": "production",
            "fleet.kurator.dev/plugin": "backup",
        });
        if let Some(schedule) = schedule {
            labels["velero.io/schedule-name"] = json!(schedule);
        }
        run.metadata.labels = serde_json::from_value(labels).unwrap();
        run
    };
    assert!(newest().is(&of_v050(NAME, None)));
    assert!(newest().is(&of_v050(&format!("{NAME}-20251120030000"), Some(NAME))));

    // It may as well be one of cluster `oslo-backup-team-a` in namespace `b`.
    let mut unclear = newest();
    unclear.namespace = "team-a-backup-b".to_owned();
    let name = "oslo-backup-team-a-backup-b-nightly-shop";
    assert!(!unclear.is(&of_v050(name, None)));
    // Of another cluster, or no run of that Schedule.
    assert!(!newest().is(&of_v050("bergen-backup-team-a-nightly-shop", None)));
    assert!(!newest().is(&of_v050(&format!("{NAME}-20251120030000"), None)));
    for label in ["kurator.dev/backup-name", "fleet.kurator.dev/plugin"] {
        let mut other = of_v050(NAME, None);
        other.labels_mut().insert(label.to_owned(), "x".to_owned());
        assert!(!newest().is(&other), "{label}");
    }
    // One that says whose it is, is nobody else's.
    for label in ["kurator.dev/owner-uid", "kurator.dev/member"] {
        let mut newer = of_v050(NAME, None);
        newer.labels_mut().insert(label.to_owned(), "x".to_owned());
        assert!(!newest().is(&newer), "{label}");
    }
    let mut newer = of_v050(NAME, None);
    let other = "Backup/team-a/other".to_owned();
    let key = "kurator.dev/hub-object".to_owned();
    newer.annotations_mut().insert(key, other);
    assert!(!newest().is(&newer));
}

#[test]
fn the_newest_that_completed_in_time_is_chosen() {
    let other = ("Backup/team-a/other", OURS.1);
    let runs = [
        run("first", "Completed", 100, OURS),
        run("second", "Completed", 200, OURS),
        run("broken", "Failed", 300, OURS),
        run("stranger", "Completed", 400, other),
    ];
    let chosen = |lost: &Lost, now| {
        let chosen = lost.choose(&runs, "bergen", at(now));
        chosen
            .map(|run| run.metadata.name.unwrap())
            .map_err(|problem| problem.reason)
    };
    assert_eq!(chosen(&newest(), 500).as_deref(), Ok("second"));
    let early = lost(Which::Newest(Some(at(150))));
    assert_eq!(chosen(&early, 500).as_deref(), Ok("first"));
    let before = lost(Which::Newest(Some(at(50))));
    assert_eq!(chosen(&before, 500), Err("NoCompletedBackup"));
    assert_eq!(chosen(&newest(), 5000), Err("BackupExpired"));
    let none = newest().choose(&runs[3..], "bergen", at(500)).unwrap_err();
    assert_eq!(none.reason, "BackupNotFound");
    for part in ["nightly-shop", "oslo", "bergen"] {
        assert!(none.message.contains(part), "{none:?}");
    }

    let named = || lost(Which::Named("first".to_owned()));
    assert_eq!(
        chosen(&named().begun(Some(at(100))), 500).as_deref(),
        Ok("first")
    );
    // Another one of that name.
    assert_eq!(
        chosen(&named().begun(Some(at(101))), 500),
        Err("BackupNotFound")
    );
}
