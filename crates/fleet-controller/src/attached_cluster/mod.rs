//! AttachedCluster: one pass, from what is known to what is written.

pub mod damping;
pub mod dereference;
pub mod event;
pub mod health;
pub mod status;
pub mod validate;

mod apply;

use std::sync::Arc;
use std::time::Duration;

use api_types::cluster::AttachedCluster;
use controller_kit::reconcile::Outcome;
use jiff::Timestamp;

use crate::context::Context;
use crate::error::Error;

/// Brings one AttachedCluster up to date.
pub async fn reconcile(context: &Context, object: Arc<AttachedCluster>) -> Result<Outcome, Error> {
    let now = Timestamp::now();
    let known = dereference::dereference(context, object, now);
    let validated = validate::validate(&known, now, &context.timings);
    let Some(version) = apply::metadata(context, &known, &validated).await? else {
        return Ok(Outcome::Done);
    };
    let object = &known.object;
    let status = status::status(
        &validated,
        object.metadata.generation,
        object.status.as_ref(),
        now,
    );
    let held_back = apply::status(context, &known, status, &version, now).await?;
    let timed = validated
        .look_again
        .and_then(|at| Duration::try_from(at.duration_since(now)).ok());
    Ok(match [held_back, timed].into_iter().flatten().min() {
        None => Outcome::Done,
        Some(after) => Outcome::Waiting {
            reason: if held_back.is_some() {
                "Paced"
            } else {
                "Grace"
            },
            after,
        },
    })
}
