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
use tokio::time::Instant;

use self::validate::Finalizer;
use crate::context::Context;
use crate::error::Error;

/// Brings one AttachedCluster up to date.
pub async fn reconcile(context: &Context, object: Arc<AttachedCluster>) -> Result<Outcome, Error> {
    let (now, began) = (Timestamp::now(), Instant::now());
    let mut known = dereference::dereference(context, object, now);
    let mut validated = validate::validate(&known, now, &context.timings);
    let mut unseen = None;
    if validated.finalizer == Finalizer::Remove && !validate::is_forced(&known) {
        // The watches know of nobody; they may be behind, or broken.
        let client = &context.writer.client;
        let seen = context.looks.after(began, client, &known.key.namespace);
        known.holders = seen.await?.holders_of_cluster(&known.key);
        validated = validate::validate(&known, now, &context.timings);
        unseen = (!known.holders.is_empty()).then_some(context.timings.look_again);
    }
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
    let reason = match (held_back, unseen) {
        (Some(_), _) => "Paced",
        (None, Some(_)) => "Deletion",
        (None, None) => "Grace",
    };
    let waits = [held_back, timed, unseen].into_iter().flatten().min();
    Ok(waits.map_or(Outcome::Done, |after| Outcome::Waiting { reason, after }))
}
