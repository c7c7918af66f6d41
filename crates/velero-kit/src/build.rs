//! The Velero Backup and the Velero Restore that a hub object wants in one member. Pure.

use api_types::backup::BackupPolicy;
use api_types::common::ResourceFilter;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::MemberId;
use api_types::restore::{ExistingResourcePolicy, RestorePolicy};
use serde_json::{Value, json};

use crate::identity::Owner;
use crate::scope::Scope;

/// Where and under which name the object is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub cluster: &'a ClusterKey,
    pub member: &'a MemberId,
    pub name: &'a str,
}

/// Builds a Velero Backup. `resource_policy` is the name that the carried ConfigMap has on the member.
pub fn backup(
    owner: &Owner,
    place: Place<'_>,
    policy: Option<&BackupPolicy>,
    resource_policy: Option<&str>,
) -> velero::Backup {
    let mut spec = policy.map_or_else(velero::BackupSpec::default, |policy| {
        backup_spec(policy, resource_policy)
    });
    // Velero's own default may be another location than the one that was looked at.
    spec.storage_location
        .get_or_insert_with(|| labels::DEFAULT_STORAGE_LOCATION.to_owned());
    if takes_everything(policy) {
        // Without it Velero 1.18 takes only the cluster-scoped objects that others refer to.
        spec.include_cluster_resources = Some(true);
    }
    velero::Backup {
        metadata: owner.metadata(place.name, place.cluster, place.member),
        spec,
        status: Value::Null,
    }
}

/// Without a filter a Backup is one of the whole cluster (Kurator v0.5.0, `spec.policy`).
fn takes_everything(policy: Option<&BackupPolicy>) -> bool {
    policy
        .and_then(|policy| policy.resource_filter.as_ref())
        .is_none_or(|filter| *filter == ResourceFilter::default())
}

fn backup_spec(policy: &BackupPolicy, resource_policy: Option<&str>) -> velero::BackupSpec {
    let filter = policy.resource_filter.clone().unwrap_or_default();
    velero::BackupSpec {
        included_namespaces: filter.included_namespaces.0,
        excluded_namespaces: filter.excluded_namespaces.0,
        included_resources: filter.included_resources.0,
        excluded_resources: filter.excluded_resources.0,
        include_cluster_resources: filter.include_cluster_resources,
        included_cluster_scoped_resources: filter.included_cluster_scoped_resources.0,
        excluded_cluster_scoped_resources: filter.excluded_cluster_scoped_resources.0,
        included_namespace_scoped_resources: filter.included_namespace_scoped_resources.0,
        excluded_namespace_scoped_resources: filter.excluded_namespace_scoped_resources.0,
        label_selector: filter.label_selector,
        or_label_selectors: filter.or_label_selectors,
        ttl: policy.ttl.as_ref().map(ToString::to_string),
        ordered_resources: policy.ordered_resources.clone(),
        hooks: policy
            .hooks
            .as_ref()
            .map_or(Value::Null, |hooks| json!(hooks)),
        snapshot_volumes: policy.snapshot_volumes,
        snapshot_move_data: policy.snapshot_move_data,
        default_volumes_to_fs_backup: policy.default_volumes_to_fs_backup,
        csi_snapshot_timeout: policy
            .csi_snapshot_timeout
            .as_ref()
            .map(ToString::to_string),
        item_operation_timeout: policy
            .item_operation_timeout
            .as_ref()
            .map(ToString::to_string),
        resource_policy: resource_policy.map(velero::ConfigMapReference::new),
        uploader_config: policy
            .uploader_config
            .as_ref()
            .map(|config| velero::UploaderConfig {
                parallel_files_upload: config.parallel_files_upload,
            }),
        storage_location: policy
            .storage_location
            .clone()
            .filter(|name| !name.is_empty()),
        ..velero::BackupSpec::default()
    }
}

/// Builds a Velero Restore, which restores the Velero Backup `run`. `resource_modifier` is the name
/// that the carried ConfigMap has on the member.
pub fn restore(
    owner: &Owner,
    place: Place<'_>,
    (run, scope): (&str, &Scope),
    policy: &RestorePolicy,
    resource_modifier: Option<&str>,
) -> velero::Restore {
    let filter = policy.resource_filter.clone().unwrap_or_default();
    let Scope {
        included_namespaces,
        excluded_namespaces,
        included_resources,
        excluded_resources,
        include_cluster_resources,
    } = scope.clone();
    let spec = velero::RestoreSpec {
        backup_name: run.to_owned(),
        included_namespaces,
        excluded_namespaces,
        included_resources,
        excluded_resources,
        include_cluster_resources,
        label_selector: filter.label_selector,
        or_label_selectors: filter.or_label_selectors,
        namespace_mapping: policy.namespace_mapping.clone(),
        restore_pvs: policy.restore_pvs,
        restore_status: policy
            .preserve_status
            .clone()
            .map(|status| velero::RestoreStatusSpec {
                included_resources: status.included_resources.0,
                excluded_resources: status.excluded_resources.0,
            }),
        preserve_node_ports: policy.preserve_node_ports,
        hooks: policy
            .hooks
            .as_ref()
            .map_or(Value::Null, |hooks| json!(hooks)),
        existing_resource_policy: policy.existing_resource_policy.map(existing),
        item_operation_timeout: policy
            .item_operation_timeout
            .as_ref()
            .map(ToString::to_string),
        resource_modifier: resource_modifier.map(velero::ConfigMapReference::new),
    };
    velero::Restore {
        metadata: owner.metadata(place.name, place.cluster, place.member),
        spec,
        status: Value::Null,
    }
}

fn existing(policy: ExistingResourcePolicy) -> String {
    match policy {
        ExistingResourcePolicy::None => "none",
        ExistingResourcePolicy::Update => "update",
    }
    .to_owned()
}
