//! The Velero Restore that a Restore wants in one member.

use api_types::external::velero;
use api_types::restore::{ExistingResourcePolicy, RestorePolicy};
use serde_json::{Value, json};
use velero_kit::identity::Owner;

use super::filter::Scope;
use crate::operation::objects::Target;

/// Builds the object, which restores the Velero Backup `run`. `resource_modifier` is the name that
/// the carried ConfigMap has on the member.
pub fn build(
    owner: &Owner,
    target: &Target,
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
        metadata: owner.metadata(&target.name, &target.key, &target.member),
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

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
