//! What the tests of these rooms are made of. Everything is of Backup `nightly-shop` in namespace
//! `team-a`, and of members such as `oslo`.

use api_types::backup::{Backup, BackupDetail, BackupSpec, BackupStatus};
use api_types::common::{ClusterRef, Destination};
use api_types::key::{ClusterKey, ClusterKind};
use api_types::phase::EntryPhase;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::context::{Context, Process};

pub(crate) const OWNER_UID: &str = "6f1c1f6e-6f0b-4d0a-9a4e-0d8f5f3c2b11";
pub(crate) const MEMBER_UID: &str = "kube-system-uid-of-oslo";
pub(crate) const NAME: &str = "oslo-backup-team-a-nightly-shop";

/// A process with nothing of its own.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plain;

impl Process for Plain {
    const MANAGER: &'static str = "plain";
    const BACKUPS: &'static str = "backup";
    const RESTORES: &'static str = "restore";

    type Own = ();
    type Answer = String;
    type OfOperation = ();
    type OfCluster = ();

    fn trigger_owner((): &(), _: &str, _: &str, _: &str) {}

    fn touch_cluster(_: &Context<Self>, _: &ClusterKey) {}

    fn touch_all(_: &Context<Self>) {}
}

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

pub(crate) fn listed(kind: &str, name: &str) -> ClusterRef {
    ClusterRef {
        kind: kind.to_owned(),
        name: name.to_owned(),
        ..ClusterRef::default()
    }
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

pub(crate) fn detail(name: &str, phase: EntryPhase) -> BackupDetail {
    BackupDetail {
        cluster_name: name.to_owned(),
        cluster_kind: "AttachedCluster".to_owned(),
        phase,
        ..BackupDetail::default()
    }
}
