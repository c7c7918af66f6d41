//! What the tests of the pure rooms are made of. Everything is of Migrate `leave-oslo` in namespace
//! `team-a`, from `oslo` to `bergen` and `turku`.

use std::sync::Arc;

use api_types::common::{ClusterRef, Destination, StoragePlace};
use api_types::external::velero;
use api_types::key::{ClusterKey, ClusterKind};
use api_types::migrate::{Migrate, MigrateSpec, MigrateStatus, PartialFailure};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use velero_kit::operation::entry;
use velero_kit::problem::Problem;

use super::facts::{Link, Member, Notes, Readable, Results, Seen, Source, Target, Terms};

pub(super) const OWNER_UID: &str = "6f1c1f6e-6f0b-4d0a-9a4e-0d8f5f3c2b11";
pub(super) const BACKUP: &str = "oslo-migrate-team-a-leave-oslo";
pub(super) const RESTORE: &str = "bergen-migrate-team-a-leave-oslo";

/// Seconds after the Migrate was created.
pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(super) fn deadline() -> Timestamp {
    at(3600)
}

pub(super) fn key(name: &str) -> ClusterKey {
    ClusterKey::attached("team-a", name)
}

pub(super) fn uid_of(name: &str) -> String {
    format!("kube-system-uid-of-{name}")
}

pub(super) fn attached(name: &str) -> ClusterRef {
    ClusterRef::new(ClusterKind::AttachedCluster, name)
}

pub(super) fn to(fleet: &str, names: &[&str]) -> Destination {
    Destination {
        fleet: fleet.to_owned(),
        clusters: names.iter().map(|name| attached(name)).collect(),
        ..Destination::default()
    }
}

pub(super) fn migrate(policy: Value) -> Migrate {
    let spec = MigrateSpec {
        source_cluster: to("production", &["oslo"]),
        target_cluster: to("spare", &["bergen", "turku"]),
        policy: serde_json::from_value(policy).unwrap(),
        ..MigrateSpec::default()
    };
    let mut migrate = Migrate::new("leave-oslo", spec);
    migrate.metadata.namespace = Some("team-a".to_owned());
    migrate.metadata.uid = Some(OWNER_UID.to_owned());
    migrate.metadata.generation = Some(1);
    migrate.metadata.creation_timestamp = Some(Time(at(0)));
    migrate
}

pub(super) fn with_status(status: MigrateStatus) -> Migrate {
    let mut migrate = migrate(json!({}));
    migrate.status = Some(status);
    migrate
}

pub(super) fn problem(reason: &'static str) -> Problem {
    Problem::new(reason, format!("the matter is {reason}"))
}

pub(super) fn member(name: &str) -> Member {
    Member {
        problem: None,
        link: Link::Up {
            member_uid: uid_of(name),
        },
        no_velero: None,
    }
}

pub(super) fn down() -> Link {
    Link::Down {
        problem: problem("Unreachable"),
        since: Some(at(7)),
    }
}

pub(super) fn place() -> StoragePlace {
    StoragePlace {
        provider: "aws".to_owned(),
        bucket: "fleet-backups".to_owned(),
        prefix: "production/team-a/oslo".to_owned(),
        ..StoragePlace::default()
    }
}

/// A source about which nothing is in the way.
pub(super) fn source() -> Source {
    Source {
        key: key("oslo"),
        stored: entry::fresh(&key("oslo")),
        member: member("oslo"),
        location: Ok(place()),
        seen: Seen::NotShown,
        stuck: None,
        rested: false,
    }
}

/// A target about which nothing is in the way.
pub(super) fn target(name: &str) -> Target {
    Target {
        key: key(name),
        stored: entry::fresh(&key(name)),
        member: member(name),
        notes: Notes::default(),
        storage: None,
        readable: Readable::NotAsked,
        seen: Seen::NotShown,
        stuck: None,
        rested: false,
        results: Results::None,
    }
}

pub(super) fn terms() -> Terms {
    Terms {
        cancel: false,
        deadline: deadline(),
        now: at(60),
        partial_failure: PartialFailure::Stop,
        unmoved: None,
        no_targets: None,
        surveyed: true,
    }
}

pub(super) fn backup(phase: &str) -> Arc<velero::Backup> {
    let mut object = velero::Backup::new(BACKUP, velero::BackupSpec::default());
    object.status = status_in(phase);
    object.status["startTimestamp"] = at(30).to_string().into();
    Arc::new(object)
}

/// A Backup whose name has its folder in the bucket already: Velero writes nothing.
pub(super) fn refused() -> Arc<velero::Backup> {
    let mut object = velero::Backup::clone(&backup("Failed"));
    object.status["failureReason"] = "backup already exists in object storage".into();
    Arc::new(object)
}

/// Not a phase of Velero: it refused the object for what it had not seen yet.
pub(super) const REFUSED_EARLY: &str = "refused early";

/// What Velero says of an object in this phase.
fn status_in(phase: &str) -> Value {
    if phase != REFUSED_EARLY {
        return json!({ "phase": phase });
    }
    let unseen = "The BSL default is unavailable, cannot retrieve the backup";
    json!({ "phase": "FailedValidation", "validationErrors": [unseen] })
}

pub(super) fn restore(name: &str, phase: &str) -> Arc<velero::Restore> {
    let mut object = velero::Restore::new(name, velero::RestoreSpec::default());
    object.status = status_in(phase);
    Arc::new(object)
}
