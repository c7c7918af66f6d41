//! Reconciling one scheduled Backup: one Velero Schedule in each member that it selects, and the runs
//! of each followed. It never ends, and its set of clusters follows the spec.

pub mod agenda;
pub mod apply;
pub mod build;
pub mod delete;
pub mod dereference;
pub mod detail;
pub mod events;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod former;
pub mod history;
pub mod inherited;
pub mod pass;
pub mod place;
pub mod plan;
pub mod run_now;
pub mod status;
pub mod stop;
pub mod turn;
pub mod twins;
pub mod validate;

use std::sync::Arc;

use api_types::backup::Backup;
use controller_kit::reconcile::Outcome;
use velero_kit::identity::Owner;
pub use velero_kit::problem::Problem;

use crate::backup::dereference::fleet;
use crate::context::Context;
pub use crate::operation::Error;
use pass::Pass;

/// One pass over a scheduled Backup that is not being deleted.
pub async fn reconcile(ctx: &Arc<Context>, backup: Backup, owner: Owner) -> Result<Outcome, Error> {
    let fleet_found = fleet(ctx, &backup).is_some();
    let spec = validate::validate(&backup, fleet_found);
    let mut pass = Pass::new(ctx, backup, owner);
    match spec {
        Ok(spec) => pass.run(&spec).await,
        Err(refusal) => pass.refuse(&refusal).await,
    }
}
