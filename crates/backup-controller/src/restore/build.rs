//! The Velero Restore that a Restore wants in one member.

use api_types::external::velero;
use api_types::restore::RestorePolicy;
use velero_kit::build::{self, Place};
use velero_kit::identity::Owner;

use super::filter::Scope;
use crate::operation::objects::Target;

/// Builds the object, which restores the Velero Backup of the given name. `resource_modifier` is the
/// name that the carried ConfigMap has on the member.
pub fn build(
    owner: &Owner,
    target: &Target,
    what: (&str, &Scope),
    policy: &RestorePolicy,
    resource_modifier: Option<&str>,
) -> velero::Restore {
    let place = Place {
        cluster: &target.key,
        member: &target.member,
        name: &target.name,
    };
    build::restore(owner, place, what, policy, resource_modifier)
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
