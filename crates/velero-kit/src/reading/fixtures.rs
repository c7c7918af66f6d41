//! What the tests of these rooms are made of: a run of Backup `nightly-shop` in member `oslo`.

use api_types::condition::reason;
use api_types::external::velero;
use serde_json::json;

use crate::fixtures::{MEMBER_UID, NAME, OWNER_UID, at};
use crate::operation::calls::NotNow;
use crate::problem::Problem;

/// The Velero Backup that is restored.
pub(super) fn stored_run(phase: &str) -> velero::Backup {
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
