//! Reconciling one Restore: dereference, validate, claim, choose a run, build and apply, status.

pub mod agenda;
pub mod apply;
mod ask;
pub mod build;
mod claim;
pub mod delete;
pub mod dereference;
pub mod filter;
#[cfg(test)]
mod fixtures;
pub mod index;
pub mod lost;
pub mod pass;
pub mod place;
pub mod plan;
mod reading;
pub mod source;
pub mod status;
pub mod validate;

use std::sync::Arc;

use api_types::labels;
use api_types::restore::Restore;
use controller_kit::reconcile::Outcome;
use kube::ResourceExt;
use velero_kit::identity::Owner;
pub use velero_kit::problem::Problem;
pub use velero_kit::reading::{look, origin, wanted};
pub use velero_kit::results::read as results;

use crate::context::Context;
use crate::operation::draft::Draft;
use crate::operation::{Error, hold, is_settled};
use pass::Pass;
use source::Source;

/// One pass over a Restore.
pub async fn reconcile(ctx: &Arc<Context>, restore: Arc<Restore>) -> Result<Outcome, Error> {
    let restore = Restore::clone(&restore);
    let source = dereference::source(ctx, &restore);
    let owner = owner(&restore, &source);
    if restore.metadata.deletion_timestamp.is_some() {
        return delete::reconcile(ctx, restore, owner).await;
    }
    if is_settled(&restore) {
        return Draft::new(ctx, restore, owner).observe().await;
    }
    if hold(ctx, &restore).await? {
        return Ok(Outcome::Done);
    }
    let validated = validate::validate(&restore);
    let mut pass = Pass::new(ctx, restore, owner);
    match validated {
        Ok(spec) => pass.run(&spec, &source).await,
        Err(invalid) => pass.refuse(&invalid, &source).await,
    }
}

/// Name of the hub `ConfigMap` that this Restore carries to members.
pub fn carries(restore: &Restore) -> Option<&str> {
    let policy = restore.spec.policy.as_ref()?;
    policy
        .resource_modifier
        .as_ref()
        .map(|reference| reference.name.as_str())
}

/// The identity that the objects of this Restore carry on members.
pub fn owner(restore: &Restore, source: &Source) -> Owner {
    Owner {
        kind: "Restore",
        name_label: labels::RESTORE_NAME,
        namespace: restore.namespace().unwrap_or_default(),
        name: restore.name_any(),
        uid: restore.uid().unwrap_or_default(),
        fleet: source.fleet.clone().unwrap_or_default(),
    }
}
