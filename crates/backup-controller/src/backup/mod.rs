//! Reconciling one Backup: dereference, validate, claim, build and apply, status.

pub mod agenda;
pub mod apply;
pub mod build;
pub mod delete;
pub mod dereference;
pub mod detail;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod housekeeping;
pub mod pass;
pub mod plan;
#[cfg(test)]
mod properties;
pub mod readers;
pub mod status;
pub mod validate;

use std::sync::Arc;

use api_types::backup::Backup;
use api_types::labels;
use controller_kit::reconcile::Outcome;
use kube::ResourceExt;
use velero_kit::identity::Owner;
pub use velero_kit::problem::Problem;

use crate::context::Context;
use crate::operation::draft::Draft;
use crate::operation::hold;
pub use crate::operation::{Error, is_settled};
use crate::schedule;
use pass::Pass;
pub use readers::goes_with_data;

/// One pass over a Backup.
pub async fn reconcile(ctx: &Arc<Context>, backup: Arc<Backup>) -> Result<Outcome, Error> {
    let backup = Backup::clone(&backup);
    let owner = owner(&backup);
    let scheduled = backup.spec.is_scheduled();
    if backup.metadata.deletion_timestamp.is_some() {
        return if scheduled {
            schedule::delete::reconcile(ctx, backup, owner).await
        } else {
            delete::reconcile(ctx, backup, owner).await
        };
    }
    if is_settled(&backup) {
        return Draft::new(ctx, backup, owner).observe().await;
    }
    if hold(ctx, &backup).await? {
        return Ok(Outcome::Done);
    }
    if scheduled {
        return schedule::reconcile(ctx, backup, owner).await;
    }
    let mut pass = Pass::new(ctx, backup, owner);
    let fleet_found = dereference::fleet(ctx, pass.backup()).is_some();
    match validate::validate(pass.backup(), fleet_found) {
        Ok(spec) => pass.run(&spec).await,
        Err(invalid) => pass.refuse(&invalid).await,
    }
}

/// Name of the hub ConfigMap that this Backup carries to members.
pub fn carries(backup: &Backup) -> Option<&str> {
    let policy = backup.spec.policy.as_ref()?;
    policy
        .resource_policy
        .as_ref()
        .map(|reference| reference.name.as_str())
}

/// The identity that the objects of this Backup carry on members.
pub fn owner(backup: &Backup) -> Owner {
    Owner {
        kind: "Backup",
        name_label: labels::BACKUP_NAME,
        namespace: backup.namespace().unwrap_or_default(),
        name: backup.name_any(),
        uid: backup.uid().unwrap_or_default(),
        fleet: backup.spec.destination.fleet.clone(),
    }
}
