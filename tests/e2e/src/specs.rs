//! Specs of Backups for tests.

use api_types::backup::{BackupPolicy, BackupSpec};
use api_types::common::{ClusterRef, DeletionPolicy, Destination, ResourceFilter};
use api_types::key::ClusterKind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::tenant::FLEET;

/// Takes the demo application of every cluster of the fleet.
pub fn demo_backup() -> BackupSpec {
    let destination = Destination {
        fleet: FLEET.to_owned(),
        ..Destination::default()
    };
    BackupSpec {
        destination,
        policy: Some(demo_policy()),
        ..BackupSpec::default()
    }
}

/// The same in these clusters only.
pub fn demo_backup_of(clusters: &[&str]) -> BackupSpec {
    let mut spec = demo_backup();
    spec.destination.clusters = clusters.iter().map(|name| cluster_ref(name)).collect();
    spec
}

/// The same of the whole fleet, deleted with everything.
pub fn demo_backup_to_delete() -> BackupSpec {
    BackupSpec {
        deletion_policy: DeletionPolicy::Delete,
        ..demo_backup()
    }
}

/// The demo application.
pub fn demo_policy() -> BackupPolicy {
    let filter = ResourceFilter {
        label_selector: Some(labels(&[("app", "busybox")])),
        ..ResourceFilter::default()
    };
    BackupPolicy {
        resource_filter: Some(filter),
        ..BackupPolicy::default()
    }
}

/// The demo application, stored in another location than the default one.
pub fn demo_policy_in(location: &str) -> BackupPolicy {
    BackupPolicy {
        storage_location: Some(location.to_owned()),
        ..demo_policy()
    }
}

/// A selector of these labels.
pub fn labels(labels: &[(&str, &str)]) -> LabelSelector {
    let labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    LabelSelector {
        match_labels: Some(labels.collect()),
        ..LabelSelector::default()
    }
}

/// A reference to an AttachedCluster.
pub fn cluster_ref(name: &str) -> ClusterRef {
    ClusterRef::new(ClusterKind::AttachedCluster, name)
}
