//! Reconciling one Migrate: dereference, validate, decide, build and apply, status. The decision and
//! what is built and said are pure.
//!
//! A pass dereferences what it works on, validates the spec, and then asks [`transition::step`] what
//! to do: what is to be written down is written with the status, what is to be asked of members is
//! asked, and the answers go into the next question.

mod ask;
pub mod build;
mod claim;
pub mod delete;
pub mod dereference;
pub mod detail;
pub mod facts;
#[cfg(test)]
mod fixtures;
mod gate;
#[cfg(test)]
mod look;
#[cfg(test)]
mod matrix;
pub mod pass;
pub mod preflight;
mod progress;
pub mod removal;
pub mod status;
pub mod survey;
pub mod transition;
pub mod validate;

use std::sync::Arc;

use api_types::labels;
use api_types::migrate::Migrate;
use controller_kit::reconcile::Outcome;
use kube::ResourceExt;
use velero_kit::identity::Owner;
use velero_kit::operation::{Error, hold, is_settled};

use crate::context::{Context, Draft};
use pass::Pass;

/// One pass over a Migrate.
pub async fn reconcile(ctx: &Arc<Context>, migrate: Arc<Migrate>) -> Result<Outcome, Error> {
    let migrate = Migrate::clone(&migrate);
    let owner = owner_in_target(&migrate);
    if migrate.metadata.deletion_timestamp.is_some() {
        return Box::pin(delete::reconcile(ctx, migrate)).await;
    }
    if is_settled(&migrate) {
        return Draft::new(ctx, migrate, owner).observe().await;
    }
    if hold(ctx, &migrate).await? {
        return Ok(Outcome::Done);
    }
    let validated = validate::validate(&migrate);
    let draft = Draft::new(ctx, migrate, owner);
    match validated {
        Ok(spec) => Box::pin(Pass::new(draft, spec).run()).await,
        Err(invalid) => {
            let entries = dereference::meant(draft.ctx, &draft.object);
            pass::refuse(draft, entries, &invalid).await
        }
    }
}

/// The identity of what is made in the source. It has the source's fleet.
pub fn owner_in_source(migrate: &Migrate) -> Owner {
    owner(migrate, &migrate.spec.source_cluster.fleet)
}

/// The identity of what is made in targets. It has the targets' fleet.
pub fn owner_in_target(migrate: &Migrate) -> Owner {
    owner(migrate, &migrate.spec.target_cluster.fleet)
}

fn owner(migrate: &Migrate, fleet: &str) -> Owner {
    Owner {
        kind: "Migrate",
        name_label: labels::MIGRATE_NAME,
        namespace: migrate.namespace().unwrap_or_default(),
        name: migrate.name_any(),
        uid: migrate.uid().unwrap_or_default(),
        fleet: fleet.to_owned(),
    }
}
