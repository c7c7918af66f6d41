//! What tests are made of, here and in the controllers. Everything is of Backup `nightly-shop` in
//! namespace `team-a`, and of members such as `oslo`.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a fixture that cannot be made fails the test"
)]

use api_types::backup::{Backup, BackupDetail, BackupSpec, BackupStatus};
use api_types::common::{ClusterRef, Destination, StoragePlace};
use api_types::external::velero;
use api_types::fleet::BackupLocation;
use api_types::key::{ClusterKey, ClusterKind};
use api_types::labels;
use api_types::phase::EntryPhase;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use crate::identity::Owner;
use crate::problem::Problem;
use crate::reading::origin::{Member, Origin};

/// Uid of the Backup.
pub const OWNER_UID: &str = "6f1c1f6e-6f0b-4d0a-9a4e-0d8f5f3c2b11";
/// Uid of oslo's `kube-system`.
pub const MEMBER_UID: &str = "kube-system-uid-of-oslo";
/// What the Backup makes in oslo.
pub const NAME: &str = "oslo-backup-team-a-nightly-shop";

/// Seconds after the Backup was created.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// The deadline of all operations here.
pub fn deadline() -> Timestamp {
    at(3600)
}

/// An AttachedCluster.
pub fn key(name: &str) -> ClusterKey {
    ClusterKey::attached("team-a", name)
}

/// An AttachedCluster, as a spec names it.
pub fn attached(name: &str) -> ClusterRef {
    ClusterRef::new(ClusterKind::AttachedCluster, name)
}

/// The Backup.
pub fn backup(status: BackupStatus) -> Backup {
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

/// An entry of the Backup.
pub fn detail(name: &str, phase: EntryPhase) -> BackupDetail {
    BackupDetail {
        cluster_name: name.to_owned(),
        cluster_kind: "AttachedCluster".to_owned(),
        phase,
        ..BackupDetail::default()
    }
}

/// The Backup as the owner of objects on members.
pub fn owner() -> Owner {
    Owner {
        kind: "Backup",
        name_label: labels::BACKUP_NAME,
        namespace: "team-a".to_owned(),
        name: "nightly-shop".to_owned(),
        uid: OWNER_UID.to_owned(),
        fleet: "production".to_owned(),
    }
}

/// Something that is in the way.
pub fn problem(reason: &'static str) -> Problem {
    Problem::new(reason, "something is in the way")
}

/// A Velero Backup.
pub fn velero_backup(name: &str, status: Value) -> velero::Backup {
    let mut object = velero::Backup::new(name, velero::BackupSpec::default());
    object.status = status;
    object
}

/// A Velero Restore.
pub fn velero_restore(name: &str, status: Value) -> velero::Restore {
    let mut object = velero::Restore::new(name, velero::RestoreSpec::default());
    object.status = status;
    object
}

/// The storage of a Fleet.
pub fn storage() -> BackupLocation {
    BackupLocation {
        bucket: "fleet-backups".to_owned(),
        provider: "aws".to_owned(),
        endpoint: "https://s3.example.org".to_owned(),
        ..BackupLocation::default()
    }
}

/// A place in its bucket.
pub fn place(prefix: &str) -> StoragePlace {
    StoragePlace {
        provider: "aws".to_owned(),
        bucket: "fleet-backups".to_owned(),
        prefix: prefix.to_owned(),
        ..StoragePlace::default()
    }
}

/// The location `default` of oslo.
pub fn location(phase: &str) -> velero::BackupStorageLocation {
    let object = json!({
        "metadata": { "name": "default" },
        "spec": {
            "provider": "aws",
            "objectStorage": { "bucket": "fleet-backups", "prefix": "team-a/oslo" },
        },
        "status": { "phase": phase },
    });
    serde_json::from_value(object).unwrap()
}

/// Oslo, as the Backup knows it.
pub fn origin() -> Origin {
    Origin {
        cluster: key("oslo"),
        members: vec![member(MEMBER_UID, None)],
    }
}

/// A member that backed up, in a bucket of this name.
pub fn member(uid: &str, bucket: Option<&str>) -> Member {
    Member {
        uid: uid.to_owned(),
        place: bucket.map(|bucket| StoragePlace {
            bucket: bucket.to_owned(),
            ..StoragePlace::default()
        }),
        last: None,
    }
}
