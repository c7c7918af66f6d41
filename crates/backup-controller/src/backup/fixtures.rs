//! What the tests of the pure rooms are made of. Everything is of Backup `nightly-shop` in namespace
//! `team-a`, and of members `oslo` and `bergen`.

use std::sync::Arc;

use api_types::backup::BackupStatus;
use api_types::condition;
use api_types::external::velero;
use api_types::phase::EntryPhase;
use serde_json::{Value, json};
use velero_kit::fixtures as common;
pub(crate) use velero_kit::fixtures::{
    MEMBER_UID, NAME, OWNER_UID, at, attached, backup, deadline, detail, key,
};

use super::Problem;
use super::plan::{Entry, Facts, HubObject, Link, Next, Served, Terms};
use super::validate::Validated;

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
    Arc::new(common::location(phase))
}

/// A Velero Backup under the claimed name.
pub(crate) fn object(status: Value) -> Arc<velero::Backup> {
    named_object(NAME, status)
}

pub(crate) fn named_object(name: &str, status: Value) -> Arc<velero::Backup> {
    Arc::new(common::velero_backup(name, status))
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
        stored: detail(name, EntryPhase::default()),
        problem: None,
        facts: facts(),
        stuck: None,
        rested: false,
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

pub(crate) fn ready_reason(status: &BackupStatus) -> &str {
    let ready = condition::find(&status.conditions, condition::READY).unwrap();
    &ready.reason
}

pub(crate) fn holds(status: &BackupStatus, type_: &str) -> bool {
    condition::is_true(&status.conditions, type_)
}
