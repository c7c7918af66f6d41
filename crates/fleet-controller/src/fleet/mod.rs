//! Fleet: one pass, from what is known to what is written.

pub mod deletion;
pub mod dereference;
pub mod event;
pub mod leftovers;
pub mod members;
pub mod status;
pub mod validate;

mod apply;

use std::sync::Arc;
use std::time::Duration;

use api_types::condition;
use api_types::fleet::Fleet;
use api_types::phase::FleetPhase;
use controller_kit::hub::WriteError;
use controller_kit::reconcile::Outcome;
use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;

use self::deletion::Step;
use self::dereference::Dereferenced;
use self::validate::Validated;
use crate::attached_cluster::damping::left;
use crate::context::Context;
use crate::error::Error;

/// Brings one Fleet up to date.
pub async fn reconcile(context: &Context, fleet: Arc<Fleet>) -> Result<Outcome, Error> {
    if deletion::is_over(&fleet) {
        return Ok(Outcome::Done);
    }
    let (now, began) = (Timestamp::now(), Instant::now());
    let mut known = dereference::dereference(context, fleet);
    let mut validated = validate::validate(&known);
    let mut unseen = None;
    if validated.deletion.as_ref().is_some_and(Step::is_last) {
        look(context, &mut known, began).await?;
        validated = validate::validate(&known);
        let goes = validated.deletion.as_ref().is_some_and(Step::is_last);
        unseen = (!goes).then_some(context.timings.look_again);
    }
    let fleet = &*known.fleet;
    let version = apply::finalizer(context, fleet, &validated).await?;
    let stalls = validated
        .deletion
        .as_ref()
        .map(|step| stalls_at(context, fleet, step, now));
    let stalled = stalls.is_some_and(|at| at <= now);
    let old = fleet.status.as_ref();
    let status = status::status(&validated, fleet.metadata.generation, old, stalled, now);
    let written = apply::status(context, fleet, &status, &version, now).await;
    if let Some(after) = unless_forced(&validated, written)? {
        return Ok(Outcome::Waiting {
            reason: "Paced",
            after,
        });
    }
    if validated.deletion.as_ref().is_some_and(Step::is_last) {
        apply::let_go(context, &known, &validated).await?;
        return Ok(Outcome::Done);
    }
    // The time when it stalls; afterwards only a change can bring anything new.
    let stalls = stalls
        .filter(|at| *at > now)
        .map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    let waits = [stalls, unseen].into_iter().flatten().min();
    Ok(waits.map_or(Outcome::Done, |after| Outcome::Waiting {
        reason: "Deletion",
        after,
    }))
}

/// Before a Fleet goes, the hub itself is asked who needs it: what the watches know may be behind, or
/// broken. Who gives up on what cannot be awaited does not wait for the answer either.
async fn look(context: &Context, known: &mut Dereferenced, began: Instant) -> Result<(), Error> {
    let namespace = known.fleet.namespace().unwrap_or_default();
    let client = &context.writer.client;
    match context.looks.after(began, client, &namespace).await {
        Ok(seen) => known.see(&seen),
        Err(error) if deletion::forced(&known.fleet) => {
            tracing::warn!(%error, "what is left behind is named as far as the watches have brought it");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Who gives up on what cannot be awaited does not wait for a status that the hub refuses either:
/// the event names the same.
fn unless_forced(
    validated: &Validated,
    written: Result<Option<Duration>, Error>,
) -> Result<Option<Duration>, Error> {
    match (&validated.deletion, written) {
        (
            Some(Step::LetGo(_)),
            Err(Error::Write(error @ (WriteError::Rejected(..) | WriteError::Forbidden(..)))),
        ) => {
            tracing::warn!(%error, "what is left behind is not in the status");
            Ok(None)
        }
        (_, written) => written,
    }
}

/// When the deletion counts as stalled. What stood still before this process was started has stood
/// still for long enough, if the status says so.
fn stalls_at(context: &Context, fleet: &Fleet, step: &Step, now: Timestamp) -> Timestamp {
    let (namespace, name) = (fleet.namespace().unwrap_or_default(), fleet.name_any());
    let since = context.memory.fleet(&namespace, &name, |memory| {
        memory.waiting_since(format!("{step:?}"), now)
    });
    if stood_still(fleet, step) {
        return now;
    }
    since
        .checked_add(context.timings.deletion_stalled)
        .unwrap_or(Timestamp::MAX)
}

fn stood_still(fleet: &Fleet, step: &Step) -> bool {
    fleet.status.as_ref().is_some_and(|status| {
        status.phase == Some(FleetPhase::TerminateFailed)
            && condition::find(&status.conditions, condition::READY)
                .is_some_and(|ready| ready.message == step.message())
    })
}

/// How long a status write waits for the one before: the more members, the more a write costs.
fn pace_left(context: &Context, fleet: &Fleet, members: usize, now: Timestamp) -> Duration {
    let timings = &context.timings;
    let members = u32::try_from(members).unwrap_or(u32::MAX);
    let pace = timings.fleet_pace + timings.fleet_pace_per_member.saturating_mul(members);
    let (namespace, name) = (fleet.namespace().unwrap_or_default(), fleet.name_any());
    let last = context
        .memory
        .fleet(&namespace, &name, |memory| memory.last_write());
    last.map_or(Duration::ZERO, |last| left(last, pace, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(error: WriteError, deletion: Step) -> Result<Option<Duration>, Error> {
        let validated = Validated {
            members: Vec::new(),
            plugins: Vec::new(),
            failed_plugins: Vec::new(),
            control_plane: None,
            deletion: Some(deletion),
            leftovers: Vec::new(),
            adds_finalizer: false,
        };
        unless_forced(&validated, Err(error.into()))
    }

    #[test]
    fn only_force_goes_on_without_its_status_and_only_when_that_is_refused() {
        let fleet = || "Fleet oslo/north".to_owned();
        let refused = || WriteError::Rejected(fleet(), "too large".into());
        let forced = || Step::LetGo(Vec::new());
        assert_eq!(written(refused(), forced()).unwrap(), None);
        let forbidden = WriteError::Forbidden(fleet(), "a webhook says no".into());
        assert_eq!(written(forbidden, forced()).unwrap(), None);
        assert!(written(WriteError::Conflict(fleet()), forced()).is_err());
        assert!(written(WriteError::Timeout(fleet()), forced()).is_err());
        assert!(written(refused(), Step::Done).is_err());
    }
}
