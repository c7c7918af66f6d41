//! Fleets and members for tests.

use std::collections::BTreeSet;
use std::sync::Arc;

use api_types::external::velero::BackupStorageLocation;
use api_types::fleet::{BackupConfig, Fleet, FleetSpec, PluginConfig};
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::MemberId;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde_json::json;
use tokio::time::Instant;
use velero_kit::identity::Owner;

use super::dereference::owner;
use super::known::{Known, Member, Source};
use super::memory::Store;
use super::validate::{Keep, Plan, Planned, Stand, validate};
use crate::operation::member::{HubObject, Link, Served};
use crate::timings::Timings;

/// The hub's own uid.
pub(super) const HUB: &str = "uid-of-the-hub";

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn config() -> BackupConfig {
    let config = json!({ "storage": {
        "secretName": "s3",
        "location": {
            "bucket": "fleet-backups", "provider": "aws", "endpoint": "https://s3.example.org",
            "layout": "PerCluster",
        },
    } });
    serde_json::from_value(config).unwrap()
}

pub(super) fn known(members: Vec<Member>) -> Known {
    let config = config();
    let spec = FleetSpec {
        plugin: Some(PluginConfig {
            backup: Some(config.clone()),
            ..PluginConfig::default()
        }),
        ..FleetSpec::default()
    };
    let mut fleet = Fleet::new("north", spec);
    fleet.metadata.namespace = Some("team-a".to_owned());
    fleet.metadata.uid = Some("uid-of-north".to_owned());
    fleet.metadata.generation = Some(3);
    let text = |text: &str| ByteString(text.into());
    Known {
        owner: owner(&fleet),
        fleet: Arc::new(fleet),
        config: Some(config),
        source: Ok(Source {
            version: "v1".to_owned(),
            data: [
                ("access-key".to_owned(), text("AK")),
                ("secret-key".to_owned(), text("SK")),
            ]
            .into(),
        }),
        members,
        written: Vec::new(),
        hub: HUB.to_owned(),
        forced: false,
    }
}

pub(super) fn uid(name: &str) -> String {
    format!("kube-system-of-{name}")
}

pub(super) fn id(name: &str) -> MemberId {
    MemberId::from_uid(&uid(name))
}

/// A member with Velero and no location, which gets the plugin.
pub(super) fn member(name: &str) -> Member {
    Member {
        key: ClusterKey::attached("team-a", name),
        wanted: true,
        listed: true,
        hub: HubObject::Present,
        link: Link::Up {
            member_uid: uid(name),
        },
        velero: Served::Yes,
        live: true,
        locations: Vec::new(),
        adopted: BTreeSet::new(),
        memory: Store::default(),
        survey: None,
        entry: None,
    }
}

pub(super) fn planned(known: &Known) -> Plan {
    validate(known, &Timings::default(), Instant::now())
}

/// How the storage of the first member is to be kept.
pub(super) fn keep(plan: &Plan) -> &Keep {
    match &plan.clusters[0].stand {
        Stand::Kept(keep) => keep,
        other => panic!("it is {other:?}"),
    }
}

pub(super) fn first(plan: &Plan) -> &Planned {
    &plan.clusters[0]
}

/// The member once its location is as it shall be, in this phase.
pub(super) fn settled(member: Member, phase: &str) -> Member {
    let known = known(vec![member.clone()]);
    let plan = planned(&known);
    let mut location = keep(&plan).location.clone();
    location.status = json!({ "phase": phase, "message": "Velero's words" });
    let mut member = Member {
        locations: vec![Arc::new(location)],
        ..member
    };
    member.memory.credential = Some(("north-velero-s3@v1".to_owned(), Instant::now()));
    member
}

/// A location `default` that belongs to another Fleet.
pub(super) fn of_another(namespace: &str, name: &str) -> BackupStorageLocation {
    let other = Owner {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: "uid-of-another".to_owned(),
        ..known(Vec::new()).owner
    };
    let key = ClusterKey::attached(namespace, "oslo");
    let mut metadata = other.metadata(labels::DEFAULT_STORAGE_LOCATION, &key, &id("oslo"));
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(labels::HUB_UID.to_owned(), HUB.to_owned());
    BackupStorageLocation {
        metadata,
        ..BackupStorageLocation::default()
    }
}
