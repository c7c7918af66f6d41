//! What the specs of Backup, Restore and Migrate have in common, parsed.

use api_types::common::{Duration, ResourceFilter};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::Selector;

/// A spec that can never work, however long one waits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidSpec {
    /// Path of the field below `spec`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// When entries that have not begun fail; `field` says how long after creation that is.
pub fn deadline(
    metadata: &ObjectMeta,
    (field, limit): (&'static str, &Duration),
) -> Result<Timestamp, InvalidSpec> {
    let limit = parse_duration(field, limit)?;
    let created = metadata
        .creation_timestamp
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |created| created.0);
    Ok(created.checked_add(limit).unwrap_or(Timestamp::MAX))
}

/// Checks the label selectors of a filter.
pub fn check_selectors(filter: &ResourceFilter) -> Result<(), InvalidSpec> {
    let selectors = filter
        .label_selector
        .iter()
        .chain(&filter.or_label_selectors);
    for selector in selectors {
        parse_selector("policy.resourceFilter", selector.clone())?;
    }
    if filter.label_selector.is_some() && !filter.or_label_selectors.is_empty() {
        return Err(InvalidSpec {
            field: "policy.resourceFilter",
            problem: "labelSelector and orLabelSelectors exclude each other: put the one selector \
                      into orLabelSelectors"
                .to_owned(),
        });
    }
    Ok(())
}

/// Checks a filter that says what is backed up.
pub fn check_filter(filter: &ResourceFilter) -> Result<(), InvalidSpec> {
    check_selectors(filter)?;
    let native = !filter.included_resources.is_empty()
        || !filter.excluded_resources.is_empty()
        || filter.include_cluster_resources.is_some();
    let scoped = [
        &filter.included_cluster_scoped_resources,
        &filter.excluded_cluster_scoped_resources,
        &filter.included_namespace_scoped_resources,
        &filter.excluded_namespace_scoped_resources,
    ];
    if native && scoped.iter().any(|names| !names.is_empty()) {
        return Err(InvalidSpec {
            field: "policy.resourceFilter",
            problem: "includedResources, excludedResources and includeClusterResources do not mix \
                      with the four ...ScopedResources fields: use one family"
                .to_owned(),
        });
    }
    Ok(())
}

/// The schema lets any `operator` pass.
pub fn parse_selector(
    field: &'static str,
    selector: LabelSelector,
) -> Result<Selector, InvalidSpec> {
    Selector::try_from(selector).map_err(|error| InvalidSpec {
        field,
        problem: format!("not a label selector: {error}"),
    })
}

/// Parses a duration as Go writes it, such as `1h30m`.
///
/// # Errors
/// Names the field if it is none, or is out of bounds.
pub fn parse_duration(
    field: &'static str,
    text: &Duration,
) -> Result<std::time::Duration, InvalidSpec> {
    text.parse().map_err(|error| InvalidSpec {
        field,
        problem: error.to_string(),
    })
}
