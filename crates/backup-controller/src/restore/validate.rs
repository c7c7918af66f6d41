//! A spec into values that cannot be wrong, or the sentence that says why it can never work.

use api_types::restore::{Restore, RestorePolicy};
use jiff::Timestamp;

use super::filter::{self, Scope};
use crate::operation::spec::{
    InvalidSpec, check_selectors, deadline, parse_duration, parse_selector,
};

/// What the spec says, parsed.
#[derive(Debug, Clone)]
pub struct Validated {
    /// When entries that have not begun fail.
    pub deadline: Timestamp,
    /// Which resources, as Velero's Restore says it.
    pub scope: Scope,
    /// Name of the ConfigMap with Velero's rules for changing objects, in the Restore's namespace.
    pub resource_modifier: Option<String>,
}

/// Checks a Restore.
pub fn validate(restore: &Restore) -> Result<Validated, InvalidSpec> {
    let spec = &restore.spec;
    let destination = spec.destination.as_ref();
    if let Some(selector) = destination.and_then(|to| to.cluster_selector.clone()) {
        parse_selector("destination.clusterSelector", selector)?;
    }
    if let Some(time) = &spec.point_in_time {
        time.parse().map_err(|error| InvalidSpec {
            field: "pointInTime",
            problem: format!("not a time: {error}"),
        })?;
    }
    let policy = spec.policy.clone().unwrap_or_default();
    Ok(Validated {
        deadline: deadline(&restore.metadata, ("startDeadline", &spec.start_deadline))?,
        scope: check_policy(&policy)?,
        resource_modifier: super::carries(restore).map(str::to_owned),
    })
}

fn check_policy(policy: &RestorePolicy) -> Result<Scope, InvalidSpec> {
    if let Some(timeout) = &policy.item_operation_timeout {
        parse_duration("policy.itemOperationTimeout", timeout)?;
    }
    if let Some(reference) = &policy.resource_modifier
        && !reference.kind.eq_ignore_ascii_case("configmap")
    {
        // Velero ignores any other kind without a word.
        return Err(InvalidSpec {
            field: "policy.resourceModifier.kind",
            problem: "kind must be configmap".to_owned(),
        });
    }
    let filter = policy.resource_filter.clone().unwrap_or_default();
    check_selectors(&filter)?;
    filter::scope(&filter).map_err(|problem| InvalidSpec {
        field: "policy.resourceFilter",
        problem,
    })
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
