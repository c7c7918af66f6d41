//! Writes what differs: the finalizer first, the status at its pace, the end of the finalizer last.

use std::time::Duration;

use api_types::fleet::{Fleet, FleetStatus};
use api_types::labels;
use controller_kit::event::{Event, Severity};
use controller_kit::hub;
use jiff::Timestamp;
use kube::ResourceExt;

use super::dereference::Dereferenced;
use super::validate::Validated;
use super::{deletion, event, leftovers, pace_left, status as built};
use crate::context::Context;
use crate::error::Error;
use crate::text;

/// Adds the finalizer if it is missing. Returns the resourceVersion to go on from.
pub(super) async fn finalizer(
    context: &Context,
    fleet: &Fleet,
    validated: &Validated,
) -> Result<String, Error> {
    let known = fleet.resource_version().unwrap_or_default();
    if !validated.adds_finalizer {
        return Ok(known);
    }
    let client = &context.writer.client;
    let added = hub::add_finalizer(client, fleet, labels::FLEET_FINALIZER).await?;
    Ok(added.unwrap_or(known))
}

/// Writes the status if it says something new and may be written now; else returns how long it has
/// to wait.
pub(super) async fn status(
    context: &Context,
    fleet: &Fleet,
    status: &FleetStatus,
    version: &str,
    now: Timestamp,
) -> Result<Option<Duration>, Error> {
    let old = fleet.status.as_ref();
    if built::says_the_same(old, status) {
        return Ok(None);
    }
    let wait = pace_left(context, fleet, status.members.len(), now);
    if !wait.is_zero() {
        return Ok(Some(wait));
    }
    let client = &context.writer.client;
    hub::apply_status(client, fleet, status, labels::FLEET_MANAGER, Some(version)).await?;
    let (namespace, name) = (fleet.namespace().unwrap_or_default(), fleet.name_any());
    context
        .memory
        .fleet(&namespace, &name, |memory| memory.wrote(now));
    let event::Events { own, of_clusters } = event::events(old, status);
    for event in own {
        context.writer.events.publish(fleet, event);
    }
    for event in of_clusters {
        context.writer.events.publish_cluster(fleet, event);
    }
    Ok(None)
}

/// Removes the finalizer: the Fleet goes, unless somebody else's holds it. The status names what it
/// leaves behind already; an event tells it to those who see the Fleet no more.
pub(super) async fn let_go(
    context: &Context,
    known: &Dereferenced,
    validated: &Validated,
) -> Result<(), Error> {
    let fleet = &*known.fleet;
    if !deletion::is_held(fleet) {
        return Ok(());
    }
    if !validated.leftovers.is_empty() {
        let note = format!(
            "deleted by force while needed by {}; left behind: {}",
            text::list(&known.holders),
            leftovers::told(&validated.leftovers)
        );
        let event = Event {
            severity: Severity::Warning,
            reason: "ObjectsLeftBehind",
            action: "Delete",
            note,
            related: None,
        };
        context.writer.events.publish(fleet, event);
    }
    hub::remove_finalizer(&context.writer.client, fleet, labels::FLEET_FINALIZER).await?;
    Ok(())
}
