//! What the tests of the pure rooms are made of. Everything is of Backup `nightly-shop` in namespace
//! `team-a`, and of members `oslo` and `bergen`.

use std::sync::Arc;

use api_types::backup::{Backup, BackupDetail, BackupSpec, BackupStatus};
use api_types::common::{ClusterRef, Destination};
use api_types::condition;
use api_types::external::velero;
use api_types::key::{ClusterKey, ClusterKind};
use api_types::phase::EntryPhase;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::Problem;
use super::plan::{Entry, Facts, HubObject, Link, Next, Served, Terms};
use super::validate::Validated;

pub(crate) const OWNER_UID: &str = "6f1c1f6e-6f0b-4d0a-9a4e-0d8f5f3c2b11";
pub(crate) const MEMBER_UID: &str = "kube-system-uid-of-oslo";
pub(crate) const NAME: &str = "oslo-backup-team-a-nightly-shop";

/// Seconds after the Backup was created.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// The deadline of all Backups here.
pub(crate) fn deadline() -> Timestamp {
    at(3600)
}

pub(crate) fn key(name: &str) -> ClusterKey {
    ClusterKey::attached("team-a", name)
}

pub(crate) fn attached(name: &str) -> ClusterRef {
    ClusterRef::new(ClusterKind::AttachedCluster, name)
}

pub(crate) fn backup(status: BackupStatus) -> Backup {
    let spec = BackupSpec {
        destination: Destination {
            fleet: "production".to_owned(),
            ..Destination::default()
        },
        ..BackupSpec::default()
    };
    let mut backup = Backup::new("nightly-shop", spec);
    backup.metadata.namespace = Some("team-a".to_owned());
    backup.metadata.uid = Some(OWNER_UID.to_owned());
    backup.metadata.generation = Some(1);
    backup.metadata.creation_timestamp = Some(Time(at(0)));
    backup.status = Some(status);
    backup
}

pub(crate) fn validated() -> Validated {
    Validated {
        selector: None,
        deadline: deadline(),
        fleet_found: true,
        location: "default".to_owned(),
        resource_policy: None,
    }
}

pub(crate) fn terms(second: i64) -> Terms<'static> {
    Terms {
        location: "default",
        hold: None,
        deadline: deadline(),
        now: at(second),
    }
}

pub(crate) fn up() -> Link {
    Link::Up {
        member_uid: MEMBER_UID.to_owned(),
    }
}

pub(crate) fn down(reason: &'static str, since: Option<i64>) -> Link {
    Link::Down {
        problem: Problem::new(reason, "oslo cannot be reached"),
        since: since.map(at),
    }
}

pub(crate) fn location(phase: &str) -> Arc<velero::BackupStorageLocation> {
    let object = json!({
        "metadata": { "name": "default" },
        "spec": {
            "provider": "aws",
            "objectStorage": { "bucket": "fleet-backups", "prefix": "team-a/oslo" },
        },
        "status": { "phase": phase },
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

/// A Velero Backup under the claimed name.
pub(crate) fn object(status: Value) -> Arc<velero::Backup> {
    named_object(NAME, status)
}

pub(crate) fn named_object(name: &str, status: Value) -> Arc<velero::Backup> {
    let mut object = velero::Backup::new(name, velero::BackupSpec::default());
    object.status = status;
    Arc::new(object)
}

pub(crate) fn in_phase(phase: &str) -> Arc<velero::Backup> {
    object(json!({ "phase": phase }))
}

/// Everything is there and nothing in the way.
pub(crate) fn facts() -> Facts {
    Facts {
        hub: HubObject::Present,
        link: up(),
        velero: Served::Yes,
        location: Some(location("Available")),
        objects_synced: true,
        objects: Vec::new(),
    }
}

/// An entry in which nothing has happened yet.
pub(crate) fn fresh(name: &str) -> Entry {
    Entry {
        key: key(name),
        stored: BackupDetail {
            cluster_name: name.to_owned(),
            cluster_kind: "AttachedCluster".to_owned(),
            ..BackupDetail::default()
        },
        problem: None,
        facts: facts(),
        stuck: None,
    }
}

/// An entry of oslo whose name is written down.
pub(crate) fn claimed() -> Entry {
    let mut entry = fresh("oslo");
    entry.stored.member_uid = Some(MEMBER_UID.to_owned());
    entry.stored.backup_name_in_cluster = Some(NAME.to_owned());
    entry
}

/// An entry of oslo whose object was seen running.
pub(crate) fn seen() -> Entry {
    let mut entry = claimed();
    entry.stored.phase = EntryPhase::InProgress;
    entry.stored.backup_status_in_cluster =
        Some(serde_json::from_value(json!({ "phase": "InProgress" })).unwrap());
    entry
}

/// What is decided, in short.
pub(crate) fn short(next: &Next) -> String {
    match next {
        Next::Final => "Final".to_owned(),
        Next::Wait(problem) => format!("Wait {}", problem.reason),
        Next::Retry(problem) => format!("Retry {}", problem.reason),
        Next::Claim => "Claim".to_owned(),
        Next::Create { expired: false } => "Create".to_owned(),
        Next::Create { expired: true } => "Check".to_owned(),
        Next::Rename => "Rename".to_owned(),
        Next::Confirm => "Confirm".to_owned(),
        Next::Follow(object) => format!("Follow {}", object.phase()),
        Next::Hold => "Hold".to_owned(),
        Next::Fail(problem) => format!("Fail {}", problem.reason),
    }
}

pub(crate) fn detail(name: &str, phase: EntryPhase) -> BackupDetail {
    BackupDetail {
        phase,
        ..fresh(name).stored
    }
}

pub(crate) fn ready_reason(status: &BackupStatus) -> &str {
    let ready = condition::find(&status.conditions, condition::READY).unwrap();
    &ready.reason
}
