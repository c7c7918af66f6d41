//! What the specs of Backup and Restore have in common, parsed.

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

/// When entries that have not begun fail.
pub fn deadline(metadata: &ObjectMeta, start: &Duration) -> Result<Timestamp, InvalidSpec> {
    let start = parse_duration("startDeadline", start)?;
    let created = metadata
        .creation_timestamp
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |created| created.0);
    Ok(created.checked_add(start).unwrap_or(Timestamp::MAX))
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

pub fn parse_duration(
    field: &'static str,
    text: &Duration,
) -> Result<std::time::Duration, InvalidSpec> {
    text.parse().map_err(|error| InvalidSpec {
        field,
        problem: error.to_string(),
    })
}
