//! Objects for tests, short to write.

use api_types::cluster::{AttachedCluster, AttachedClusterSpec, AttachedClusterStatus};
use api_types::common::ClusterRef;
use api_types::condition::{self, Condition, reason};
use api_types::fleet::{Fleet, FleetSpec};
use api_types::key::ClusterKind;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The namespace of all of them.
pub(crate) const NAMESPACE: &str = "oslo";

/// A fixed moment and `seconds` after it.
pub(crate) fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-02-03T04:05:06Z".parse().unwrap();
    start + SignedDuration::from_secs(seconds)
}

/// A Fleet of `AttachedClusters`.
pub(crate) fn fleet(name: &str, created: &str, members: &[&str]) -> Fleet {
    let spec = FleetSpec {
        clusters: members
            .iter()
            .map(|member| ClusterRef::new(ClusterKind::AttachedCluster, *member))
            .collect(),
        ..FleetSpec::default()
    };
    let mut fleet = Fleet::new(name, spec);
    fleet.metadata.namespace = Some(NAMESPACE.into());
    fleet.metadata.uid = Some(format!("uid-of-{name}"));
    fleet.metadata.generation = Some(1);
    fleet.metadata.creation_timestamp = Some(Time(created.parse().unwrap()));
    fleet
}

/// An AttachedCluster without status.
pub(crate) fn attached(name: &str) -> AttachedCluster {
    let mut cluster = AttachedCluster::new(name, AttachedClusterSpec::default());
    cluster.metadata.namespace = Some(NAMESPACE.into());
    cluster.metadata.uid = Some(format!("uid-of-{name}"));
    cluster.metadata.generation = Some(1);
    cluster
}

/// A full status with this reason of Ready; ready if the reason is `Connected`.
pub(crate) fn attached_status(ready: &str) -> AttachedClusterStatus {
    let is_ready = ready == reason::CONNECTED;
    AttachedClusterStatus {
        observed_generation: Some(1),
        ready: is_ready,
        conditions: vec![Condition {
            type_: condition::READY.into(),
            status: is_ready.into(),
            last_transition_time: Time(at(0)),
            reason: ready.into(),
            message: "as a fixture says".into(),
            observed_generation: Some(1),
            severity: String::new(),
        }],
        mode: Some("Direct".into()),
        kubernetes_version: Some("v1.34.4".into()),
        nodes: Some(3),
        cluster_uid: Some("uid-of-kube-system".into()),
        fleet: None,
        credential_expiration_time: None,
        last_seen_time: Some(Time(at(0))),
    }
}

/// A deletion that began at the fixed moment.
pub(crate) fn deleted(metadata: &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) {
    metadata.deletion_timestamp = Some(Time(at(0)));
}
