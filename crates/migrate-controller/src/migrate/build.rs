//! What a Migrate wants on members: the Velero Backup of the source, a Velero Restore in each target.

use api_types::backup::BackupPolicy;
use api_types::external::velero;
use api_types::migrate::Migrate;
use api_types::restore::RestorePolicy;
use velero_kit::build::{self, Place};

use super::transition::Run;
use super::validate::Validated;
use super::{owner_in_source, owner_in_target};

/// The Velero Backup of the source.
pub fn backup(migrate: &Migrate, place: Place<'_>) -> velero::Backup {
    let policy = migrate.spec.policy.as_ref().map(|policy| BackupPolicy {
        resource_filter: policy.resource_filter.clone(),
        ttl: policy.ttl.clone(),
        ordered_resources: policy.ordered_resources.clone(),
        ..BackupPolicy::default()
    });
    build::backup(&owner_in_source(migrate), place, policy.as_ref(), None)
}

/// The Velero Restore of a target, of all that is in the backup but what is Velero's own.
pub fn restore(
    migrate: &Migrate,
    spec: &Validated,
    place: Place<'_>,
    run: &Run,
) -> velero::Restore {
    let policy = migrate.spec.policy.clone().unwrap_or_default();
    let policy = RestorePolicy {
        namespace_mapping: policy.namespace_mapping,
        preserve_status: policy.migrate_status,
        preserve_node_ports: policy.preserve_node_ports,
        ..RestorePolicy::default()
    };
    let owner = owner_in_target(migrate);
    build::restore(&owner, place, (&run.name, &spec.scope), &policy, None)
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
