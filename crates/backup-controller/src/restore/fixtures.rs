//! What the tests of the pure rooms are made of. Everything is of Restore `shop-again`, which reads
//! Backup `nightly-shop`, and of member `oslo`.

use std::collections::BTreeSet;
use std::sync::Arc;

use api_types::backup::{Backup, BackupDetail, BackupStatus};
use api_types::external::velero;
use api_types::phase::EntryPhase;
use api_types::restore::{Restore, RestoreDetail, RestoreSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use velero_kit::fixtures::velero_restore;
pub(super) use velero_kit::fixtures::{member, origin, problem};

use super::plan::{Entry, Facts, Next, Terms};
use super::results::Results;
use super::source::{Run, Source, Which};
use super::validate::{Validated, validate};
use crate::backup::fixtures;
pub(super) use crate::backup::fixtures::{MEMBER_UID, at, deadline, down, key, up};
use crate::operation::member::{HubObject, Served};

pub(super) const RESTORE_UID: &str = "0c9d5f3e-51a7-4f0c-8a39-1d2e3f4a5b6c";
pub(super) const NAME: &str = "oslo-restore-team-a-shop-again";
pub(super) const RUN: &str = fixtures::NAME;

pub(super) fn restore(spec: Value) -> Restore {
    let mut spec = spec;
    spec["backupName"] = json!("nightly-shop");
    spec["startDeadline"] = json!("1h");
    let spec: RestoreSpec = serde_json::from_value(spec).unwrap();
    let mut restore = Restore::new("shop-again", spec);
    restore.metadata.namespace = Some("team-a".to_owned());
    restore.metadata.uid = Some(RESTORE_UID.to_owned());
    restore.metadata.generation = Some(1);
    restore.metadata.creation_timestamp = Some(Time(at(0)));
    restore
}

pub(super) fn validated() -> Validated {
    validate(&restore(json!({}))).unwrap()
}

/// The Backup with an entry of oslo in this phase.
pub(super) fn backup(phase: EntryPhase) -> Backup {
    let detail = BackupDetail {
        backup_name_in_cluster: Some(RUN.to_owned()),
        member_uid: Some(MEMBER_UID.to_owned()),
        ..fixtures::detail("oslo", phase)
    };
    fixtures::backup(BackupStatus {
        start_time: Some(Time(at(0))),
        backup_details: vec![detail],
        ..BackupStatus::default()
    })
}

pub(super) fn source(backup: Option<Backup>) -> Source {
    Source::new(&restore(json!({})), backup.map(Arc::new))
}

pub(super) fn terms(second: i64) -> Terms<'static> {
    Terms {
        source: None,
        going: false,
        hold: None,
        elsewhere: false,
        once: false,
        deadline: deadline(),
        now: at(second),
    }
}

pub(super) fn run() -> Run {
    Run {
        which: Which::Named(RUN.to_owned()),
        partial: false,
    }
}

/// An entry of oslo in which nothing has happened yet, and nothing is in the way.
pub(super) fn fresh() -> Entry {
    Entry {
        key: key("oslo"),
        stored: RestoreDetail {
            cluster_name: "oslo".to_owned(),
            cluster_kind: "AttachedCluster".to_owned(),
            ..RestoreDetail::default()
        },
        problem: None,
        origin: Ok(origin()),
        run: Ok(run()),
        facts: Facts {
            hub: HubObject::Present,
            link: up(),
            adopted: BTreeSet::new(),
            velero: Served::Yes,
            objects_synced: true,
            objects: Vec::new(),
        },
        stuck: None,
        rested: false,
        results: Results::None,
    }
}

/// Its name is written down.
pub(super) fn claimed() -> Entry {
    let mut entry = fresh();
    entry.stored.member_uid = Some(MEMBER_UID.to_owned());
    entry.stored.restore_name_in_cluster = Some(NAME.to_owned());
    entry
}

/// And its run.
pub(super) fn chosen() -> Entry {
    let mut entry = claimed();
    entry.stored.backup_name_in_cluster = Some(RUN.to_owned());
    entry.stored.source_cluster_name = Some("oslo".to_owned());
    entry.stored.backup_time = Some(Time(at(-60)));
    entry
}

/// And its object was seen running.
pub(super) fn seen() -> Entry {
    let mut entry = chosen();
    entry.stored.phase = EntryPhase::InProgress;
    let status = json!({ "phase": "InProgress" });
    entry.stored.restore_status_in_cluster = Some(serde_json::from_value(status).unwrap());
    entry
}

/// The Velero Restore under the claimed name.
pub(super) fn object(status: Value) -> Arc<velero::Restore> {
    Arc::new(velero_restore(NAME, status))
}

/// What is decided, in short.
pub(super) fn short(next: &Next) -> String {
    match next {
        Next::Final => "Final".to_owned(),
        Next::Wait(problem) => format!("Wait {}", problem.reason),
        Next::Look(problem) => format!("Look {}", problem.reason),
        Next::Retry(problem) => format!("Retry {}", problem.reason),
        Next::Claim => "Claim".to_owned(),
        Next::Choose => "Choose".to_owned(),
        Next::Create => "Create".to_owned(),
        Next::Rename => "Rename".to_owned(),
        Next::GiveUp(problem) => format!("GiveUp {}", problem.reason),
        Next::Confirm => "Confirm".to_owned(),
        Next::Follow(object) => format!("Follow {}", object.phase()),
        Next::Hold => "Hold".to_owned(),
        Next::Fail(problem) => format!("Fail {}", problem.reason),
    }
}
