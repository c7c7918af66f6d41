//! What the tests of these rooms are made of: a run of Backup `nightly-shop` in member `oslo`.

use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::external::velero;
use serde_json::json;

use super::origin::{Member, Origin};
use crate::operation::calls::NotNow;
use crate::operation::fixtures::{MEMBER_UID, NAME, OWNER_UID, at, key};
use crate::problem::Problem;

/// Oslo, as the Backup knows it.
pub(super) fn origin() -> Origin {
    Origin {
        cluster: key("oslo"),
        members: vec![member(MEMBER_UID, None)],
    }
}

/// A member that backed up, in a bucket of this name.
pub(super) fn member(uid: &str, bucket: Option<&str>) -> Member {
    Member {
        uid: uid.to_owned(),
        place: bucket.map(|bucket| StoragePlace {
            bucket: bucket.to_owned(),
            ..StoragePlace::default()
        }),
        last: None,
    }
}

/// The Velero Backup that is restored.
pub(super) fn velero_backup(phase: &str) -> velero::Backup {
    let object = json!({
        "metadata": {
            "name": NAME,
            "labels": {
                "kurator.dev/owner-uid": OWNER_UID,
                "kurator.dev/member": api_types::names::MemberId::from_uid(MEMBER_UID).as_str(),
            },
            "annotations": { "kurator.dev/hub-object": "Backup/team-a/nightly-shop" },
        },
        "status": {
            "phase": phase,
            "startTimestamp": at(-60).to_string(),
            "expiration": at(1000).to_string(),
        },
    });
    serde_json::from_value(object).unwrap()
}

pub(super) fn usable_location() -> velero::BackupStorageLocation {
    let object = json!({
        "metadata": { "name": "default" },
        "spec": {
            "provider": "aws",
            "objectStorage": { "bucket": "fleet-backups", "prefix": "team-a/oslo" },
        },
        "status": { "phase": "Available" },
    });
    serde_json::from_value(object).unwrap()
}

pub(super) fn problem(reason: &'static str) -> Problem {
    Problem::new(reason, "something is in the way")
}

/// A place that cannot be read, for this reason.
pub(super) fn closed(why: &str) -> NotNow {
    NotNow::Waits(Problem::new(reason::STORAGE_LOCATION_UNAVAILABLE, why))
}

/// What a look has failed with.
pub(super) fn said<T>(result: Result<T, NotNow>) -> String {
    match result.err() {
        Some(NotNow::Waits(problem) | NotNow::Failed(problem)) => problem.message,
        None => String::new(),
    }
}
