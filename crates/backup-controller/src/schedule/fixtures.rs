//! What the tests of the pure rooms are made of. Everything is of Backup `nightly-shop` in namespace
//! `team-a`, at 03:00 in Berlin, and of members `oslo` and `bergen`.

use std::sync::Arc;

use api_types::backup::{Backup, BackupStatus};
use api_types::external::velero;
use api_types::names::MemberId;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::Problem;
use super::detail::View;
use super::plan::{Entry, Facts, HubObject, Served, Terms};
use super::validate::{Validated, validate};
pub(crate) use crate::backup::fixtures::at;
use crate::backup::fixtures::{self as common, MEMBER_UID, key, location, up};
use crate::timings::Timings;

pub(crate) const SCHEDULE: &str = common::NAME;

pub(crate) fn backup() -> Backup {
    let mut backup = common::backup(BackupStatus::default());
    "0 3 * * *".clone_into(&mut backup.spec.schedule);
    backup.spec.time_zone = Some("Europe/Berlin".to_owned());
    backup
}

pub(crate) fn validated() -> Validated {
    validate(&backup(), true).unwrap()
}

/// What holds for all clusters, some seconds after the Backup was created.
pub(crate) fn with_terms<T>(
    spec: &Validated,
    second: i64,
    hold: Option<&Problem>,
    then: impl FnOnce(Terms<'_>) -> T,
) -> T {
    let owner = crate::backup::owner(&backup());
    then(Terms {
        owner: &owner,
        spec,
        policy: None,
        carried: None,
        hold,
        now: at(second),
    })
}

pub(crate) fn view() -> View {
    View {
        older: 2,
        run_missed: Timings::default().run_missed,
    }
}

/// The Schedule that oslo should have, as it lies there.
pub(crate) fn schedule() -> velero::Schedule {
    let owner = crate::backup::owner(&backup());
    let place = crate::backup::build::Place {
        cluster: &key("oslo"),
        member: &MemberId::from_uid(MEMBER_UID),
        name: SCHEDULE,
    };
    let mut schedule = super::build::build(&owner, place, &validated(), None, None);
    schedule.metadata.creation_timestamp = Some(Time(at(0)));
    schedule.status = json!({ "phase": "Enabled" });
    schedule
}

/// Everything is there and nothing in the way, but for a Schedule.
pub(crate) fn facts() -> Facts {
    Facts {
        hub: HubObject::Present,
        link: up(),
        velero: Served::Yes,
        location: Some(location("Available")),
        schedules_live: true,
        schedules: Vec::new(),
        runs_known: true,
        runs_live: true,
        runs: Vec::new(),
    }
}

/// A cluster in which nothing has happened yet.
pub(crate) fn fresh(name: &str) -> Entry {
    Entry {
        key: key(name),
        stored: common::fresh(name).stored,
        problem: None,
        facts: facts(),
        accepted: None,
        stuck: None,
    }
}

/// oslo, whose member is written down.
pub(crate) fn claimed() -> Entry {
    let mut entry = fresh("oslo");
    entry.stored.member_uid = Some(MEMBER_UID.to_owned());
    entry
}

/// oslo with its Schedule.
pub(crate) fn placed() -> Entry {
    let mut entry = claimed();
    entry.facts.schedules = vec![Arc::new(schedule())];
    entry
}

/// A run that was created, and began, then; if it has ended, a minute later.
pub(crate) fn run(name: &str, phase: &str, second: i64) -> Arc<velero::Backup> {
    let mut run = velero::Backup::new(name, velero::BackupSpec::default());
    run.metadata.creation_timestamp = Some(Time(at(second)));
    run.status = match phase {
        "" | "New" => json!({ "phase": phase }),
        "InProgress" => json!({ "phase": phase, "startTimestamp": at(second) }),
        _ => json!({
            "phase": phase,
            "startTimestamp": at(second),
            "completionTimestamp": at(second + 60),
            "expiration": at(second + 3600),
        }),
    };
    Arc::new(run)
}
