//! Writes what differs: finalizer and label at once, the status at its pace.

use std::time::Duration;

use api_types::cluster::AttachedClusterStatus;
use api_types::labels;
use controller_kit::event::{Event, Severity};
use controller_kit::hub;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::damping::{self, News};
use super::dereference::Dereferenced;
use super::event;
use super::validate::{Finalizer, Validated};
use crate::context::Context;
use crate::error::Error;
use crate::text;
use crate::timings::Timings;

/// Brings finalizer and label up to date. Returns the resourceVersion to go on from; `None` when
/// the object goes.
pub(super) async fn metadata(
    context: &Context,
    known: &Dereferenced,
    validated: &Validated,
) -> Result<Option<String>, Error> {
    let client = &context.writer.client;
    let mut object = (*known.object).clone();
    let label = object.labels().get(labels::FLEET_NAME).cloned();
    if label != validated.label {
        let value = validated.label.as_deref();
        let version = hub::set_label(
            client,
            &object,
            labels::FLEET_NAME,
            value,
            labels::FLEET_MANAGER,
        )
        .await?;
        took_version(&mut object.metadata, version);
    }
    match validated.finalizer {
        Finalizer::Keep => {}
        Finalizer::Add => {
            let added = hub::add_finalizer(client, &object, labels::CLUSTER_FINALIZER).await?;
            if let Some(version) = added {
                took_version(&mut object.metadata, version);
            }
        }
        Finalizer::Remove => {
            if !validated.held_by.is_empty() {
                left_behind(context, known, &validated.held_by);
            }
            hub::remove_finalizer(client, &object, labels::CLUSTER_FINALIZER).await?;
            return Ok(None);
        }
    }
    Ok(Some(object.resource_version().unwrap_or_default()))
}

fn took_version(metadata: &mut ObjectMeta, version: String) {
    metadata.resource_version = Some(version);
}

fn left_behind(context: &Context, known: &Dereferenced, held_by: &[String]) {
    let note = format!(
        "deleted by force while needed by {}: what they left on the cluster stays there",
        text::list(held_by)
    );
    let event = Event {
        severity: Severity::Warning,
        reason: "ObjectsLeftBehind",
        action: "Delete",
        note,
        related: None,
    };
    context.writer.events.publish(&*known.object, event);
}

/// Writes the status if it says something new and may be written now. Returns how long something
/// new, or the next sign of life, has to wait.
pub(super) async fn status(
    context: &Context,
    known: &Dereferenced,
    mut status: AttachedClusterStatus,
    version: &str,
    now: Timestamp,
) -> Result<Option<Duration>, Error> {
    let (object, old) = (&*known.object, known.object.status.as_ref());
    let news = damping::news(old, &status);
    let seen = old
        .and_then(|old| old.last_seen_time.as_ref())
        .map(|seen| seen.0);
    let timings = &Timings {
        last_seen: context.timings.last_seen_of(&known.key),
        ..context.timings
    };
    let wait = context
        .memory
        .cluster(&known.key, |recent| recent.wait(news, seen, now, timings));
    if !wait.is_zero() {
        return Ok(Some(wait));
    }
    if news != News::Nothing {
        let manager = labels::FLEET_MANAGER;
        hub::apply_status(
            &context.writer.client,
            object,
            &status,
            manager,
            Some(version),
        )
        .await?;
        context
            .memory
            .cluster(&known.key, |recent| recent.wrote(news, now));
        for event in event::events(old, &status) {
            context.writer.events.publish(object, event);
        }
    }
    // A ready member that goes on answering brings no change; its last contact is refreshed by time.
    let next = status.last_seen_time.take().filter(|_| status.ready);
    Ok(next.map(|seen| damping::left(seen.0, timings.last_seen, now).max(Duration::from_secs(1))))
}
