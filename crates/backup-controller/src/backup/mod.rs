//! Reconciling one Backup: dereference, validate, claim, build and apply, status.

pub mod agenda;
pub mod apply;
pub mod build;
pub mod calls;
pub mod delete;
pub mod dereference;
pub mod detail;
pub mod events;
#[cfg(test)]
mod fixtures;
pub mod housekeeping;
pub mod memory;
pub mod pass;
pub mod plan;
#[cfg(test)]
mod properties;
pub mod resolve;
pub mod status;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use api_types::aggregate;
use api_types::backup::Backup;
use api_types::labels;
use controller_kit::hub::{self, WriteError};
use controller_kit::reconcile::{Outcome, ReconcileError};
use kube::ResourceExt;
use velero_kit::identity::Owner;
pub use velero_kit::problem::Problem;

use crate::context::Context;
use pass::Pass;

/// Why a pass ended early. Entries never end a pass: what goes wrong with one is in its status.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hub refused or did not answer.
    #[error("a write to the hub failed")]
    Write(#[from] WriteError),
    /// A read from the hub failed.
    #[error("a read from the hub failed")]
    Read(#[source] Box<kube::Error>),
}

impl ReconcileError for Error {
    fn category(&self) -> &'static str {
        match self {
            Self::Write(error) => error.category(),
            Self::Read(_) => "hub_read",
        }
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Read(Box::new(error))
    }
}

/// One pass over a Backup.
pub async fn reconcile(ctx: &Arc<Context>, backup: Arc<Backup>) -> Result<Outcome, Error> {
    let backup = Backup::clone(&backup);
    let owner = owner(&backup);
    if backup.metadata.deletion_timestamp.is_some() {
        return delete::reconcile(ctx, backup, &owner).await;
    }
    if is_settled(&backup) {
        ctx.memory.forget(&owner.uid);
        return Ok(Outcome::Done);
    }
    if !backup
        .finalizers()
        .iter()
        .any(|f| f == labels::BACKUP_FINALIZER)
    {
        // Before the first remote object; the new version of the object starts the next pass.
        return match hub::add_finalizer(&ctx.client, &backup, labels::BACKUP_FINALIZER).await {
            Ok(_) | Err(WriteError::Conflict(_) | WriteError::Gone(_)) => Ok(Outcome::Done),
            Err(error) => Err(error.into()),
        };
    }
    let mut pass = Pass::new(ctx, backup, owner);
    if pass.backup.spec.is_scheduled() {
        return pass.not_served().await;
    }
    let fleet_found = dereference::fleet(ctx, &pass.backup).is_some();
    match validate::validate(&pass.backup, fleet_found) {
        Ok(spec) => pass.run(&spec).await,
        Err(invalid) => pass.refuse(&invalid).await,
    }
}

/// A one-time Backup with an outcome: it never runs again.
pub fn is_settled(backup: &Backup) -> bool {
    backup
        .status
        .as_ref()
        .is_some_and(|stored| aggregate::is_final(stored.phase, status::succeeded(stored)))
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

/// The shorter of two waits.
fn sooner(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
