//! A spec into values that cannot be wrong, or the sentence that says why it can never work.
//!
//! The schema and its CEL rules refuse most mistakes at admission; what is left here is what they
//! cannot see, and what objects stored by an older version may hold.

use api_types::backup::{Backup, BackupPolicy};
use api_types::labels;
use jiff::Timestamp;
use kube::core::Selector;

pub use crate::operation::spec::InvalidSpec;
use crate::operation::spec::{check_filter, deadline, parse_duration, parse_selector};

/// What the spec says, parsed.
#[derive(Debug, Clone)]
pub struct Validated {
    /// Which clusters of the fleet, when chosen by the labels of their AttachedCluster.
    pub selector: Option<Selector>,
    /// When entries that have not begun fail.
    pub deadline: Timestamp,
    /// Whether the Fleet is there.
    pub fleet_found: bool,
    /// Name of the BackupStorageLocation in each member.
    pub location: String,
    /// Name of the ConfigMap with Velero's volume rules, in the Backup's namespace.
    pub resource_policy: Option<String>,
}

/// Checks a one-time Backup.
pub fn validate(backup: &Backup, fleet_found: bool) -> Result<Validated, InvalidSpec> {
    let spec = &backup.spec;
    let selector = spec
        .destination
        .cluster_selector
        .clone()
        .map(|selector| parse_selector("destination.clusterSelector", selector))
        .transpose()?;
    let policy = spec.policy.as_ref();
    if let Some(policy) = policy {
        check_policy(policy)?;
    }
    Ok(Validated {
        selector,
        fleet_found,
        deadline: deadline(&backup.metadata, ("startDeadline", &spec.start_deadline))?,
        location: policy
            .and_then(|policy| policy.storage_location.clone())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| labels::DEFAULT_STORAGE_LOCATION.to_owned()),
        resource_policy: super::carries(backup).map(str::to_owned),
    })
}

fn check_policy(policy: &BackupPolicy) -> Result<(), InvalidSpec> {
    let durations = [
        ("policy.ttl", &policy.ttl),
        ("policy.csiSnapshotTimeout", &policy.csi_snapshot_timeout),
        (
            "policy.itemOperationTimeout",
            &policy.item_operation_timeout,
        ),
    ];
    for (field, value) in durations {
        if let Some(value) = value {
            parse_duration(field, value)?;
        }
    }
    if let Some(reference) = &policy.resource_policy
        && !reference.kind.eq_ignore_ascii_case("configmap")
    {
        // Velero ignores any other kind without a word.
        return Err(InvalidSpec {
            field: "policy.resourcePolicy.kind",
            problem: "kind must be configmap".to_owned(),
        });
    }
    policy.resource_filter.as_ref().map_or(Ok(()), check_filter)
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
